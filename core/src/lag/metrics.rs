//! The metrics in bytes. docs/reference.md defines them.

use super::observation::{Publisher, Slot};
use crate::lsn::Lsn;

/// Bytes of WAL. `None` if this role may not see the value or the publisher is unreachable.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Written by the publisher and not applied.
    pub pending: Option<u64>,
    /// Written and not sent yet.
    pub decode_backlog: Option<u64>,
    /// Sent and not applied yet, as far as the subscriber has reported.
    pub inflight: Option<u64>,
    /// Kept on the publisher for the slot.
    pub retained: Option<u64>,
    /// What the publisher may still write before the slot is lost; `None` if there is no limit.
    pub headroom: Option<i64>,
    /// Spilled to disk for the oldest open transaction.
    pub open_transaction: Option<u64>,
}

impl Metrics {
    pub const fn new() -> Self {
        Self {
            pending: None,
            decode_backlog: None,
            inflight: None,
            retained: None,
            headroom: None,
            open_transaction: None,
        }
    }

    /// The metrics that follow from one answer of the publisher. `open_transaction` needs earlier
    /// answers and is left out.
    pub fn measure(publisher: &Publisher, applied: Option<Lsn>) -> Self {
        let slot = publisher.slot.as_ref();
        let walsender = slot.and_then(|slot| slot.walsender.as_ref());
        let sent = walsender.and_then(|walsender| walsender.sent_lsn);
        let replay = walsender.and_then(|walsender| walsender.replay_lsn);
        let restart = slot.and_then(|slot| slot.restart_lsn);
        Self {
            pending: applied.map(|lsn| lsn.bytes_until(publisher.flush_lsn)),
            decode_backlog: sent.map(|lsn| lsn.bytes_until(publisher.flush_lsn)),
            inflight: sent.zip(replay).map(|(sent, replay)| replay.bytes_until(sent)),
            retained: restart.map(|lsn| lsn.bytes_until(publisher.insert_lsn)),
            headroom: slot.and_then(|slot| slot.safe_wal_size),
            open_transaction: None,
        }
    }
}

/// Estimates the size of the open transaction from a slot's `spill_bytes`. That counter never
/// falls, and after a reconnect the walsender counts again what it decodes again. So the size is
/// what was added since the oldest transaction or the walsender last changed.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenTransaction {
    since: Option<(u64, Option<i64>)>,
    base: u64,
}

impl OpenTransaction {
    pub const fn new() -> Self {
        Self { since: None, base: 0 }
    }

    pub fn observe(&mut self, oldest_xid: u64, slot: Option<&Slot>) -> Option<u64> {
        let slot = slot?;
        let spilled = slot.spill_bytes?;
        let now = Some((oldest_xid, slot.walsender.map(|walsender| walsender.started)));
        if self.since != now || spilled < self.base {
            *self = Self { since: now, base: spilled };
        }
        Some(spilled - self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{Publications, Source, Walsender};
    use crate::lag::wait::SenderWait;

    fn slot(spilled: u64, walsender: Option<i64>) -> Slot {
        Slot {
            confirmed_flush: None,
            restart_lsn: Some(Lsn(100)),
            invalidated: false,
            safe_wal_size: Some(-5),
            spill_bytes: Some(spilled),
            walsender: walsender.map(|started| Walsender {
                pid: 1,
                started,
                wait: SenderWait::Client,
                sent_lsn: Some(Lsn(400)),
                replay_lsn: Some(Lsn(450)),
            }),
        }
    }

    fn publisher(slot: Option<Slot>) -> Publisher {
        Publisher {
            asked: 0,
            answered: 0,
            source: Source::default(),
            started: 0,
            major: 18,
            uptime: 0,
            flush_lsn: Lsn(500),
            insert_lsn: Lsn(600),
            oldest_xid: 0,
            slot,
            publications: Publications::NONE,
        }
    }

    #[test]
    fn every_metric_is_its_difference_and_never_below_zero() {
        let metrics = Metrics::measure(&publisher(Some(slot(0, Some(1)))), Some(Lsn(700)));
        let expected = Metrics {
            pending: Some(0),
            decode_backlog: Some(100),
            inflight: Some(0),
            retained: Some(500),
            headroom: Some(-5),
            open_transaction: None,
        };
        assert_eq!(metrics, expected);
        assert_eq!(Metrics::measure(&publisher(None), Some(Lsn(200))).pending, Some(300));
        assert_eq!(Metrics::measure(&publisher(None), None), Metrics::new());
    }

    #[test]
    fn the_size_of_an_open_transaction_counts_from_its_start() {
        let mut open = OpenTransaction::new();
        let sizes: Vec<_> = [
            (7, 1000, Some(1)), // what was spilled before is of others
            (7, 1500, Some(1)),
            (8, 1700, Some(1)), // it ended
            (8, 1800, Some(1)),
            (8, 3600, Some(2)), // the walsender started again, and counts again
            (8, 3700, Some(2)),
            (8, 10, Some(2)), // the statistics were reset
        ]
        .map(|(xid, spilled, started)| open.observe(xid, Some(&slot(spilled, started))).unwrap())
        .into();
        assert_eq!(sizes, [0, 500, 0, 100, 0, 100, 0]);
        assert_eq!(open.observe(8, None), None);
    }
}
