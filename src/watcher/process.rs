//! Who watches which database: a place in shared memory for each worker. The launcher asks for a
//! worker, which then takes its place, and gives it back when it leaves.

use std::time::Duration;

use pgmig_core::lag::Micros;
use pgrx::pg_sys::Oid;

use super::{now, shared};
use crate::ffi::worker;

/// A worker of ours.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Process {
    /// 0 when there is none.
    pub pid: i32,
    /// What the launcher asked to be watched; invalid in a free place.
    pub database: Oid,
    /// When the launcher last asked for the worker.
    asked_at: Micros,
    pub cycled_at: Micros,
    pub cycle: Micros,
    /// Publishers that could not be reached in the last cycle.
    pub unreachable: u32,
    pub watched: u32,
    /// Failures since this process started: of a watcher to reach a publisher, of the launcher to
    /// start a watcher.
    pub errors: u64,
}

/// How long a worker may take to show up before it is asked for again. One that fails as soon as it
/// starts is not asked for more often either, as core does with its own workers.
const START_TIME: Micros = 5 * pgmig_core::lag::SECOND;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// None is there, and none was asked for just now.
    Due,
    Taken,
    /// All places are other databases'.
    NoPlace,
}

impl Process {
    const NONE: Self = Self {
        pid: 0,
        database: Oid::INVALID,
        asked_at: 0,
        cycled_at: 0,
        cycle: 0,
        unreachable: 0,
        watched: 0,
        errors: 0,
    };

    pub fn launcher(pid: i32) -> Self {
        Self { pid, ..Self::NONE }
    }

    fn asked_for(database: Oid) -> Self {
        Self { database, asked_at: now(), ..Self::NONE }
    }

    pub fn finish_cycle(&mut self, cycle: Duration) {
        self.cycled_at = now();
        self.cycle = cycle.as_micros() as Micros;
    }
}

/// Whether a database's worker has to be started.
pub fn claim(database: Oid) -> Claim {
    let claimed = with_place(database, |process| {
        let waits = now().saturating_sub(process.asked_at) <= START_TIME;
        if process.pid != 0 || process.database == database && waits {
            return Claim::Taken;
        }
        *process = Process::asked_for(database);
        Claim::Due
    });
    claimed.unwrap_or(Claim::NoPlace)
}

/// Makes this process the database's watcher, unless another one is.
pub fn enter(database: Oid) -> bool {
    let entered = with_place(database, |process| {
        let free = process.pid == 0;
        if process.database != database {
            *process = Process::asked_for(database);
        }
        if free {
            process.pid = worker::my_pid();
        }
        free
    });
    entered.unwrap_or(false)
}

/// Gives the place back.
pub fn leave() {
    with_own(|process| *process = Process::NONE);
}

/// What is left of a process that ended without leaving: when it was asked for.
pub fn abandon() {
    with_own(|process| process.pid = 0);
}

/// Frees the places of databases that are not to be watched any more.
pub fn keep_only(is_watched: impl Fn(Oid) -> bool) {
    shared::write(|header, _| {
        for process in &mut header.databases {
            if process.pid == 0 && !is_watched(process.database) {
                *process = Process::NONE;
            }
        }
    });
}

/// Runs `work` on this process's own place.
pub fn with_own(work: impl FnOnce(&mut Process)) {
    shared::write(|header, _| {
        let own = header.databases.iter_mut().find(|process| process.pid == worker::my_pid());
        if let Some(process) = own {
            work(process);
        }
    });
}

/// Runs `work` on a database's place, or on a free one. `None` when there are too many databases.
fn with_place<R>(database: Oid, work: impl FnOnce(&mut Process) -> R) -> Option<R> {
    shared::write(|header, _| {
        let places = &mut header.databases;
        let known = places.iter().position(|process| process.database == database);
        let free = || places.iter().position(|process| process.database == Oid::INVALID);
        let at = known.or_else(free)?;
        Some(work(&mut places[at]))
    })
    .flatten()
}
