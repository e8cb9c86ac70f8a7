//! What one look at a subscription yields. `None` is what a major does not have or a role may not
//! see.
//!
//! Order of a look: the publisher's round trip, `received`, then the rest of the subscriber. Asked
//! the other way round, changes that arrive in between would pass for lag.

use super::Micros;
use super::wait::{SenderWait, WorkerWait};
use crate::lsn::Lsn;

#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// When the subscriber was read.
    pub at: Micros,
    pub publisher: Answer,
    pub subscriber: Subscriber<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// An answer that came since the last observation.
    Given(Publisher),
    /// The publisher was asked and has not answered yet.
    Pending,
    /// There is no connection to it.
    Failed,
}

#[derive(Debug, Clone, Copy)]
pub struct Publisher {
    /// The two ends of the round trip.
    pub asked: Micros,
    pub answered: Micros,
    pub source: Source,
    /// `pg_postmaster_start_time()` in any unit: it is compared, never computed with.
    pub started: i64,
    /// `clock_timestamp() - pg_postmaster_start_time()`.
    pub uptime: Micros,
    pub flush_lsn: Lsn,
    pub insert_lsn: Lsn,
    /// `pg_snapshot_xmin(pg_current_snapshot())`.
    pub oldest_xid: u64,
    /// The subscription's slot, if it exists.
    pub slot: Option<Slot>,
}

impl Publisher {
    /// When `flush_lsn` was read, as well as can be told.
    pub fn at(&self) -> Micros {
        self.asked + self.took() / 2
    }

    pub fn took(&self) -> Micros {
        self.answered.saturating_sub(self.asked)
    }
}

/// One history of WAL: LSNs of another one can't be compared.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source {
    pub system_identifier: u64,
    pub timeline: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Slot {
    pub confirmed_flush: Option<Lsn>,
    pub restart_lsn: Option<Lsn>,
    /// `wal_status` is `lost`, or there is an `invalidation_reason` (17) or a conflict (16).
    pub invalidated: bool,
    /// In bytes; below zero when WAL that the slot needs may go at the next checkpoint.
    pub safe_wal_size: Option<i64>,
    /// `spill_bytes` of pg_stat_get_replication_slot() (14).
    pub spill_bytes: Option<u64>,
    pub walsender: Option<Walsender>,
}

#[derive(Debug, Clone, Copy)]
pub struct Walsender {
    /// `backend_start` in any unit: it is compared, never computed with.
    pub started: i64,
    pub wait: SenderWait,
    pub sent_lsn: Option<Lsn>,
    pub replay_lsn: Option<Lsn>,
}

#[derive(Debug, Clone, Copy)]
pub struct Subscriber<'a> {
    pub enabled: bool,
    /// `subslotname`; `None` is NONE.
    pub slot: Option<&'a str>,
    /// Read before the rest.
    pub received: Option<Received>,
    pub worker: Option<Worker>,
    /// `pg_replication_origin_progress(…, false)`.
    pub origin: Option<Lsn>,
    pub tables: Tables,
    pub errors: Errors,
}

impl Subscriber<'_> {
    /// How long ago the worker received the change that it applies, and whether it waits for a lock.
    pub fn in_hand(&self) -> Option<(Micros, bool)> {
        let worker = self.worker.filter(|worker| !worker.wait.is_activity())?;
        Some((worker.last_message_age?, worker.wait == WorkerWait::Lock))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub pid: i32,
    pub lsn: Lsn,
}

/// The apply worker, for parallel apply the leader.
#[derive(Debug, Clone, Copy)]
pub struct Worker {
    pub pid: i32,
    /// Its wait, or that of a parallel worker of it that waits for a [lock](WorkerWait::Lock).
    pub wait: WorkerWait,
    /// One of the processes that hold the lock.
    pub blocked_by: Option<i32>,
    /// `clock_timestamp() - last_msg_receipt_time`.
    pub last_message_age: Option<Micros>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tables {
    /// In state `r`.
    pub ready: u32,
    /// Subscribed, or published and not subscribed yet.
    pub total: u32,
}

/// Counters of pg_stat_subscription_stats, with the failures of workers that it does not count. They
/// start again when the statistics are reset.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Errors {
    pub apply: u64,
    pub sync: u64,
    /// The sum of the conflict counters (18).
    pub conflicts: Option<u64>,
}
