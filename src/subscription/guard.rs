//! The event trigger that stands in for what PostgreSQL 15 does not check: there the owner of a
//! subscription may re-point CONNECTION anywhere, without a password, even from a trigger inside the
//! apply worker. From 16 on the server has its own rules and the trigger is not created.

use pgmig_core::sql;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Kind, raise};
use crate::ffi::event_trigger::{Change, change, current_user_is_superuser};
use crate::secrecy;

#[pg_extern(sql = false)]
fn guard_alter_subscription(fcinfo: pg_sys::FunctionCallInfo) {
    if current_user_is_superuser() {
        return;
    }
    let Some(change) = change(fcinfo) else { return };
    let _hidden = secrecy::hide_statement("guard_alter_subscription");
    raise(Err(match change {
        Change::Connection(name) => {
            refused("change the connection of a subscription").hint(format!(
                "Use SELECT pgmig_extras.pg_alter_subscription_connection({}, '…');",
                sql::literal(&name).trim_start()
            ))
        }
        Change::Owner => refused("change the owner of a subscription")
            .hint("Let the new owner create a subscription of its own."),
    }))
}

fn refused(what: &str) -> Error {
    Error::new(Kind::InsufficientPrivilege, format!("permission denied to {what}"))
}
