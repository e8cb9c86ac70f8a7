//! The steps of an action that waits for the end of its transaction.

use pgrx::pg_sys::Oid;

use super::origin::OriginToDrop;
use crate::error::Result;
use crate::publisher::Mark;

/// An action that waits for the end of the transaction that asked for it.
pub trait AtEnd {
    /// Before the commit record: steps that wait for a publisher. An error rolls everything back.
    fn before_commit(&mut self) -> Result<()> {
        Ok(())
    }

    /// The subscription that `remove` works on.
    fn removes(&self) -> Option<Removes> {
        None
    }

    /// Before the commit record, after all actions' `before_commit`: removes rows from this server's
    /// catalogs. Waits for locks are limited. Returns the replication origins that are dropped last.
    fn remove(&mut self) -> Result<Vec<OriginToDrop>> {
        Ok(Vec::new())
    }

    /// After the commit, once the transaction's locks are released. It must not raise: a failure is a
    /// WARNING.
    fn after_commit(self: Box<Self>) {}

    /// After a rollback of the transaction or to a savepoint. It must not raise.
    fn after_abort(self: Box<Self>) {}

    /// What the action does to the slot of this name, and on which connection.
    fn plan_for_slot(&self, _name: &str) -> Option<(Plan, Mark)> {
        None
    }

    /// Whether PREPARE TRANSACTION may forget the action. Otherwise it is refused.
    fn is_optional(&self) -> bool {
        false
    }
}

/// What happens to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Create,
    Drop,
}

/// What is removed from this server's catalogs: a subscription, or some of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removes {
    pub subscription: Oid,
    /// Whether the subscription itself goes.
    pub whole: bool,
}

impl Removes {
    /// Whether `later`, of the same transaction, leaves nothing for this one to do.
    pub fn is_superseded_by(self, later: Self) -> bool {
        self.subscription == later.subscription && (later.whole || !self.whole)
    }
}
