//! What this server knows of its subscriptions, apart from their publishers. `received` is read before
//! `states`: see `pgmig_core::lag::applied`.

use pgmig_core::lag::observation::{Conflicts, Errors, Received, Shortage, Tables, Worker};
use pgmig_core::lag::wait::WorkerWait;
use pgmig_core::lag::{Micros, SECOND};
use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiHeapTupleData;

use crate::error::Result;
use crate::ffi::lsn::PgLsn;
use crate::reports;
use crate::server::query::{self, RowResult};
use crate::server::text;

/// received_lsn of each apply worker: read before its wait, see `pgmig_core::lag::applied`.
pub fn received() -> Result<Vec<(Oid, Received)>> {
    let rows = query::read_again(
        &format!(
            "SELECT w.subid, w.pid, w.received_lsn \
               FROM pg_catalog.pg_stat_get_subscription(NULL) w WHERE {LEADER}"
        ),
        |row| Ok((row.get::<Oid>(1)?, row.get::<i32>(2)?, lsn(&row, 3)?)),
    )?;
    Ok(rows
        .into_iter()
        .filter_map(|(oid, pid, lsn)| Some((oid?, Received { pid: pid?, lsn: lsn? })))
        .collect())
}

/// The apply worker among the workers of a subscription.
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
const LEADER: &str = "w.relid IS NULL AND w.pid IS NOT NULL";
#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
const LEADER: &str = "w.relid IS NULL AND w.leader_pid IS NULL AND w.pid IS NOT NULL";

/// Counters of errors: since 15. `silent`: conflicts that raise no error.
#[cfg(any(feature = "pg13", feature = "pg14"))]
const ERRORS: &str = "(SELECT 0::pg_catalog.int8 AS apply, 0::pg_catalog.int8 AS sync, \
                              NULL::pg_catalog.int8 AS conflicts, NULL::pg_catalog.int8 AS silent)";
#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
const ERRORS: &str = "(SELECT e.apply_error_count AS apply, e.sync_error_count AS sync, \
                              NULL::pg_catalog.int8 AS conflicts, NULL::pg_catalog.int8 AS silent \
                         FROM pg_catalog.pg_stat_get_subscription_stats(s.oid) e)";
#[cfg(feature = "pg18")]
const ERRORS: &str = "(SELECT e.apply_error_count AS apply, e.sync_error_count AS sync, \
                              c.silent OPERATOR(pg_catalog.+) e.confl_insert_exists \
                              OPERATOR(pg_catalog.+) e.confl_update_exists \
                              OPERATOR(pg_catalog.+) e.confl_multiple_unique_conflicts AS conflicts, c.silent \
                         FROM pg_catalog.pg_stat_get_subscription_stats(s.oid) e, \
                              LATERAL (SELECT e.confl_update_origin_differs OPERATOR(pg_catalog.+) e.confl_update_missing \
                                              OPERATOR(pg_catalog.+) e.confl_delete_origin_differs \
                                              OPERATOR(pg_catalog.+) e.confl_delete_missing) c(silent))";

/// What is known of a subscription apart from its publisher.
pub struct SubscriberState {
    pub oid: Oid,
    pub name: String,
    pub enabled: bool,
    pub slot: Option<String>,
    pub worker: Option<Worker>,
    pub origin: Option<Lsn>,
    pub tables: Tables,
    pub copiers: u32,
    pub shortage: Option<Shortage>,
    pub errors: Errors,
}

impl SubscriberState {
    /// Whether a worker is missing.
    fn lacks_worker(&self) -> bool {
        let has_none = self.worker.is_none() || self.tables.waiting > 0 && self.copiers == 0;
        self.enabled && has_none
    }

    /// Whether the apply worker got a message from the publisher in the last `time`.
    pub fn hears_within(&self, time: Micros) -> bool {
        let age = self.worker.and_then(|worker| worker.last_message_age);
        age.is_some_and(|age| age <= time)
    }
}

pub fn states() -> Result<Vec<SubscriberState>> {
    let mut subscribers = read_all()?;
    if subscribers.iter().any(SubscriberState::lacks_worker) {
        let shortage = shortage()?;
        subscribers.iter_mut().for_each(|subscriber| subscriber.shortage = shortage);
    }
    Ok(subscribers)
}

fn read_all() -> Result<Vec<SubscriberState>> {
    query::read_again(
        &format!(
            "SELECT s.oid, {name}, s.subenabled, {slot}, \
                    {FIGURES}, \
                    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_replication_origin o \
                                       WHERE o.roname OPERATOR(pg_catalog.=) pg_catalog.concat('pg_', s.oid)) \
                         THEN pg_catalog.pg_replication_origin_progress(pg_catalog.concat('pg_', s.oid), false) END, \
                    t.ready, t.waiting, t.subscribed \
               FROM pg_catalog.pg_subscription s \
               JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.subdbid \
               {workers} \
               LEFT JOIN LATERAL (SELECT pg_catalog.count(*) FILTER (WHERE r.srsubstate OPERATOR(pg_catalog.=) 'r') AS ready, \
                                         pg_catalog.count(*) FILTER (WHERE r.srsubstate IN ('i', 'd', 'f')) AS waiting, \
                                         pg_catalog.count(*) AS subscribed \
                                    FROM pg_catalog.pg_subscription_rel r \
                                   WHERE r.srsubid OPERATOR(pg_catalog.=) s.oid) t ON true \
              WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
            workers = workers(),
            name = text::as_utf8("s.subname::pg_catalog.text"),
            slot = text::as_utf8("s.subslotname::pg_catalog.text"),
        ),
        read,
    )
}

/// One subscription's workers and errors. Takes no lock on a catalog of subscriptions, because the
/// caller may be about to lock it.
pub fn workers_of(subscription: Oid) -> Result<(Option<Worker>, u32, Errors)> {
    let found = query::read(
        &format!(
            "SELECT {FIGURES} FROM (SELECT $1::pg_catalog.oid) s(oid) {workers}",
            workers = workers()
        ),
        &[subscription.into()],
        |row| Ok((worker(&row, 1)?, copiers(&row, 1)?, errors(subscription, &row, 1)?)),
    )?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// Columns for `worker`, `copiers` and `errors`.
const FIGURES: &str = "\
w.pid, (EXTRACT(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) w.last_msg_receipt_time) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8, \
a.wait_event_type, a.wait_event, \
CASE a.wait_event_type WHEN 'Lock' THEN (pg_catalog.pg_blocking_pids(a.pid))[1] END, \
e.apply, e.sync, e.conflicts, e.silent, \
(SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_subscription(s.oid) c WHERE c.relid IS NOT NULL AND c.pid IS NOT NULL)";
/// The number of these columns.
const FIGURE_COLUMNS: usize = 10;

/// The tables of FIGURES, to be joined to `s(oid)`.
fn workers() -> String {
    format!(
        "LEFT JOIN LATERAL (SELECT w.pid, w.last_msg_receipt_time \
                              FROM pg_catalog.pg_stat_get_subscription(s.oid) w WHERE {LEADER} LIMIT 1) w ON true \
         LEFT JOIN LATERAL (SELECT a.pid, a.wait_event_type, a.wait_event \
                              FROM pg_catalog.pg_stat_get_subscription(s.oid) p, \
                                   pg_catalog.pg_stat_get_activity(p.pid) a \
                             WHERE p.relid IS NULL \
                             ORDER BY (a.wait_event_type OPERATOR(pg_catalog.=) 'Lock' \
                                       AND a.wait_event OPERATOR(pg_catalog.<>) 'applytransaction') IS TRUE DESC, \
                                      p.pid OPERATOR(pg_catalog.=) w.pid DESC LIMIT 1) a ON true \
         LEFT JOIN LATERAL {ERRORS} e ON true"
    )
}

fn read(row: SpiHeapTupleData) -> RowResult<SubscriberState> {
    let oid = query::not_null(&row, 1)?;
    Ok(SubscriberState {
        oid,
        name: text::not_null(&row, 2)?,
        enabled: query::not_null(&row, 3)?,
        slot: text::from_bytes(row.get(4)?),
        worker: worker(&row, 5)?,
        copiers: copiers(&row, 5)?,
        shortage: None,
        errors: errors(oid, &row, 5)?,
        origin: lsn(&row, 5 + FIGURE_COLUMNS)?,
        tables: Tables {
            ready: count(&row, 6 + FIGURE_COLUMNS)? as u32,
            waiting: count(&row, 7 + FIGURE_COLUMNS)? as u32,
            subscribed: count(&row, 8 + FIGURE_COLUMNS)? as u32,
            compared: None,
        },
    })
}

/// Which limit keeps workers from being started.
pub fn shortage() -> Result<Option<Shortage>> {
    const LIMITS: &str = "\
        SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_subscription(NULL) w WHERE w.pid IS NOT NULL) \
                   OPERATOR(pg_catalog.>=) pg_catalog.current_setting('max_logical_replication_workers')::pg_catalog.int8, \
               pg_catalog.current_setting('max_sync_workers_per_subscription') OPERATOR(pg_catalog.=) '0', \
               (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_activity(NULL) a \
                 WHERE a.backend_type NOT IN ('client backend', 'walsender', 'autovacuum worker', 'autovacuum launcher', \
                           'checkpointer', 'background writer', 'walwriter', 'walreceiver', 'startup', 'archiver', \
                           'logger', 'slotsync worker', 'walsummarizer', 'io worker', 'standalone backend')) \
                   OPERATOR(pg_catalog.>=) pg_catalog.current_setting('max_worker_processes')::pg_catalog.int8";
    let found = query::read_again(LIMITS, |row| {
        let is = |column| query::not_null::<bool>(&row, column);
        Ok(match (is(1)?, is(2)?, is(3)?) {
            (true, _, _) => Some(Shortage::Logical),
            (_, true, _) => Some(Shortage::Sync),
            (_, _, true) => Some(Shortage::Background),
            _ => None,
        })
    })?;
    Ok(found.into_iter().flatten().next())
}

/// From FIGURES, of which the first is column `first`.
fn worker(row: &SpiHeapTupleData, first: usize) -> RowResult<Option<Worker>> {
    let age = row.get::<i64>(first + 1)?;
    let last_message_age = age.map(|ms| ms.max(0).unsigned_abs() * (SECOND / 1000) as Micros);
    let wait = WorkerWait::parse(row.get::<&str>(first + 2)?, row.get::<&str>(first + 3)?);
    let blocked_by = row.get::<i32>(first + 4)?;
    let pid = row.get::<i32>(first)?;
    Ok(pid.map(|pid| Worker { pid, wait, blocked_by, last_message_age }))
}

/// From FIGURES, of which the first is column `first`, and from what the workers reported.
fn errors(subscription: Oid, row: &SpiHeapTupleData, first: usize) -> RowResult<Errors> {
    let uncounted = reports::failures(subscription);
    Ok(Errors {
        apply: count(row, first + 5)? + uncounted.apply,
        sync: count(row, first + 6)? + uncounted.sync,
        conflicts: match (row.get::<i64>(first + 7)?, row.get::<i64>(first + 8)?) {
            (Some(all), Some(silent)) => {
                Some(Conflicts { all: all.unsigned_abs(), silent: silent.unsigned_abs() })
            }
            _ => None,
        },
    })
}

/// From FIGURES, of which the first is column `first`.
fn copiers(row: &SpiHeapTupleData, first: usize) -> RowResult<u32> {
    Ok(count(row, first + 9)? as u32)
}

/// `None` for NULL and for 0/0.
fn lsn(row: &SpiHeapTupleData, column: usize) -> RowResult<Option<Lsn>> {
    Ok(row.get::<PgLsn>(column)?.map(|PgLsn(lsn)| lsn).filter(|lsn| lsn.0 != 0))
}

fn count(row: &SpiHeapTupleData, column: usize) -> RowResult<u64> {
    Ok(query::not_null::<i64>(row, column)?.unsigned_abs())
}
