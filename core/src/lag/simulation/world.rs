//! Both servers, the network between them, and the truth.

use super::publisher::Server;
use super::subscriber::Target;
use super::{Micros, SECOND, STEP};
use crate::lsn::Lsn;

/// The network between the publisher and both the subscriber and the watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Up,
    /// Packets vanish.
    Silent,
    /// Connections break and new ones are refused.
    Refused,
}

pub struct World {
    pub now: Micros,
    pub publisher: Server,
    pub subscriber: Target,
    pub network: Network,
    /// How long a new walsender reads again what was sent before.
    pub rereads: Micros,
    hole: Option<Hole>,
    /// When the first row was written that was skipped and will never arrive.
    passed_over: Option<Micros>,
    /// Positions of the publisher's WAL, each with the last time at which it was there.
    positions: Vec<(Lsn, Micros)>,
}

/// Rows committed after `since` at LSNs up to `until` count as applied, but never will be.
#[derive(Debug, Clone, Copy)]
struct Hole {
    since: Micros,
    until: Lsn,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: 100 * SECOND,
            publisher: Server::new(),
            subscriber: Target::new(),
            network: Network::Up,
            rereads: 0,
            hole: None,
            passed_over: None,
            positions: vec![],
        }
    }

    pub fn row(&mut self, bytes: u64, work: Micros) {
        self.publisher.commit(bytes, work, self.now);
    }

    /// The publisher crashes, and its disk has lost everything after `lsn`.
    pub fn go_back(&mut self, lsn: Lsn) {
        self.publisher.crash();
        self.publisher.go_back(lsn);
        self.hole = Some(Hole { since: self.now, until: self.subscriber.origin });
        self.publisher.source.timeline += 1;
        self.publisher.start(self.now);
    }

    /// Somebody creates the slot again, or advances it.
    pub fn move_slot(&mut self) {
        self.publisher.confirmed = Some(self.publisher.flush);
        self.pass_over();
    }

    /// From now on a row is on only one of the servers.
    pub fn lose_row(&mut self) {
        self.passed_over.get_or_insert(self.now);
    }

    /// Records the first row that the slot has passed and the subscriber does not have.
    fn pass_over(&mut self) {
        let here = self.subscriber.origin;
        let confirmed = self.publisher.confirmed.unwrap_or(Lsn::ZERO);
        let mut rows = self.publisher.rows.iter().filter(|row| row.lsn > here);
        let first = rows.find(|row| row.lsn <= confirmed).map(|row| row.at);
        self.passed_over = self.passed_over.or(first);
    }

    pub fn step(&mut self) {
        self.now += STEP;
        self.connect();
        if self.publisher.other.is_some() {
            self.move_slot();
        }
        if self.network == Network::Up
            && let Some((rows, until)) = self.publisher.send(self.now)
        {
            self.subscriber.take(rows, until);
        }
        let answer = self.subscriber.work(self.now);
        if let Some(lsn) = answer.filter(|_| self.network == Network::Up)
            && self.publisher.sender.is_some()
        {
            self.publisher.confirmed = self.publisher.confirmed.map(|old| old.max(lsn));
        }
        self.flush();
        self.note_position();
    }

    /// Ends the processes of a broken connection, and starts a worker when it is time.
    fn connect(&mut self) {
        let now = self.now;
        let reachable = self.publisher.up && self.network == Network::Up;
        let broken = !self.publisher.up || self.network == Network::Refused;
        let worker = self.subscriber.worker.is_some();
        if worker && (broken || (reachable && self.publisher.sender.is_none())) {
            self.subscriber.fail_worker(now);
        }
        let slotless = self.publisher.confirmed.is_none() || self.publisher.invalidated;
        if self.subscriber.worker.is_none() || broken || slotless || !self.subscriber.enabled {
            self.publisher.sender = None;
        }
        if !self.subscriber.enabled {
            self.subscriber.worker = None;
        } else if self.subscriber.worker.is_none() && now >= self.subscriber.restarts {
            let origin = self.subscriber.origin;
            if reachable && self.publisher.connect(origin, now, self.rereads) {
                self.subscriber.start_worker(now);
            } else if reachable && self.publisher.other.is_some() {
                self.subscriber.start_worker(now);
                self.subscriber.fail_worker(now);
            } else {
                self.subscriber.stop_worker(now);
            }
        }
    }

    /// Both servers flush in the background.
    fn flush(&mut self) {
        if self.now.is_multiple_of(SECOND / 5) {
            self.subscriber.durable = self.subscriber.origin;
        }
        if self.now.is_multiple_of(20 * SECOND)
            && let Some(confirmed) = self.publisher.confirmed
        {
            self.publisher.confirmed_on_disk = confirmed;
        }
    }

    fn note_position(&mut self) {
        let here = (self.publisher.flush, self.now);
        while self.positions.last().is_some_and(|(lsn, _)| *lsn > here.0) {
            self.positions.pop();
        }
        match self.positions.last_mut() {
            Some(last) if last.0 == here.0 => *last = here,
            _ => self.positions.push(here),
        }
    }

    /// The age of the oldest WAL that the worker has not received or reported.
    pub fn unseen(&self) -> Micros {
        let beyond = self.positions.partition_point(|(lsn, _)| *lsn <= self.subscriber.seen);
        match self.positions.get(beyond) {
            Some(_) => self.now - self.positions[..beyond].last().map_or(0, |(_, at)| *at),
            None => 0,
        }
    }

    /// The number of rows that are applied.
    pub fn applied(&self) -> usize {
        self.publisher.rows.partition_point(|row| row.lsn <= self.subscriber.origin)
    }

    /// The age of the oldest row that is missing.
    pub fn truth(&self) -> Micros {
        let rows = &self.publisher.rows;
        let skipped = self
            .hole
            .and_then(|hole| rows.iter().find(|row| row.at > hole.since && row.lsn <= hole.until));
        let unpublished = rows.iter().find(|row| row.skipped);
        let missing = skipped.into_iter().chain(unpublished).chain(rows.get(self.applied()));
        let oldest = missing.map(|row| row.at).chain(self.passed_over).min();
        oldest.map_or(0, |at| self.now - at)
    }
}
