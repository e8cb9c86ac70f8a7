//! The state of a subscription, and the reason for it.

use std::fmt;

use super::divergence::{Divergence, SlotCondition};
use super::estimate::Estimate;
use super::observation::{Name, Observation, Subscriber, Worker};
use super::progress::Progress;
use super::reason::{Cause, Reason};
use super::wait::{SenderWait, WorkerWait};
use super::{Micros, NOISE, Settings};

#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Unknown,
    Disabled,
    Copying,
    CatchingUp,
    Streaming,
    Stalled,
    Erroring,
    SlotLost,
    Unreachable,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Disabled => "disabled",
            Self::Copying => "copying",
            Self::CatchingUp => "catching_up",
            Self::Streaming => "streaming",
            Self::Stalled => "stalled",
            Self::Erroring => "erroring",
            Self::SlotLost => "slot_lost",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnosis {
    pub state: State,
    pub reason: Reason,
}

/// Everything that decides about the state after an observation.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub observation: &'a Observation<'a>,
    pub settings: &'a Settings,
    pub previous: State,
    pub answered: Option<Micros>,
    pub unreachable: bool,
    pub slot: SlotCondition,
    /// What the slot's walsender waits for; `None` if the slot has no walsender.
    pub sender: Option<SenderWait>,
    pub divergence: Option<Divergence>,
    /// The pid on the publisher of a walsender that serves another subscriber through this slot.
    pub other: Option<i32>,
    pub missing_publication: Option<Name>,
    pub progress: &'a Progress,
    pub estimate: &'a Estimate,
    pub pending: Option<u64>,
}

/// Returns the first state that applies. The order is from what does not recover by itself to what
/// is healthy.
pub fn diagnose(facts: &Facts) -> Diagnosis {
    facts
        .slot_in_use()
        .or_else(|| facts.diverged())
        .or_else(|| facts.slot_lost())
        .or_else(|| facts.disabled())
        .or_else(|| facts.unreachable())
        .or_else(|| facts.publication_missing())
        .or_else(|| facts.erroring())
        .or_else(|| facts.stalled())
        .or_else(|| facts.unpublished())
        .or_else(|| facts.copying())
        .or_else(|| facts.catching_up())
        .or_else(|| facts.unverified())
        .unwrap_or_else(|| facts.streaming())
}

fn diagnosis(state: State, reason: Reason) -> Option<Diagnosis> {
    Some(Diagnosis { state, reason })
}

impl Facts<'_> {
    fn slot_in_use(&self) -> Option<Diagnosis> {
        let by = self.other.filter(|_| self.observation.subscriber.enabled && !self.unreachable)?;
        diagnosis(State::Erroring, Reason::SlotInUse { by })
    }

    fn diverged(&self) -> Option<Diagnosis> {
        let divergence = self.divergence?;
        let state = match divergence {
            Divergence::SlotMoved { .. } => State::SlotLost,
            Divergence::WalWentBack { .. }
            | Divergence::PublicationRecreated
            | Divergence::TablesUnpublished { .. } => State::Unknown,
        };
        diagnosis(state, Reason::Diverged(divergence))
    }

    /// A disabled subscription that never had its slot is not an error: the slot is still to be
    /// created.
    fn slot_lost(&self) -> Option<Diagnosis> {
        let subscriber = &self.observation.subscriber;
        subscriber.slot?;
        match self.slot {
            SlotCondition::Invalidated => diagnosis(State::SlotLost, Reason::SlotInvalidated),
            SlotCondition::Missing { lost } if lost || subscriber.enabled => {
                diagnosis(State::SlotLost, Reason::SlotMissing)
            }
            _ => None,
        }
    }

    fn disabled(&self) -> Option<Diagnosis> {
        let errors = self.progress.apply_failures + self.progress.sync_failures;
        let disabled = !self.observation.subscriber.enabled;
        disabled
            .then_some(Diagnosis { state: State::Disabled, reason: Reason::Disabled { errors } })
    }

    fn unreachable(&self) -> Option<Diagnosis> {
        let reason = Reason::Unreachable { answered: self.answered };
        self.unreachable.then_some(Diagnosis { state: State::Unreachable, reason })
    }

    fn publication_missing(&self) -> Option<Diagnosis> {
        let name = self.missing_publication?;
        diagnosis(State::Erroring, Reason::PublicationMissing { name })
    }

    fn erroring(&self) -> Option<Diagnosis> {
        let Progress { apply_failures, sync_failures, .. } = *self.progress;
        if apply_failures >= 2 {
            diagnosis(State::Erroring, Reason::ApplyFails { errors: apply_failures })
        } else if sync_failures >= 2 {
            diagnosis(State::Erroring, Reason::CopyFails { errors: sync_failures })
        } else {
            None
        }
    }

    fn stalled(&self) -> Option<Diagnosis> {
        let cause = self.stall_cause()?;
        let Progress { without_progress, without_worker, without_sync_worker, .. } = *self.progress;
        let without_progress = match cause {
            Cause::NoSyncWorker { .. } => without_sync_worker,
            _ => without_progress.max(without_worker),
        };
        let since = self.observation.at.saturating_sub(without_progress);
        diagnosis(State::Stalled, Reason::Stalled { cause, since })
    }

    /// A missing worker or a lock is enough evidence. If the only evidence is that nothing arrives,
    /// more than [`NOISE`] must be pending and neither the worker nor the walsender may be busy.
    fn stall_cause(&self) -> Option<Cause> {
        let timeout = self.settings.stall_timeout;
        let pending = self.pending.unwrap_or(0);
        let shortage = self.observation.subscriber.shortage;
        if self.progress.without_worker >= timeout {
            return Some(Cause::NoWorker { shortage });
        }
        if self.progress.without_sync_worker >= timeout {
            return Some(Cause::NoSyncWorker { shortage });
        }
        if self.progress.without_progress < timeout || pending == 0 {
            return None;
        }
        let Some(worker) = self.observation.subscriber.worker else {
            return (pending > NOISE).then_some(Cause::NoWorker { shortage });
        };
        if worker.wait == WorkerWait::Lock {
            let by = worker.blocked_by;
            return (self.progress.lock_wait >= timeout).then_some(Cause::Lock { by });
        }
        (pending > NOISE && !self.is_busy(&worker)).then(|| self.silence())
    }

    /// After a reconnect the walsender reads again from restart_lsn. 11 s without a message were
    /// measured.
    fn is_busy(&self, worker: &Worker) -> bool {
        worker.last_message_age.is_some_and(|age| age < self.settings.stall_timeout)
            || !worker.wait.is_activity()
            || self.sender == Some(SenderWait::Decoding)
    }

    fn silence(&self) -> Cause {
        match self.sender {
            None => Cause::NoWalsender,
            Some(SenderWait::Standby) => Cause::Standby,
            Some(_) => Cause::Silence,
        }
    }

    fn unpublished(&self) -> Option<Diagnosis> {
        let tables = self.observation.subscriber.tables.unpublished();
        let reason = Reason::Unpublished { tables };
        (tables > 0).then_some(Diagnosis { state: State::Erroring, reason })
    }

    fn copying(&self) -> Option<Diagnosis> {
        let tables = self.observation.subscriber.tables;
        if tables.ready < tables.subscribed {
            return diagnosis(State::Copying, Reason::Copying(tables));
        }
        let tables = tables.compared.map_or(0, |compared| compared.unsubscribed);
        let reason = Reason::Unsubscribed { tables };
        (tables > 0).then_some(Diagnosis { state: State::Copying, reason })
    }

    fn catching_up(&self) -> Option<Diagnosis> {
        let Some(lag) = self.estimate.lag(self.observation.at) else {
            return diagnosis(State::Unknown, Reason::NoPosition);
        };
        let precision = self.estimate.precision();
        let reason = if self.observation.subscriber.worker.is_none() {
            Reason::NoWorker
        } else if lag.is_lower_bound {
            Reason::FreshWatcher
        } else if precision > self.settings.wide() {
            Reason::Imprecise { precision }
        } else if lag.time > self.longest_streaming_lag() {
            self.behind()
        } else {
            return None;
        };
        diagnosis(State::CatchingUp, reason)
    }

    fn longest_streaming_lag(&self) -> Micros {
        match self.previous {
            State::Streaming => self.settings.streaming_until(),
            _ => self.settings.streaming_from(),
        }
    }

    fn behind(&self) -> Reason {
        let pending = self.pending.unwrap_or(0);
        match self.observation.subscriber.worker {
            Some(Worker { wait: WorkerWait::Lock, blocked_by: by, .. }) => Reason::Blocked { by },
            _ if self.applying() >= self.settings.large_transaction() && pending > NOISE => {
                let since = self.observation.at.saturating_sub(self.applying());
                Reason::LargeTransaction { since }
            }
            _ => Reason::Behind { pending },
        }
    }

    /// How long the same worker has been applying the same transaction.
    fn applying(&self) -> Micros {
        self.progress.without_progress.min(self.progress.same_worker)
    }

    /// There is no lag, but rows are known to differ, or not everything could be checked.
    fn unverified(&self) -> Option<Diagnosis> {
        let Subscriber { tables, errors, .. } = &self.observation.subscriber;
        let changes = errors.conflicts.map_or(0, |conflicts| conflicts.silent);
        if changes > 0 {
            return diagnosis(State::Erroring, Reason::Conflicts { changes });
        }
        tables
            .compared
            .is_none()
            .then_some(Diagnosis { state: State::Unknown, reason: Reason::NotCompared })
    }

    fn streaming(&self) -> Diagnosis {
        let reason = match self.observation.subscriber.tables {
            tables if tables.total() == 0 => Reason::NoTables,
            _ if self.estimate.exceeds(self.observation.at, self.settings.interval) => {
                self.behind()
            }
            _ => Reason::InStep,
        };
        Diagnosis { state: State::Streaming, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::SECOND;
    use crate::lag::estimate::LagEvidence;
    use crate::lag::lsn_times::WrittenAt;
    use crate::lag::observation::{Answer, Compared, Conflicts, Errors, Tables};
    use crate::lsn::Lsn;

    const NOW: Micros = 1000 * SECOND;

    const TABLES: Tables = Tables {
        ready: 2,
        waiting: 0,
        subscribed: 2,
        compared: Some(Compared { unsubscribed: 0, unpublished: 0 }),
    };

    /// A healthy subscription. Each test changes one thing in it.
    struct Case {
        enabled: bool,
        worker: Option<Worker>,
        tables: Tables,
        errors: Errors,
        other: Option<i32>,
        missing_publication: Option<Name>,
        previous: State,
        unreachable: bool,
        slot: SlotCondition,
        sender: Option<SenderWait>,
        divergence: Option<Divergence>,
        progress: Progress,
        written_at: Option<WrittenAt>,
        pending: u64,
    }

    impl Case {
        fn well() -> Self {
            Self {
                enabled: true,
                worker: Some(worker(WorkerWait::Messages, Some(0))),
                tables: TABLES,
                errors: Errors::default(),
                other: None,
                missing_publication: None,
                previous: State::Streaming,
                unreachable: false,
                slot: SlotCondition::Present,
                sender: Some(SenderWait::Client),
                divergence: None,
                progress: Progress::new(),
                written_at: Some(WrittenAt::Newest { at: NOW }),
                pending: 0,
            }
        }

        /// Nothing was applied for `seconds`, with more than [`NOISE`] pending.
        fn without_progress(seconds: u64, worker: Worker) -> Self {
            let without_progress = seconds * SECOND;
            let mut progress = Progress::new();
            (progress.without_progress, progress.same_worker) =
                (without_progress, without_progress);
            Self {
                worker: Some(worker),
                progress,
                written_at: within(without_progress, SECOND),
                pending: NOISE + 1,
                ..Self::well()
            }
        }

        fn diagnose(&self) -> Diagnosis {
            let subscriber = Subscriber {
                enabled: self.enabled,
                slot: Some("move"),
                received: None,
                worker: self.worker,
                origin: None,
                tables: self.tables,
                sync_workers: 0,
                shortage: None,
                errors: self.errors,
            };
            let settings = Settings::default();
            let evidence = LagEvidence {
                at: NOW,
                written_at: self.written_at,
                change_in_progress: None,
                newest: NOW,
                unreachable: self.unreachable,
                copying: self.tables.are_copying(),
            };
            diagnose(&Facts {
                observation: &Observation { at: NOW, publisher: Answer::Pending, subscriber },
                settings: &settings,
                previous: self.previous,
                answered: Some(NOW),
                unreachable: self.unreachable,
                slot: self.slot,
                sender: self.sender,
                divergence: self.divergence,
                other: self.other,
                missing_publication: self.missing_publication,
                progress: &self.progress,
                estimate: &Estimate::new().next(&evidence, &settings),
                pending: Some(self.pending),
            })
        }

        fn state(&self) -> State {
            self.diagnose().state
        }
    }

    fn worker(wait: WorkerWait, last_message_age: Option<Micros>) -> Worker {
        Worker { pid: 7, wait, blocked_by: Some(8), last_message_age }
    }

    fn within(lag: Micros, width: Micros) -> Option<WrittenAt> {
        let at = NOW - lag;
        Some(WrittenAt::Within { at, from: at, to: at + width })
    }

    /// Longer than `stall_timeout`.
    const LONG: u64 = 61;
    const SILENT: Option<Micros> = Some(LONG * SECOND);

    #[test]
    fn the_worst_state_comes_first() {
        let mut case = Case::well();
        assert_eq!(case.state(), State::Streaming);
        case.written_at = within(100 * SECOND, SECOND);
        assert_eq!(case.state(), State::CatchingUp);
        case.tables.ready = 1;
        assert_eq!(case.state(), State::Copying);
        case.tables.compared = Some(Compared { unsubscribed: 0, unpublished: 1 });
        assert_eq!(case.state(), State::Erroring);
        case.progress.without_worker = LONG * SECOND;
        assert_eq!(case.state(), State::Stalled);
        case.progress.apply_failures = 2;
        assert_eq!(case.diagnose().reason, Reason::ApplyFails { errors: 2 });
        let name = Name::of("move");
        case.missing_publication = Some(name);
        assert_eq!(case.diagnose().reason, Reason::PublicationMissing { name });
        case.unreachable = true;
        assert_eq!(case.state(), State::Unreachable);
        case.enabled = false;
        assert_eq!(case.state(), State::Disabled);
        case.slot = SlotCondition::Invalidated;
        assert_eq!(case.state(), State::SlotLost);
        case.divergence = Some(Divergence::WalWentBack { applied: Lsn(2), flush: Lsn(1) });
        assert_eq!(case.state(), State::Unknown);
        (case.enabled, case.unreachable, case.other) = (true, false, Some(7));
        assert_eq!(case.diagnose().reason, Reason::SlotInUse { by: 7 });
    }

    #[test]
    fn the_state_is_not_streaming_unless_everything_was_checked() {
        let with = |change: fn(&mut Case)| {
            let mut case = Case::well();
            change(&mut case);
            case.diagnose()
        };
        let compared = |unsubscribed, unpublished| Some(Compared { unsubscribed, unpublished });
        let is = |state, reason| Diagnosis { state, reason };
        assert_eq!(
            with(|case| case.tables.compared = None),
            is(State::Unknown, Reason::NotCompared)
        );
        let mut case = Case::well();
        case.tables.compared = compared(2, 0);
        assert_eq!(case.diagnose(), is(State::Copying, Reason::Unsubscribed { tables: 2 }));
        case.tables.compared = compared(2, 1);
        assert_eq!(case.diagnose(), is(State::Erroring, Reason::Unpublished { tables: 1 }));
        assert_eq!(
            with(|case| case.errors.conflicts = Some(Conflicts { all: 3, silent: 2 })),
            is(State::Erroring, Reason::Conflicts { changes: 2 })
        );
        assert_eq!(
            with(|case| case.errors.conflicts = Some(Conflicts { all: 3, silent: 0 })).state,
            State::Streaming
        );
    }

    #[test]
    fn tables_without_a_worker_that_copies_them_are_a_stall() {
        let mut case = Case::well();
        (case.tables.ready, case.tables.waiting) = (1, 1);
        case.progress.without_sync_worker = 59 * SECOND;
        assert_eq!(case.state(), State::Copying);
        case.progress.without_sync_worker = LONG * SECOND;
        let cause = Cause::NoSyncWorker { shortage: None };
        let reason = Reason::Stalled { cause, since: NOW - LONG * SECOND };
        assert_eq!(case.diagnose(), Diagnosis { state: State::Stalled, reason });
    }

    #[test]
    fn a_worker_that_restarts_repeatedly_is_not_applying_a_large_transaction() {
        let mut case = Case::without_progress(50, worker(WorkerWait::Working, Some(0)));
        let since = NOW - 50 * SECOND;
        assert_eq!(case.diagnose().reason, Reason::LargeTransaction { since });
        case.progress.same_worker = SECOND;
        assert_eq!(case.diagnose().reason, Reason::Behind { pending: NOISE + 1 });
    }

    #[test]
    fn no_progress_for_long_is_a_stall_unless_a_process_is_busy() {
        let (messages, activity) = (WorkerWait::Messages, WorkerWait::Activity);
        let (client, decoding) = (SenderWait::Client, SenderWait::Decoding);
        let cases = [
            (worker(messages, SILENT), Some(client), true),
            (worker(activity, SILENT), Some(client), true),
            (worker(messages, SILENT), None, true),
            (worker(messages, SILENT), Some(SenderWait::Standby), true),
            (worker(messages, SILENT), Some(decoding), false),
            (worker(messages, Some(59 * SECOND)), Some(client), false),
            (worker(WorkerWait::Working, SILENT), Some(client), false),
        ];
        for (worker, sender, stalled) in cases {
            let case = Case { sender, ..Case::without_progress(LONG, worker) };
            let expected = if stalled { State::Stalled } else { State::CatchingUp };
            assert_eq!(case.state(), expected, "{worker:?} {sender:?}");
        }
    }

    #[test]
    fn silence_is_not_a_stall_before_the_timeout_or_without_pending_changes() {
        let silent = worker(WorkerWait::Messages, SILENT);
        assert_eq!(Case::without_progress(59, silent).state(), State::CatchingUp);
        let noise = Case { pending: NOISE, ..Case::without_progress(LONG, silent) };
        assert_eq!(noise.state(), State::CatchingUp);
    }

    #[test]
    fn a_long_wait_for_a_lock_is_a_stall_even_over_a_small_row() {
        let mut case = Case::without_progress(300, worker(WorkerWait::Lock, SILENT));
        case.pending = 100;
        case.progress.lock_wait = 59 * SECOND;
        assert_eq!(case.diagnose().reason, Reason::Blocked { by: Some(8) });
        case.progress.lock_wait = LONG * SECOND;
        let since = NOW - 300 * SECOND;
        let reason = Reason::Stalled { cause: Cause::Lock { by: Some(8) }, since };
        assert_eq!(case.diagnose(), Diagnosis { state: State::Stalled, reason });
    }

    #[test]
    fn one_error_is_not_a_loop_but_two_are() {
        let mut case = Case::well();
        case.progress.apply_failures = 1;
        assert_eq!(case.state(), State::Streaming);
        case.progress.apply_failures = 2;
        assert_eq!(case.diagnose().reason, Reason::ApplyFails { errors: 2 });
        (case.progress.apply_failures, case.progress.sync_failures) = (1, 2);
        assert_eq!(case.diagnose().reason, Reason::CopyFails { errors: 2 });
    }

    #[test]
    fn streaming_begins_and_ends_at_different_lags() {
        let state = |previous, lag| {
            let written_at = within(lag, SECOND);
            Case { previous, written_at, pending: 10, ..Case::well() }.state()
        };
        assert_eq!(state(State::CatchingUp, 2_500_000), State::Streaming);
        assert_eq!(state(State::CatchingUp, 2_500_001), State::CatchingUp);
        assert_eq!(state(State::Streaming, 5_000_000), State::Streaming);
        assert_eq!(state(State::Streaming, 5_000_001), State::CatchingUp);
    }

    #[test]
    fn the_state_is_not_streaming_while_lag_is_not_known_precisely() {
        let times = [
            (Some(WrittenAt::Before { until: NOW }), State::CatchingUp),
            (within(0, 2_500_001), State::CatchingUp),
            (within(0, 2_500_000), State::Streaming),
            (None, State::Unknown),
        ];
        for (written_at, state) in times {
            assert_eq!(Case { written_at, ..Case::well() }.state(), state, "{written_at:?}");
        }
        assert_eq!(Case { worker: None, ..Case::well() }.state(), State::CatchingUp);
    }

    #[test]
    fn a_missing_slot_is_lost_unless_a_disabled_subscription_never_had_it() {
        for (enabled, lost, state) in [
            (true, false, State::SlotLost),
            (true, true, State::SlotLost),
            (false, true, State::SlotLost),
            (false, false, State::Disabled),
        ] {
            let case = Case { enabled, slot: SlotCondition::Missing { lost }, ..Case::well() };
            assert_eq!(case.state(), state, "{enabled} {lost}");
        }
    }

    #[test]
    fn every_state_has_the_name_that_the_views_show() {
        let states = [
            (State::Unknown, "unknown"),
            (State::Disabled, "disabled"),
            (State::Copying, "copying"),
            (State::CatchingUp, "catching_up"),
            (State::Streaming, "streaming"),
            (State::Stalled, "stalled"),
            (State::Erroring, "erroring"),
            (State::SlotLost, "slot_lost"),
            (State::Unreachable, "unreachable"),
        ];
        for (state, name) in states {
            assert_eq!(state.to_string(), name);
        }
    }
}
