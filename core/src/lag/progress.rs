//! How long nothing has moved, and what failed meanwhile. Time during which the publisher was out of
//! reach does not count, nor do the errors of that time: a lost connection is an error, too.

use super::Micros;
use super::contact::Since;
use super::observation::{Errors, Observation, Tables, Worker};
use super::wait::{SenderWait, WorkerWait};
use crate::lsn::Lsn;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    applied: Option<Lsn>,
    tables: Tables,
    counters: Option<Errors>,
    /// Errors since watching began.
    pub errors: Errors,
    /// Time since applied_lsn last changed.
    pub unmoved: Micros,
    /// Time for which the worker has been waiting for a lock.
    pub locked: Micros,
    /// Time for which there has been no worker that gets messages.
    pub absent: Micros,
    /// Errors of apply since applied_lsn last changed.
    pub apply_failures: u64,
    /// Errors of table copies since a table last became ready.
    pub sync_failures: u64,
}

impl Progress {
    pub const fn new() -> Self {
        Self {
            applied: None,
            tables: Tables { ready: 0, total: 0 },
            counters: None,
            errors: Errors { apply: 0, sync: 0, conflicts: None },
            unmoved: 0,
            locked: 0,
            absent: 0,
            apply_failures: 0,
            sync_failures: 0,
        }
    }

    pub fn observe(
        &mut self,
        look: &Observation,
        since: &Since,
        applied: Option<Lsn>,
        pending: Option<u64>,
        sender: Option<SenderWait>,
    ) {
        let new = self.count(&look.subscriber.errors);
        let counted = if since.unbroken { new } else { Errors::default() };
        let moved = applied != self.applied;
        let copied = look.subscriber.tables != self.tables;
        let worker = look.subscriber.worker;
        let locked = worker.is_some_and(|worker| worker.wait == WorkerWait::Lock);

        lasts(&mut self.unmoved, !moved, since.elapsed);
        lasts(&mut self.locked, locked, since.elapsed);
        lasts(&mut self.absent, is_absent(worker, sender), since.elapsed);
        lasts(&mut self.apply_failures, !moved && pending != Some(0), counted.apply);
        lasts(&mut self.sync_failures, !copied, counted.sync);
        (self.applied, self.tables) = (applied, look.subscriber.tables);
    }

    /// What was added to the counters since the last look, which has no errors of its own if it is
    /// the first. A counter that fell was reset.
    fn count(&mut self, counters: &Errors) -> Errors {
        let before = self.counters.replace(*counters).unwrap_or(*counters);
        let grown = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
        let new = Errors {
            apply: grown(before.apply, counters.apply),
            sync: grown(before.sync, counters.sync),
            conflicts: counters.conflicts.map(|now| grown(before.conflicts.unwrap_or(now), now)),
        };
        self.errors.apply += new.apply;
        self.errors.sync += new.sync;
        self.errors.conflicts =
            new.conflicts.map(|conflicts| self.errors.conflicts.unwrap_or(0) + conflicts);
        new
    }
}

/// Adds to what is counted while a condition lasts.
fn lasts(counter: &mut u64, condition: bool, more: u64) {
    *counter = if condition { *counter + more } else { 0 };
}

/// A worker that fails to connect is seen now and then, but never gets a message. One whose
/// walsender still decodes will.
fn is_absent(worker: Option<Worker>, sender: Option<SenderWait>) -> bool {
    let decoding = sender == Some(SenderWait::Decoding);
    worker.is_none_or(|worker| worker.last_message_age.is_none() && !decoding)
}
