//! Dropping a subscription of the caller's, and its slots with the commit.

use pgmig_core::sql;
use pgrx::prelude::*;

use super::Subscription;
use super::tables::{self, Recorded};
use crate::argument::Text;
use crate::caller::Caller;
use crate::error::{Kind, Result, notice, raise, required};
use crate::ffi::{catalog, transaction};
use crate::publisher::Publisher;
use crate::query;
use crate::slot::DoomedSlots;
use crate::transaction::{Action, defer};

/// As in aiven_extras.
#[pg_extern(sql = false)]
fn pg_drop_subscription(arg_subscription_name: Text, arg_drop_repl_slot: Option<bool>) {
    let run = || -> Result<()> {
        let name = required("arg_subscription_name", arg_subscription_name)?;
        let with_slot = required("arg_drop_repl_slot", arg_drop_repl_slot)?;
        drop_subscription(name, with_slot)
    };
    raise(run())
}

pub fn drop_subscription(name: &str, with_slot: bool) -> Result<()> {
    let caller = Caller::current()?;
    let subscription = Subscription::find_own(name, caller)?;
    let publisher = match with_slot {
        true => Some(connect(&subscription, caller)?),
        false => None,
    };
    let subscription = subscription.locked()?;
    catalog::lock_subscriptions();
    let mut slots = remove_unfinished_tables(&subscription)?;
    slots.extend(subscription.slot.clone());
    tables::defer_origin_drop(&format!("pg_{}", subscription.oid.to_u32()))?;
    drop_without_slot(&subscription)?;
    match publisher {
        Some(publisher) if !slots.is_empty() => {
            // Apply workers commit asynchronously: what they applied must not be lost with a crash
            // once the slot is gone.
            transaction::force_synchronous_commit();
            defer(Action::DropSlots(DoomedSlots { publisher, names: slots }));
        }
        Some(_) => {}
        None => notice_kept(&slots),
    }
    Ok(())
}

pub fn connect(subscription: &Subscription, caller: Caller) -> Result<Publisher> {
    subscription.connect(caller).map_err(|error| match error.kind {
        Kind::ConnectionRefused => error.hint(format!(
            "If the publisher is gone for good, drop the subscription alone: \
             SELECT pgmig_extras.pg_drop_subscription({}, arg_drop_repl_slot => false);",
            sql::literal(&subscription.name).trim_start()
        )),
        _ => error,
    })
}

/// DROP SUBSCRIPTION would connect to the publisher for tables that are not ready, in a way that
/// can't be cancelled cleanly, even without a slot of its own.
fn remove_unfinished_tables(subscription: &Subscription) -> Result<Vec<String>> {
    let recorded = tables::recorded(subscription.oid);
    let unfinished: Vec<Recorded> =
        recorded.into_iter().filter(|entry| !entry.is_ready()).collect();
    if unfinished.is_empty() {
        return Ok(Vec::new());
    }
    catalog::lock_subscription_relations();
    tables::remove(subscription.oid, &unfinished)
}

fn drop_without_slot(subscription: &Subscription) -> Result<()> {
    let name = sql::ident(&subscription.name);
    if subscription.enabled {
        query::execute(&format!("ALTER SUBSCRIPTION {name} DISABLE"), &[])?;
    }
    if subscription.slot.is_some() {
        query::execute(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"), &[])?;
    }
    // All by name, which can't change: the catalog is locked.
    query::execute(&format!("DROP SUBSCRIPTION {name}"), &[])
}

fn notice_kept(slots: &[String]) {
    for slot in slots {
        notice(
            format!("replication slot \"{slot}\" is left on the publisher"),
            Some(format!(
                "Run this there, or the slot keeps its WAL: SELECT pg_drop_replication_slot({});",
                sql::literal(slot)
            )),
        );
    }
}
