//! SQL functions that drop a subscription of the caller's, and its slots, with the commit.

use std::hash::{BuildHasher, RandomState};

use pgmig_core::sql;
use pgrx::prelude::*;

use super::owned::Subscription;
use super::removal::{Removal, notice_kept};
use super::{not_received, sequences, tables};
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::commit::defer;
use crate::error::{Error, Hint, Kind, Result, entry};
use crate::ffi::transaction;
use crate::publisher::Publisher;
use crate::server::query;
use crate::slot::SlotsToDrop;

/// As in aiven_extras.
#[pg_extern(sql = false)]
fn pg_drop_subscription(arg_subscription_name: Text, arg_drop_repl_slot: Option<bool>) {
    entry(|| {
        let name = required("arg_subscription_name", arg_subscription_name)?;
        let with_slot = required("arg_drop_repl_slot", arg_drop_repl_slot)?;
        drop_subscription(name, with_slot)
    })
}

pub fn drop_subscription(name: &str, with_slot: bool) -> Result<()> {
    let caller = Caller::current()?;
    let subscription = Subscription::find_own(name, caller)?;
    let mut publisher = match with_slot {
        true => Some(connect(&subscription, caller)?),
        false => None,
    };
    if let Some(publisher) = &mut publisher {
        not_received::warn(&subscription, publisher);
        sequences::warn(&subscription, publisher, caller);
    }
    let subscription = subscription.locked()?;
    free_name(&subscription)?;
    if !with_slot {
        subscription.slot.iter().for_each(|slot| notice_kept(slot));
    }
    let slots = publisher.and_then(|publisher| slots_to_drop(&subscription, publisher));
    if slots.is_some() {
        // Apply workers commit asynchronously. A crash must not lose what they applied once the slot is
        // gone.
        transaction::force_synchronous_commit();
    }
    defer(Removal::of_subscription(subscription.oid, slots));
    Ok(())
}

fn connect(subscription: &Subscription, caller: Caller) -> Result<Publisher> {
    subscription.connect(caller).map_err(|error| without_publisher(subscription, error))
}

/// Adds a hint for a publisher that is gone for good.
pub fn without_publisher(subscription: &Subscription, error: Error) -> Error {
    match error.kind {
        Kind::ConnectionRefused => error.hint(Hint::call(
            "If the publisher is gone for good, drop the subscription alone: SELECT ",
            "pg_drop_subscription",
            format!(
                "({}, arg_drop_repl_slot => false);",
                sql::literal(&subscription.name).trim_start()
            ),
        )),
        _ => error,
    }
}

/// Renames the subscription, so that this transaction can use its name again. The new name is random:
/// nobody can take it beforehand.
fn free_name(subscription: &Subscription) -> Result<()> {
    let random = RandomState::new().hash_one(subscription.oid.to_u32());
    let oid = subscription.oid.to_u32();
    let statement = format!(
        "ALTER SUBSCRIPTION {} RENAME TO pgmig_extras_dropped_{oid}_{random:016x}",
        sql::ident(&subscription.name)
    );
    query::execute(&statement, &[])
}

/// The slots to be dropped on the publisher. `None` if there are none: then the connection is not kept
/// until the commit, and cannot make the commit fail.
fn slots_to_drop(subscription: &Subscription, publisher: Publisher) -> Option<SlotsToDrop> {
    let names: Vec<String> = subscription.slot.clone().into_iter().collect();
    let recorded = tables::recorded(subscription.oid);
    let is_needed = !names.is_empty() || recorded.iter().any(|entry| entry.may_have_slot());
    is_needed.then_some(SlotsToDrop { publisher, names })
}
