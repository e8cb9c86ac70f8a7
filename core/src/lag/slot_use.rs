//! Who used the slot: confirmed_flush_lsn tells what this subscriber has applied only while nobody but
//! its own worker moves it. While no worker of the subscription runs, it must not move at all.

use super::Micros;
use super::observation::{Errors, Publisher, Slot, Subscriber, Walsender};
use crate::lsn::Lsn;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotUse {
    /// The last walsender that served a worker of ours, by when it started.
    own_walsender: Option<i64>,
    /// The walsender of the last answer.
    last_walsender: Option<i64>,
    /// One that serves another subscriber.
    foreign_walsender: Option<i64>,
    /// Since when no worker has been seen.
    without_worker: Option<WithoutWorker>,
    /// Since when no worker that is connected has been seen.
    unconnected_since: Option<Micros>,
    /// The worker of the last observation.
    worker: Option<i32>,
    /// confirmed_flush_lsn since the slot has been at rest.
    idle_lsn: Option<Lsn>,
    /// From where to where another subscriber moved it.
    moved_by_other: Option<(Lsn, Lsn)>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct WithoutWorker {
    since: Micros,
    /// A worker that came and went between two observations has most probably failed.
    errors: Errors,
}

/// What an answer tells of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotReport {
    /// confirmed_flush_lsn, if it is this subscriber's word.
    pub confirmed: Option<Lsn>,
    /// From where to where somebody else moved it, with nobody connected now.
    pub moved: Option<(Lsn, Lsn)>,
    /// The process on the publisher that serves another subscriber.
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

    /// confirmed_flush_lsn as it was when no worker ran.
    pub fn idle_lsn(&self) -> Option<Lsn> {
        self.idle_lsn
    }

    /// Takes an answer; the subscriber was read `at`, after it.
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

    /// Without an answer there is nothing to compare, but a worker may have come.
    pub fn observe_without_answer(&mut self, subscriber: &Subscriber, at: Micros) {
        self.note_worker(subscriber, at);
        if is_connected(subscriber) {
            self.idle_lsn = None;
        }
    }

    /// Whether no worker ran from before the publisher was asked until now, as far as can be seen.
    fn had_no_worker(&self, publisher: &Publisher, subscriber: &Subscriber) -> bool {
        let before = self.without_worker.is_some_and(|without_worker| {
            without_worker.since <= publisher.asked && without_worker.errors == subscriber.errors
        });
        before && subscriber.worker.is_none()
    }

    /// A walsender serves our worker if that is connected. It serves another subscriber's if it is there
    /// from one answer to the next without a connected worker of ours: one that fails starts anew, up to
    /// ten times a second on 17, while one that waits for its first message stays the same.
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

    /// While a worker of ours is there. One that is not connected yet has moved nothing.
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

    /// While none is. The first word of the slot is believed, and what a walsender of ours still had to
    /// say when its worker ended.
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
                // An enabled subscription lags behind; a disabled one has lost what it does not get.
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

/// Whether its worker has got a message from the publisher. When it got the last one does not tell: that
/// begins with its own start.
fn is_connected(subscriber: &Subscriber) -> bool {
    let received = subscriber.received.map(|received| received.pid);
    subscriber.worker.is_some_and(|worker| received == Some(worker.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{Publications, Received, Source, Tables, Worker};
    use crate::lag::wait::{SenderWait, WorkerWait};

    /// An observation, of which the publisher's part is moved_by_other before the subscriber's.
    #[derive(Clone, Copy)]
    struct Observed {
        confirmed: u64,
        sender: Option<i64>,
        /// Whether a worker of ours is there, and has got a message.
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
            copiers: 0,
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
    fn what_the_slot_says_counts_while_a_worker_of_ours_uses_it() {
        assert_eq!(after(&[OURS, at(20, OURS)]), confirmed_at(20));
    }

    #[test]
    fn the_last_word_of_a_worker_that_ends_counts() {
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
    fn a_worker_that_came_and_failed_between_two_looks_may_have_moved_it() {
        let failed = Observed { errors: 1, ..at(30, NOBODY) };
        let observations = [OURS, NOBODY, NOBODY, failed];
        assert_eq!(after(&observations), SlotReport::default());
    }

    #[test]
    fn a_walsender_that_stays_without_a_worker_of_ours_serves_another() {
        let theirs = Observed { sender: Some(2), ..NOBODY };
        let other = SlotReport { other: Some(2), ..SlotReport::default() };
        assert_eq!(after(&[theirs, at(20, theirs), at(30, theirs)]), other);
        let failing = |errors| Observed { worker: Some(false), errors, ..at(40, theirs) };
        assert_eq!(after(&[theirs, at(20, theirs), failing(1)]), other);
        assert_eq!(after(&[failing(1), failing(2), failing(3)]), other);
    }

    #[test]
    fn what_another_took_is_told_when_our_worker_is_back() {
        let theirs = Observed { sender: Some(2), ..NOBODY };
        let ours = Observed { sender: Some(3), ..at(50, OURS) };
        let found = after(&[OURS, NOBODY, NOBODY, theirs, theirs, at(40, theirs), ours]);
        assert_eq!(found, SlotReport { moved: Some((Lsn(10), Lsn(40))), ..confirmed_at(50) });
    }
}
