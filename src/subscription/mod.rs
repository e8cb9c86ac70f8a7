//! Subscriptions owned by the caller. `create`, `alter` and `drop` are the SQL functions, one job
//! each; `tables` is what they share: which tables a publisher offers and which may be taken.

mod alter;
mod create;
mod drop;
mod guard;
mod list;
mod tables;

use pgmig_core::conninfo::Conninfo;
use pgmig_core::name;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;

use crate::caller::Caller;
use crate::error::{Error, Kind, Result, denied};
use crate::ffi::{catalog, identity};
use crate::{publisher, query};

/// A row of pg_subscription in this database.
struct Subscription {
    oid: Oid,
    name: String,
    owner: Oid,
    enabled: bool,
    conninfo: String,
    slot: Option<String>,
    publications: Vec<String>,
    two_phase_enabled: bool,
}

impl Subscription {
    /// Finds a subscription of the caller's and locks it to the end of the transaction.
    fn open(name: &str, caller: Caller) -> Result<Self> {
        require_subscriber()?;
        name::check("subscription", name)?;
        catalog::require_writable(c"this function");
        // Checked before the lock, so that nobody can block what is not theirs.
        let seen = Self::find(name)?.ok_or_else(|| missing(name))?;
        seen.check_owner(caller)?;
        catalog::lock_subscription(seen.oid);
        let locked = Self::find(name)?.filter(|locked| locked.oid == seen.oid);
        let locked = locked.ok_or_else(|| missing(name))?;
        locked.check_owner(caller)?;
        Ok(locked)
    }

    fn find(name: &str) -> Result<Option<Self>> {
        let found = query::rows(
            "SELECT s.oid, s.subowner, s.subenabled, s.subconninfo, s.subslotname::pg_catalog.text, \
                    s.subpublications, s.subtwophasestate OPERATOR(pg_catalog.=) 'e' \
               FROM pg_catalog.pg_subscription s \
               JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.subdbid \
              WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
                AND s.subname OPERATOR(pg_catalog.=) $1::pg_catalog.name",
            &[DatumWithOid::from(name)],
            |row| {
                Ok(Self {
                    oid: row.get(1)?.unwrap_or(Oid::INVALID),
                    name: name.to_owned(),
                    owner: row.get(2)?.unwrap_or(Oid::INVALID),
                    enabled: row.get(3)?.unwrap_or(false),
                    conninfo: row.get(4)?.unwrap_or_default(),
                    slot: row.get(5)?,
                    publications: row.get(6)?.unwrap_or_default(),
                    two_phase_enabled: row.get(7)?.unwrap_or(false),
                })
            },
        )?;
        Ok(found.into_iter().next())
    }

    fn check_owner(&self, caller: Caller) -> Result<()> {
        if caller.has_rights_of(self.owner) {
            return Ok(());
        }
        let (role, owner) = (caller.name(), identity::role_name(self.owner));
        Err(denied(format!("subscription \"{}\"", self.name))
            .detail(format!("Role \"{role}\" does not have the rights of its owner \"{owner}\"."))
            .hint(format!("Ask a member of \"{owner}\" to run this function.")))
    }

    /// The stored connection string, parsed.
    fn conninfo(&self) -> Result<Conninfo> {
        publisher::parse(&self.conninfo).ok_or_else(|| {
            Error::new(
                Kind::ObjectNotInPrerequisiteState,
                format!("the connection string of subscription \"{}\" is invalid", self.name),
            )
            .hint("Set a new one with pgmig_extras.pg_alter_subscription_connection().")
        })
    }
}

/// Below 15 an apply worker ignores table privileges: nothing there can be lent to an ordinary role.
fn require_subscriber() -> Result<()> {
    if crate::MAJOR >= 15 {
        return Ok(());
    }
    Err(Error::new(
        Kind::FeatureNotSupported,
        "subscriptions of ordinary roles need PostgreSQL 15 or later on the subscriber",
    )
    .detail(format!(
        "This server is PostgreSQL {}, whose apply workers ignore table privileges.",
        crate::MAJOR
    ))
    .hint("Use this server as the source; all publisher-side functions work here."))
}

fn missing(name: &str) -> Error {
    Error::new(Kind::UndefinedObject, format!("subscription \"{name}\" does not exist"))
        .hint("SELECT subname FROM pgmig_extras.pg_list_all_subscriptions() lists yours.")
}
