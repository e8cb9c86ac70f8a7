//! The last error of each subscription's workers, in their own words, as they report it to the
//! server log.
//!
//! A report can be made at any point, also while memory or locks are short: so this is written with
//! atomics only, without a lock or an allocation. A reader that meets a write tries again.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use pgmig_core::error_text;
use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use super::shared;

/// Longer messages are cut, in bytes.
const LENGTH: usize = 400;

/// Zero is a free place. The first worker that fails takes one for its subscription.
#[repr(C)]
pub struct Report {
    subscription: AtomicU32,
    /// Odd while somebody writes.
    version: AtomicU32,
    finished_at: AtomicU64,
    length: AtomicU64,
    text: [AtomicU8; LENGTH],
}

/// A report of a worker, as ErrorData has it.
pub struct Reported<'a> {
    pub sqlstate: i32,
    pub message: &'a [u8],
    /// The message's format, as it stands in the source: without values and not translated.
    pub template: &'a [u8],
    /// Whose messages these are: the server's, or those of a procedural language.
    pub domain: &'a [u8],
    pub context: &'a [u8],
}

/// Keeps what a worker of `subscription` reports, with the "finished at" LSN of its context.
pub fn keep(subscription: u32, reported: &Reported) {
    let mut text = Text::new();
    error_text::write(
        reported.sqlstate,
        reported.message,
        reported.template,
        reported.domain,
        |piece| text.push(piece),
    );
    let Some(reports) = shared::reports() else { return };
    let own = |report: &&Report| report.subscription.load(Ordering::Acquire) == subscription;
    let take = |report: &&Report| {
        let free = report.subscription.compare_exchange(
            0,
            subscription,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        free.is_ok()
    };
    if let Some(report) = reports.iter().find(own).or_else(|| reports.iter().find(take)) {
        report.write(text.bytes(), last_lsn(reported.context));
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

impl Report {
    fn write(&self, message: &[u8], finished_at: Option<Lsn>) {
        let version = self.version.load(Ordering::Acquire);
        let busy = !version.is_multiple_of(2);
        if busy
            || self
                .version
                .compare_exchange(
                    version,
                    version.wrapping_add(1),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_err()
        {
            return; // another worker of the subscription is reporting just now
        }
        // What is written below must not be seen before the odd version is.
        fence(Ordering::Release);
        let length = message.len().min(LENGTH);
        for (to, from) in self.text.iter().zip(&message[..length]) {
            to.store(*from, Ordering::Relaxed);
        }
        self.length.store(length as u64, Ordering::Relaxed);
        self.finished_at.store(finished_at.map_or(0, |lsn| lsn.0), Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn read(&self) -> Option<String> {
        for _ in 0..100 {
            let before = self.version.load(Ordering::Acquire);
            let length = self.length.load(Ordering::Relaxed).min(LENGTH as u64) as usize;
            let bytes: Vec<u8> =
                self.text[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            let lsn = self.finished_at.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.version.load(Ordering::Relaxed) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return match (length, lsn) {
                    (0, _) => None,
                    (_, 0) => Some(text),
                    (_, lsn) => Some(format!("{text} (finished at {})", Lsn(lsn))),
                };
            }
        }
        None
    }

    /// Gives the place back if its subscription is gone: empty, since the next one may be seen by
    /// others.
    pub fn keep_only(&self, exists: impl Fn(Oid) -> bool) {
        let subscription = self.subscription.load(Ordering::Acquire);
        if subscription != 0 && !exists(Oid::from(subscription)) {
            self.write(b"", None);
            self.subscription.store(0, Ordering::Release);
        }
    }
}

pub fn last(subscription: Oid) -> Option<String> {
    let wanted = subscription.to_u32();
    let own = |report: &&Report| report.subscription.load(Ordering::Acquire) == wanted;
    shared::reports()?.iter().find(own)?.read()
}

/// The text around it is translated, so: the last thing that looks like an LSN.
fn last_lsn(context: &[u8]) -> Option<Lsn> {
    let context = std::str::from_utf8(context).ok()?;
    context
        .split(|c: char| !(c.is_ascii_hexdigit() || c == '/'))
        .filter_map(|word| word.parse().ok())
        .next_back()
}
