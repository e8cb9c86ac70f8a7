//! The event trigger that checks what PostgreSQL 15 does not check. On 15 the owner of a subscription
//! may change CONNECTION to any server, without a password, even from a trigger inside the apply
//! worker. From 16 on the server has its own rules, and the trigger is not created.

use pgmig_core::sql;
use pgrx::prelude::*;

use crate::conninfo::secrecy;
use crate::error::{Error, Hint, Kind, Result, entry, raise};
use crate::ffi::call::Call;
use crate::ffi::event_trigger::{Change, change, current_user_is_superuser};
use crate::ffi::guard::{self as ffi_guard, Guard};
use crate::ffi::identity;
use crate::ffi::subscription::{self as catalog, SubscriptionRow};
use crate::server::query;

#[pg_extern(sql = false)]
fn guard_alter_subscription(call: Call) {
    entry(|| {
        guard(call, |name| {
            let name = sql::literal(name);
            let after = format!("({}, '…');", name.trim_start());
            Hint::call("Use SELECT ", "pg_alter_subscription_connection", after)
        })
    })
}

/// `instead`: the hint for a refused change of the connection, by the subscription's name.
pub fn guard(call: Call, instead: fn(&str) -> Hint) -> Result<()> {
    let Some(change) = change(call) else { return Ok(()) };
    match change {
        Change::DropExtension(names)
            if names.iter().any(|name| GUARDS.contains(&name.as_str())) =>
        {
            keep_guard()
        }
        Change::DropOwned if has_ordinary_owner()? => keep_guard(),
        Change::DropExtension(_) | Change::DropOwned => Ok(()),
        Change::Connection(_) | Change::Owner if current_user_is_superuser() => Ok(()),
        Change::Connection(name) => {
            let error = refused("change the connection of a subscription").hint(instead(&name));
            // A CONTEXT would quote the statement.
            secrecy::concealing(&None, &[], || raise(Err(error)))
        }
        Change::Owner => Err(refused("change the owner of a subscription")
            .hint("Let the new owner create a subscription of its own.")),
    }
}

/// Extensions that create this event trigger. Its name is the extension's with "_guard".
const GUARDS: [&str; 2] = ["aiven_extras", "pgmig_extras"];

/// Makes sure that the event trigger exists and stays to the end of the transaction. Only then may an
/// ordinary role get a subscription.
pub fn require() -> Result<()> {
    ffi_guard::lock_guard(Guard::InUse);
    if ffi_guard::exists(&GUARDS.map(|extension| format!("{extension}_guard"))) {
        return Ok(());
    }
    Err(Error::new(
        Kind::ObjectNotInPrerequisiteState,
        "the event trigger that guards subscriptions is missing or disabled",
    )
    .hint("Ask a superuser to enable it always, or to create the extension again."))
}

/// Keeps an ordinary role from dropping the event trigger while it guards subscriptions. pgextwlist
/// lets such a role drop an extension as superuser, so the outer user is checked.
fn keep_guard() -> Result<()> {
    if identity::is_superuser(identity::outer_user()) {
        return Ok(());
    }
    ffi_guard::lock_guard(Guard::Dropped);
    match ordinary_subscription() {
        None => Ok(()),
        Some(name) => Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!("cannot drop the extension that guards subscription \"{name}\""),
        )
        .detail(
            "Without it the subscription's owner could use it to connect anywhere as this server.",
        )
        .hint("Drop the subscription first, or ask a superuser to drop the extension.")),
    }
}

/// A subscription of this database whose owner is no superuser.
fn ordinary_subscription() -> Option<String> {
    catalog::here().into_iter().find_map(|oid| {
        let row = SubscriptionRow::by_oid(oid)?;
        let is_ordinary = !identity::is_superuser(row.owner);
        let name = String::from_utf8_lossy(&row.name).into_owned();
        is_ordinary.then_some(name)
    })
}

/// Whether DROP OWNED can drop one of the extensions: an ordinary role owns it if it was created where
/// it is trusted.
fn has_ordinary_owner() -> Result<bool> {
    let found = query::read(
        "SELECT 1 FROM pg_catalog.pg_extension e \
           JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) e.extowner \
          WHERE e.extname OPERATOR(pg_catalog.=) ANY ($1) AND NOT r.rolsuper",
        &[GUARDS.map(str::to_owned).to_vec().into()],
        |_| Ok(()),
    )?;
    Ok(!found.is_empty())
}

fn refused(what: &str) -> Error {
    Error::new(Kind::InsufficientPrivilege, format!("permission denied to {what}"))
}
