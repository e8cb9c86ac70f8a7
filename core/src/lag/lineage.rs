//! Whether the subscriber still follows the WAL that it has applied: a publisher that was restored
//! or lost a crash's tail, or a slot that was dropped and made again, leaves a hole that no lag
//! shows.

use super::Micros;
use super::observation::Publisher;
use crate::lsn::Lsn;
use crate::name;

/// Changes that will never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// The publisher's WAL went back to `flush`. It will skip what it now writes up to `applied`,
    /// as already applied (logical decoding skips commits before the requested start).
    WentBack { applied: Lsn, flush: Lsn },
    /// The slot was made again at `begins`, after what was applied.
    SlotRecreated { applied: Lsn, begins: Lsn },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlotCondition {
    #[default]
    Unknown,
    Present,
    /// Not there; `lost` if it was before.
    Missing {
        lost: bool,
    },
    Invalidated,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Lineage {
    slot: SlotName,
    condition: SlotCondition,
    /// The origin's progress and when it was read, at the last answer.
    origin: Option<(Micros, Lsn)>,
    divergence: Option<Divergence>,
}

impl Lineage {
    pub const fn new() -> Self {
        Self {
            slot: SlotName::NONE,
            condition: SlotCondition::Unknown,
            origin: None,
            divergence: None,
        }
    }

    pub fn divergence(&self) -> Option<Divergence> {
        self.divergence
    }

    pub fn slot(&self) -> SlotCondition {
        self.condition
    }

    /// True if the subscription now uses another slot than before.
    pub fn switch_slot(&mut self, name: Option<&str>) -> bool {
        let slot = SlotName::of(name);
        let switched = slot != self.slot;
        if switched {
            (self.slot, self.condition) = (slot, SlotCondition::Unknown);
        }
        switched
    }

    /// Takes an answer; `applied` is what was applied before it, `origin` as read after it.
    pub fn observe(
        &mut self,
        publisher: &Publisher,
        applied: Option<Lsn>,
        origin: Option<Lsn>,
        at: Micros,
    ) {
        let went_back = self.went_back(publisher);
        let recreated = self.slot_recreated(publisher, applied);
        self.divergence = self.divergence.or(went_back).or(recreated);
        self.condition = self.condition_in(publisher);
        self.origin = origin.map(|origin| (at, origin));
    }

    /// Only an origin that was read before the publisher was asked can be compared: the subscriber
    /// may since have applied more than the publisher had then.
    fn went_back(&self, publisher: &Publisher) -> Option<Divergence> {
        let (read, applied) = self.origin?;
        let flush = publisher.flush_lsn;
        (read <= publisher.asked && applied > flush)
            .then_some(Divergence::WentBack { applied, flush })
    }

    fn slot_recreated(&self, publisher: &Publisher, applied: Option<Lsn>) -> Option<Divergence> {
        let begins = publisher.slot?.confirmed_flush?;
        let applied = applied.filter(|&applied| applied < begins)?;
        (self.condition == SlotCondition::Missing { lost: true })
            .then_some(Divergence::SlotRecreated { applied, begins })
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

impl Default for Lineage {
    fn default() -> Self {
        Self::new()
    }
}

/// Padded with zeros, which no name contains; none is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SlotName([u8; name::MAX_LEN]);

impl SlotName {
    const NONE: Self = Self([0; name::MAX_LEN]);

    fn of(name: Option<&str>) -> Self {
        let mut padded = Self::NONE;
        padded.0.iter_mut().zip(name.unwrap_or_default().bytes()).for_each(|(to, from)| *to = from);
        padded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{Slot, Source};

    fn publisher(at: Micros, flush: u64, confirmed: Option<u64>) -> Publisher {
        Publisher {
            asked: at,
            answered: at + 1,
            source: Source::default(),
            started: 1,
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
        }
    }

    /// Looks of (asked, flush, confirmed, applied before, origin after), 2 after it was asked.
    fn after(looks: &[(Micros, u64, Option<u64>, u64, u64)]) -> Lineage {
        let mut lineage = Lineage::new();
        for &(asked, flush, confirmed, applied, origin) in looks {
            let publisher = publisher(asked, flush, confirmed);
            lineage.observe(&publisher, Some(Lsn(applied)), Some(Lsn(origin)), asked + 2);
        }
        lineage
    }

    #[test]
    fn more_applied_than_was_written_is_a_publisher_that_went_back() {
        let lineage = after(&[(0, 100, Some(90), 90, 95), (10, 90, Some(80), 95, 95)]);
        let expected = Divergence::WentBack { applied: Lsn(95), flush: Lsn(90) };
        assert_eq!(lineage.divergence(), Some(expected));
    }

    #[test]
    fn it_stays_known_when_the_publisher_has_written_as_much_again() {
        let looks =
            [(0, 100, Some(90), 90, 95), (10, 90, Some(80), 95, 95), (20, 200, Some(200), 95, 200)];
        assert!(after(&looks).divergence().is_some());
    }

    #[test]
    fn what_was_applied_after_the_question_may_exceed_the_answer() {
        let lineage = after(&[(0, 100, Some(90), 90, 150), (1, 100, Some(90), 150, 150)]);
        assert_eq!(lineage.divergence(), None);
        let lineage = after(&[(0, 100, Some(90), 90, 150), (2, 100, Some(90), 150, 150)]);
        assert!(lineage.divergence().is_some());
    }

    #[test]
    fn a_publisher_that_went_back_to_what_was_applied_has_lost_nothing_for_the_subscriber() {
        let lineage = after(&[(0, 100, Some(90), 90, 90), (10, 90, Some(80), 95, 90)]);
        assert_eq!(lineage.divergence(), None);
    }

    #[test]
    fn a_slot_made_again_leaves_a_hole_unless_it_begins_where_apply_stands() {
        let gone = [(0, 100, Some(90), 90, 90), (10, 110, None, 90, 90)];
        assert_eq!(after(&gone).slot(), SlotCondition::Missing { lost: true });
        let holed = after(&[gone[0], gone[1], (20, 120, Some(115), 90, 90)]);
        let expected = Divergence::SlotRecreated { applied: Lsn(90), begins: Lsn(115) };
        assert_eq!(holed.divergence(), Some(expected));
        let whole = after(&[gone[0], gone[1], (20, 120, Some(90), 90, 90)]);
        assert_eq!(whole.divergence(), None);
    }

    #[test]
    fn a_slot_that_is_made_later_than_the_subscription_was_never_lost() {
        let lineage = after(&[(0, 100, None, 0, 0), (10, 110, None, 0, 0)]);
        assert_eq!(lineage.slot(), SlotCondition::Missing { lost: false });
        let lineage = after(&[(0, 100, None, 0, 0), (20, 120, Some(115), 0, 0)]);
        assert_eq!((lineage.slot(), lineage.divergence()), (SlotCondition::Present, None));
    }

    #[test]
    fn another_slot_begins_anew() {
        let mut lineage = after(&[(0, 100, Some(90), 90, 90)]);
        assert!(lineage.switch_slot(Some("a")));
        assert!(!lineage.switch_slot(Some("a")));
        assert_eq!(lineage.slot(), SlotCondition::Unknown);
        assert!(lineage.switch_slot(Some("ab")));
        assert!(lineage.switch_slot(None));
    }
}
