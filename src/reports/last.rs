//! The last errors of each subscription's workers, in their own words, as they report them to the
//! server log: one of the apply worker, one of each table that is copied, as far as there is room.
//!
//! A report can be made at any point, also while memory or locks are short: so this is written with
//! atomics only, without a lock or an allocation. A reader that meets a write tries again.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use pgmig_core::error_text::{Reported, Source, VALUE};
use pgmig_core::lag::{Micros, SECOND};
use pgmig_core::limits;
use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use crate::conninfo;
use crate::ffi::activity::SubscriptionWorker;
use crate::ffi::encoding;
use crate::ffi::subscription::{self as catalog, SubscriptionRow};
use crate::ffi::wait::monotonic_micros as now;
use crate::ffi::{database, relation};
use crate::watcher::shared;

/// Longer messages are cut, in bytes.
const LENGTH: usize = 400;
/// Of the apply worker, and of tables that are copied: core copies two at a time by default
/// (max_sync_workers_per_subscription).
const PLACES: usize = 5;

const UNREADABLE: &str = "an error that is in this server's log";

/// What is known of one subscription's failures. Zero is a free place. The first worker that fails
/// takes one for its subscription.
#[repr(C)]
pub struct Reports {
    subscription: AtomicU32,
    failures: Counters,
    shortage: Shortage,
    /// The first is the apply worker's.
    last: [Report; PLACES],
    /// Why the watcher can't reach the publisher, where that may be told.
    watcher: Report,
}

/// Failures that pg_stat_subscription_stats does not count.
#[repr(C)]
struct Counters {
    apply: AtomicU32,
    sync: AtomicU32,
    connection: AtomicU32,
}

/// When there was no worker to copy a table with, last.
#[repr(C)]
struct Shortage {
    at: AtomicU64,
    setting: AtomicU64,
}

/// What the server says when it can't start a worker (launcher.c, 13 to 18), and the setting to raise.
const SHORTAGES: [(&[u8], &str); 2] = [
    (b"out of logical replication worker slots", "max_logical_replication_workers"),
    (b"out of background worker slots", "max_worker_processes"),
];
/// How long ago a shortage still counts. An apply worker tries again every
/// wal_retrieve_retry_interval.
const RECENT: Micros = 30 * SECOND;

/// The same as numbers, since the server was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    pub apply: u64,
    pub sync: u64,
    /// Of the apply worker to connect: it says no more than that the publisher can't be reached.
    pub connection: u64,
}

#[repr(C)]
struct Report {
    /// Odd while somebody writes.
    version: AtomicU32,
    /// Which table was copied; zero for others.
    table: AtomicU32,
    encoding: AtomicU32,
    is_connection: AtomicU32,
    /// When it was made.
    at: AtomicU64,
    finished_at: AtomicU64,
    length: AtomicU64,
    text: [AtomicU8; LENGTH],
}

/// A report as it was found.
struct Found {
    table: u32,
    encoding: encoding::Encoding,
    is_connection: bool,
    finished_at: Lsn,
    text: Vec<u8>,
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

/// The setting that keeps a subscription's tables from being copied: its apply worker said so just now.
pub fn shortage(subscription: Oid) -> Option<&'static str> {
    let Shortage { at, setting } = &find(subscription.to_u32())?.shortage;
    let at = at.load(Ordering::Relaxed);
    let is_recent = at != 0 && now().saturating_sub(at) <= RECENT;
    let (_, name) = SHORTAGES.get(setting.load(Ordering::Relaxed) as usize)?;
    is_recent.then_some(*name)
}

/// Keeps why the watcher can't reach a publisher whose host may be known: `None` once it can.
pub fn keep_cause(subscription: Oid, cause: Option<&str>) {
    let subscription = subscription.to_u32();
    let reports = if cause.is_some() { place(subscription) } else { find(subscription) };
    let Some(reports) = reports else { return };
    let header = Header { table: 0, is_connection: true, finished_at: None };
    reports.watcher.write(&header, cause.unwrap_or_default().as_bytes());
}

/// How often a subscription's workers failed in ways that pg_stat_subscription_stats does not count: by
/// a FATAL, or before the apply worker began to stream.
pub fn failures(subscription: Oid) -> Failures {
    let Some(reports) = find(subscription.to_u32()) else { return Failures::default() };
    let count = |counter: &AtomicU32| u64::from(counter.load(Ordering::Relaxed));
    let Counters { apply, sync, connection } = &reports.failures;
    Failures { apply: count(apply), sync: count(sync), connection: count(connection) }
}

/// The last errors, one a line.
pub fn last(subscription: Oid) -> Option<String> {
    let reports = find(subscription.to_u32())?;
    let row = SubscriptionRow::by_oid(subscription)?;
    let is_here = row.database() == database::my_database();
    let lines = reports.last.iter().filter_map(Report::read);
    let lines = lines.filter(|found| !is_here || !found.is_over(subscription));
    let lines = lines.map(|found| found.line(is_here, &row, &reports.watcher));
    let shortage = shortage(subscription).map(|setting| {
        format!("no worker is free to copy tables: raise \"{setting}\" and restart the server")
    });
    let lines: Vec<_> = lines.chain(shortage).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Whether `forget_over` may have something to do.
pub fn has_tables(subscription: Oid) -> bool {
    find(subscription.to_u32()).is_some_and(|it| it.last[1..].iter().any(Report::is_used))
}

/// Forgets errors of tables that are copied by now. In the subscription's database: others can't know.
pub fn forget_over(subscription: Oid) {
    let Some(reports) = find(subscription.to_u32()) else { return };
    for report in &reports.last[1..] {
        if report.read().is_some_and(|found| found.is_over(subscription)) {
            report.clear();
        }
    }
}

fn find(subscription: u32) -> Option<&'static Reports> {
    let own = |it: &&Reports| it.subscription.load(Ordering::Acquire) == subscription;
    shared::reports()?.iter().find(own)
}

/// The one of a subscription, or a free one that becomes its own.
fn place(subscription: u32) -> Option<&'static Reports> {
    let take = |it: &&Reports| {
        it.subscription
            .compare_exchange(0, subscription, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    };
    find(subscription).or_else(|| shared::reports()?.iter().find(take))
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
        let own = |it: &&Report| it.table.load(Ordering::Relaxed) == table;
        let age = |it: &&Report| it.at.load(Ordering::Relaxed);
        let first = places.iter().find(own).or_else(|| places.iter().min_by_key(age));
        // Another worker may be writing there just now.
        let is_written = first.is_some_and(|it| it.write(header, text));
        if !is_written {
            let _ = places.iter().any(|it| !it.is_used() && it.write(header, text));
        }
    }

    /// Gives the place back if its subscription is gone: empty, since the next one may be seen by
    /// others.
    pub fn keep_only(&self, exists: impl Fn(Oid) -> bool) {
        let subscription = self.subscription.load(Ordering::Acquire);
        if subscription != 0 && !exists(Oid::from(subscription)) {
            self.last.iter().chain([&self.watcher]).for_each(Report::clear);
            let Counters { apply, sync, connection } = &self.failures;
            [apply, sync, connection].into_iter().for_each(|it| it.store(0, Ordering::Relaxed));
            self.shortage.at.store(0, Ordering::Relaxed);
            self.subscription.store(0, Ordering::Release);
        }
    }
}

struct Header {
    table: u32,
    is_connection: bool,
    finished_at: Option<Lsn>,
}

impl Report {
    fn is_used(&self) -> bool {
        self.length.load(Ordering::Relaxed) > 0
    }

    fn clear(&self) {
        self.write(&Header { table: 0, is_connection: false, finished_at: None }, b"");
        self.at.store(0, Ordering::Relaxed);
    }

    /// False when another worker is writing here.
    fn write(&self, header: &Header, message: &[u8]) -> bool {
        let version = self.version.load(Ordering::Acquire);
        let odd = version.wrapping_add(1);
        let (write, seen) = (Ordering::AcqRel, Ordering::Acquire);
        let is_free = version.is_multiple_of(2)
            && self.version.compare_exchange(version, odd, write, seen).is_ok();
        if !is_free {
            return false;
        }
        // What is written below must not be seen before the odd version is.
        fence(Ordering::Release);
        let length = message.len().min(LENGTH);
        for (to, from) in self.text.iter().zip(&message[..length]) {
            to.store(*from, Ordering::Relaxed);
        }
        let encoding = encoding::of_this_database().unsigned_abs();
        self.table.store(header.table, Ordering::Relaxed);
        self.encoding.store(encoding, Ordering::Relaxed);
        self.is_connection.store(header.is_connection.into(), Ordering::Relaxed);
        self.at.store(now(), Ordering::Relaxed);
        self.length.store(length as u64, Ordering::Relaxed);
        self.finished_at.store(header.finished_at.map_or(0, |lsn| lsn.0), Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
        true
    }

    fn read(&self) -> Option<Found> {
        for _ in 0..100 {
            let before = self.version.load(Ordering::Acquire);
            let length = self.length.load(Ordering::Relaxed).min(LENGTH as u64) as usize;
            let text: Vec<u8> =
                self.text[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            let found = Found {
                table: self.table.load(Ordering::Relaxed),
                encoding: self.encoding.load(Ordering::Relaxed) as encoding::Encoding,
                is_connection: self.is_connection.load(Ordering::Relaxed) != 0,
                finished_at: Lsn(self.finished_at.load(Ordering::Relaxed)),
                text,
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.version.load(Ordering::Relaxed) {
                return (length > 0).then_some(found);
            }
        }
        None
    }
}

impl Found {
    /// Whether the table has been copied since, or is not subscribed any more. In the subscription's
    /// database.
    fn is_over(&self, subscription: Oid) -> bool {
        let is_due = |(table, state): &(Oid, char)| table.to_u32() == self.table && *state != 'r';
        self.table != 0 && !catalog::tables(subscription).iter().any(is_due)
    }

    fn line(&self, is_here: bool, row: &SubscriptionRow, watcher: &Report) -> String {
        let cause = watcher.read().filter(|_| self.is_connection);
        let mut line = match (self.table, self.table_name(is_here)) {
            (0, _) => String::new(),
            (_, Some(name)) => format!("table \"{name}\""),
            (oid, None) => format!("table with oid {oid}"),
        };
        match cause {
            Some(cause) => {
                line.push_str("could not connect to the publisher: ");
                line.push_str(&cause.shown(row));
            }
            None => line.push_str(&self.shown(row)),
        }
        if self.finished_at.0 != 0 {
            line.push_str(&format!(" (finished at {})", self.finished_at));
        }
        line
    }

    fn table_name(&self, is_here: bool) -> Option<String> {
        relation::relation_name(Oid::from(self.table)).filter(|_| is_here)
    }

    /// Without what its publisher must not have repeated, in one line.
    fn shown(&self, row: &SubscriptionRow) -> String {
        let text = encoding::as_utf8(&self.text, self.encoding);
        let text = text.replace(char::from(VALUE), "…");
        let stored = row.conninfo(limits::TEXT);
        // Without it nobody can tell what of the text is the password.
        let conninfo = stored.as_deref().and_then(conninfo::parse);
        conninfo.map_or_else(|| UNREADABLE.to_owned(), |conninfo| conninfo::shown(&text, &conninfo))
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
