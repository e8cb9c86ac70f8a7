//! Who used the slot: confirmed_flush_lsn tells what this subscriber has applied only while nobody but
//! its own worker moves it. While no worker of the subscription runs, it must not move at all.

use super::Micros;
use super::observation::{Errors, Publisher, Slot, Subscriber, Walsender};
use crate::lsn::Lsn;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotUse {
    /// The last walsender that served a worker of ours, by when it started.
    own: Option<i64>,
    /// The walsender of the last answer.
    last: Option<i64>,
    /// One that serves another subscriber.
    other: Option<i64>,
    /// Since when no worker has been seen.
    vacant: Option<Vacancy>,
    /// Since when no worker that is connected has been seen.
    unconnected: Option<Micros>,
    /// The worker of the last look.
    worker: Option<i32>,
    /// confirmed_flush_lsn since the slot has been at rest.
    resting: Option<Lsn>,
    /// From where to where another subscriber moved it.
    taken: Option<(Lsn, Lsn)>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Vacancy {
    since: Micros,
    /// A worker that came and went between two looks has most probably failed.
    errors: Errors,
}

/// What an answer tells of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
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
            own: None,
            last: None,
            other: None,
            vacant: None,
            unconnected: None,
            worker: None,
            resting: None,
            taken: None,
        }
    }

    /// confirmed_flush_lsn as it was when no worker ran.
    pub fn resting(&self) -> Option<Lsn> {
        self.resting
    }

    /// Takes an answer; the subscriber was read `at`, after it.
    pub fn observe(&mut self, publisher: &Publisher, subscriber: &Subscriber, at: Micros) -> Use {
        let Some(slot) = &publisher.slot else {
            *self = Self { own: self.own, ..Self::new() };
            return Use::default();
        };
        let sender = slot.walsender;
        let was_vacant = self.was_vacant(publisher, subscriber);
        self.recognize(sender, subscriber, publisher.asked);
        let other = sender.filter(|sender| self.other == Some(sender.started));
        let found = match subscriber.worker {
            Some(_) => self.serve(slot, other, is_connected(subscriber)),
            None => self.rest(slot, other, was_vacant, subscriber.enabled),
        };
        self.last = sender.map(|sender| sender.started);
        self.note_vacancy(subscriber, at);
        found
    }

    /// Without an answer there is nothing to compare, but a worker may have come.
    pub fn go_on(&mut self, subscriber: &Subscriber, at: Micros) {
        self.note_vacancy(subscriber, at);
        if is_connected(subscriber) {
            self.resting = None;
        }
    }

    /// Whether no worker ran from before the publisher was asked until now, as far as can be seen.
    fn was_vacant(&self, publisher: &Publisher, subscriber: &Subscriber) -> bool {
        let before = self.vacant.is_some_and(|vacant| {
            vacant.since <= publisher.asked && vacant.errors == subscriber.errors
        });
        before && subscriber.worker.is_none()
    }

    /// A walsender serves our worker if that is connected. It serves another subscriber's if it is there
    /// from one answer to the next without a connected worker of ours: one that fails starts anew, up to
    /// ten times a second on 17, while one that waits for its first message stays the same.
    fn recognize(&mut self, sender: Option<Walsender>, subscriber: &Subscriber, asked: Micros) {
        let started = sender.map(|sender| sender.started);
        if is_connected(subscriber) {
            if started != self.other {
                self.own = started.or(self.own);
            }
            return;
        }
        let stays = started.is_some() && started == self.last && started != self.own;
        let was_unconnected = self.unconnected.is_some_and(|since| since <= asked);
        let waits = subscriber.worker.is_some_and(|worker| self.worker == Some(worker.pid));
        if stays && was_unconnected && !waits {
            self.other = started;
        }
    }

    /// While a worker of ours is there. One that is not connected yet has moved nothing.
    fn serve(&mut self, slot: &Slot, other: Option<Walsender>, is_connected: bool) -> Use {
        if let Some(other) = other {
            return Use { other: Some(other.pid), ..Use::default() };
        }
        if is_connected {
            self.resting = None;
        }
        let now = slot.confirmed_flush;
        let confirmed = now.filter(|now| self.resting.is_none_or(|resting| *now <= resting));
        Use { confirmed, moved: self.taken.filter(|_| is_connected), ..Use::default() }
    }

    /// While none is. The first word of the slot is believed, and what a walsender of ours still had to
    /// say when its worker ended.
    fn rest(
        &mut self,
        slot: &Slot,
        other: Option<Walsender>,
        was_vacant: bool,
        enabled: bool,
    ) -> Use {
        let now = slot.confirmed_flush;
        let started = slot.walsender.map(|sender| sender.started);
        if started.is_some() && started == self.own {
            return Use { confirmed: now, ..Use::default() };
        }
        let resting = self.resting;
        if self.resting.is_none() && (was_vacant || other.is_some()) {
            self.resting = now;
        }
        let moved = resting.zip(now).filter(|(from, to)| to > from);
        match (moved, other) {
            (moved, Some(other)) => {
                self.taken = moved.or(self.taken);
                // An enabled subscription lags behind; a disabled one has lost what it does not get.
                let moved = moved.filter(|_| !enabled);
                Use { other: Some(other.pid), moved, ..Use::default() }
            }
            (Some(moved), None) if slot.walsender.is_none() && was_vacant => {
                Use { moved: Some(moved), ..Use::default() }
            }
            (Some(_), None) => Use::default(),
            (None, None) => Use { confirmed: now, ..Use::default() },
        }
    }

    fn note_vacancy(&mut self, subscriber: &Subscriber, at: Micros) {
        let errors = subscriber.errors;
        self.worker = subscriber.worker.map(|worker| worker.pid);
        self.unconnected = match is_connected(subscriber) {
            true => None,
            false => self.unconnected.or(Some(at)),
        };
        self.vacant = match (subscriber.worker, self.vacant) {
            (Some(_), _) => None,
            (None, Some(vacant)) if vacant.errors == errors => Some(vacant),
            (None, _) => Some(Vacancy { since: at, errors }),
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

    /// A look, of which the publisher's part is taken before the subscriber's.
    #[derive(Clone, Copy)]
    struct Look {
        confirmed: u64,
        sender: Option<i64>,
        /// Whether a worker of ours is there, and has got a message.
        worker: Option<bool>,
        errors: u64,
    }

    const OURS: Look = Look { confirmed: 10, sender: Some(1), worker: Some(true), errors: 0 };
    const NOBODY: Look = Look { confirmed: 10, sender: None, worker: None, errors: 0 };

    fn look(usage: &mut SlotUse, at: Micros, look: Look) -> Use {
        let walsender = |started: i64| Walsender {
            pid: started as i32,
            started,
            wait: SenderWait::Client,
            sent_lsn: None,
            replay_lsn: None,
        };
        let slot = Slot {
            confirmed_flush: Some(Lsn(look.confirmed)),
            restart_lsn: None,
            invalidated: false,
            safe_wal_size: None,
            spill_bytes: None,
            walsender: look.sender.map(walsender),
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
        let pid = if look.worker == Some(true) { 7 } else { at as i32 };
        let worker = |_| Worker {
            pid,
            wait: WorkerWait::Messages,
            blocked_by: None,
            last_message_age: Some(0),
        };
        let received = Received { pid, lsn: Lsn(look.confirmed) };
        let subscriber = Subscriber {
            enabled: true,
            slot: Some("s"),
            received: look.worker.filter(|connected| *connected).map(|_| received),
            worker: look.worker.map(worker),
            origin: None,
            tables: Tables::NONE,
            copiers: 0,
            shortage: None,
            errors: Errors { apply: look.errors, ..Errors::default() },
        };
        usage.observe(&publisher, &subscriber, at + 1)
    }

    fn after(looks: &[Look]) -> Use {
        let mut usage = SlotUse::new();
        let mut last = Use::default();
        for (at, next) in (0..).step_by(10).zip(looks) {
            last = look(&mut usage, at, *next);
        }
        last
    }

    fn at(confirmed: u64, look: Look) -> Look {
        Look { confirmed, ..look }
    }

    fn word(confirmed: u64) -> Use {
        Use { confirmed: Some(Lsn(confirmed)), ..Use::default() }
    }

    #[test]
    fn what_the_slot_says_counts_while_a_worker_of_ours_uses_it() {
        assert_eq!(after(&[OURS, at(20, OURS)]), word(20));
    }

    #[test]
    fn the_last_word_of_a_worker_that_ends_counts() {
        let lingering = Look { worker: None, ..OURS };
        assert_eq!(after(&[OURS, at(20, lingering), at(30, lingering)]), word(30));
        assert_eq!(after(&[OURS, at(20, NOBODY)]), word(20));
    }

    #[test]
    fn a_slot_that_moves_while_nobody_uses_it_was_moved_by_somebody_else() {
        let moved = Use { moved: Some((Lsn(20), Lsn(30))), ..Use::default() };
        let looks = [OURS, at(20, NOBODY), at(20, NOBODY), at(30, NOBODY)];
        assert_eq!(after(&looks), moved);
        assert_eq!(after(&[NOBODY, NOBODY, NOBODY]), word(10));
    }

    #[test]
    fn a_worker_that_came_and_failed_between_two_looks_may_have_moved_it() {
        let failed = Look { errors: 1, ..at(30, NOBODY) };
        let looks = [OURS, NOBODY, NOBODY, failed];
        assert_eq!(after(&looks), Use::default());
    }

    #[test]
    fn a_walsender_that_stays_without_a_worker_of_ours_serves_another() {
        let theirs = Look { sender: Some(2), ..NOBODY };
        let other = Use { other: Some(2), ..Use::default() };
        assert_eq!(after(&[theirs, at(20, theirs), at(30, theirs)]), other);
        let failing = |errors| Look { worker: Some(false), errors, ..at(40, theirs) };
        assert_eq!(after(&[theirs, at(20, theirs), failing(1)]), other);
        assert_eq!(after(&[failing(1), failing(2), failing(3)]), other);
    }

    #[test]
    fn what_another_took_is_told_when_our_worker_is_back() {
        let theirs = Look { sender: Some(2), ..NOBODY };
        let ours = Look { sender: Some(3), ..at(50, OURS) };
        let found = after(&[OURS, NOBODY, NOBODY, theirs, theirs, at(40, theirs), ours]);
        assert_eq!(found, Use { moved: Some((Lsn(10), Lsn(40))), ..word(50) });
    }
}
