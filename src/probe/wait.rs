//! Waits until a subscription has reached a position of its publisher. The waiting session makes the
//! observations itself. It takes no lock on a catalog of subscriptions, because it may be about to lock
//! one.

use std::time::{Duration, Instant};

use pgmig_core::lag::observation::Tables;

use pgmig_core::lag::{Micros, Reading, Reason, Settings, State, Tracker, with_last_error};
use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use super::definition::Definition;
use super::observation::observation;
use super::publishers::PublisherProbes;
use super::subscriber::{self, SubscriberState};
use crate::error::Result;
use crate::ffi::major;
use crate::ffi::origin;
use crate::ffi::subscription::{self as catalog, SubscriptionRow};
use crate::ffi::wait::monotonic_micros as now;
use crate::notice::Notice;
use crate::server::{query, text};
use crate::settings;

/// Time between two observations.
const INTERVAL: Duration = Duration::from_millis(250);
/// Time between two notices.
const NOTICE_INTERVAL: Duration = Duration::from_secs(5);
/// The most tables that one message names.
const MAX_SHOWN: usize = 5;

/// How the wait ended.
pub enum End {
    Reached,
    /// The goal cannot be reached, or not in time.
    Stuck(Obstacle),
}

/// Why a subscription cannot reach the goal.
pub enum Obstacle {
    /// The reason for its state, and when the state was read.
    State { reason: Reason, at: Micros },
    /// In sentences.
    Other(String),
}

impl Obstacle {
    /// In sentences, with the last error of the subscription's workers.
    pub fn text(self, last_error: Option<&str>) -> String {
        match self {
            Self::State { reason, at } => reason.with_last_error(at, last_error),
            Self::Other(text) => with_last_error(text, last_error),
        }
    }
}

/// Waits until all tables are copied and everything up to `goal` is applied. Interruptible. Ends early
/// if the goal cannot be reached any more, and at `until`.
pub fn wait(
    subscription: &Definition,
    name: &str,
    goal: Lsn,
    until: Option<Instant>,
) -> Result<End> {
    let mut tracker = Box::new(Tracker::new());
    let mut probes = PublisherProbes::default();
    probes.follow(std::slice::from_ref(subscription));
    let settings = Settings { interval: INTERVAL.as_micros() as u64, ..settings::lag() };
    let mut next_notice = Instant::now() + NOTICE_INTERVAL;
    loop {
        let next = Instant::now() + INTERVAL;
        probes.ask();
        probes.answer_until(next);
        let received = subscriber::received()?;
        let subscriber = subscriber_state(subscription, name)?;
        let answer = probes.take_answer(subscription.oid);
        tracker.observe(&observation(&subscriber, answer, &received, subscriber.tables), &settings);
        let reading = tracker.read(now());
        if is_reached(&reading, goal) {
            return Ok(End::Reached);
        }
        if let Some(reason) = obstacle(&reading, subscription.oid)? {
            return Ok(End::Stuck(reason));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let text = out_of_time(&reading, goal, subscription.oid)?;
            return Ok(End::Stuck(Obstacle::Other(text)));
        }
        if Instant::now() >= next_notice {
            next_notice = Instant::now() + NOTICE_INTERVAL;
            tell(name, &reading, subscription.oid)?;
        }
        probes.go_on_until(next, || false);
    }
}

fn subscriber_state(subscription: &Definition, name: &str) -> Result<SubscriberState> {
    // Otherwise pg_stat_activity would show the waits as they were at the transaction's first
    // observation.
    query::read("SELECT pg_catalog.pg_stat_clear_snapshot()", &[], |_| Ok(()))?;
    let (worker, copiers, errors) = subscriber::workers_of(subscription.oid)?;
    let states = catalog::tables(subscription.oid);
    let count =
        |wanted: &[char]| states.iter().filter(|(_, it)| wanted.contains(it)).count() as u32;
    Ok(SubscriberState {
        oid: subscription.oid,
        name: name.to_owned(),
        enabled: SubscriptionRow::by_oid(subscription.oid).is_some_and(|row| row.enabled),
        slot: subscription.slot.clone(),
        worker,
        origin: origin::progress_of_subscription(subscription.oid),
        tables: Tables {
            ready: count(&['r']),
            waiting: count(&['i', 'd', 'f']),
            subscribed: states.len() as u32,
            compared: None,
        },
        copiers,
        shortage: None,
        errors,
    })
}

fn is_reached(reading: &Reading, goal: Lsn) -> bool {
    let Tables { ready, subscribed, .. } = reading.tables;
    ready == subscribed && reading.applied_lsn.is_some_and(|applied| applied >= goal)
}

/// What is still missing when the time is over.
fn out_of_time(reading: &Reading, goal: Lsn, subscription: Oid) -> Result<String> {
    let mut told = "The statement has no more time to wait.".to_owned();
    let uncopied = uncopied(subscription)?;
    if !uncopied.is_empty() {
        let shown = uncopied.len().min(MAX_SHOWN);
        told.push_str(&format!(" Not copied, or not in step: {}", uncopied[..shown].join(", ")));
        if uncopied.len() > shown {
            told.push_str(&format!(" and {} more", uncopied.len() - shown));
        }
        told.push('.');
    }
    match reading.applied_lsn {
        Some(applied) if applied >= goal => {}
        Some(applied) => told.push_str(&format!(
            " Changes are applied up to {applied}; the publisher was at {goal}."
        )),
        None => told.push_str(&format!(
            " How far changes are applied is not known; the publisher was at {goal}."
        )),
    }
    Ok(told)
}

/// The tables that are not copied completely yet.
fn uncopied(subscription: Oid) -> Result<Vec<String>> {
    let label = text::as_utf8("pg_catalog.concat(n.nspname, '.', c.relname)");
    let states = catalog::tables(subscription).into_iter();
    let tables: Vec<Oid> =
        states.filter(|(_, state)| *state != 'r').map(|(table, _)| table).collect();
    let names = query::read(
        &format!(
            "SELECT {label} FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
              WHERE c.oid OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.oid"
        ),
        &[tables.into()],
        |row| Ok(row.get::<Vec<u8>>(1)?),
    )?;
    Ok(names.into_iter().filter_map(text::from_bytes).collect())
}

fn obstacle(reading: &Reading, subscription: Oid) -> Result<Option<Obstacle>> {
    let lasts = Duration::from_micros(now().saturating_sub(reading.since));
    let is_away = reading.state == State::Unreachable && lasts > settings::connect_timeout();
    if reading.reason.is_stuck() || is_away {
        return Ok(Some(Obstacle::State { reason: reading.reason, at: reading.at }));
    }
    let blocked = is_blocked_by_this_session(subscription)?;
    let text = "This transaction itself holds a lock that is waited for.";
    Ok(blocked.then(|| Obstacle::Other(text.to_owned())))
}

/// Whether a worker waits for a lock of this session. If this cluster is also the publisher, also
/// whether a slot waits for this transaction: the walsenders of table sync have the names of their
/// slots.
fn is_blocked_by_this_session(subscription: Oid) -> Result<bool> {
    let found = query::read(
        "SELECT 1 FROM pg_catalog.pg_stat_get_activity(NULL) a \
          WHERE a.wait_event_type OPERATOR(pg_catalog.=) 'Lock' \
            AND (a.pid OPERATOR(pg_catalog.=) ANY (ARRAY( \
                     SELECT w.pid FROM pg_catalog.pg_stat_get_subscription($1) w)) \
                 OR pg_catalog.starts_with(a.application_name, pg_catalog.concat('pg_', $1, '_sync_'))) \
            AND pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) ANY (pg_catalog.pg_blocking_pids(a.pid))",
        &[subscription.into()],
        |_| Ok(()),
    )?;
    Ok(!found.is_empty())
}

fn tell(name: &str, reading: &Reading, subscription: Oid) -> Result<()> {
    let mut detail = reading.sentence();
    if let Some(rows) = rows_copied(subscription)? {
        detail.push_str(&format!(" {rows} rows of the tables being copied have arrived."));
    }
    Notice::info(format!("subscription \"{name}\" is still catching up")).detail(detail).send();
    Ok(())
}

/// The rows copied so far of the tables that are being copied.
fn rows_copied(subscription: Oid) -> Result<Option<i64>> {
    if !major::COPY_SHOWS_PROGRESS {
        return Ok(None);
    }
    let copying = query::read(
        "SELECT pg_catalog.sum(c.tuples_processed)::pg_catalog.int8 \
           FROM pg_catalog.pg_stat_get_subscription($1) w \
           JOIN pg_catalog.pg_stat_progress_copy c ON c.pid OPERATOR(pg_catalog.=) w.pid",
        &[subscription.into()],
        |row| Ok(row.get::<i64>(1)?),
    )?;
    Ok(copying.into_iter().flatten().next())
}
