//! Who watches which database: a place in shared memory for each worker. The launcher asks for a
//! worker, which then takes its place, and gives it back when it leaves.

use std::time::Duration;

use pgmig_core::lag::Micros;
use pgrx::pg_sys::Oid;

use super::shared::MAX_DATABASES;
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
    /// Whether it has to leave: others need the worker more, or there is nothing to watch.
    dismissed: bool,
    /// Whether it is to look at once.
    called: bool,
    /// Whether there was no worker when the launcher last asked.
    failed: bool,
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
    /// It was asked for just now, or has to wait for the worker of another database to leave.
    Pending,
    Watched,
}

/// How a database is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Watched,
    /// There was no background worker.
    Failed,
    /// Its worker has not come yet.
    Asked,
    /// No worker is meant for it.
    Absent,
}

/// The most databases that are watched at once. Workers of subscriptions must always find a background
/// worker.
pub fn limit() -> usize {
    worker::workers_to_spare().clamp(1, MAX_DATABASES)
}

impl Process {
    const NONE: Self = Self {
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

    fn asked_for(database: Oid) -> Self {
        Self { database, asked_at: now(), ..Self::NONE }
    }

    fn was_asked_for_just_now(&self) -> bool {
        now().saturating_sub(self.asked_at) <= START_TIME
    }

    /// Whether it has a background worker, or may soon have one.
    fn has_worker(&self) -> bool {
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

/// Whether a database's worker has to be started.
pub fn claim(database: Oid) -> Claim {
    let claimed = shared::write(|header, _| {
        let in_use = header.databases.iter().filter(|process| process.has_worker()).count();
        let process = place(&mut header.databases, database)?;
        if process.pid != 0 {
            return Some(Claim::Watched);
        }
        if process.database == database && process.was_asked_for_just_now() || in_use >= limit() {
            return Some(Claim::Pending);
        }
        *process = Process::asked_for(database);
        Some(Claim::Due)
    });
    claimed.flatten().unwrap_or(Claim::Pending)
}

/// There is no worker for a database that was claimed.
pub fn fail(database: Oid) {
    shared::write(|header, _| {
        header.launcher.errors += 1;
        if let Some(process) = place(&mut header.databases, database) {
            process.failed = true;
        }
    });
}

/// Whether a database has a watcher now.
pub fn presence(places: &[Process], database: Oid) -> Presence {
    match places.iter().find(|process| process.database == database) {
        None => Presence::Absent,
        Some(process) if process.pid != 0 => Presence::Watched,
        Some(process) if process.failed => Presence::Failed,
        Some(_) => Presence::Asked,
    }
}

/// Makes this process the database's watcher, unless another one is.
pub fn enter(database: Oid) -> bool {
    let entered = shared::write(|header, _| {
        let process = place(&mut header.databases, database)?;
        if process.pid != 0 {
            return None;
        }
        *process = Process { pid: worker::my_pid(), ..Process::asked_for(database) };
        Some(())
    });
    entered.flatten().is_some()
}

/// Gives the place back.
pub fn leave() {
    with_own(|process| *process = Process::NONE);
}

/// What is left of a process that ended without leaving: when it was asked for.
pub fn abandon() {
    with_own(|process| process.pid = 0);
}

/// Frees the places of databases that are not to be watched, or not any more. Their watchers leave.
pub fn keep_only(is_watched: impl Fn(Oid) -> bool) {
    shared::write(|header, _| {
        for process in &mut header.databases {
            process.dismissed = !is_watched(process.database);
            if process.pid == 0 && process.dismissed {
                *process = Process::NONE;
            }
        }
    });
}

/// Has a database's watcher look at once, if there is one.
pub fn call(database: Oid) {
    let pid = shared::write(|header, _| {
        let process = header.databases.iter_mut().find(|process| process.database == database)?;
        process.called = true;
        Some(process.pid)
    });
    pid.flatten().filter(|pid| *pid != 0).into_iter().for_each(worker::wake);
}

/// Whether this process was called.
pub fn is_called() -> bool {
    let own = |process: &&Process| process.pid == worker::my_pid();
    shared::read(|header, _| header.databases.iter().find(own).is_some_and(|own| own.called))
        .unwrap_or(false)
}

/// Whether this process is to leave.
pub fn is_dismissed() -> bool {
    let own = |process: &&Process| process.pid == worker::my_pid();
    let own = shared::read(|header, _| header.databases.iter().find(own).copied());
    own.flatten().is_none_or(|process| process.dismissed)
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

/// A database's place, or a free one. `None` when there are too many databases.
fn place(places: &mut [Process], database: Oid) -> Option<&mut Process> {
    let known = places.iter().position(|process| process.database == database);
    let free = || places.iter().position(|process| process.database == Oid::INVALID);
    let at = known.or_else(free)?;
    Some(&mut places[at])
}
