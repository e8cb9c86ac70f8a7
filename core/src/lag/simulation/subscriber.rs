//! The simulated subscriber with its apply worker. The worker takes one message after the other,
//! and reports back when it has none left.

use std::collections::VecDeque;

use super::super::observation::{Compared, Errors, Received, Subscriber, Tables, Worker};
use super::super::wait::WorkerWait;
use super::publisher::Row;
use super::{Micros, SECOND, STEP};
use crate::lsn::Lsn;

pub struct Target {
    pub enabled: bool,
    pub tables: Tables,
    pub worker: Option<Apply>,
    /// When the launcher starts the next worker.
    pub restarts: Micros,
    pub errors: Errors,
    /// The LSN of the last row here, and of the last row that survives a crash.
    pub origin: Lsn,
    pub durable: Lsn,
    /// All WAL up to here was received, and its rows are here.
    pub seen: Lsn,
    /// Another session holds a lock that the worker needs for its next row.
    pub locked: bool,
    /// The next row cannot be applied.
    pub fails: bool,
    /// The messages of a large row arrive slowly, so the worker waits for messages in between.
    pub trickles: bool,
    /// How long the worker goes without reporting back: as long as it has messages or, with
    /// wal_receiver_status_interval = 0, until the walsender asks.
    pub answers: Micros,
    pids: i32,
}

pub struct Apply {
    pub pid: i32,
    pub received: Lsn,
    pub queue: VecDeque<Message>,
    /// The work that is left for the first message.
    left: Option<Micros>,
    heard: Option<Micros>,
    answered: Micros,
    waits: bool,
}

pub enum Message {
    Change(Row),
    Keepalive(Lsn),
}

impl Target {
    pub fn new() -> Self {
        Self {
            enabled: true,
            tables: Tables {
                ready: 3,
                subscribed: 3,
                compared: Some(Compared::default()),
                ..Tables::NONE
            },
            worker: None,
            restarts: 0,
            errors: Errors::default(),
            origin: Lsn::ZERO,
            durable: Lsn::ZERO,
            seen: Lsn::ZERO,
            locked: false,
            fails: false,
            trickles: false,
            answers: 0,
            pids: 100,
        }
    }

    pub fn start_worker(&mut self, now: Micros) {
        self.pids += 1;
        self.worker = Some(Apply {
            pid: self.pids,
            received: Lsn::ZERO,
            queue: VecDeque::new(),
            left: None,
            heard: None,
            answered: now,
            waits: false,
        });
    }

    /// The launcher tries again after wal_retrieve_retry_interval.
    pub fn stop_worker(&mut self, now: Micros) {
        self.worker = None;
        self.restarts = now + 5 * SECOND;
    }

    pub fn fail_worker(&mut self, now: Micros) {
        if self.worker.is_some() {
            self.errors.apply += 1;
        }
        self.stop_worker(now);
    }

    /// Loses what was not flushed.
    pub fn crash(&mut self, now: Micros) {
        self.origin = self.durable;
        self.seen = self.seen.min(self.durable);
        self.stop_worker(now);
    }

    pub fn take(&mut self, rows: Vec<Row>, until: Lsn) {
        let Some(worker) = &mut self.worker else { return };
        worker.queue.extend(rows.into_iter().map(Message::Change));
        worker.queue.push_back(Message::Keepalive(until));
    }

    /// Works for one step. Returns the report to the publisher if there is one.
    pub fn work(&mut self, now: Micros) -> Option<Lsn> {
        let mut budget = STEP;
        while let Some(worker) = &mut self.worker {
            match worker.queue.front() {
                None => return self.answer(now),
                Some(&Message::Keepalive(lsn)) => {
                    worker.hear(lsn, now);
                    worker.queue.pop_front();
                    self.seen = self.seen.max(lsn);
                }
                Some(&Message::Change(row)) => {
                    // A row is one message, or many messages of which the commit is the last.
                    if worker.left.is_none() || !self.locked {
                        worker.hear(row.lsn.back(u64::from(self.trickles)), now);
                    }
                    self.seen = self.seen.max(row.lsn.back(1));
                    let left = *worker.left.get_or_insert(row.work);
                    worker.waits = self.trickles && left > budget && (now / STEP).is_multiple_of(2);
                    if self.fails {
                        self.fail_worker(now);
                        return None;
                    }
                    if self.locked || left > budget {
                        worker.left = Some(if self.locked { left } else { left - budget });
                        return None;
                    }
                    budget -= left;
                    worker.left = None;
                    worker.queue.pop_front();
                    worker.hear(row.lsn, now);
                    self.origin = row.lsn;
                    self.seen = self.seen.max(row.lsn);
                }
            }
        }
        None
    }

    fn answer(&mut self, now: Micros) -> Option<Lsn> {
        let worker = self.worker.as_mut()?;
        worker.waits = true;
        if now < worker.answered + self.answers {
            return None;
        }
        worker.answered = now;
        // Until everything is flushed here, report only what is.
        Some(if self.durable == self.origin { worker.received } else { self.durable })
    }

    pub fn received(&self) -> Option<Received> {
        let worker = self.worker.as_ref().filter(|worker| worker.received > Lsn::ZERO)?;
        Some(Received { pid: worker.pid, lsn: worker.received })
    }

    pub fn show(&self, received: Option<Received>, now: Micros) -> Subscriber<'static> {
        Subscriber {
            enabled: self.enabled,
            slot: Some("move"),
            received,
            worker: self.worker.as_ref().map(|worker| self.show_worker(worker, now)),
            origin: (self.origin > Lsn::ZERO).then_some(self.origin),
            tables: self.tables,
            sync_workers: 1,
            shortage: None,
            errors: self.errors,
        }
    }

    fn show_worker(&self, worker: &Apply, now: Micros) -> Worker {
        let at_a_row = matches!(worker.queue.front(), Some(Message::Change(_)));
        let wait = match () {
            () if self.locked && at_a_row => WorkerWait::Lock,
            () if worker.waits || worker.queue.is_empty() => WorkerWait::Messages,
            () => WorkerWait::Working,
        };
        Worker {
            pid: worker.pid,
            wait,
            blocked_by: (wait == WorkerWait::Lock).then_some(4711),
            last_message_age: worker.heard.map(|heard| now - heard),
        }
    }
}

impl Apply {
    fn hear(&mut self, lsn: Lsn, now: Micros) {
        self.received = self.received.max(lsn);
        self.heard = Some(now);
        self.waits = false;
    }
}
