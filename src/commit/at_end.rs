//! What an action that waits for the end of its transaction can do.

use pgrx::pg_sys::Oid;

use super::origin::DoomedOrigin;
use crate::error::Result;
use crate::publisher::Mark;

/// An action that waits for the end of the transaction that asked for it.
pub trait AtEnd {
    /// Before the commit record: what waits for a publisher. An error rolls everything back.
    fn before_commit(&mut self) -> Result<()> {
        Ok(())
    }

    /// What `remove` takes from this server's catalogs.
    fn removes(&self) -> Option<Removes> {
        None
    }

    /// Before the commit record, after `before_commit` of all actions, with a bound on waits for locks.
    /// Returns the replication origins that go last.
    fn remove(&mut self) -> Result<Vec<DoomedOrigin>> {
        Ok(Vec::new())
    }

    /// Once the transaction's locks are released. Nothing may be raised any more: what can't be done is
    /// a WARNING.
    fn after_commit(self: Box<Self>) {}

    /// After a rollback, of the transaction or to a savepoint. Nothing may be raised.
    fn after_abort(self: Box<Self>) {}

    /// What is to become of the slot of this name on a publisher.
    fn plan_for_slot(&self, _name: &str) -> Option<(Plan, Mark)> {
        None
    }

    /// Whether PREPARE TRANSACTION may forget the action. Otherwise it is refused.
    fn is_optional(&self) -> bool {
        false
    }
}

/// What is to become of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Create,
    Drop,
}

/// What goes from this server's catalogs: a subscription, or some of its tables.
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
