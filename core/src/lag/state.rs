//! What a subscription is doing, and why.

use std::fmt;

use super::estimate::Estimate;
use super::lineage::{Divergence, SlotCondition};
use super::observation::{Observation, Tables, Worker};
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
pub struct Verdict {
    pub state: State,
    pub reason: Reason,
}

/// What is known after a look.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub look: &'a Observation<'a>,
    pub settings: &'a Settings,
    pub previous: State,
    pub answered: Option<Micros>,
    pub lost: bool,
    pub slot: SlotCondition,
    /// What the slot's walsender waits for; `None` if there is none.
    pub sender: Option<SenderWait>,
    pub divergence: Option<Divergence>,
    pub progress: &'a Progress,
    pub estimate: &'a Estimate,
    pub pending: Option<u64>,
}

/// The first that applies, from what nothing heals to what is well.
pub fn judge(facts: &Facts) -> Verdict {
    facts
        .diverged()
        .or_else(|| facts.slot_lost())
        .or_else(|| facts.disabled())
        .or_else(|| facts.unreachable())
        .or_else(|| facts.erroring())
        .or_else(|| facts.stalled())
        .or_else(|| facts.copying())
        .or_else(|| facts.catching_up())
        .unwrap_or_else(|| facts.streaming())
}

fn verdict(state: State, reason: Reason) -> Option<Verdict> {
    Some(Verdict { state, reason })
}

impl Facts<'_> {
    fn diverged(&self) -> Option<Verdict> {
        let divergence = self.divergence?;
        let state = match divergence {
            Divergence::WentBack { .. } => State::Unknown,
            Divergence::SlotRecreated { .. } => State::SlotLost,
        };
        verdict(state, Reason::Diverged(divergence))
    }

    /// A subscription that is disabled and never had its slot waits for it to be made.
    fn slot_lost(&self) -> Option<Verdict> {
        let subscriber = &self.look.subscriber;
        subscriber.slot?;
        match self.slot {
            SlotCondition::Invalidated => verdict(State::SlotLost, Reason::SlotInvalidated),
            SlotCondition::Missing { lost } if lost || subscriber.enabled => {
                verdict(State::SlotLost, Reason::SlotMissing)
            }
            _ => None,
        }
    }

    fn disabled(&self) -> Option<Verdict> {
        let errors = self.progress.apply_failures + self.progress.sync_failures;
        let disabled = !self.look.subscriber.enabled;
        disabled.then_some(Verdict { state: State::Disabled, reason: Reason::Disabled { errors } })
    }

    fn unreachable(&self) -> Option<Verdict> {
        let reason = Reason::Unreachable { answered: self.answered };
        self.lost.then_some(Verdict { state: State::Unreachable, reason })
    }

    fn erroring(&self) -> Option<Verdict> {
        let Progress { apply_failures, sync_failures, .. } = *self.progress;
        if apply_failures >= 2 {
            verdict(State::Erroring, Reason::ApplyFails { errors: apply_failures })
        } else if sync_failures >= 2 {
            verdict(State::Erroring, Reason::CopyFails { errors: sync_failures })
        } else {
            None
        }
    }

    fn stalled(&self) -> Option<Verdict> {
        let cause = self.stall()?;
        let unmoved = self.progress.unmoved.max(self.progress.absent);
        let since = self.look.at.saturating_sub(unmoved);
        verdict(State::Stalled, Reason::Stalled { cause, since })
    }

    /// A missing worker and a lock are evidence by themselves. Where silence is the only one, there
    /// must be more pending than noise and nobody busy.
    fn stall(&self) -> Option<Cause> {
        let timeout = self.settings.stall_timeout;
        let pending = self.pending.unwrap_or(0);
        if self.progress.absent >= timeout {
            return Some(Cause::NoWorker);
        }
        if self.progress.unmoved < timeout || pending == 0 {
            return None;
        }
        let Some(worker) = self.look.subscriber.worker else {
            return (pending > NOISE).then_some(Cause::NoWorker);
        };
        if worker.wait == WorkerWait::Lock {
            let by = worker.blocked_by;
            return (self.progress.locked >= timeout).then_some(Cause::Lock { by });
        }
        (pending > NOISE && !self.is_busy(&worker)).then(|| self.silence())
    }

    /// After a reconnect the walsender reads again from restart_lsn: 11 s of silence were seen.
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

    fn copying(&self) -> Option<Verdict> {
        let tables = self.look.subscriber.tables;
        let copying = tables.ready < tables.total;
        copying.then_some(Verdict { state: State::Copying, reason: Reason::Copying(tables) })
    }

    fn catching_up(&self) -> Option<Verdict> {
        let Some(lag) = self.estimate.lag(self.look.at) else {
            return verdict(State::Unknown, Reason::NoPosition);
        };
        let width = self.estimate.width();
        let reason = if self.look.subscriber.worker.is_none() {
            Reason::NoWorker
        } else if lag.is_lower_bound {
            Reason::FreshWatcher
        } else if width > self.settings.wide() {
            Reason::Imprecise { width }
        } else if lag.time > self.longest_streaming_lag() {
            self.behind()
        } else {
            return None;
        };
        verdict(State::CatchingUp, reason)
    }

    fn longest_streaming_lag(&self) -> Micros {
        match self.previous {
            State::Streaming => self.settings.streaming_until(),
            _ => self.settings.streaming_from(),
        }
    }

    fn behind(&self) -> Reason {
        let pending = self.pending.unwrap_or(0);
        match self.look.subscriber.worker {
            Some(Worker { wait: WorkerWait::Lock, blocked_by: by, .. }) => Reason::Blocked { by },
            _ if self.progress.unmoved >= self.settings.large_transaction() && pending > NOISE => {
                let since = self.look.at.saturating_sub(self.progress.unmoved);
                Reason::LargeTransaction { since }
            }
            _ => Reason::Behind { pending },
        }
    }

    fn streaming(&self) -> Verdict {
        let reason = match self.look.subscriber.tables {
            Tables { total: 0, .. } => Reason::NoTables,
            _ => Reason::InStep,
        };
        Verdict { state: State::Streaming, reason }
    }
}
