//! Who uses the slot. confirmed_flush_lsn shows what this subscriber has applied only if no other
//! process moves it. While no worker of the subscription runs, it must not move at all.

use super::Micros;
use super::observation::{Errors, Publisher, Slot, Subscriber, Walsender};
use crate::lsn::Lsn;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotUse {
    /// The walsender that last served our worker, identified by its start time.
    own_walsender: Option<i64>,
    /// The walsender seen in the last answer.
    last_walsender: Option<i64>,
    /// A walsender that serves another subscriber.
    foreign_walsender: Option<i64>,
    /// Since when no worker has been seen.
    without_worker: Option<WithoutWorker>,
    /// Since when no connected worker has been seen.
    unconnected_since: Option<Micros>,
    /// The pid of the worker in the last observation.
    worker: Option<i32>,
    /// confirmed_flush_lsn since the slot has been idle.
    idle_lsn: Option<Lsn>,
    /// The LSNs between which another subscriber moved the slot.
    moved_by_other: Option<(Lsn, Lsn)>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct WithoutWorker {
    since: Micros,
    /// The counters at that time. A worker that started and ended between two observations has most
    /// probably raised an error.
    errors: Errors,
}

/// What one answer of the publisher tells about the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotReport {
    /// confirmed_flush_lsn, if this subscriber's worker reported it.
    pub confirmed: Option<Lsn>,
    /// The LSNs between which somebody else moved the slot. Nobody is connected to it now.
    pub moved: Option<(Lsn, Lsn)>,
    /// The pid on the publisher of a walsender that serves another subscriber.
    pub other: Option<i32>,
}

impl SlotUse {
    pub const fn new() -> Self {
        Self {
            own_walsender: None,
            last_walsender: None,
            foreign_walsender: None,
            without_worker: None,
            unconnected_since: None,
            worker: None,
            idle_lsn: None,
            moved_by_other: None,
        }
    }

    /// confirmed_flush_lsn while no worker ran.
    pub fn idle_lsn(&self) -> Option<Lsn> {
        self.idle_lsn
    }

    /// Takes an answer. `at`: when the subscriber was read, which is after the answer.
    pub fn observe(
        &mut self,
        publisher: &Publisher,
        subscriber: &Subscriber,
        at: Micros,
    ) -> SlotReport {
        let Some(slot) = &publisher.slot else {
            *self = Self { own_walsender: self.own_walsender, ..Self::new() };
            return SlotReport::default();
        };
        let sender = slot.walsender;
        let had_no_worker = self.had_no_worker(publisher, subscriber);
        self.identify_walsender(sender, subscriber, publisher.asked);
        let other = sender.filter(|sender| self.foreign_walsender == Some(sender.started));
        let found = match subscriber.worker {
            Some(_) => self.with_worker(slot, other, is_connected(subscriber)),
            None => self.without_worker(slot, other, had_no_worker, subscriber.enabled),
        };
        self.last_walsender = sender.map(|sender| sender.started);
        self.note_worker(subscriber, at);
        found
    }

    /// Without an answer there is no slot to compare, but a worker may have started.
    pub fn observe_without_answer(&mut self, subscriber: &Subscriber, at: Micros) {
        self.note_worker(subscriber, at);
        if is_connected(subscriber) {
            self.idle_lsn = None;
        }
    }

    /// Whether no worker ran from before the publisher was asked until now, as far as observations
    /// show.
    fn had_no_worker(&self, publisher: &Publisher, subscriber: &Subscriber) -> bool {
        let before = self.without_worker.is_some_and(|without_worker| {
            without_worker.since <= publisher.asked && without_worker.errors == subscriber.errors
        });
        before && subscriber.worker.is_none()
    }

    /// A walsender serves our worker if that worker is connected. It serves another subscriber if
    /// it stays from one answer to the next while we have no connected worker. A worker of ours
    /// that fails gets a new walsender each time, up to ten times a second on 17. One that waits
    /// for its first message keeps its walsender.
    fn identify_walsender(
        &mut self,
        sender: Option<Walsender>,
        subscriber: &Subscriber,
        asked: Micros,
    ) {
        let started = sender.map(|sender| sender.started);
        if is_connected(subscriber) {
            if started != self.foreign_walsender {
                self.own_walsender = started.or(self.own_walsender);
            }
            return;
        }
        let stays =
            started.is_some() && started == self.last_walsender && started != self.own_walsender;
        let was_unconnected = self.unconnected_since.is_some_and(|since| since <= asked);
        let waits = subscriber.worker.is_some_and(|worker| self.worker == Some(worker.pid));
        if stays && was_unconnected && !waits {
            self.foreign_walsender = started;
        }
    }

    /// Our worker is running. If it is not connected yet, it has moved nothing.
    fn with_worker(
        &mut self,
        slot: &Slot,
        other: Option<Walsender>,
        is_connected: bool,
    ) -> SlotReport {
        if let Some(other) = other {
            return SlotReport { other: Some(other.pid), ..SlotReport::default() };
        }
        if is_connected {
            self.idle_lsn = None;
        }
        let now = slot.confirmed_flush;
        let confirmed = now.filter(|now| self.idle_lsn.is_none_or(|idle_lsn| *now <= idle_lsn));
        SlotReport {
            confirmed,
            moved: self.moved_by_other.filter(|_| is_connected),
            ..SlotReport::default()
        }
    }

    /// No worker of ours is running. Two values of confirmed_flush_lsn are accepted: the first one
    /// seen, and one reported by our own walsender while it ends.
    fn without_worker(
        &mut self,
        slot: &Slot,
        other: Option<Walsender>,
        had_no_worker: bool,
        enabled: bool,
    ) -> SlotReport {
        let now = slot.confirmed_flush;
        let started = slot.walsender.map(|sender| sender.started);
        if started.is_some() && started == self.own_walsender {
            return SlotReport { confirmed: now, ..SlotReport::default() };
        }
        let idle_lsn = self.idle_lsn;
        if self.idle_lsn.is_none() && (had_no_worker || other.is_some()) {
            self.idle_lsn = now;
        }
        let moved = idle_lsn.zip(now).filter(|(from, to)| to > from);
        match (moved, other) {
            (moved, Some(other)) => {
                self.moved_by_other = moved.or(self.moved_by_other);
                // An enabled subscription only lags. A disabled one has lost the changes that
                // another subscriber took.
                let moved = moved.filter(|_| !enabled);
                SlotReport { other: Some(other.pid), moved, ..SlotReport::default() }
            }
            (Some(moved), None) if slot.walsender.is_none() && had_no_worker => {
                SlotReport { moved: Some(moved), ..SlotReport::default() }
            }
            (Some(_), None) => SlotReport::default(),
            (None, None) => SlotReport { confirmed: now, ..SlotReport::default() },
        }
    }

    fn note_worker(&mut self, subscriber: &Subscriber, at: Micros) {
        let errors = subscriber.errors;
        self.worker = subscriber.worker.map(|worker| worker.pid);
        self.unconnected_since = match is_connected(subscriber) {
            true => None,
            false => self.unconnected_since.or(Some(at)),
        };
        self.without_worker = match (subscriber.worker, self.without_worker) {
            (Some(_), _) => None,
            (None, Some(without_worker)) if without_worker.errors == errors => Some(without_worker),
            (None, _) => Some(WithoutWorker { since: at, errors }),
        };
    }
}

/// Whether the worker has received a message from the publisher. The time of the last message does
/// not tell: it starts as the worker's own start time.
fn is_connected(subscriber: &Subscriber) -> bool {
    let received = subscriber.received.map(|received| received.pid);
    subscriber.worker.is_some_and(|worker| received == Some(worker.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{Publications, Received, Source, Tables, Worker};
    use crate::lag::wait::{SenderWait, WorkerWait};

    /// An observation. The publisher's part is read before the subscriber's.
    #[derive(Clone, Copy)]
    struct Observed {
        confirmed: u64,
        sender: Option<i64>,
        /// Whether our worker runs, and if so, whether it has received a message.
        worker: Option<bool>,
        errors: u64,
    }

    const OURS: Observed =
        Observed { confirmed: 10, sender: Some(1), worker: Some(true), errors: 0 };
    const NOBODY: Observed = Observed { confirmed: 10, sender: None, worker: None, errors: 0 };

    fn observation(usage: &mut SlotUse, at: Micros, observation: Observed) -> SlotReport {
        let walsender = |started: i64| Walsender {
            pid: started as i32,
            started,
            wait: SenderWait::Client,
            sent_lsn: None,
            replay_lsn: None,
        };
        let slot = Slot {
            confirmed_flush: Some(Lsn(observation.confirmed)),
            restart_lsn: None,
            invalidated: false,
            safe_wal_size: None,
            spill_bytes: None,
            walsender: observation.sender.map(walsender),
        };
        let publisher = Publisher {
            asked: at,
            answered: at,
            source: Source::default(),
            started: 1,
            major: 15,
            uptime: 1,
            flush_lsn: Lsn(1000),
            insert_lsn: Lsn(1000),
            oldest_xid: 1,
            slot: Some(slot),
            publications: Publications::NONE,
        };
        let pid = if observation.worker == Some(true) { 7 } else { at as i32 };
        let worker = |_| Worker {
            pid,
            wait: WorkerWait::Messages,
            blocked_by: None,
            last_message_age: Some(0),
        };
        let received = Received { pid, lsn: Lsn(observation.confirmed) };
        let subscriber = Subscriber {
            enabled: true,
            slot: Some("s"),
            received: observation.worker.filter(|connected| *connected).map(|_| received),
            worker: observation.worker.map(worker),
            origin: None,
            tables: Tables::NONE,
            sync_workers: 0,
            shortage: None,
            errors: Errors { apply: observation.errors, ..Errors::default() },
        };
        usage.observe(&publisher, &subscriber, at + 1)
    }

    fn after(observations: &[Observed]) -> SlotReport {
        let mut usage = SlotUse::new();
        let mut last = SlotReport::default();
        for (at, next) in (0..).step_by(10).zip(observations) {
            last = observation(&mut usage, at, *next);
        }
        last
    }

    fn at(confirmed: u64, observation: Observed) -> Observed {
        Observed { confirmed, ..observation }
    }

    fn confirmed_at(confirmed: u64) -> SlotReport {
        SlotReport { confirmed: Some(Lsn(confirmed)), ..SlotReport::default() }
    }

    #[test]
    fn the_confirmed_lsn_counts_while_our_worker_uses_the_slot() {
        assert_eq!(after(&[OURS, at(20, OURS)]), confirmed_at(20));
    }

    #[test]
    fn the_last_confirmation_of_a_worker_that_ends_counts() {
        let lingering = Observed { worker: None, ..OURS };
        assert_eq!(after(&[OURS, at(20, lingering), at(30, lingering)]), confirmed_at(30));
        assert_eq!(after(&[OURS, at(20, NOBODY)]), confirmed_at(20));
    }

    #[test]
    fn a_slot_that_moves_while_nobody_uses_it_was_moved_by_somebody_else() {
        let moved = SlotReport { moved: Some((Lsn(20), Lsn(30))), ..SlotReport::default() };
        let observations = [OURS, at(20, NOBODY), at(20, NOBODY), at(30, NOBODY)];
        assert_eq!(after(&observations), moved);
        assert_eq!(after(&[NOBODY, NOBODY, NOBODY]), confirmed_at(10));
    }

    #[test]
    fn a_worker_that_failed_between_two_observations_may_have_moved_the_slot() {
        let failed = Observed { errors: 1, ..at(30, NOBODY) };
        let observations = [OURS, NOBODY, NOBODY, failed];
        assert_eq!(after(&observations), SlotReport::default());
    }

    #[test]
    fn a_walsender_that_stays_without_our_worker_serves_another_subscriber() {
        let theirs = Observed { sender: Some(2), ..NOBODY };
        let other = SlotReport { other: Some(2), ..SlotReport::default() };
        assert_eq!(after(&[theirs, at(20, theirs), at(30, theirs)]), other);
        let failing = |errors| Observed { worker: Some(false), errors, ..at(40, theirs) };
        assert_eq!(after(&[theirs, at(20, theirs), failing(1)]), other);
        assert_eq!(after(&[failing(1), failing(2), failing(3)]), other);
    }

    #[test]
    fn changes_that_another_subscriber_took_are_reported_when_our_worker_is_back() {
        let theirs = Observed { sender: Some(2), ..NOBODY };
        let ours = Observed { sender: Some(3), ..at(50, OURS) };
        let found = after(&[OURS, NOBODY, NOBODY, theirs, theirs, at(40, theirs), ours]);
        assert_eq!(found, SlotReport { moved: Some((Lsn(10), Lsn(40))), ..confirmed_at(50) });
    }
}
