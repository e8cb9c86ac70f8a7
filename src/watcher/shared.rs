//! What the watcher knows, in shared memory of fixed size: reading it costs no round trip, works from
//! any database and writes no WAL.

#![allow(unsafe_code)]

use pgmig_core::lag::{Micros, Reading, Tracker};
use pgrx::pg_sys::Oid;

use super::errors::Report;
use super::process::Process;
use super::slots::Inactive;
use crate::ffi::shared::{Block, Plain};
use crate::settings;

/// Databases with subscriptions that can be watched at once.
const MAX_DATABASES: usize = 64;
/// A longer text is cut, in bytes.
const REFUSAL: usize = 200;

static MEMORY: Block<Header, Entry, Report> = Block::new();

#[repr(C)]
pub struct Header {
    pub launcher: Process,
    pub databases: [Process; MAX_DATABASES],
    pub inactive: Inactive,
}

/// A watched subscription; `subscription` is invalid in a free entry.
#[repr(C)]
pub struct Entry {
    pub subscription: Oid,
    pub database: Oid,
    pub tracker: Tracker,
    /// Why it must not be watched; all zero when it may.
    refusal: [u8; REFUSAL],
}

// SAFETY: numbers, oids and bytes of names; zero is no process and no slot.
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

/// Finds room for a subscription that has none yet. False when all entries are in use.
pub fn admit(database: Oid, subscription: Oid) -> bool {
    write(|_, entries| {
        let of = |wanted: Oid| entries.iter().position(|entry| entry.subscription == wanted);
        if of(subscription).is_some() {
            return true;
        }
        let Some(free) = of(Oid::INVALID) else { return false };
        entries[free] =
            Entry { subscription, database, tracker: Tracker::new(), refusal: [0; REFUSAL] };
        true
    })
    .unwrap_or(false)
}

/// Runs `work` on the tracker of a subscription that has an entry.
pub fn track<R>(subscription: Oid, work: impl FnOnce(&mut Tracker) -> R) -> Option<R> {
    write(|_, entries| {
        let entry = entries.iter_mut().find(|entry| entry.subscription == subscription)?;
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

/// Keeps why a subscription must not be watched; an empty text: it may.
pub fn set_refusal(subscription: Oid, text: &str) {
    let mut refusal = [0; REFUSAL];
    let length = text.floor_char_boundary(REFUSAL);
    refusal[..length].copy_from_slice(&text.as_bytes()[..length]);
    write(|_, entries| {
        if let Some(entry) = entries.iter_mut().find(|entry| entry.subscription == subscription) {
            entry.refusal = refusal;
        }
    });
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
