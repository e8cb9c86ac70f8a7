//! A new slot is temporary at first. If the transaction, the backend or the server ends without COMMIT,
//! the connection closes and the publisher drops the slot. Just before the commit record it is copied
//! to its permanent name.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use pgmig_core::lsn::Lsn;
use pgmig_core::{name, sql};

use super::existing::exists;
use super::plan::refuse_planned;
use super::to_drop::{UNDO_TIME, drop_one, warn_left};
use crate::commit::{AtEnd, Plan};
use crate::error::{Error, Kind, Result};
use crate::ffi::transaction;
use crate::publisher::{self, Failure, Mark, Publisher};

/// A slot that becomes permanent with the commit.
pub struct NewSlot {
    publisher: Publisher,
    temporary: String,
    name: String,
    failover: bool,
    /// The LSN at which the slot's changes begin. It tells this slot from another one of the same name.
    lsn: Lsn,
    /// Whether the permanent slot may exist: set before the publisher is asked for it, and cleared if
    /// the publisher refuses.
    made: bool,
}

impl NewSlot {
    /// Creates the temporary slot. Returns it and the LSN from which it is consistent.
    pub fn create(mut publisher: Publisher, name: &str, failover: bool) -> Result<(Self, Lsn)> {
        name::check_slot(name)?;
        if failover && publisher.major() < 17 {
            return Err(Error::new(
                Kind::FeatureNotSupported,
                "failover slots need PostgreSQL 17 or later on the publisher",
            )
            .hint("Remove the option \"failover\"."));
        }
        refuse_planned(&mut publisher, name, &[Plan::Create, Plan::Drop])?;
        if exists(&mut publisher, name)? {
            return Err(Error::new(
                Kind::DuplicateObject,
                format!("replication slot \"{name}\" already exists on the publisher"),
            )
            .hint("Choose another name, drop it, or use it as it is with create_slot = false."));
        }
        if transaction::has_id() && publisher.is_own_cluster()? {
            return Err(own_cluster(name));
        }
        let temporary = format!("pgmig_tmp_{:016x}", RandomState::new().hash_one(name));
        let rows = publisher.query(&format!(
            "SELECT lsn FROM pg_catalog.pg_create_logical_replication_slot({}, 'pgoutput', true)",
            sql::literal(&temporary)
        ))?;
        let lsn = rows.first().and_then(|row| row.get(0)?.parse().ok());
        let lsn = lsn.ok_or_else(publisher::nonsense)?;
        let name = name.to_owned();
        let slot = Self { publisher, temporary, name, failover, lsn, made: false };
        Ok((slot, lsn))
    }

    /// Copies it to its permanent name.
    fn keep(&mut self) -> Result<()> {
        if self.made {
            return Ok(());
        }
        self.made = true;
        let copy = format!(
            "SELECT 1 FROM pg_catalog.pg_copy_logical_replication_slot({}, {}, false)",
            sql::literal(&self.temporary),
            sql::literal(&self.name)
        );
        self.publisher.ask(&copy).map_err(|failure| {
            self.made = !matches!(failure, Failure::Refused { .. });
            failure.into_error()
        })?;
        if self.failover {
            // pg_copy_logical_replication_slot() does not copy this property. The replication command
            // exists since 17.
            self.publisher.query(&format!(
                "ALTER_REPLICATION_SLOT {} (FAILOVER true)",
                sql::ident(&self.name)
            ))?;
        }
        Ok(())
    }

    /// Drops the permanent slot only if it is ours. Another session may have created a slot of this
    /// name, which made this transaction roll back.
    fn drop_if_ours(
        &self,
        publisher: &mut Publisher,
        deadline: Instant,
    ) -> std::result::Result<(), String> {
        let look = format!(
            "SELECT 1 FROM pg_catalog.pg_replication_slots \
             WHERE slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name AND NOT active \
               AND confirmed_flush_lsn OPERATOR(pg_catalog.=) '{}'::pg_catalog.pg_lsn",
            sql::literal(&self.name),
            self.lsn
        );
        match publisher.query_quietly(&look, deadline).map_err(Failure::reason)?.is_empty() {
            true => Ok(()),
            false => drop_one(publisher, &self.name, deadline),
        }
    }
}

impl AtEnd for NewSlot {
    fn before_commit(&mut self) -> Result<()> {
        self.keep()
    }

    fn plan_for_slot(&self, name: &str) -> Option<(Plan, Mark)> {
        (self.name == name).then(|| (Plan::Create, self.publisher.mark()))
    }

    /// Nothing to do unless the permanent slot may have been made.
    fn after_abort(self: Box<Self>) {
        if !self.made {
            return;
        }
        let deadline = Instant::now() + UNDO_TIME;
        // The first connection may be in the middle of an answer, so another one is used.
        let dropped = self
            .publisher
            .reconnect_quietly(deadline)
            .map_err(|error| format!("{}.", error.message))
            .and_then(|mut second| {
                end_backend(&mut second, self.publisher.backend_pid(), deadline)?;
                self.drop_if_ours(&mut second, deadline)
            });
        if let Err(reason) = dropped {
            warn_left(&self.name, &reason);
        }
    }
}

/// Ends our backend on the publisher and waits until it is gone. Otherwise it could still create the
/// copy after we have looked for the slot.
fn end_backend(
    publisher: &mut Publisher,
    pid: i32,
    deadline: Instant,
) -> std::result::Result<(), String> {
    let end = format!("SELECT pg_catalog.pg_terminate_backend({pid})");
    publisher.query_quietly(&end, deadline).map_err(Failure::reason)?;
    let look =
        format!("SELECT 1 FROM pg_catalog.pg_sleep(0.01), pg_catalog.pg_stat_get_activity({pid})");
    while !publisher.query_quietly(&look, deadline).map_err(Failure::reason)?.is_empty() {}
    Ok(())
}

fn own_cluster(name: &str) -> Error {
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        "cannot create a replication slot in the cluster of this very transaction",
    )
    .detail(
        "A new slot waits for every open transaction that has an id. This one has it, since it has \
         written something, so the slot would wait for ever.",
    )
    .hint(format!(
        "Make the slot in a transaction of its own, or before this one writes anything: \
         SELECT pg_create_logical_replication_slot({}, 'pgoutput'); then use it with create_slot = false.",
        sql::literal(name)
    ))
}
