//! Lag as it is known now, computed when it is read.

use super::Micros;
use super::ring::Passage;

/// Behind by `time`, or by at least that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    pub time: Micros,
    pub is_lower_bound: bool,
}

/// What a look leaves behind, so that lag can be told at any later moment.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    /// Of applied_lsn.
    pub passage: Option<Passage>,
    /// Tables whose copy is not done miss rows of any age.
    pub copying: bool,
    /// The publisher can't be reached.
    pub lost: bool,
    /// How old the newest sample may be while "nothing newer" still means no lag.
    pub fresh: Micros,
}

impl Estimate {
    pub const fn new() -> Self {
        Self { passage: None, copying: false, lost: false, fresh: 0 }
    }

    /// An unreachable publisher may be writing: lag grows from its last answer on.
    pub fn lag(&self, now: Micros) -> Option<Lag> {
        let passage = self.passage?;
        let age = now.saturating_sub(passage.at());
        let current = matches!(passage, Passage::Newest { .. }) && !self.lost && age <= self.fresh;
        Some(Lag {
            time: if current { 0 } else { age },
            is_lower_bound: self.copying || matches!(passage, Passage::Before { .. }),
        })
    }

    /// How wide the part of the ring is that applied_lsn lies in.
    pub fn width(&self) -> Micros {
        match self.passage {
            Some(Passage::Within { width, .. }) => width,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(passage: Passage, lost: bool, now: Micros) -> (Micros, bool) {
        let estimate = Estimate { passage: Some(passage), copying: false, lost, fresh: 15 };
        let lag = estimate.lag(now).unwrap();
        (lag.time, lag.is_lower_bound)
    }

    #[test]
    fn lag_is_the_age_of_what_was_applied_last() {
        assert_eq!(lag(Passage::Within { at: 100, width: 9 }, false, 130), (30, false));
        assert_eq!(lag(Passage::Before { until: 100 }, false, 130), (30, true));
    }

    #[test]
    fn nothing_newer_is_no_lag_until_the_answer_is_old_or_contact_lost() {
        let newest = Passage::Newest { at: 100 };
        assert_eq!(lag(newest, false, 115), (0, false));
        assert_eq!(lag(newest, false, 116), (16, false));
        assert_eq!(lag(newest, true, 101), (1, false));
    }

    #[test]
    fn while_tables_are_copied_it_is_a_lower_bound() {
        let passage = Some(Passage::Newest { at: 100 });
        let estimate = Estimate { passage, copying: true, lost: false, fresh: 15 };
        assert_eq!(estimate.lag(110), Some(Lag { time: 0, is_lower_bound: true }));
    }
}
