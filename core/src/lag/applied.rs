//! applied_lsn: the LSN up to which the subscriber has applied the publisher's transactions.
//! Whether these are durable on the subscriber is a different question.

use super::observation::{Received, Subscriber, Worker};
use super::wait::WorkerWait;
use crate::lsn::Lsn;

/// Evidence that all transactions that end at or before `lsn` were applied, taken while the
/// replication origin was at `origin`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proof {
    lsn: Lsn,
    origin: Option<Lsn>,
}

/// Belongs to one slot of one [`Source`](super::observation::Source). Start a new one for another.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Applied {
    confirmed: Option<Lsn>,
    proof: Option<Proof>,
    drained: Option<Proof>,
}

/// How far the subscriber has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// All transactions that end at or before this LSN are applied. Changes of a transaction that
    /// is being applied may lie before it, so the next change to be applied is the first one after
    /// this LSN.
    pub passed: Option<Lsn>,
    /// The same, not counting changes of a transaction that is being applied: none of them is
    /// visible yet.
    pub applied: Option<Lsn>,
}

impl Applied {
    pub const fn new() -> Self {
        Self { confirmed: None, proof: None, drained: None }
    }

    /// Returns the greatest of three LSNs, `None` without any of them:
    ///
    /// - The slot's confirmed_flush_lsn, where it is [reported by this
    ///   subscriber](super::slot_use). The maximum over time counts: the publisher writes it to
    ///   disk only now and then, so a crash of the publisher sets it back although the subscriber
    ///   has lost nothing.
    /// - The current progress of the replication origin. A crash of the subscriber sets it back,
    ///   and rows are really lost then.
    /// - What the worker has [proven](proven). It stays valid until the origin's progress falls
    ///   below its value at that time: then the subscriber crashed and lost rows.
    pub fn observe(&mut self, confirmed: Option<Lsn>, subscriber: &Subscriber) -> Position {
        let origin = subscriber.origin;
        self.confirmed = self.confirmed.max(confirmed);
        self.proof = later(self.proof, proven(subscriber), origin);
        self.drained = later(self.drained, drained(subscriber), origin);
        let best = |proof: Option<Proof>| {
            [self.confirmed, origin, proof.map(|proof| proof.lsn)].into_iter().flatten().max()
        };
        Position { passed: best(self.proof), applied: best(self.drained) }
    }
}

/// The worker counts a message as received before it applies it, and reads the next one after that
/// (LogicalRepApplyLoop, worker.c). Messages arrive in commit order. A message with an LSN is sent
/// only after everything that was committed before that LSN (logical.c sets write_location to the
/// LSN of the change or to the end of the commit; a keepalive carries what is decoded so far). A
/// leader waits for its parallel worker at each commit. So every transaction that ends before
/// `received` is applied, however long the worker stays busy.
///
/// A transaction that ends exactly at `received` is applied too if `received` was read first and
/// the same worker is then seen waiting in `LogicalApplyMain`: it waits there only when it has
/// nothing left to apply. True on all majors.
fn proven(subscriber: &Subscriber) -> Option<Lsn> {
    let Received { lsn, .. } = subscriber.received?;
    Some(drained(subscriber).unwrap_or(lsn.back(1)))
}

fn drained(subscriber: &Subscriber) -> Option<Lsn> {
    let Received { pid, lsn } = subscriber.received?;
    let waiting = |worker: Worker| worker.pid == pid && worker.wait == WorkerWait::Messages;
    subscriber.worker.is_some_and(waiting).then_some(lsn)
}

/// Keeps the earlier evidence unless the subscriber has lost rows since, or there is newer
/// evidence.
fn later(before: Option<Proof>, now: Option<Lsn>, origin: Option<Lsn>) -> Option<Proof> {
    let before = before.filter(|proof| proof.origin <= origin);
    let now = now.map(|lsn| Proof { lsn, origin });
    if now.map(|proof| proof.lsn) > before.map(|proof| proof.lsn) { now } else { before }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lag::observation::{Errors, Tables};

    fn subscriber(
        received: Option<(i32, u64)>,
        worker: Option<(i32, WorkerWait)>,
    ) -> Subscriber<'static> {
        Subscriber {
            enabled: true,
            slot: Some("s"),
            received: received.map(|(pid, lsn)| Received { pid, lsn: Lsn(lsn) }),
            worker: worker.map(|(pid, wait)| Worker {
                pid,
                wait,
                blocked_by: None,
                last_message_age: None,
            }),
            origin: None,
            tables: Tables::default(),
            sync_workers: 0,
            shortage: None,
            errors: Errors::default(),
        }
    }

    fn with_origin(origin: u64, base: Subscriber<'static>) -> Subscriber<'static> {
        Subscriber { origin: Some(Lsn(origin)), ..base }
    }

    const WAITING: WorkerWait = WorkerWait::Messages;
    const BUSY: WorkerWait = WorkerWait::Working;

    #[test]
    fn without_evidence_nothing_is_known() {
        assert_eq!(Applied::new().observe(None, &subscriber(None, None)).passed, None);
    }

    #[test]
    fn a_crash_of_the_publisher_does_not_set_the_confirmed_lsn_back() {
        let mut applied = Applied::new();
        assert_eq!(applied.observe(Some(Lsn(100)), &subscriber(None, None)).passed, Some(Lsn(100)));
        assert_eq!(applied.observe(Some(Lsn(40)), &subscriber(None, None)).passed, Some(Lsn(100)));
    }

    #[test]
    fn a_crash_of_the_subscriber_sets_the_origins_progress_back() {
        let mut applied = Applied::new();
        let none = subscriber(None, None);
        assert_eq!(applied.observe(Some(Lsn(10)), &with_origin(100, none)).passed, Some(Lsn(100)));
        assert_eq!(applied.observe(Some(Lsn(10)), &with_origin(50, none)).passed, Some(Lsn(50)));
    }

    #[test]
    fn the_last_message_counts_only_if_the_same_worker_then_waits_for_more() {
        let cases = [
            (Some((1, WAITING)), 100),
            (Some((2, WAITING)), 99),
            (Some((1, BUSY)), 99),
            (Some((1, WorkerWait::Activity)), 99),
            (Some((1, WorkerWait::Lock)), 99),
            (None, 99),
        ];
        for (worker, expected) in cases {
            let applied = Applied::new().observe(None, &subscriber(Some((1, 100)), worker)).passed;
            assert_eq!(applied, Some(Lsn(expected)), "{worker:?}");
        }
    }

    #[test]
    fn evidence_stays_while_the_worker_is_busy_or_restarted() {
        let mut applied = Applied::new();
        let idle = with_origin(30, subscriber(Some((1, 100)), Some((1, WAITING))));
        let busy = with_origin(30, subscriber(Some((1, 101)), Some((1, BUSY))));
        let other = with_origin(30, subscriber(Some((2, 40)), Some((2, WAITING))));
        for observation in [idle, busy, other] {
            assert_eq!(applied.observe(None, &observation).passed, Some(Lsn(100)));
        }
    }

    #[test]
    fn evidence_is_discarded_when_the_subscriber_lost_rows() {
        let mut applied = Applied::new();
        let idle = with_origin(30, subscriber(Some((1, 100)), Some((1, WAITING))));
        assert_eq!(applied.observe(None, &idle).passed, Some(Lsn(100)));
        assert_eq!(
            applied.observe(None, &with_origin(20, subscriber(None, None))).passed,
            Some(Lsn(20))
        );
        assert_eq!(
            applied.observe(None, &with_origin(30, subscriber(None, None))).passed,
            Some(Lsn(30))
        );
    }

    #[test]
    fn a_transaction_that_is_being_applied_does_not_count_as_applied() {
        let mut applied = Applied::new();
        let idle = with_origin(30, subscriber(Some((1, 100)), Some((1, WAITING))));
        let busy = with_origin(30, subscriber(Some((1, 900)), Some((1, BUSY))));
        applied.observe(None, &idle);
        let position = applied.observe(None, &busy);
        assert_eq!(position, Position { passed: Some(Lsn(899)), applied: Some(Lsn(100)) });
    }

    proptest! {
        #![proptest_config(crate::lag::property(256))]

        #[test]
        fn it_lies_between_what_this_observation_shows_and_the_most_that_any_showed(
            observations in prop::collection::vec((0..100u64, 0..100u64, 0..100u64, any::<bool>()), 1..50),
        ) {
            let mut applied = Applied::new();
            let mut ever = 0;
            for (confirmed, origin, received, waits) in observations {
                let wait = if waits { WAITING } else { BUSY };
                let observation = with_origin(origin, subscriber(Some((1, received)), Some((1, wait))));
                let proven = if waits { received } else { received.saturating_sub(1) };
                let shown = confirmed.max(origin).max(proven);
                ever = ever.max(shown);
                let lsn = applied.observe(Some(Lsn(confirmed)), &observation).passed.unwrap();
                prop_assert!((shown..=ever).contains(&lsn.0));
            }
        }
    }
}
