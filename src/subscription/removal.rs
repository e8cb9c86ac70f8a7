//! The part of a drop or a refresh that is done at the commit: the subscription goes, or some of its
//! tables.
//!
//! DROP SUBSCRIPTION and REFRESH PUBLICATION lock catalogs to the end of their transaction:
//! pg_subscription (until the minors of August 2025, in all databases), pg_subscription_rel,
//! pg_replication_origin. While a caller's transaction stays open, that would stop everybody else's
//! functions, core's launcher and our watchers. So the call itself only locks the subscription, and
//! this is done just before the commit record.

use std::collections::HashSet;

use pgmig_core::sql;
use pgrx::pg_sys::Oid;

use super::tables::{self, Recorded};
use crate::commit::{AtEnd, OriginToDrop, Plan, Removes};
use crate::error::Result;
use crate::ffi::subscription::{self as catalog, SubscriptionRow};
use crate::ffi::{origin, role};
use crate::notice::Notice;
use crate::publisher::{Mark, Publisher};
use crate::server::query;
use crate::slot::SlotsToDrop;

pub struct Removal {
    subscription: Oid,
    /// The tables that stay; `None` when the subscription itself goes.
    stay: Option<HashSet<Oid>>,
    /// The role whose rights the call had: the owner of the extension.
    user: Oid,
    /// The slots to be dropped on the publisher. `None`: its slots are left there.
    slots: Option<SlotsToDrop>,
}

impl Removal {
    /// Drops a whole subscription. Without a connection its slots stay.
    pub fn of_subscription(subscription: Oid, slots: Option<SlotsToDrop>) -> Self {
        Self { subscription, stay: None, user: role::current_user(), slots }
    }

    /// Removes the tables that are not in `stay`.
    pub fn of_tables(subscription: Oid, stay: HashSet<Oid>, publisher: Option<Publisher>) -> Self {
        let slots = publisher.map(|publisher| SlotsToDrop { publisher, names: Vec::new() });
        Self { subscription, stay: Some(stay), user: role::current_user(), slots }
    }

    /// Runs with the rights of `user`.
    fn run(&mut self) -> Result<Vec<OriginToDrop>> {
        match self.stay.take() {
            Some(stay) => self.remove_tables(&stay),
            None => self.drop_subscription(),
        }
    }

    fn remove_tables(&mut self, stay: &HashSet<Oid>) -> Result<Vec<OriginToDrop>> {
        let gone = self.recorded(|entry| !stay.contains(&entry.table));
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        catalog::lock_tables();
        self.remove(&gone)
    }

    fn drop_subscription(&mut self) -> Result<Vec<OriginToDrop>> {
        // Since the call, its owner may have dropped it without this extension.
        let Some(row) = SubscriptionRow::by_oid(self.subscription) else { return Ok(Vec::new()) };
        let name = sql::ident(&String::from_utf8_lossy(&row.name));
        let (is_enabled, has_slot) = (row.enabled, row.slot.is_some());
        // DROP SUBSCRIPTION would connect to the publisher if a table is not ready, even without a
        // slot. That connection cannot be cancelled cleanly.
        let unfinished = self.recorded(|entry| !entry.is_ready());
        if !unfinished.is_empty() {
            // The launcher does not start another worker: a new one waits for the subscription's lock.
            catalog::stop_apply_worker(self.subscription);
        }
        let mut origins = self.remove(&unfinished)?;
        origins.extend(prepare_origin(format!("pg_{}", self.subscription.to_u32())));
        if is_enabled {
            query::execute(&format!("ALTER SUBSCRIPTION {name} DISABLE"), &[])?;
        }
        if has_slot {
            query::execute(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"), &[])?;
        }
        // By the SQL statement: its event triggers fire, and core removes everything that depends on
        // the subscription. The lock keeps the name.
        query::execute(&format!("DROP SUBSCRIPTION {name}"), &[])?;
        Ok(origins)
    }

    fn recorded(&self, goes: impl Fn(&Recorded) -> bool) -> Vec<Recorded> {
        tables::recorded(self.subscription).into_iter().filter(goes).collect()
    }

    /// Removes tables. Their workers cannot start meanwhile.
    fn remove(&mut self, tables: &[Recorded]) -> Result<Vec<OriginToDrop>> {
        let (subscription, system) = (self.subscription.to_u32(), tables::system_identifier()?);
        let mut origins = Vec::new();
        for entry in tables {
            let table = entry.table.to_u32();
            catalog::remove_table(self.subscription, entry.table);
            catalog::stop_worker(self.subscription, entry.table);
            if !entry.is_ready() {
                origins.extend(prepare_origin(format!("pg_{subscription}_{table}")));
            }
            if entry.may_have_slot() {
                // ReplicationSlotNameForTablesync (tablesync.c).
                self.drop_slot(format!("pg_{subscription}_sync_{table}_{system}"));
            }
        }
        Ok(origins)
    }

    fn drop_slot(&mut self, slot: String) {
        match &mut self.slots {
            Some(slots) => slots.names.push(slot),
            None => notice_kept(&slot),
        }
    }
}

impl AtEnd for Removal {
    fn before_commit(&mut self) -> Result<()> {
        self.slots.as_mut().map_or(Ok(()), AtEnd::before_commit)
    }

    fn removes(&self) -> Option<Removes> {
        Some(Removes { subscription: self.subscription, whole: self.stay.is_none() })
    }

    fn remove(&mut self) -> Result<Vec<OriginToDrop>> {
        role::as_definer(self.user, || self.run())
    }

    fn after_commit(self: Box<Self>) {
        if let Some(slots) = self.slots {
            Box::new(slots).after_commit();
        }
    }

    fn plan_for_slot(&self, name: &str) -> Option<(Plan, Mark)> {
        self.slots.as_ref()?.plan_for_slot(name)
    }
}

/// Dropping an origin loses its progress even if the transaction rolls back. So the origin is renamed
/// now, which a rollback undoes, and dropped as the last step.
fn prepare_origin(name: String) -> Option<OriginToDrop> {
    origin::lock_all();
    let new_name = |number| format!("pgmig_extras_dropped_{number}");
    let (number, renamed) = origin::rename(&name, new_name)?;
    Some(OriginToDrop { number, name, renamed })
}

/// A NOTICE that a slot stays on the publisher.
pub fn notice_kept(slot: &str) {
    Notice::info(format!("replication slot \"{slot}\" is left on the publisher"))
        .hint(format!(
            "Run this there, or the slot keeps its WAL: SELECT pg_drop_replication_slot({});",
            sql::literal(slot)
        ))
        .send();
}
