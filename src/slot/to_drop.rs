//! Slots that are dropped once the transaction is committed.

use std::time::{Duration, Instant};

use pgmig_core::sql;

use crate::commit::{AtEnd, Plan};
use crate::error::{Kind, Result};
use crate::ffi::wait;
use crate::notice::Notice;
use crate::publisher::{Failure, Mark, Publisher};

/// How long dropping slots may take once the transaction is committed.
const DROP_TIME: Duration = Duration::from_secs(10);
/// How long undoing may take after a rollback. The client waits meanwhile.
pub const UNDO_TIME: Duration = Duration::from_millis(500);

/// Slots that are dropped once the transaction is committed.
pub struct SlotsToDrop {
    pub publisher: Publisher,
    pub names: Vec<String>,
}

impl AtEnd for SlotsToDrop {
    /// An error if the socket shows that the publisher is gone. Catalogs are locked by now, so this
    /// does not wait.
    fn before_commit(&mut self) -> Result<()> {
        if self.publisher.is_alive() { Ok(()) } else { Err(Failure::Lost.into_error()) }
    }

    fn after_commit(mut self: Box<Self>) {
        let deadline = drop_deadline();
        let Self { publisher, names } = &mut *self;
        for name in names {
            if let Err(reason) = drop_one(publisher, name, deadline) {
                warn_left(name, &reason);
            }
        }
    }

    fn plan_for_slot(&self, name: &str) -> Option<(Plan, Mark)> {
        let is_named = self.names.iter().any(|slot| slot == name);
        is_named.then(|| (Plan::Drop, self.publisher.mark()))
    }
}

/// `statement_timeout` also limits the time, but leaves time for one attempt.
fn drop_deadline() -> Instant {
    let now = Instant::now();
    let own = now + DROP_TIME;
    wait::statement_deadline().map_or(own, |statement| own.min(statement.max(now + UNDO_TIME)))
}

/// Drops a slot after its walsender has ended. A slot that does not exist is no failure.
pub fn drop_one(
    publisher: &mut Publisher,
    name: &str,
    deadline: Instant,
) -> std::result::Result<(), String> {
    let command = format!("DROP_REPLICATION_SLOT {} WAIT", sql::ident(name));
    match publisher.query_quietly(&command, deadline) {
        Ok(_) => Ok(()),
        Err(failure) if failure.is_missing_object() => Ok(()),
        Err(failure) => Err(Failure::reason(failure)),
    }
}

pub fn warn_left(name: &str, reason: &str) {
    Notice::warning(format!("replication slot \"{name}\" may be left on the publisher"))
        .sqlstate(Kind::ConnectionLost)
        .detail(reason)
        .hint(format!(
            "Run this there, or the slot keeps its WAL: SELECT pg_drop_replication_slot({});",
            sql::literal(name)
        ))
        .send();
}
