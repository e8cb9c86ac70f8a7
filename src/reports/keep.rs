//! Keeps what workers report, as they report it to the server log: the last error of the apply worker, and
//! of each table that is copied, as far as there is room. Neither locks nor allocates.

use std::sync::atomic::{AtomicU32, Ordering};

use pgmig_core::error_text::{Reported, Source};
use pgmig_core::lag::{Micros, SECOND};
use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use super::memory::{Counters, Reports, Shortage, find, place};
use super::record::{Header, LENGTH, Record};
use crate::ffi::activity::SubscriptionWorker;
use crate::ffi::wait::monotonic_micros as now;

/// What the server says when it can't start a worker (launcher.c, 13 to 18), and the setting to raise.
const SHORTAGES: [(&[u8], &str); 2] = [
    (b"out of logical replication worker slots", "max_logical_replication_workers"),
    (b"out of background worker slots", "max_worker_processes"),
];
/// How long ago a shortage still counts. An apply worker tries again every
/// wal_retrieve_retry_interval.
const RECENT: Micros = 30 * SECOND;

/// How often a subscription's workers failed since the server was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    pub apply: u64,
    pub sync: u64,
    /// Of the apply worker to connect: it says no more than that the publisher can't be reached.
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
        table: worker.table.unwrap_or(0),
        is_connection: reported.source() == Source::Connection,
        finished_at: last_lsn(reported.context),
    };
    match worker.table {
        None => drop(reports.last[0].write(&header, text.bytes())),
        Some(table) => reports.write_of_table(table, &header, text.bytes()),
    }
}

/// Keeps that an apply worker found no worker to copy tables with, if that is what it warns of.
pub fn keep_shortage(worker: SubscriptionWorker, template: &[u8]) {
    let Some(setting) = SHORTAGES.iter().position(|(text, _)| *text == template) else { return };
    let Some(reports) = place(worker.subscription) else { return };
    reports.shortage.setting.store(setting as u64, Ordering::Relaxed);
    reports.shortage.at.store(now(), Ordering::Relaxed);
}

/// Keeps why the watcher can't reach a publisher whose host may be known: `None` once it can.
pub fn keep_cause(subscription: Oid, cause: Option<&str>) {
    let subscription = subscription.to_u32();
    let reports = if cause.is_some() { place(subscription) } else { find(subscription) };
    let Some(reports) = reports else { return };
    let header = Header { table: 0, is_connection: true, finished_at: None };
    reports.watcher.write(&header, cause.unwrap_or_default().as_bytes());
}

/// The setting that keeps a subscription's tables from being copied: its apply worker said so just now.
pub fn shortage(subscription: Oid) -> Option<&'static str> {
    let Shortage { at, setting } = &find(subscription.to_u32())?.shortage;
    let at = at.load(Ordering::Relaxed);
    let is_recent = at != 0 && now().saturating_sub(at) <= RECENT;
    let (_, name) = SHORTAGES.get(setting.load(Ordering::Relaxed) as usize)?;
    is_recent.then_some(*name)
}

/// The failures that pg_stat_subscription_stats does not count: those by a FATAL, or before the apply
/// worker began to stream.
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
    /// In the table's own place, or a free one, or that of the oldest report.
    fn write_of_table(&self, table: u32, header: &Header, text: &[u8]) {
        let places = &self.last[1..];
        let own = |it: &&Record| it.table() == table;
        let age = |it: &&Record| it.at();
        let first = places.iter().find(own).or_else(|| places.iter().min_by_key(age));
        // Another worker may be writing there just now.
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

/// The text around it is translated, so: the last thing that looks like an LSN.
fn last_lsn(context: &[u8]) -> Option<Lsn> {
    let context = std::str::from_utf8(context).ok()?;
    context
        .split(|c: char| !(c.is_ascii_hexdigit() || c == '/'))
        .filter_map(|word| word.parse().ok())
        .next_back()
}
