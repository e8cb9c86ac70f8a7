//! Detects changes that the subscriber will never receive, although lag looks normal. Causes: the
//! publisher was restored or lost WAL in a crash, the slot was advanced or created again, or a
//! publication was missing for some time.

use super::Micros;
use super::observation::{Name, Publications, Publisher, Subscriber, Tables};
use super::slot_use::SlotReport;
use crate::lsn::Lsn;

/// Why changes will never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// The publisher's WAL went back to `flush`. The publisher skips everything that it now writes
    /// up to `applied`: logical decoding skips commits before the requested start.
    WalWentBack { applied: Lsn, flush: Lsn },
    /// The slot was created again or advanced. It now starts after what was applied.
    SlotMoved { applied: Lsn, begins: Lsn },
    /// A publication was dropped and created again. Since 18 the publisher silently skips changes
    /// made while the publication did not exist. Before 18 it raises an error.
    PublicationRecreated,
    /// Subscribed tables were not published for some time.
    TablesUnpublished { tables: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlotCondition {
    #[default]
    Unknown,
    Present,
    /// It does not exist. `lost`: it existed before.
    Missing {
        lost: bool,
    },
    Invalidated,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DivergenceDetector {
    slot: Name,
    condition: SlotCondition,
    /// At the last answer: the origin's progress, and when it was read.
    origin: Option<(Micros, Lsn)>,
    divergence: Option<Divergence>,
    publications: Publications,
    tables: Tables,
}

impl DivergenceDetector {
    pub const fn new() -> Self {
        Self {
            slot: Name::NONE,
            condition: SlotCondition::Unknown,
            origin: None,
            divergence: None,
            publications: Publications::NONE,
            tables: Tables::NONE,
        }
    }

    pub fn divergence(&self) -> Option<Divergence> {
        self.divergence
    }

    pub fn slot(&self) -> SlotCondition {
        self.condition
    }

    /// The name of a publication that does not exist.
    pub fn missing_publication(&self) -> Option<Name> {
        self.publications.missing
    }

    pub fn slot_moved(&mut self, applied: Lsn, begins: Lsn) {
        self.divergence.get_or_insert(Divergence::SlotMoved { applied, begins });
    }

    /// Returns true if the subscription uses another slot than before.
    pub fn switch_slot(&mut self, name: Option<&str>) -> bool {
        let slot = name.map_or(Name::NONE, Name::of);
        let switched = slot != self.slot;
        if switched {
            (self.slot, self.condition) = (slot, SlotCondition::Unknown);
        }
        switched
    }

    /// Takes an answer of the publisher and the report about the slot. `applied`: what was applied
    /// before the answer. `at`: when the subscriber was read, which is after the answer.
    pub fn observe(
        &mut self,
        publisher: &Publisher,
        slot: &SlotReport,
        applied: Option<Lsn>,
        subscriber: &Subscriber,
        at: Micros,
    ) {
        let moved = slot.moved.map(|(applied, begins)| Divergence::SlotMoved { applied, begins });
        let divergence = self.divergence.or_else(|| self.went_back(publisher));
        let divergence = divergence.or_else(|| self.slot_recreated(publisher, applied)).or(moved);
        let divergence = divergence.or_else(|| self.publication_recreated(publisher));
        self.divergence = divergence.or_else(|| self.tables_unpublished(&subscriber.tables));
        self.condition = self.condition_in(publisher);
        self.origin = subscriber.origin.map(|origin| (at, origin));
        self.publications = self.publications.followed_by(publisher.publications);
        self.tables = subscriber.tables;
    }

    /// Compares only an origin that was read before the publisher was asked. One that was read
    /// later may include changes that the publisher wrote after its answer.
    fn went_back(&self, publisher: &Publisher) -> Option<Divergence> {
        let (read, applied) = self.origin?;
        let flush = publisher.flush_lsn;
        (read <= publisher.asked && applied > flush)
            .then_some(Divergence::WalWentBack { applied, flush })
    }

    fn slot_recreated(&self, publisher: &Publisher, applied: Option<Lsn>) -> Option<Divergence> {
        let begins = publisher.slot?.confirmed_flush?;
        let applied = applied.filter(|&applied| applied < begins)?;
        (self.condition == SlotCondition::Missing { lost: true })
            .then_some(Divergence::SlotMoved { applied, begins })
    }

    fn publication_recreated(&self, publisher: &Publisher) -> Option<Divergence> {
        let (before, now) = (self.publications, publisher.publications);
        let is_newer = before.list == now.list && before.newest > 0 && now.newest > before.newest;
        (is_newer && publisher.major >= 18).then_some(Divergence::PublicationRecreated)
    }

    /// Counts tables that are published again. Tables that a refresh removed from the subscription
    /// do not count.
    fn tables_unpublished(&self, now: &Tables) -> Option<Divergence> {
        let before = self.tables;
        let back = before.unpublished().saturating_sub(now.unpublished());
        let gone = before.subscribed.saturating_sub(now.subscribed);
        let tables = back.saturating_sub(gone);
        let are_known = now.compared.is_some() && !before.are_copying() && !now.are_copying();
        (are_known && tables > 0).then_some(Divergence::TablesUnpublished { tables })
    }

    fn condition_in(&self, publisher: &Publisher) -> SlotCondition {
        match publisher.slot {
            Some(slot) if slot.invalidated => SlotCondition::Invalidated,
            Some(_) => SlotCondition::Present,
            None => SlotCondition::Missing {
                lost: !matches!(
                    self.condition,
                    SlotCondition::Unknown | SlotCondition::Missing { lost: false }
                ),
            },
        }
    }
}

impl Default for DivergenceDetector {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{Compared, Errors, Slot, Source};

    fn publisher(at: Micros, flush: u64, confirmed: Option<u64>) -> Publisher {
        Publisher {
            asked: at,
            answered: at + 1,
            source: Source::default(),
            started: 1,
            major: 18,
            uptime: 1,
            flush_lsn: Lsn(flush),
            insert_lsn: Lsn(flush),
            oldest_xid: 1,
            slot: confirmed.map(|lsn| Slot {
                confirmed_flush: Some(Lsn(lsn)),
                restart_lsn: None,
                invalidated: false,
                safe_wal_size: None,
                spill_bytes: None,
                walsender: None,
            }),
            publications: Publications::NONE,
        }
    }

    fn subscriber(origin: u64, tables: Tables) -> Subscriber<'static> {
        Subscriber {
            enabled: true,
            slot: Some("move"),
            received: None,
            worker: None,
            origin: Some(Lsn(origin)),
            tables,
            sync_workers: 0,
            shortage: None,
            errors: Errors::default(),
        }
    }

    /// Observations of (asked, flush, confirmed, applied before, origin after). The subscriber is
    /// read 2 after the publisher was asked.
    fn after(observations: &[(Micros, u64, Option<u64>, u64, u64)]) -> DivergenceDetector {
        let mut detector = DivergenceDetector::new();
        for &(asked, flush, confirmed, applied, origin) in observations {
            let publisher = publisher(asked, flush, confirmed);
            let subscriber = subscriber(origin, Tables::NONE);
            let slot = SlotReport::default();
            detector.observe(&publisher, &slot, Some(Lsn(applied)), &subscriber, asked + 2);
        }
        detector
    }

    #[test]
    fn the_publisher_went_back_if_more_was_applied_than_it_has_written() {
        let detector = after(&[(0, 100, Some(90), 90, 95), (10, 90, Some(80), 95, 95)]);
        let expected = Divergence::WalWentBack { applied: Lsn(95), flush: Lsn(90) };
        assert_eq!(detector.divergence(), Some(expected));
    }

    #[test]
    fn the_loss_stays_known_after_the_publisher_has_written_more() {
        let observations =
            [(0, 100, Some(90), 90, 95), (10, 90, Some(80), 95, 95), (20, 200, Some(200), 95, 200)];
        assert!(after(&observations).divergence().is_some());
    }

    #[test]
    fn changes_applied_after_the_query_may_exceed_its_answer() {
        let detector = after(&[(0, 100, Some(90), 90, 150), (1, 100, Some(90), 150, 150)]);
        assert_eq!(detector.divergence(), None);
        let detector = after(&[(0, 100, Some(90), 90, 150), (2, 100, Some(90), 150, 150)]);
        assert!(detector.divergence().is_some());
    }

    #[test]
    fn no_changes_are_lost_if_the_publisher_went_back_to_what_was_applied() {
        let detector = after(&[(0, 100, Some(90), 90, 90), (10, 90, Some(80), 95, 90)]);
        assert_eq!(detector.divergence(), None);
    }

    #[test]
    fn a_slot_created_again_loses_changes_unless_it_begins_where_apply_is() {
        let gone = [(0, 100, Some(90), 90, 90), (10, 110, None, 90, 90)];
        assert_eq!(after(&gone).slot(), SlotCondition::Missing { lost: true });
        let holed = after(&[gone[0], gone[1], (20, 120, Some(115), 90, 90)]);
        let expected = Divergence::SlotMoved { applied: Lsn(90), begins: Lsn(115) };
        assert_eq!(holed.divergence(), Some(expected));
        let whole = after(&[gone[0], gone[1], (20, 120, Some(90), 90, 90)]);
        assert_eq!(whole.divergence(), None);
    }

    #[test]
    fn a_slot_created_after_the_subscription_was_never_lost() {
        let detector = after(&[(0, 100, None, 0, 0), (10, 110, None, 0, 0)]);
        assert_eq!(detector.slot(), SlotCondition::Missing { lost: false });
        let detector = after(&[(0, 100, None, 0, 0), (20, 120, Some(115), 0, 0)]);
        assert_eq!((detector.slot(), detector.divergence()), (SlotCondition::Present, None));
    }

    #[test]
    fn a_switch_to_another_slot_discards_the_condition_of_the_old_one() {
        let mut detector = after(&[(0, 100, Some(90), 90, 90)]);
        assert!(detector.switch_slot(Some("a")));
        assert!(!detector.switch_slot(Some("a")));
        assert_eq!(detector.slot(), SlotCondition::Unknown);
        assert!(detector.switch_slot(Some("ab")));
        assert!(detector.switch_slot(None));
    }

    /// Observations of a publisher of `major`. Each of `oids` is the newest oid among the
    /// publications.
    fn with_publications(major: u16, oids: &[Option<u32>]) -> Option<Divergence> {
        let mut detector = DivergenceDetector::new();
        for oid in oids {
            let missing = oid.is_none().then(|| Name::of("move"));
            let publications = Publications { list: 1, missing, newest: oid.unwrap_or(0) };
            let publisher = Publisher { major, publications, ..publisher(1, 100, Some(90)) };
            let subscriber = subscriber(90, Tables::NONE);
            detector.observe(&publisher, &SlotReport::default(), Some(Lsn(90)), &subscriber, 2);
            assert_eq!(detector.missing_publication(), missing);
        }
        detector.divergence()
    }

    #[test]
    fn a_publication_created_again_loses_changes_if_the_publisher_does_not_fail() {
        let again = [Some(500), None, Some(501)];
        assert_eq!(with_publications(18, &again), Some(Divergence::PublicationRecreated));
        assert_eq!(with_publications(17, &again), None);
        let unseen = [Some(500), Some(501)];
        assert_eq!(with_publications(18, &unseen), Some(Divergence::PublicationRecreated));
        assert_eq!(with_publications(18, &[None, Some(500), Some(500)]), None);
    }

    #[test]
    fn tables_published_again_have_lost_changes_unless_a_refresh_removed_them() {
        let observations = |observations: &[(u32, u32)]| {
            let mut detector = DivergenceDetector::new();
            for &(subscribed, unpublished) in observations {
                let compared = Some(Compared { unsubscribed: 0, unpublished });
                let tables = Tables { ready: subscribed, subscribed, waiting: 0, compared };
                let publisher = publisher(1, 100, Some(90));
                let subscriber = subscriber(90, tables);
                detector.observe(&publisher, &SlotReport::default(), Some(Lsn(90)), &subscriber, 2);
            }
            detector.divergence()
        };
        let lost = |tables| Some(Divergence::TablesUnpublished { tables });
        assert_eq!(observations(&[(3, 0), (3, 2), (3, 0)]), lost(2));
        assert_eq!(observations(&[(3, 2), (2, 0)]), lost(1));
        assert_eq!(observations(&[(3, 2), (1, 0)]), None);
        assert_eq!(observations(&[(3, 0), (3, 1)]), None);
    }
}
