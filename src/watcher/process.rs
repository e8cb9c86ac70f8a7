//! Who watches which database: a place in shared memory for each worker. The launcher asks for a
//! worker, which then takes its place, and gives it back when it leaves.

use pgrx::pg_sys::Oid;

use super::place::Process;
use super::shared::{self, MAX_DATABASES};
use crate::commit::AtEnd;
use crate::ffi::worker;

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

/// Has a database's watcher look once the transaction is committed.
pub struct CallAtCommit(pub Oid);

impl AtEnd for CallAtCommit {
    fn after_commit(self: Box<Self>) {
        call(self.0);
    }

    /// What is committed at some later time need not be looked at at once.
    fn is_optional(&self) -> bool {
        true
    }
}
