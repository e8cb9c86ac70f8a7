//! What one observation at a subscription yields. `None` is what a major does not have or a role may not
//! see.
//!
//! Order of an observation: the publisher's round trip, `received`, then the rest of the subscriber. Asked
//! the other way round, changes that arrive in between would pass for lag.

use std::fmt;

use super::Micros;
use super::wait::{SenderWait, WorkerWait};
use crate::lsn::Lsn;
use crate::name;

#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// When the subscriber was read.
    pub at: Micros,
    pub publisher: Answer,
    pub subscriber: Subscriber<'a>,
}

#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "one is made for each observation, and none is kept")]
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
    pub major: u16,
    /// `clock_timestamp() - pg_postmaster_start_time()`.
    pub uptime: Micros,
    pub flush_lsn: Lsn,
    pub insert_lsn: Lsn,
    /// `pg_snapshot_xmin(pg_current_snapshot())`.
    pub oldest_xid: u64,
    /// The subscription's slot, if it exists.
    pub slot: Option<Slot>,
    pub publications: Publications,
}

/// The subscription's publications as they are on the publisher.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Publications {
    /// Which ones were asked for: equal for equal lists of names.
    pub list: u64,
    /// One that does not exist.
    pub missing: Option<Name>,
    /// The greatest oid among them: one that is made again has a greater one.
    pub newest: u32,
}

impl Publications {
    pub const NONE: Self = Self { list: 0, missing: None, newest: 0 };

    /// What is known with the next answer: the greatest oid ever, also of one that is gone.
    pub fn followed_by(self, next: Self) -> Self {
        let newest =
            if self.list == next.list { self.newest.max(next.newest) } else { next.newest };
        Self { newest, ..next }
    }
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
    pub pid: i32,
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
    /// Running table synchronization workers.
    pub copiers: u32,
    /// Which limit on workers is reached.
    pub shortage: Option<Shortage>,
    pub errors: Errors,
}

impl Subscriber<'_> {
    /// How long ago the worker received the change that it applies, and whether it waits for a lock.
    pub fn change_in_progress(&self) -> Option<(Micros, bool)> {
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

/// A limit that leaves no room for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// max_logical_replication_workers
    Logical,
    /// max_sync_workers_per_subscription is 0
    Sync,
    /// max_worker_processes
    Background,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tables {
    /// Subscribed and in state `r`.
    pub ready: u32,
    /// Subscribed, and a table synchronization worker has to do something: states i, d and f.
    pub waiting: u32,
    pub subscribed: u32,
    /// How these compare with the publisher's list; `None` while that is not known.
    pub compared: Option<Compared>,
}

/// What the publisher's list of tables and the subscription's do not share.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compared {
    /// Published and not subscribed.
    pub unsubscribed: u32,
    /// Subscribed and not published.
    pub unpublished: u32,
}

impl Tables {
    pub const NONE: Self = Self { ready: 0, waiting: 0, subscribed: 0, compared: None };

    /// Subscribed, or published and not subscribed yet.
    pub fn total(&self) -> u32 {
        self.subscribed + self.compared.map_or(0, |compared| compared.unsubscribed)
    }

    pub fn are_copying(&self) -> bool {
        self.ready < self.total()
    }

    pub fn unpublished(&self) -> u32 {
        self.compared.map_or(0, |compared| compared.unpublished)
    }
}

/// Counters of pg_stat_subscription_stats, with the failures of workers that it does not count. They
/// start again when the statistics are reset.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Errors {
    pub apply: u64,
    pub sync: u64,
    /// Since 18.
    pub conflicts: Option<Conflicts>,
}

/// The conflict counters.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conflicts {
    pub all: u64,
    /// Those that raise no error: a change that found no row was left out, or one was made to a row
    /// that was changed here. The others stop apply until they are resolved.
    pub silent: u64,
}

/// A name of PostgreSQL's, of fixed size: padded with zeros, which no name contains; none is empty.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; name::MAX_LEN]);

impl Name {
    pub const NONE: Self = Self([0; name::MAX_LEN]);

    /// Longer ones are cut.
    pub fn of(name: &str) -> Self {
        let mut padded = Self::NONE;
        let end = name.floor_char_boundary(name::MAX_LEN);
        padded.0[..end].copy_from_slice(&name.as_bytes()[..end]);
        padded
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        f.write_str(&String::from_utf8_lossy(&self.0[..length]))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
