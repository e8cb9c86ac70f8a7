//! Which process watches which database. The launcher reserves an entry of shared memory and requests a
//! worker. The worker enters itself, and clears the entry when it leaves.

use pgrx::pg_sys::Oid;

use super::place::Process;
use super::shared::{self, MAX_DATABASES};
use crate::commit::AtEnd;
use crate::ffi::worker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// There is no worker, and none was requested just now.
    Due,
    /// A worker was requested just now, or has to wait until the worker of another database leaves.
    Pending,
    Watched,
}

/// How a database is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Watched,
    /// No background worker was free.
    Failed,
    /// Its worker was requested and has not started yet.
    Asked,
    /// No worker was requested.
    Absent,
}

/// The most databases that are watched at once. Background workers for subscriptions are left free.
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

/// Notes that no background worker was free for the database.
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

/// Clears the entry of this process.
pub fn leave() {
    with_own(|process| *process = Process::NONE);
}

/// Clears the entry of a process that ended with an error. When it was requested is kept.
pub fn abandon() {
    with_own(|process| process.pid = 0);
}

/// Frees the entries of databases that are not to be watched. Their watchers leave.
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

/// Makes a database's watcher observe immediately, if there is one.
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

/// Runs `work` on this process's own entry.
pub fn with_own(work: impl FnOnce(&mut Process)) {
    shared::write(|header, _| {
        let own = header.databases.iter_mut().find(|process| process.pid == worker::my_pid());
        if let Some(process) = own {
            work(process);
        }
    });
}

/// A database's entry, or a free one. `None` if there are too many databases.
fn place(places: &mut [Process], database: Oid) -> Option<&mut Process> {
    let known = places.iter().position(|process| process.database == database);
    let free = || places.iter().position(|process| process.database == Oid::INVALID);
    let at = known.or_else(free)?;
    Some(&mut places[at])
}

/// Makes a database's watcher observe after the commit.
pub struct CallAtCommit(pub Oid);

impl AtEnd for CallAtCommit {
    fn after_commit(self: Box<Self>) {
        call(self.0);
    }

    /// A prepared transaction is committed at an unknown time, so its watcher is not called.
    fn is_optional(&self) -> bool {
        true
    }
}
