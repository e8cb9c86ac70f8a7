//! The simulated publisher: WAL, the rows in it, and one slot with its walsender.

use super::super::observation::{Name, Publications, Publisher, Slot, Source, Walsender};
use super::super::wait::SenderWait;
use super::{Micros, SECOND, STEP};
use crate::lsn::Lsn;

/// Where the WAL of a new server begins.
const START: Lsn = Lsn(1_000_000);

/// A committed row. `work`: the time it takes to apply.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub lsn: Lsn,
    pub at: Micros,
    pub work: Micros,
    /// Written while it was not published.
    pub skipped: bool,
}

pub struct Server {
    pub up: bool,
    pub source: Source,
    pub started: Micros,
    pub flush: Lsn,
    pub rows: Vec<Row>,
    pub oldest_xid: u64,
    pub spilled: u64,
    /// `None` if the slot was dropped.
    pub confirmed: Option<Lsn>,
    /// The value that survives a crash.
    pub confirmed_on_disk: Lsn,
    pub invalidated: bool,
    pub sender: Option<Sender>,
    /// When the walsender of another subscriber started. It takes every change at once.
    pub other: Option<Micros>,
    pub publications: Publications,
    /// Whether the table is in the publication.
    pub published: bool,
    /// Bytes of WAL that are decoded per second.
    pub decodes: u64,
}

pub struct Sender {
    pub started: Micros,
    pub begins: Lsn,
    pub sent: Lsn,
    /// Until then, it reads again what it has sent before.
    pub rereads: Micros,
}

impl Server {
    pub fn new() -> Self {
        Self {
            up: true,
            source: Source { system_identifier: 42, timeline: 1 },
            started: 0,
            flush: START,
            rows: vec![],
            oldest_xid: 700,
            spilled: 0,
            confirmed: Some(START),
            confirmed_on_disk: START,
            invalidated: false,
            sender: None,
            other: None,
            publications: Publications { list: 1, missing: None, newest: 16_400 },
            published: true,
            decodes: 100_000_000,
        }
    }

    /// Writes WAL without a row for the subscriber: of another database, of an open transaction, or
    /// background WAL.
    pub fn write(&mut self, bytes: u64) {
        if self.up {
            self.flush += bytes;
        }
    }

    pub fn commit(&mut self, bytes: u64, work: Micros, at: Micros) {
        if self.up {
            self.flush += bytes;
            self.oldest_xid += 1;
            let skipped = self.publications.missing.is_some() || !self.published;
            self.rows.push(Row { lsn: self.flush, at, work, skipped });
        }
    }

    pub fn drop_publication(&mut self) {
        self.publications.missing = Some(Name::of("move"));
    }

    pub fn create_publication(&mut self) {
        self.publications = Publications {
            missing: None,
            newest: self.publications.newest + 1,
            ..self.publications
        };
    }

    pub fn crash(&mut self) {
        self.up = false;
        (self.sender, self.other) = (None, None);
        self.confirmed = self.confirmed.map(|_| self.confirmed_on_disk);
    }

    pub fn start(&mut self, now: Micros) {
        (self.up, self.started) = (true, now);
        self.write(200);
    }

    /// As if restored from a backup, or after a crash without fsync.
    pub fn go_back(&mut self, lsn: Lsn) {
        self.flush = lsn;
        self.rows.retain(|row| row.lsn <= lsn);
        self.confirmed_on_disk = self.confirmed_on_disk.min(lsn);
        self.confirmed = self.confirmed.map(|confirmed| confirmed.min(lsn));
    }

    pub fn connect(&mut self, origin: Lsn, now: Micros, rereads: Micros) -> bool {
        let is_free = self.up && !self.invalidated && self.other.is_none();
        let Some(confirmed) = self.confirmed.filter(|_| is_free) else { return false };
        let begins = confirmed.max(origin);
        let sender = Sender { started: now, begins, sent: confirmed, rereads: now + rereads };
        self.sender = Some(sender);
        true
    }

    /// What the walsender sends within a step: rows, and the LSN up to which it has read.
    pub fn send(&mut self, now: Micros) -> Option<(Vec<Row>, Lsn)> {
        let sender = self.sender.as_mut().filter(|sender| sender.rereads <= now)?;
        let until = self.flush.min(sender.sent + self.decodes * STEP / SECOND).max(sender.sent);
        let first = self.rows.partition_point(|row| row.lsn <= sender.sent.max(sender.begins));
        let rows = self.rows[first..].iter().take_while(|row| row.lsn <= until);
        let rows = rows.filter(|row| !row.skipped).copied().collect();
        sender.sent = until;
        Some((rows, until))
    }

    pub fn show(&self, now: Micros) -> Publisher {
        Publisher {
            asked: now,
            answered: now,
            source: self.source,
            started: self.started as i64,
            major: 18,
            uptime: now - self.started,
            flush_lsn: self.flush,
            insert_lsn: self.flush,
            oldest_xid: self.oldest_xid,
            slot: self.confirmed.map(|confirmed| Slot {
                confirmed_flush: Some(confirmed),
                restart_lsn: Some(confirmed),
                invalidated: self.invalidated,
                safe_wal_size: None,
                spill_bytes: Some(self.spilled),
                walsender: self.show_sender(now),
            }),
            publications: self.publications,
        }
    }

    fn show_sender(&self, now: Micros) -> Option<Walsender> {
        let shown = |started: Micros, decoding| Walsender {
            pid: 4712,
            started: started as i64,
            wait: if decoding { SenderWait::Decoding } else { SenderWait::Client },
            sent_lsn: None,
            replay_lsn: None,
        };
        let own = self
            .sender
            .as_ref()
            .map(|sender| shown(sender.started, sender.rereads > now || sender.sent < self.flush));
        own.or_else(|| self.other.map(|started| shown(started, false)))
    }
}
