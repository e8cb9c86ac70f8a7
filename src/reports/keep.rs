//! Keeps what workers report to the server log: the last error of the apply worker, and of each table
//! that is copied, as far as there is space. Takes no lock and allocates nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use pgmig_core::error_text::{Reported, Source};
use pgmig_core::lag::{Micros, SECOND};
use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use super::memory::{Counters, Reports, Shortage, find, place};
use super::record::{Header, LENGTH, Record};
use crate::ffi::activity::SubscriptionWorker;
use crate::ffi::wait::monotonic_micros as now;

/// The server's messages when it cannot start a worker (launcher.c, 13 to 18), and the settings to
/// raise.
const SHORTAGES: [(&[u8], &str); 2] = [
    (b"out of logical replication worker slots", "max_logical_replication_workers"),
    (b"out of background worker slots", "max_worker_processes"),
];
/// How long a shortage counts. An apply worker tries again every wal_retrieve_retry_interval.
const RECENT: Micros = 30 * SECOND;

/// How often a subscription's workers failed since the server was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    pub apply: u64,
    pub sync: u64,
    /// Failures of the apply worker to connect: its own report only says that the publisher cannot be
    /// reached.
    pub connection: u64,
}

/// Keeps what a worker reports, with the "finished at" LSN of its context.
pub fn keep(worker: SubscriptionWorker, reported: &Reported) {
    if !reported.is_failure() {
        return;
    }
    let Some(reports) = place(worker.subscription) else { return };
    let is_apply = worker.table.is_none();
    if !reported.is_counted(is_apply) {
        reports.failures.of(is_apply, reported.source()).fetch_add(1, Ordering::Relaxed);
    }
    let mut text = Text::new();
    if reported.source() != Source::Connection {
        reported.write_place(is_apply, |piece| text.push(piece));
    } else if !is_apply {
        text.push(b": ");
    }
    reported.write(|piece| text.push(piece));
    let header = Header {
        subscription: worker.subscription,
        table: worker.table.unwrap_or(0),
        is_connection: reported.source() == Source::Connection,
        finished_at: last_lsn(reported.context),
    };
    match worker.table {
        None => drop(reports.last[0].write(&header, text.bytes())),
        Some(table) => reports.write_of_table(table, &header, text.bytes()),
    }
}

/// Keeps a WARNING of an apply worker that found no worker to copy a table.
pub fn keep_shortage(worker: SubscriptionWorker, template: &[u8]) {
    let Some(setting) = SHORTAGES.iter().position(|(text, _)| *text == template) else { return };
    let Some(reports) = place(worker.subscription) else { return };
    reports.shortage.setting.store(setting as u64, Ordering::Relaxed);
    reports.shortage.at.store(now(), Ordering::Relaxed);
}

/// Keeps why the watcher cannot reach a publisher, if the owner may learn it. `None` once it can.
pub fn keep_cause(subscription: Oid, cause: Option<&str>) {
    let subscription = subscription.to_u32();
    let reports = if cause.is_some() { place(subscription) } else { find(subscription) };
    let Some(reports) = reports else { return };
    let header = Header { subscription, table: 0, is_connection: true, finished_at: None };
    reports.watcher.write(&header, cause.unwrap_or_default().as_bytes());
}

/// The setting that limits the workers, if the apply worker found none to copy a table just now.
pub fn shortage(subscription: Oid) -> Option<&'static str> {
    let Shortage { at, setting } = &find(subscription.to_u32())?.shortage;
    let at = at.load(Ordering::Relaxed);
    let is_recent = at != 0 && now().saturating_sub(at) <= RECENT;
    let (_, name) = SHORTAGES.get(setting.load(Ordering::Relaxed) as usize)?;
    is_recent.then_some(*name)
}

/// The failures that pg_stat_subscription_stats does not count: those with FATAL, and those before the
/// apply worker started streaming.
pub fn failures(subscription: Oid) -> Failures {
    let Some(reports) = find(subscription.to_u32()) else { return Failures::default() };
    let count = |counter: &AtomicU32| u64::from(counter.load(Ordering::Relaxed));
    let Counters { apply, sync, connection } = &reports.failures;
    Failures { apply: count(apply), sync: count(sync), connection: count(connection) }
}

impl Counters {
    fn of(&self, is_apply: bool, source: Source) -> &AtomicU32 {
        match (is_apply, source) {
            (true, Source::Connection) => &self.connection,
            (true, _) => &self.apply,
            (false, _) => &self.sync,
        }
    }
}

impl Reports {
    /// Writes to the table's record, a free one, or the oldest one.
    fn write_of_table(&self, table: u32, header: &Header, text: &[u8]) {
        let places = &self.last[1..];
        let own = |it: &&Record| it.table() == table;
        let age = |it: &&Record| it.at();
        let first = places.iter().find(own).or_else(|| places.iter().min_by_key(age));
        // Another worker may be writing to that record now.
        let is_written = first.is_some_and(|it| it.write(header, text));
        if !is_written {
            let _ = places.iter().any(|it| !it.is_used() && it.write(header, text));
        }
    }
}

/// A text put together without an allocation.
struct Text {
    bytes: [u8; LENGTH],
    length: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; LENGTH], length: 0 }
    }

    fn push(&mut self, piece: &[u8]) {
        let length = piece.len().min(LENGTH - self.length);
        self.bytes[self.length..][..length].copy_from_slice(&piece[..length]);
        self.length += length;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The text around the LSN is translated, so the last word that looks like an LSN is taken.
fn last_lsn(context: &[u8]) -> Option<Lsn> {
    let context = std::str::from_utf8(context).ok()?;
    context
        .split(|c: char| !(c.is_ascii_hexdigit() || c == '/'))
        .filter_map(|word| word.parse().ok())
        .next_back()
}
