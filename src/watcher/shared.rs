//! What the watcher knows, in shared memory of fixed size: reading it costs no round trip, works from
//! any database and writes no WAL.

#![allow(unsafe_code)]

use pgmig_core::lag::{Micros, Reading, Tracker};
use pgrx::pg_sys::Oid;

use super::errors::Report;
use crate::ffi::shared::{Block, Plain};
use crate::settings;

/// Databases with subscriptions that can be watched at once.
const MAX_DATABASES: usize = 64;

static MEMORY: Block<Header, Entry, Report> = Block::new();

#[repr(C)]
pub struct Header {
    pub launcher: Process,
    pub databases: [Process; MAX_DATABASES],
}

/// A worker of ours.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Process {
    /// 0 when there is none.
    pub pid: i32,
    /// What the launcher asked to be watched; invalid in a free entry.
    pub database: Oid,
    /// When the launcher last asked for the worker.
    pub asked_at: Micros,
    pub cycled_at: Micros,
    pub cycle: Micros,
    /// Publishers that could not be reached in the last cycle.
    pub unreachable: u32,
    pub watched: u32,
}

/// A watched subscription; `subscription` is invalid in a free entry.
#[repr(C)]
pub struct Entry {
    pub subscription: Oid,
    pub database: Oid,
    pub tracker: Tracker,
}

// SAFETY: numbers and oids; zero is no process.
unsafe impl Plain for Header {}
// SAFETY: zero is a free entry, whose tracker is made anew before it is used.
unsafe impl Plain for Entry {}
// SAFETY: atomics; zero is a free place.
unsafe impl Plain for Report {}

pub fn request() {
    MEMORY.request(settings::max_subscriptions());
}

pub fn read<R>(work: impl FnOnce(&Header, &[Entry]) -> R) -> Option<R> {
    MEMORY.read(work)
}

pub fn write<R>(work: impl FnOnce(&mut Header, &mut [Entry]) -> R) -> Option<R> {
    MEMORY.write(work)
}

pub fn reports() -> Option<&'static [Report]> {
    MEMORY.atomics()
}

/// Runs `work` on the tracker of a subscription, a new one if there was none. `None` when all
/// entries are in use.
pub fn track<R>(
    database: Oid,
    subscription: Oid,
    work: impl FnOnce(&mut Tracker) -> R,
) -> Option<R> {
    write(|_, entries| {
        let known = entries.iter().position(|entry| entry.subscription == subscription);
        let free = || entries.iter().position(|entry| entry.subscription == Oid::INVALID);
        let entry = &mut entries[known.or_else(free)?];
        if entry.subscription != subscription {
            (entry.subscription, entry.database) = (subscription, database);
            entry.tracker = Tracker::new();
        }
        Some(work(&mut entry.tracker))
    })?
}

/// What is known of a subscription at `now`.
pub fn reading(subscription: Oid, now: Micros) -> Option<Reading> {
    read(|_, entries| {
        let entry = entries.iter().find(|entry| entry.subscription == subscription)?;
        Some(entry.tracker.read(now))
    })?
}

/// Frees the entries of subscriptions that are gone.
pub fn keep_only(exists: impl Fn(Oid) -> bool) {
    reports().into_iter().flatten().for_each(|report| report.keep_only(&exists));
    write(|_, entries| {
        for entry in entries.iter_mut().filter(|entry| entry.subscription != Oid::INVALID) {
            if !exists(entry.subscription) {
                entry.subscription = Oid::INVALID;
            }
        }
    });
}
