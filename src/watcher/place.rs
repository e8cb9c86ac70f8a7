//! The entry of one of our processes in shared memory.

use std::time::Duration;

use pgmig_core::lag::Micros;
use pgrx::pg_sys::Oid;

use crate::ffi::wait::monotonic_micros as now;

/// One of our processes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Process {
    /// 0 if there is none.
    pub pid: i32,
    /// The database to be watched. Invalid in a free entry.
    pub database: Oid,
    /// When the launcher last requested the worker.
    pub asked_at: Micros,
    /// Whether it has to leave, because another database needs the worker or there is nothing to watch.
    pub dismissed: bool,
    /// Whether it is to observe immediately.
    pub called: bool,
    /// Whether no background worker was free at the launcher's last request.
    pub failed: bool,
    pub cycled_at: Micros,
    pub cycle: Micros,
    /// Publishers that could not be reached in the last cycle.
    pub unreachable: u32,
    pub watched: u32,
    /// Failures since this process started: of a watcher to reach a publisher, of the launcher to
    /// start a watcher.
    pub errors: u64,
}

/// How long a requested worker may take to start before it is requested again. This also limits how
/// often a worker is started that fails immediately, as core does with its workers.
const START_TIME: Micros = 5 * pgmig_core::lag::SECOND;

impl Process {
    pub const NONE: Self = Self {
        pid: 0,
        database: Oid::INVALID,
        asked_at: 0,
        dismissed: false,
        called: false,
        failed: false,
        cycled_at: 0,
        cycle: 0,
        unreachable: 0,
        watched: 0,
        errors: 0,
    };

    pub fn launcher(pid: i32) -> Self {
        Self { pid, ..Self::NONE }
    }

    pub fn asked_for(database: Oid) -> Self {
        Self { database, asked_at: now(), ..Self::NONE }
    }

    pub fn was_asked_for_just_now(&self) -> bool {
        now().saturating_sub(self.asked_at) <= START_TIME
    }

    /// Whether it has a background worker, or a requested one may still start.
    pub fn has_worker(&self) -> bool {
        let may_come = self.database != Oid::INVALID && !self.failed;
        self.pid != 0 || may_come && self.was_asked_for_just_now()
    }

    pub fn begin_cycle(&mut self) {
        self.called = false;
    }

    pub fn finish_cycle(&mut self, cycle: Duration) {
        self.cycled_at = now();
        self.cycle = cycle.as_micros() as Micros;
    }
}
