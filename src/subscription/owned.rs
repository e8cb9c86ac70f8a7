//! A subscription of this database for a caller: found by its name, its owner checked, locked.

use std::time::Instant;

use pgmig_core::name;
use pgmig_core::secret::shown;
use pgrx::pg_sys::Oid;

use super::other_databases;
use super::view::view;
use crate::caller::Caller;
use crate::commit::is_to_go;
use crate::conninfo;
use crate::error::{Error, Hint, Kind, Result, denied};
use crate::ffi::subscription::{self as catalog, SubscriptionRow};
use crate::ffi::{database, identity, major};
use crate::probe::too_many_publications;
use crate::publisher::Publisher;

/// A row of pg_subscription in this database.
#[derive(PartialEq)]
pub struct Subscription {
    pub oid: Oid,
    pub name: String,
    pub owner: Oid,
    pub enabled: bool,
    /// `None` if it is longer than `limits::TEXT`.
    pub conninfo: Option<String>,
    pub slot: Option<String>,
    /// `None` if it is longer than `limits::PUBLICATIONS`.
    pub publications: Option<Vec<String>>,
    pub two_phase_enabled: bool,
    /// `None` where the major has none.
    pub origin: Option<String>,
}

impl Subscription {
    /// Finds a subscription of the caller's. Takes no lock yet: roles without rights must not block
    /// the owner, and a slow publisher must not hold a lock.
    pub fn find_own(name: &str, caller: Caller) -> Result<Self> {
        require_subscriber(caller)?;
        name::check("subscription", name)?;
        database::require_writable(c"ALTER SUBSCRIPTION");
        let found = Self::find(name).ok_or_else(|| not_found(name))?;
        found.check_owner(caller)?;
        Ok(found)
    }

    /// Finds a subscription of the caller's and locks it to the end of the transaction.
    pub fn open(name: &str, caller: Caller) -> Result<Self> {
        let seen = Self::find_own(name, caller)?;
        catalog::lock(seen.oid);
        let now = Self::find_own(name, caller)?;
        if now.oid == seen.oid { Ok(now) } else { Err(changed(name)) }
    }

    /// Locks the subscription to the end of the transaction. An error if it changed since it was read,
    /// because the publisher was asked about what was read.
    pub fn locked(self) -> Result<Self> {
        catalog::lock(self.oid);
        let now = Self::find(&self.name).ok_or_else(|| not_found(&self.name))?;
        if now == self { Ok(self) } else { Err(changed(&self.name)) }
    }

    pub fn find(name: &str) -> Option<Self> {
        let row = SubscriptionRow::find(name)?;
        Some(Self {
            oid: row.oid,
            name: name.to_owned(),
            owner: row.owner,
            enabled: row.enabled,
            conninfo: row.conninfo,
            slot: row.slot,
            publications: row.publications,
            origin: row.origin,
            two_phase_enabled: row.two_phase_enabled,
        })
    }

    pub fn check_owner(&self, caller: Caller) -> Result<()> {
        if caller.has_rights_of(self.owner) {
            return Ok(());
        }
        let (role, owner) = (caller.name(), identity::role_name(self.owner));
        Err(denied(format!("subscription \"{}\"", self.name))
            .detail(format!("Role \"{role}\" does not have the rights of its owner \"{owner}\"."))
            .hint(format!("Ask a member of \"{owner}\" to run this function.")))
    }

    /// Connects with the stored connection string. Its owner may have changed it by ALTER SUBSCRIPTION,
    /// so the rules for a new one are applied again, even if a superuser calls.
    pub fn connect(&self, caller: Caller) -> Result<Publisher> {
        self.connect_until(caller, None)
    }

    pub fn connect_until(&self, caller: Caller, until: Option<Instant>) -> Result<Publisher> {
        let responsible = caller.together_with(self.owner);
        let conninfo = conninfo::stored(self.conninfo.as_deref(), responsible.is_superuser())?;
        Publisher::connect_until(&conninfo, responsible, until)
    }

    pub fn publications(&self) -> Result<&[String]> {
        self.publications.as_deref().ok_or_else(too_many_publications)
    }
}

/// A subscription of this database that the caller may see.
pub fn visible(name: &str, caller: Caller) -> Result<Oid> {
    name::check("subscription", name)?;
    let found = Subscription::find(name).ok_or_else(|| not_found(name))?;
    if view(found.oid, caller).is_none() {
        found.check_owner(caller)?;
    }
    Ok(found.oid)
}

/// Before 15 apply workers ignore table privileges, so an ordinary role must not own a subscription.
pub fn require_subscriber(caller: Caller) -> Result<()> {
    if major::APPLY_CHECKS_PRIVILEGES || caller.is_superuser() {
        return Ok(());
    }
    Err(Error::new(
        Kind::FeatureNotSupported,
        "subscriptions of ordinary roles need PostgreSQL 15 or later on the subscriber",
    )
    .detail(format!(
        "This server is PostgreSQL {}, whose apply workers ignore table privileges.",
        major::MAJOR
    ))
    .hint("Use this server as the source; all publisher-side functions work here."))
}

/// The caller's subscription in this database that uses this slot, unless this transaction drops it.
pub fn user_of_slot(slot: &str, caller: Caller) -> Option<String> {
    catalog::here().into_iter().find_map(|oid| {
        let row = SubscriptionRow::by_oid(oid)?;
        let is_its = row.slot.as_deref() == Some(slot);
        let name = String::from_utf8_lossy(&row.name).into_owned();
        let is_callers = caller.has_rights_of(row.owner);
        (is_its && is_callers && !is_to_go(oid)).then_some(name)
    })
}

pub fn not_found(name: &str) -> Error {
    let error = Error::new(
        Kind::UndefinedObject,
        format!("subscription \"{}\" does not exist", shown(name)),
    );
    other_databases::named_in(error, name).unwrap_or_else(|error| {
        let function = "pg_list_all_subscriptions";
        error.hint(Hint::call("SELECT subname FROM ", function, "() lists yours."))
    })
}

fn changed(name: &str) -> Error {
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("subscription \"{name}\" was concurrently changed"),
    )
    .hint("Run this again.")
}
