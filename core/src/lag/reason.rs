//! The reason for a subscription's state, as one sentence for people.

use super::Micros;
use super::divergence::Divergence;
use super::observation::{Name, Shortage, Tables};
use super::units::{bytes, duration};

/// What the sentence is made of. Times are points on the watcher's clock, so the sentence is
/// correct at the moment when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotSampled,
    NoPosition,
    WatcherSilent { since: Micros },
    Diverged(Divergence),
    SlotMissing,
    SlotInvalidated,
    SlotInUse { by: i32 },
    PublicationMissing { name: Name },
    Disabled { errors: u64 },
    Unreachable { answered: Option<Micros> },
    ApplyFails { errors: u64 },
    CopyFails { errors: u64 },
    Stalled { cause: Cause, since: Micros },
    Unpublished { tables: u32 },
    Copying(Tables),
    Unsubscribed { tables: u32 },
    NotCompared,
    Blocked { by: Option<i32> },
    NoWorker,
    FreshWatcher,
    Imprecise { precision: Micros },
    LargeTransaction { since: Micros },
    Behind { pending: u64 },
    NoTables,
    Conflicts { changes: u64 },
    InStep,
}

/// Why nothing is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Lock { by: Option<i32> },
    NoWorker { shortage: Option<Shortage> },
    NoSyncWorker { shortage: Option<Shortage> },
    NoWalsender,
    Standby,
    Silence,
}

impl Reason {
    /// Whether waiting cannot help: the subscriber does not receive everything that is written.
    pub fn is_stuck(&self) -> bool {
        matches!(
            self,
            Self::Diverged(_)
                | Self::SlotMissing
                | Self::SlotInvalidated
                | Self::SlotInUse { .. }
                | Self::PublicationMissing { .. }
                | Self::Disabled { .. }
                | Self::ApplyFails { .. }
                | Self::CopyFails { .. }
                | Self::Stalled { .. }
        )
    }

    /// The sentence for a view that also has the column last_error.
    pub fn sentence(&self, now: Micros) -> String {
        self.text(now, ": see last_error.")
    }

    /// The sentence for a message. It includes the last error of the subscription's workers, if known.
    pub fn with_last_error(&self, now: Micros, last_error: Option<&str>) -> String {
        match (self.counts_errors(), last_error) {
            (true, Some(error)) => self.text(now, &format!(": {error}")),
            (true, None) => self.text(now, "; the errors are in this server's log."),
            (false, _) => with_last_error(self.text(now, ""), last_error),
        }
    }

    fn counts_errors(&self) -> bool {
        matches!(
            self,
            Self::Disabled { errors: 1.. } | Self::ApplyFails { .. } | Self::CopyFails { .. }
        )
    }

    /// `see`: the end of a sentence that has a number of errors.
    fn text(&self, now: Micros, see: &str) -> String {
        let ago = |since: Micros| duration(now.saturating_sub(since));
        match *self {
            Self::NotSampled => "The watcher has not observed this subscription yet.".into(),
            Self::NoPosition => "It is not known yet how far changes are applied.".into(),
            Self::WatcherSilent { since } => {
                format!("The watcher has made no observation for {}: see watcher_status.", ago(since))
            }
            Self::Diverged(divergence) => diverged(divergence),
            Self::SlotMissing => "The replication slot does not exist on the publisher.".into(),
            Self::SlotInvalidated => {
                "The publisher has invalidated the replication slot: it no longer has what the subscriber needs.".into()
            }
            Self::SlotInUse { by } => format!(
                "Another subscriber uses the replication slot, by process {by} on the publisher: changes that it receives do not arrive here, so end it and copy the tables again."
            ),
            Self::PublicationMissing { name } => format!(
                "Publication \"{name}\" does not exist on the publisher: create it again there, and copy the tables again if they were changed meanwhile."
            ),
            Self::Disabled { errors: 0 } => "The subscription is disabled.".into(),
            Self::Disabled { errors } => {
                format!("The subscription was disabled after {}{see}", count(errors))
            }
            Self::Unreachable { answered: None } => "The publisher has not answered yet.".into(),
            Self::Unreachable { answered: Some(at) } => format!(
                "The publisher has not answered for {}: what it wrote since is not known.",
                ago(at)
            ),
            Self::ApplyFails { errors } => {
                format!("Applying changes fails at the same place, with {}{see}", count(errors))
            }
            Self::CopyFails { errors } => {
                format!("Copying a table fails again and again, with {}{see}", count(errors))
            }
            Self::Stalled { cause, since } => {
                format!("Nothing has been applied for {}: {}.", ago(since), cause.clause())
            }
            Self::Unpublished { tables } => format!(
                "{} not published any more, so changes to {} do not arrive: publish and copy {} again, or call pg_alter_subscription_refresh_publication().",
                are(tables, "subscribed"), it(tables), it(tables)
            ),
            Self::Copying(tables) => {
                format!("{} of {} tables are copied and replicating.", tables.ready, tables.total())
            }
            Self::Unsubscribed { tables } => format!(
                "{} not subscribed: call pg_alter_subscription_refresh_publication().",
                are(tables, "published")
            ),
            Self::NotCompared => {
                "It is not known whether every published table is subscribed: the publisher's list of tables has not arrived yet, or is too long.".into()
            }
            Self::Blocked { by } => format!("{}.", capitalized(&Cause::Lock { by }.clause())),
            Self::NoWorker => {
                "No apply worker is running; the server starts one again every few seconds.".into()
            }
            Self::FreshWatcher => {
                "The subscriber has not reached the position that the publisher had when watching began: lag is at least this.".into()
            }
            Self::Imprecise { precision } => format!(
                "Changes from a time with few samples are being applied: lag may be wrong by up to {}.",
                duration(precision)
            ),
            Self::LargeTransaction { since } => {
                format!("One large transaction has been applying for {}.", ago(since))
            }
            Self::Behind { pending } => {
                format!("The subscriber has {} of changes to catch up with.", bytes(pending))
            }
            Self::NoTables => "Nothing is replicated: no table is published.".into(),
            Self::Conflicts { changes } => format!(
                "{} met rows that are missing or different here, and no error says so: compare the tables, then call reset_subscription_stats().",
                if changes == 1 { "1 change".into() } else { format!("{changes} changes") }
            ),
            Self::InStep => "Changes are applied as they are made.".into(),
        }
    }
}

/// A sentence, and what its reader can't see otherwise.
pub fn with_last_error(sentence: String, last_error: Option<&str>) -> String {
    match last_error {
        Some(error) => format!("{sentence} The last error of its workers: {error}"),
        None => sentence,
    }
}

impl Cause {
    fn clause(self) -> String {
        match self {
            Self::Lock { by: Some(pid) } => {
                format!("the apply worker waits for a lock that process {pid} holds")
            }
            Self::Lock { by: None } => "the apply worker waits for a lock".into(),
            Self::NoWorker { shortage } => {
                with_shortage("no apply worker is running or connected to the publisher", shortage)
            }
            Self::NoSyncWorker { shortage } => {
                with_shortage("no worker copies the tables", shortage)
            }
            Self::NoWalsender => "the publisher has no walsender for the slot".into(),
            Self::Standby => {
                "the publisher waits for a standby in synchronized_standby_slots".into()
            }
            Self::Silence => "the publisher has changes but sends nothing".into(),
        }
    }
}

fn diverged(divergence: Divergence) -> String {
    match divergence {
        Divergence::WalWentBack { applied, flush } => format!(
            "The publisher's WAL went back to {flush} while the subscriber has applied it up to {applied}: changes in between are lost, so copy the tables again."
        ),
        Divergence::SlotMoved { applied, begins } => format!(
            "The replication slot was made again or advanced by somebody else to {begins} while the subscriber has applied changes up to {applied}: those in between are lost, so copy the tables again."
        ),
        Divergence::PublicationRecreated => {
            "A publication was made again: changes that were made while it did not exist are lost, so copy the tables again.".into()
        }
        Divergence::TablesUnpublished { tables } => format!(
            "{} not published for a time: changes of that time are lost, so copy {} again.",
            if tables == 1 { "1 table was".into() } else { format!("{tables} tables were") },
            it(tables)
        ),
    }
}

fn with_shortage(clause: &str, shortage: Option<Shortage>) -> String {
    match shortage {
        None => clause.into(),
        Some(Shortage::Logical) => format!("{clause}: raise max_logical_replication_workers"),
        Some(Shortage::Sync) => format!("{clause}: max_sync_workers_per_subscription is 0"),
        Some(Shortage::Background) => format!("{clause}: raise max_worker_processes"),
    }
}

fn are(tables: u32, kind: &str) -> String {
    if tables == 1 { format!("1 {kind} table is") } else { format!("{tables} {kind} tables are") }
}

fn it(tables: u32) -> &'static str {
    if tables == 1 { "it" } else { "them" }
}

fn count(errors: u64) -> String {
    if errors == 1 { "1 error".into() } else { format!("{errors} errors") }
}

fn capitalized(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::SECOND;
    use crate::lsn::Lsn;

    fn every_reason() -> Vec<Reason> {
        let divergences = [
            Divergence::WalWentBack { applied: Lsn(2), flush: Lsn(1) },
            Divergence::SlotMoved { applied: Lsn(1), begins: Lsn(2) },
            Divergence::PublicationRecreated,
            Divergence::TablesUnpublished { tables: 2 },
        ];
        let causes = [
            Cause::Lock { by: Some(7) },
            Cause::Lock { by: None },
            Cause::NoWorker { shortage: None },
            Cause::NoWorker { shortage: Some(Shortage::Background) },
            Cause::NoSyncWorker { shortage: None },
            Cause::NoSyncWorker { shortage: Some(Shortage::Logical) },
            Cause::NoSyncWorker { shortage: Some(Shortage::Sync) },
            Cause::NoWalsender,
            Cause::Standby,
            Cause::Silence,
        ];
        let plain = [
            Reason::NotSampled,
            Reason::NoPosition,
            Reason::WatcherSilent { since: 0 },
            Reason::SlotMissing,
            Reason::SlotInvalidated,
            Reason::Disabled { errors: 0 },
            Reason::Disabled { errors: 1 },
            Reason::Unreachable { answered: None },
            Reason::Unreachable { answered: Some(0) },
            Reason::ApplyFails { errors: 2 },
            Reason::CopyFails { errors: 2 },
            Reason::Copying(Tables { ready: 1, subscribed: 2, ..Tables::NONE }),
            Reason::SlotInUse { by: 7 },
            Reason::PublicationMissing { name: Name::of("move") },
            Reason::Unpublished { tables: 1 },
            Reason::Unpublished { tables: 2 },
            Reason::Unsubscribed { tables: 1 },
            Reason::Unsubscribed { tables: 2 },
            Reason::NotCompared,
            Reason::Conflicts { changes: 1 },
            Reason::Conflicts { changes: 3 },
            Reason::Blocked { by: Some(7) },
            Reason::NoWorker,
            Reason::FreshWatcher,
            Reason::Imprecise { precision: SECOND },
            Reason::LargeTransaction { since: 0 },
            Reason::Behind { pending: 5000 },
            Reason::NoTables,
            Reason::InStep,
        ];
        let stalled = causes.map(|cause| Reason::Stalled { cause, since: 0 });
        plain.into_iter().chain(divergences.map(Reason::Diverged)).chain(stalled).collect()
    }

    #[test]
    fn every_reason_is_one_sentence_of_its_own() {
        let sentences: Vec<_> =
            every_reason().iter().map(|reason| reason.sentence(90 * SECOND)).collect();
        for sentence in &sentences {
            assert!(
                sentence.starts_with(|c: char| c.is_uppercase() || c.is_numeric()),
                "{sentence}"
            );
            assert!(sentence.ends_with('.') && !sentence.contains(". "), "{sentence}");
        }
        let mut distinct = sentences.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), sentences.len());
    }

    #[test]
    fn a_message_quotes_the_last_error() {
        let fails = Reason::ApplyFails { errors: 2 };
        let with = |reason: Reason, error| reason.with_last_error(0, error);
        let start = "Applying changes fails at the same place, with 2 errors";
        assert_eq!(fails.sentence(0), format!("{start}: see last_error."));
        assert_eq!(with(fails, Some("no space")), format!("{start}: no space"));
        assert_eq!(with(fails, None), format!("{start}; the errors are in this server's log."));
        let missing = Reason::SlotMissing.sentence(0);
        assert_eq!(with(Reason::SlotMissing, None), missing);
        let quoted = format!("{missing} The last error of its workers: no space");
        assert_eq!(with(Reason::SlotMissing, Some("no space")), quoted);
        for reason in every_reason().into_iter().filter(|reason| !reason.counts_errors()) {
            assert!(!reason.sentence(0).contains("last_error"), "{reason:?}");
        }
    }

    #[test]
    fn a_sentence_has_the_time_at_which_it_is_read() {
        let stalled = Reason::Stalled { cause: Cause::Lock { by: Some(41) }, since: 10 * SECOND };
        assert_eq!(
            stalled.sentence(100 * SECOND),
            "Nothing has been applied for 1 min 30 s: the apply worker waits for a lock that process 41 holds."
        );
    }
}
