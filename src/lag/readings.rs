//! What is known of each subscription: from shared memory, or by one observation if nothing is watched.

use std::collections::BTreeMap;
use std::time::Instant;

use pgmig_core::lag::observation::{Answer, Tables};
use pgmig_core::lag::{Reading, State, Tracker};
use pgrx::pg_sys::Oid;

use crate::caller::Caller;
use crate::error::Result;
use crate::ffi::subscription::{self as catalog, Subscribed};
use crate::ffi::wait::monotonic_micros as now;
use crate::notice::Notice;
use crate::probe::{self, PublisherProbes, SubscriberState, observation};
use crate::settings;
use crate::watcher::shared::{self, Entry};
use crate::watcher::{Presence, Unwatched, presence};

pub enum Known {
    Watched(Box<Reading>),
    Unwatched(Unwatched),
}

impl Known {
    pub fn state(&self) -> State {
        match self {
            Self::Watched(reading) => reading.state,
            Self::Unwatched(why) => why.state(),
        }
    }

    pub fn reason(&self) -> String {
        match self {
            Self::Watched(reading) => reading.sentence(),
            Self::Unwatched(why) => why.reason(),
        }
    }

    pub fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Watched(reading) => Some(reading),
            Self::Unwatched(_) => None,
        }
    }
}

/// What is known of the subscriptions, by their oids. Without preload only those of the caller in this
/// database.
pub fn readings(caller: Caller) -> Result<BTreeMap<u32, Known>> {
    match watched() {
        Some(readings) => Ok(readings),
        None => observed_once(caller),
    }
}

/// Every subscription of this cluster. `None` without preload.
fn watched() -> Option<BTreeMap<u32, Known>> {
    let now = now();
    let there = catalog::everywhere();
    let (launcher, places, entries) = shared::read(|header, entries| {
        let used = entries.iter().filter(|entry| entry.subscription != Oid::INVALID);
        let known = |entry: &Entry| {
            (entry.subscription.to_u32(), (entry.refusal(), entry.tracker.read(now)))
        };
        (header.launcher.pid, header.databases, used.map(known).collect::<BTreeMap<_, _>>())
    })?;
    let is_full = entries.len() >= settings::max_subscriptions();
    let known = |it: Subscribed| {
        let entry = entries.get(&it.subscription.to_u32()).cloned();
        let is_present = presence(&places, it.database) == Presence::Watched;
        let known = match entry {
            Some((None, reading)) if reading.changes_lost => Known::Watched(Box::new(reading)),
            _ if !it.enabled && !is_present => Known::Unwatched(Unwatched::Disabled),
            Some((Some(refusal), _)) => Known::Unwatched(Unwatched::Refused(refusal)),
            // A state that is still true says more than that nobody is watching now.
            Some((None, reading)) if is_present || reading.state != State::Unknown => {
                Known::Watched(Box::new(reading))
            }
            _ if !it.enabled => Known::Unwatched(Unwatched::Disabled),
            _ => Known::Unwatched(Unwatched::of(it.database, &places, is_full, launcher)),
        };
        (it.subscription.to_u32(), known)
    };
    Some(there.into_iter().map(known).collect())
}

/// Connects to the publishers of the caller's subscriptions, all at the same time.
fn observed_once(caller: Caller) -> Result<BTreeMap<u32, Known>> {
    tell_not_preloaded("lag is measured at this moment only, and has no history");
    let mut definitions = probe::definitions()?;
    definitions.retain(|there| caller.has_rights_of(there.owner));
    if definitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut probes = PublisherProbes::default();
    probes.follow(&definitions);
    probes.ask();
    probes.answer_until(Instant::now() + settings::connect_timeout());
    let received = probe::received()?;
    let mut subscribers = probe::states()?;
    subscribers.retain(|subscriber| definitions.iter().any(|there| there.oid == subscriber.oid));
    let known = |subscriber: &SubscriberState| {
        if let Some(refusal) = probes.refusal(subscriber.oid) {
            let why = Unwatched::Refused(refusal.to_owned());
            return Ok((subscriber.oid.to_u32(), Known::Unwatched(why)));
        }
        let tables = Tables { compared: probes.compare(subscriber.oid)?, ..subscriber.tables };
        let answer = match probes.take_answer(subscriber.oid) {
            Answer::Pending => Answer::Failed, // connect_timeout is over
            answer => answer,
        };
        let mut tracker = Box::new(Tracker::new());
        tracker.observe(&observation(subscriber, answer, &received, tables), &settings::lag());
        Ok((subscriber.oid.to_u32(), Known::Watched(Box::new(tracker.read(now())))))
    };
    subscribers.iter().map(known).collect()
}

/// A NOTICE about what the caller does not get without preload.
pub fn tell_not_preloaded(message: &str) {
    Notice::info(message)
        .hint(
            "Add pgmig_extras to \"shared_preload_libraries\" and restart the server \
             to have subscriptions watched.",
        )
        .send();
}
