//! One observation of a subscription. A value is `None` if the server's major does not have it or
//! the role may not see it.
//!
//! The order matters: first the publisher's round trip, then `received`, then the rest of the
//! subscriber. In any other order, changes that arrive between two reads would count as lag.

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
    /// When the query was sent and when its answer had arrived.
    pub asked: Micros,
    pub answered: Micros,
    pub source: Source,
    /// `pg_postmaster_start_time()`. Only compared for equality, so the unit does not matter.
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

/// The subscription's publications, as the publisher has them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Publications {
    /// A hash of the subscription's list of publication names.
    pub list: u64,
    /// The name of one that does not exist.
    pub missing: Option<Name>,
    /// The greatest oid among them. A publication that is dropped and created again gets a greater
    /// one.
    pub newest: u32,
}

impl Publications {
    pub const NONE: Self = Self { list: 0, missing: None, newest: 0 };

    /// Combines this answer with the next one: keeps the greatest oid ever seen, also of a
    /// publication that was dropped.
    pub fn followed_by(self, next: Self) -> Self {
        let newest =
            if self.list == next.list { self.newest.max(next.newest) } else { next.newest };
        Self { newest, ..next }
    }
}

impl Publisher {
    /// The best estimate of when the publisher read `flush_lsn`: the middle of the round trip.
    pub fn at(&self) -> Micros {
        self.asked + self.took() / 2
    }

    pub fn took(&self) -> Micros {
        self.answered.saturating_sub(self.asked)
    }
}

/// Identifies a history of WAL. LSNs of two different histories cannot be compared.
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
    /// In bytes. Negative once the next checkpoint may remove WAL that the slot needs.
    pub safe_wal_size: Option<i64>,
    /// `spill_bytes` of pg_stat_get_replication_slot() (14).
    pub spill_bytes: Option<u64>,
    pub walsender: Option<Walsender>,
}

#[derive(Debug, Clone, Copy)]
pub struct Walsender {
    pub pid: i32,
    /// `backend_start`. Only compared for equality, so the unit does not matter.
    pub started: i64,
    pub wait: SenderWait,
    pub sent_lsn: Option<Lsn>,
    pub replay_lsn: Option<Lsn>,
}

#[derive(Debug, Clone, Copy)]
pub struct Subscriber<'a> {
    pub enabled: bool,
    /// `subslotname`; `None` if the subscription has no slot (NONE).
    pub slot: Option<&'a str>,
    /// Read before the other fields, see the top of this file.
    pub received: Option<Received>,
    pub worker: Option<Worker>,
    /// `pg_replication_origin_progress(…, false)`.
    pub origin: Option<Lsn>,
    pub tables: Tables,
    /// Running table synchronization workers of the subscription.
    pub sync_workers: u32,
    /// The limit on workers that is reached, if any.
    pub shortage: Option<Shortage>,
    pub errors: Errors,
}

impl Subscriber<'_> {
    /// How long ago the worker received the change that it is applying now, and whether it waits
    /// for a lock. `None` while it waits for messages.
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

/// The apply worker. With parallel apply, this is the leader.
#[derive(Debug, Clone, Copy)]
pub struct Worker {
    pub pid: i32,
    /// What it waits for. If one of its parallel workers waits for a [lock](WorkerWait::Lock), that
    /// wait.
    pub wait: WorkerWait,
    /// The pid of one of the processes that hold the lock.
    pub blocked_by: Option<i32>,
    /// `clock_timestamp() - last_msg_receipt_time`.
    pub last_message_age: Option<Micros>,
}

/// A setting that leaves no free worker.
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
    /// Subscribed, and in state `r` (ready).
    pub ready: u32,
    /// Subscribed, and in state `i`, `d` or `f`: a table synchronization worker has work to do.
    pub waiting: u32,
    pub subscribed: u32,
    /// The difference from the publisher's list of tables; `None` while that list is not known.
    pub compared: Option<Compared>,
}

/// Tables that are in only one of two lists: the publisher's and the subscription's.
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

    /// All tables: those that are subscribed, and those that are published but not subscribed yet.
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

/// Counters of pg_stat_subscription_stats, plus the worker failures that it does not count. A reset
/// of the statistics sets them to 0.
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
    /// Conflicts that raise no error: the change found no row and was skipped, or it overwrote a
    /// row that another origin had changed. All other conflicts stop apply until somebody resolves
    /// them.
    pub silent: u64,
}

/// A PostgreSQL name in a fixed number of bytes, padded with zero bytes (no name contains one). All
/// zeros is no name.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; name::MAX_LEN]);

impl Name {
    pub const NONE: Self = Self([0; name::MAX_LEN]);

    /// A longer name is truncated at a character boundary.
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
