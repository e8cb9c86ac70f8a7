//! What the watchers know, in shared memory of fixed size. Reading it needs no round trip, works in any
//! database and writes no WAL.

use std::collections::BTreeMap;

use pgmig_core::fairness::{self, Occupant};
use pgmig_core::lag::{Micros, Reading, Tracker};
use pgrx::pg_sys::Oid;

use super::place::Process;
use super::slots::Inactive;
use crate::ffi::shared::{Area, Plain};
use crate::ffi::subscription::Subscribed;
use crate::reports;
use crate::settings::{self, Timeouts};

/// The most databases that can be watched at once.
pub const MAX_DATABASES: usize = 64;
/// The longest stored reason for not watching, in bytes.
const MAX_REFUSAL: usize = 200;

static MEMORY: Area<Header, Entry> = Area::new(c"pgmig_extras");

#[repr(C)]
pub struct Header {
    pub launcher: Process,
    pub databases: [Process; MAX_DATABASES],
    pub inactive: Inactive,
    /// The values of the configuration file.
    pub timeouts: Timeouts,
}

/// A watched subscription. `subscription` is invalid in a free entry.
#[repr(C)]
pub struct Entry {
    pub subscription: Oid,
    pub database: Oid,
    owner: Oid,
    enabled: bool,
    /// Why the subscription is not watched although it has an entry: UTF-8, padded with zeros.
    refusal: [u8; MAX_REFUSAL],
    pub tracker: Tracker,
}

impl Entry {
    fn of(it: &Subscribed) -> Self {
        Self {
            subscription: it.subscription,
            database: it.database,
            owner: it.owner,
            enabled: it.enabled,
            refusal: [0; MAX_REFUSAL],
            tracker: Tracker::new(),
        }
    }

    fn tenant(&self) -> Occupant {
        tenant(self.subscription, self.owner, self.enabled)
    }

    pub fn refusal(&self) -> Option<String> {
        let length = self.refusal.iter().position(|byte| *byte == 0).unwrap_or(MAX_REFUSAL);
        let text = String::from_utf8_lossy(&self.refusal[..length]);
        (length > 0).then(|| text.into_owned())
    }
}

fn tenant(subscription: Oid, owner: Oid, enabled: bool) -> Occupant {
    Occupant { subscription: subscription.to_u32(), owner: owner.to_u32(), enabled }
}

// SAFETY: numbers, oids and bytes of names; zero is no process and no slot.
#[allow(unsafe_code)]
unsafe impl Plain for Header {}
// SAFETY: zero is a free entry, whose tracker is made anew before it is used.
#[allow(unsafe_code)]
unsafe impl Plain for Entry {}

pub fn request() {
    MEMORY.request(settings::max_subscriptions());
    reports::request(settings::max_subscriptions());
}

pub fn read<R>(work: impl FnOnce(&Header, &[Entry]) -> R) -> Option<R> {
    MEMORY.read(work)
}

pub fn write<R>(work: impl FnOnce(&mut Header, &mut [Entry]) -> R) -> Option<R> {
    MEMORY.write(work)
}

pub fn is_admitted(subscription: Oid) -> bool {
    read(|_, entries| entries.iter().any(|entry| entry.subscription == subscription))
        .unwrap_or(false)
}

/// Gives a subscription an entry: a free one, or one that its owner may take from another owner. False
/// if it gets none.
pub fn admit(it: &Subscribed) -> bool {
    write(|_, entries| {
        let of = |wanted: Oid| entries.iter().position(|entry| entry.subscription == wanted);
        if of(it.subscription).is_some() {
            return true;
        }
        // This small list is the only allocation under the lock.
        let taken = || {
            let places: Vec<Occupant> = entries.iter().map(Entry::tenant).collect();
            fairness::place_to_reassign(&places, tenant(it.subscription, it.owner, it.enabled))
        };
        let Some(place) = of(Oid::INVALID).or_else(taken) else { return false };
        entries[place] = Entry::of(it);
        true
    })
    .unwrap_or(false)
}

/// Sets why a subscription is not watched although it has an entry. An empty text: it is watched.
pub fn set_refusal(subscription: Oid, text: &str) {
    let length = text.floor_char_boundary(MAX_REFUSAL);
    let mut refusal = [0; MAX_REFUSAL];
    refusal[..length].copy_from_slice(&text.as_bytes()[..length]);
    write(|_, entries| {
        if let Some(entry) = entries.iter_mut().find(|entry| entry.subscription == subscription) {
            entry.refusal = refusal;
        }
    });
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

/// Updates the entries to the present subscriptions, and frees those of dropped ones.
pub fn follow(there: &[Subscribed]) {
    let there: BTreeMap<u32, &Subscribed> =
        there.iter().map(|it| (it.subscription.to_u32(), it)).collect();
    let exists = |subscription: Oid| there.contains_key(&subscription.to_u32());
    reports::keep_only(exists);
    write(|_, entries| {
        for entry in entries.iter_mut().filter(|entry| entry.subscription != Oid::INVALID) {
            match there.get(&entry.subscription.to_u32()) {
                Some(it) => (entry.owner, entry.enabled) = (it.owner, it.enabled),
                None => entry.subscription = Oid::INVALID,
            }
        }
    });
}
