//! How long nothing has been applied, and which errors occurred meanwhile. Time during which the
//! publisher was unreachable does not count. Errors of that time do not count either, because a
//! lost connection is an error too.

use super::Micros;
use super::observation::{Errors, Observation, Tables, Worker};
use super::reachability::SinceAnswer;
use super::wait::{SenderWait, WorkerWait};
use crate::lsn::Lsn;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    applied: Option<Lsn>,
    tables: Tables,
    counters: Option<Errors>,
    /// Time since applied_lsn last changed while something was pending.
    pub without_progress: Micros,
    /// Time for which the worker has been waiting for a lock.
    pub lock_wait: Micros,
    /// Time during which no worker received messages.
    pub without_worker: Micros,
    /// Time during which the worker has been the same process.
    pub same_worker: Micros,
    /// Time during which tables waited to be copied and no table synchronization worker ran.
    pub without_sync_worker: Micros,
    /// Errors of the apply worker since applied_lsn last changed.
    pub apply_failures: u64,
    /// Errors of table copies since a table last became ready.
    pub sync_failures: u64,
    worker: Option<i32>,
}

impl Progress {
    pub const fn new() -> Self {
        Self {
            applied: None,
            tables: Tables::NONE,
            counters: None,
            without_progress: 0,
            lock_wait: 0,
            without_worker: 0,
            same_worker: 0,
            without_sync_worker: 0,
            apply_failures: 0,
            sync_failures: 0,
            worker: None,
        }
    }

    /// The server's counters at the last observation.
    pub fn counters(&self) -> Errors {
        self.counters.unwrap_or_default()
    }

    pub fn observe(
        &mut self,
        observation: &Observation,
        since: &SinceAnswer,
        applied: Option<Lsn>,
        pending: Option<u64>,
        sender: Option<SenderWait>,
    ) {
        let new = self.count(&observation.subscriber.errors);
        let counted = if since.uninterrupted { new } else { Errors::default() };
        let moved = applied != self.applied;
        let tables = Tables { compared: None, ..observation.subscriber.tables };
        let copied = tables != self.tables;
        let worker = observation.subscriber.worker;
        let locked = worker.is_some_and(|worker| worker.wait == WorkerWait::Lock);

        let waits = pending != Some(0);
        add_while(&mut self.without_progress, !moved && waits, since.elapsed);
        add_while(&mut self.lock_wait, locked, since.elapsed);
        add_while(&mut self.without_worker, is_absent(worker, sender), since.elapsed);
        let pid = worker.map(|worker| worker.pid);
        add_while(&mut self.same_worker, pid.is_some() && pid == self.worker, since.elapsed);
        self.worker = pid;
        let waiting =
            observation.subscriber.tables.waiting > 0 && observation.subscriber.sync_workers == 0;
        add_while(&mut self.without_sync_worker, waiting && !copied, since.elapsed);
        add_while(&mut self.apply_failures, !moved && pending != Some(0), counted.apply);
        add_while(&mut self.sync_failures, !copied, counted.sync);
        (self.applied, self.tables) = (applied, tables);
    }

    /// The errors since the last observation. The first observation has none: its counters are the
    /// starting point. A counter that fell was reset.
    fn count(&mut self, counters: &Errors) -> Errors {
        let before = self.counters.replace(*counters).unwrap_or(*counters);
        let grown = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
        Errors {
            apply: grown(before.apply, counters.apply),
            sync: grown(before.sync, counters.sync),
            conflicts: None,
        }
    }
}

/// Adds `more` while a condition holds, and starts again from 0 when it does not.
fn add_while(counter: &mut u64, condition: bool, more: u64) {
    *counter = if condition { *counter + more } else { 0 };
}

/// A worker that fails to connect appears now and then but never receives a message. One whose
/// walsender is still decoding will receive one.
fn is_absent(worker: Option<Worker>, sender: Option<SenderWait>) -> bool {
    let decoding = sender == Some(SenderWait::Decoding);
    worker.is_none_or(|worker| worker.last_message_age.is_none() && !decoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{Answer, Subscriber};

    struct Case {
        progress: Progress,
        worker: Option<Worker>,
        errors: Errors,
        ready: u32,
        pending: u64,
        sender: Option<SenderWait>,
    }

    impl Case {
        fn new() -> Self {
            let mut case = Self {
                progress: Progress::new(),
                worker: Some(worker(WorkerWait::Messages, Some(0))),
                errors: Errors::default(),
                ready: 1,
                pending: 100,
                sender: Some(SenderWait::Client),
            };
            case.observation(1, true);
            case
        }

        /// An observation 10 after the last one, with everything up to `applied` applied.
        fn observation(&mut self, applied: u64, uninterrupted: bool) {
            let subscriber = Subscriber {
                enabled: true,
                slot: Some("move"),
                received: None,
                worker: self.worker,
                origin: None,
                tables: Tables { ready: self.ready, subscribed: 3, ..Tables::NONE },
                sync_workers: 0,
                shortage: None,
                errors: self.errors,
            };
            let observation = Observation { at: 0, publisher: Answer::Pending, subscriber };
            let since = SinceAnswer {
                uninterrupted,
                elapsed: if uninterrupted { 10 } else { 0 },
                restart: None,
            };
            let (applied, pending) = (Some(Lsn(applied)), Some(self.pending));
            self.progress.observe(&observation, &since, applied, pending, self.sender);
        }
    }

    fn worker(wait: WorkerWait, last_message_age: Option<Micros>) -> Worker {
        Worker { pid: 7, wait, blocked_by: None, last_message_age }
    }

    #[test]
    fn time_without_progress_adds_up_except_while_the_publisher_is_unreachable() {
        let mut case = Case::new();
        for (applied, uninterrupted, without_progress) in [
            (1, true, 10),
            (1, true, 20),
            (1, false, 20),
            (1, true, 30),
            (2, true, 0),
            (1, true, 0),
        ] {
            case.observation(applied, uninterrupted);
            assert_eq!(case.progress.without_progress, without_progress);
        }
    }

    #[test]
    fn errors_add_up_until_something_is_applied_except_those_of_a_lost_connection() {
        let mut case = Case::new();
        for (errors, applied, uninterrupted, failures) in
            [(1, 1, true, 1), (2, 1, false, 1), (4, 1, true, 3), (5, 2, true, 0), (5, 2, true, 0)]
        {
            case.errors.apply = errors;
            case.observation(applied, uninterrupted);
            assert_eq!(case.progress.apply_failures, failures);
        }
        assert_eq!(case.progress.counters().apply, 5);
    }

    #[test]
    fn an_error_is_over_when_nothing_is_pending() {
        let mut case = Case::new();
        for (errors, pending, failures) in [(1, 100, 1), (2, 0, 0), (3, 100, 1)] {
            (case.errors.apply, case.pending) = (errors, pending);
            case.observation(1, true);
            assert_eq!(case.progress.apply_failures, failures);
        }
    }

    #[test]
    fn copy_errors_add_up_until_a_table_is_ready() {
        let mut case = Case::new();
        for (errors, ready, failures) in [(1, 1, 1), (2, 1, 2), (3, 2, 0), (4, 2, 1)] {
            (case.errors.sync, case.ready) = (errors, ready);
            case.observation(1, true);
            assert_eq!(case.progress.sync_failures, failures);
        }
    }

    #[test]
    fn errors_from_before_watching_or_before_a_reset_do_not_count() {
        let mut case = Case::new();
        case.progress = Progress::new();
        let mut counted = (0, 0);
        for (apply, sync, total) in [(100, 50, (0, 0)), (103, 51, (3, 1)), (2, 0, (5, 1))] {
            let new = case.progress.count(&Errors { apply, sync, conflicts: None });
            counted = (counted.0 + new.apply, counted.1 + new.sync);
            assert_eq!(counted, total);
        }
    }

    #[test]
    fn the_wait_for_a_lock_is_measured() {
        let mut case = Case::new();
        for (wait, locked) in
            [(WorkerWait::Lock, 10), (WorkerWait::Lock, 20), (WorkerWait::Working, 0)]
        {
            case.worker = Some(worker(wait, Some(0)));
            case.observation(1, true);
            assert_eq!(case.progress.lock_wait, locked);
        }
    }

    #[test]
    fn a_worker_without_messages_counts_as_absent_unless_its_walsender_decodes() {
        let mut case = Case::new();
        let connecting = Some(worker(WorkerWait::Working, None));
        let (client, decoding) = (Some(SenderWait::Client), Some(SenderWait::Decoding));
        for (worker, sender, without_worker) in [
            (None, None, 10),
            (connecting, None, 20),
            (None, decoding, 30),
            (connecting, client, 40),
            (connecting, decoding, 0),
        ] {
            (case.worker, case.sender) = (worker, sender);
            case.observation(1, true);
            assert_eq!(case.progress.without_worker, without_worker);
        }
    }
}
