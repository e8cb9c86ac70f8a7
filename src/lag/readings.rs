//! What SQL sees of the watcher.

use std::collections::BTreeMap;
use std::time::Instant;

use pgmig_core::lag::chart;
use pgmig_core::lag::history::Sample;
use pgmig_core::lag::observation::{Answer, Tables};
use pgmig_core::lag::{Micros, Reading, State, Tracker};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::error::{Result, raise};
use crate::ffi::encoding;
use crate::ffi::wait::monotonic_micros as now;
use crate::ffi::worker::{self, Subscribed};
use crate::notice::Notice;
use crate::probe::{self, PublisherProbes, observation};
use crate::reports;
use crate::settings;
use crate::subscription::{self, View};
use crate::watcher::shared::{self, Entry};
use crate::watcher::{Presence, Unwatched, presence};

/// What the watcher knows of every subscription. Without preload, one look at those of the caller's
/// in this database.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn lag_readings() -> TableIterator<
    'static,
    (
        name!(subscription, Oid),
        name!(state, String),
        name!(lag_us, Option<i64>),
        name!(lag_is_lower_bound, Option<bool>),
        name!(pending_bytes, Option<i64>),
        name!(decode_backlog_bytes, Option<i64>),
        name!(inflight_bytes, Option<i64>),
        name!(retained_bytes, Option<i64>),
        name!(headroom_bytes, Option<i64>),
        name!(open_transaction_bytes, Option<i64>),
        name!(tables_ready, Option<i64>),
        name!(tables_total, Option<i64>),
        name!(apply_errors, Option<i64>),
        name!(sync_errors, Option<i64>),
        name!(conflicts, Option<i64>),
        name!(last_error, Option<Vec<u8>>),
        name!(eta_us, Option<i64>),
        name!(age_us, Option<i64>),
        name!(reason, Vec<u8>),
    ),
> {
    let caller = raise(Caller::current());
    let readings = known().unwrap_or_else(|| raise(single_look(caller)));
    let seen = readings
        .into_iter()
        .filter_map(|(oid, known)| Some((oid, subscription::view(oid, caller)?, known)));
    let seen: Vec<_> = seen.collect();
    let now = now();
    TableIterator::new(seen.into_iter().map(move |(oid, view, known)| {
        let (state, reason) = match &known {
            Known::Watched(reading) => (reading.state, reading.sentence()),
            Known::Unwatched(why) => (why.state(), why.reason()),
        };
        let reading = match &known {
            Known::Watched(reading) => Some(&**reading),
            Known::Unwatched(_) => None,
        };
        let figure = |of: fn(&Reading) -> Option<u64>| reading.and_then(of).map(|it| it as i64);
        let count = |of: fn(&Reading) -> u64| reading.map(|reading| of(reading) as i64);
        (
            oid,
            state.as_str().to_owned(),
            figure(|it| it.lag),
            reading.map(|it| it.lag_is_lower_bound),
            figure(|it| it.metrics.pending),
            figure(|it| it.metrics.decode_backlog),
            figure(|it| it.metrics.inflight),
            figure(|it| it.metrics.retained),
            reading.and_then(|it| it.metrics.headroom),
            figure(|it| it.metrics.open_transaction),
            count(|it| it.tables.ready.into()),
            count(|it| it.tables.total().into()),
            count(|it| it.errors.apply),
            count(|it| it.errors.sync),
            figure(|it| it.errors.conflicts.map(|conflicts| conflicts.all)),
            (view == View::All).then(|| reports::last(oid)).flatten().map(|text| for_client(&text)),
            figure(|it| it.eta),
            reading.and_then(|it| it.sampled_at).map(|at| now.saturating_sub(at) as i64),
            for_client(&reason),
        )
    }))
}

enum Known {
    Watched(Box<Reading>),
    Unwatched(Unwatched),
}

/// Every subscription of this cluster. `None` without preload.
fn known() -> Option<Vec<(Oid, Known)>> {
    let now = now();
    let there = worker::subscriptions_everywhere();
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
            // What was seen last says more than that nobody looks now, while it is true.
            Some((None, reading)) if is_present || reading.state != State::Unknown => {
                Known::Watched(Box::new(reading))
            }
            _ if !it.enabled => Known::Unwatched(Unwatched::Disabled),
            _ => Known::Unwatched(Unwatched::of(it.database, &places, is_full, launcher)),
        };
        (it.subscription, known)
    };
    Some(there.into_iter().map(known).collect())
}

/// What can be known without a past: a connection to the publisher of each subscription of the
/// caller's, all at the same time.
fn single_look(caller: Caller) -> Result<Vec<(Oid, Known)>> {
    say_what_is_missing("lag is measured at this moment only, and has no history");
    let mut definitions = probe::definitions()?;
    definitions.retain(|there| caller.has_rights_of(there.owner));
    if definitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut probes = PublisherProbes::default();
    probes.follow(&definitions);
    probes.ask();
    probes.answer_until(Instant::now() + settings::connect_timeout());
    let received = probe::received()?;
    let mut subscribers = probe::states()?;
    subscribers.retain(|subscriber| definitions.iter().any(|there| there.oid == subscriber.oid));
    let settings = settings::lag();
    let readings = subscribers.iter().map(|subscriber| {
        let mut tracker = Box::new(Tracker::new());
        if let Some(refusal) = probes.refusal(subscriber.oid) {
            return Ok((subscriber.oid, Known::Unwatched(Unwatched::Refused(refusal.to_owned()))));
        }
        let tables = Tables { compared: probes.compare(subscriber.oid)?, ..subscriber.tables };
        let answer = match probes.take_answer(subscriber.oid) {
            Answer::Pending => Answer::Failed, // it had its time
            answer => answer,
        };
        tracker.observe(&observation(subscriber, answer, &received, tables), &settings);
        Ok((subscriber.oid, Known::Watched(Box::new(tracker.read(now())))))
    });
    readings.collect()
}

/// Without preload.
fn say_what_is_missing(message: &str) {
    let hint = "Add pgmig_extras to \"shared_preload_libraries\" and restart the server \
                to have subscriptions watched.";
    Notice::notice(message).hint(hint).send();
}

/// The samples of a subscription of this database that are younger than `since`.
fn samples(subscription: Text, since: Micros) -> Result<Vec<Sample>> {
    let name = required("subscription", subscription)?;
    let subscription = subscription::visible(name, Caller::current()?)?;
    let from = now().saturating_sub(since);
    let samples = shared::read(|_, entries| {
        let entry = entries.iter().find(|entry| entry.subscription == subscription)?;
        Some(entry.tracker.history(from).to_vec())
    });
    if samples.is_none() {
        say_what_is_missing("subscriptions are not watched, so there is no history");
    }
    Ok(samples.flatten().unwrap_or_default())
}

fn micros(argument: &str, value: Option<i64>) -> Result<Micros> {
    Ok(required(argument, value)?.max(0).unsigned_abs())
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn lag_samples(
    subscription: Text,
    since_us: Option<i64>,
) -> TableIterator<
    'static,
    (
        name!(age_us, i64),
        name!(span_us, i64),
        name!(state, String),
        name!(lag_us, Option<i64>),
        name!(lag_is_lower_bound, bool),
        name!(pending_bytes, Option<i64>),
        name!(retained_bytes, Option<i64>),
    ),
> {
    let samples = raise(micros("since", since_us).and_then(|since| samples(subscription, since)));
    let now = now();
    TableIterator::new(samples.into_iter().map(move |sample| {
        (
            now.saturating_sub(sample.at) as i64,
            sample.at.saturating_sub(sample.from) as i64,
            sample.state.as_str().to_owned(),
            sample.lag().map(|lag| lag as i64),
            sample.lag_is_lower_bound,
            sample.pending_bytes().map(|bytes| bytes as i64),
            sample.retained_bytes().map(|bytes| bytes as i64),
        )
    }))
}

#[pg_extern(sql = false)]
fn lag_chart(subscription: Text, since_us: Option<i64>, width: Option<i32>) -> Vec<u8> {
    let run = || -> Result<String> {
        let since = micros("since", since_us)?;
        let width = usize::try_from(required("width", width)?).unwrap_or(0);
        let samples = samples(subscription, since)?;
        let now = now();
        let chart = chart::chart(&samples, now.saturating_sub(since), now, width);
        Ok(if encoding::is_unicode() { chart } else { chart::ascii(&chart) })
    };
    raise(run()).into_bytes()
}

/// As the client can be shown it.
fn for_client(text: &str) -> Vec<u8> {
    if encoding::is_unicode() {
        return text.as_bytes().to_vec();
    }
    encoding::for_client(&text.replace('…', "..."))
}

/// The launcher and the watchers. Empty without preload.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn watcher_processes() -> TableIterator<
    'static,
    (
        name!(kind, String),
        name!(pid, i32),
        name!(database, Option<Oid>),
        name!(last_cycle_us, Option<i64>),
        name!(cycle_us, i64),
        name!(subscriptions, i64),
        name!(unreachable, i64),
        name!(errors, i64),
    ),
> {
    let now = now();
    let processes = shared::read(|header, _| {
        let watchers = header.databases.iter().map(|process| ("watcher", *process));
        [("launcher", header.launcher)].into_iter().chain(watchers).collect::<Vec<_>>()
    });
    if processes.is_none() {
        say_what_is_missing("subscriptions are not watched: the library is not preloaded");
    }
    let alive = processes.unwrap_or_default().into_iter().filter(|(_, process)| process.pid != 0);
    TableIterator::new(alive.map(move |(kind, process)| {
        let cycled = (process.cycled_at > 0).then(|| now.saturating_sub(process.cycled_at) as i64);
        (
            kind.to_owned(),
            process.pid,
            (kind == "watcher").then_some(process.database),
            cycled,
            process.cycle as i64,
            process.watched.into(),
            process.unreachable.into(),
            process.errors as i64,
        )
    }))
}

/// Since when slots have been seen without a subscriber. Empty without preload.
#[pg_extern(sql = false)]
fn inactive_slots()
-> TableIterator<'static, (name!(slot, String), name!(since, TimestampWithTimeZone))> {
    let slots = shared::read(|header, _| header.inactive.list()).unwrap_or_default();
    TableIterator::new(
        slots
            .into_iter()
            .filter_map(|(slot, since)| Some((slot, TimestampWithTimeZone::try_from(since).ok()?))),
    )
}
