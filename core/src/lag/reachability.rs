//! Whether the publisher can be reached, and since when it cannot.

use super::Micros;
use super::observation::{Answer, Publisher};

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Reachability {
    last: Option<LastAnswer>,
    /// When the first query was sent, while it has no answer yet.
    waiting_since: Option<Micros>,
    unreachable: Option<Micros>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct LastAnswer {
    at: Micros,
    started: i64,
}

/// The time between the last answer and this observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinceAnswer {
    /// The publisher was reachable the whole time and did not restart.
    pub uninterrupted: bool,
    /// From the last answer to this one; 0 if one of them is missing or the publisher was
    /// unreachable in between.
    pub elapsed: Micros,
    /// When the publisher started, if it restarted since the last answer.
    pub restart: Option<Micros>,
}

impl Reachability {
    pub const fn new() -> Self {
        Self { last: None, waiting_since: None, unreachable: None }
    }

    /// Since when the publisher has been unreachable.
    pub fn unreachable_since(&self) -> Option<Micros> {
        self.unreachable
    }

    /// When its last answer was read.
    pub fn answered(&self) -> Option<Micros> {
        self.last.map(|last| last.at)
    }

    pub fn observe(&mut self, answer: &Answer, at: Micros, patience: Micros) -> SinceAnswer {
        match answer {
            Answer::Given(publisher) => self.given(publisher),
            Answer::Failed => self.unreachable(at),
            Answer::Pending if at.saturating_sub(self.waiting_since(at)) > patience => {
                self.unreachable(at)
            }
            Answer::Pending => {
                SinceAnswer { uninterrupted: self.unreachable.is_none(), elapsed: 0, restart: None }
            }
        }
    }

    fn waiting_since(&mut self, at: Micros) -> Micros {
        self.answered().unwrap_or_else(|| *self.waiting_since.get_or_insert(at))
    }

    fn unreachable(&mut self, at: Micros) -> SinceAnswer {
        self.unreachable.get_or_insert(at);
        SinceAnswer { uninterrupted: false, elapsed: 0, restart: None }
    }

    fn given(&mut self, publisher: &Publisher) -> SinceAnswer {
        let at = publisher.at();
        let restart = self.restart(publisher, at);
        let uninterrupted = self.unreachable.is_none() && restart.is_none();
        let before = self.last.filter(|_| uninterrupted);
        let elapsed = before.map_or(0, |last| at.saturating_sub(last.at));
        *self = Self {
            last: Some(LastAnswer { at, started: publisher.started }),
            waiting_since: None,
            unreachable: None,
        };
        SinceAnswer { uninterrupted, elapsed, restart }
    }

    /// The start lies between the last answer and this one, whatever the publisher's clock says:
    /// `uptime` is clamped to that range.
    fn restart(&self, publisher: &Publisher, at: Micros) -> Option<Micros> {
        let last = self.last.filter(|last| last.started != publisher.started)?;
        Some(at.saturating_sub(publisher.uptime).min(at).max(last.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{Publications, Source};
    use crate::lsn::Lsn;

    fn answer(at: Micros, started: i64, uptime: Micros) -> Answer {
        Answer::Given(Publisher {
            asked: at,
            answered: at,
            source: Source::default(),
            started,
            major: 18,
            uptime,
            flush_lsn: Lsn(1),
            insert_lsn: Lsn(1),
            oldest_xid: 1,
            slot: None,
            publications: Publications::NONE,
        })
    }

    #[test]
    fn a_failure_makes_the_publisher_unreachable_until_an_answer_arrives() {
        let mut reachability = Reachability::new();
        assert!(reachability.observe(&answer(10, 1, 5), 10, 100).uninterrupted);
        assert_eq!(reachability.observe(&answer(20, 1, 15), 20, 100).elapsed, 10);
        assert!(!reachability.observe(&Answer::Failed, 30, 100).uninterrupted);
        assert!(!reachability.observe(&Answer::Pending, 40, 100).uninterrupted);
        assert_eq!(reachability.unreachable_since(), Some(30));
        let since = reachability.observe(&answer(50, 1, 45), 50, 100);
        assert_eq!(since, SinceAnswer { uninterrupted: false, elapsed: 0, restart: None });
        assert_eq!(reachability.unreachable_since(), None);
    }

    #[test]
    fn a_publisher_that_answers_too_late_is_unreachable() {
        for first in [None, Some(answer(0, 1, 5))] {
            let mut reachability = Reachability::new();
            if let Some(first) = &first {
                reachability.observe(first, 0, 100);
            }
            assert!(reachability.observe(&Answer::Pending, 0, 100).uninterrupted);
            assert!(reachability.observe(&Answer::Pending, 100, 100).uninterrupted);
            assert!(!reachability.observe(&Answer::Pending, 101, 100).uninterrupted);
            assert_eq!(reachability.unreachable_since(), Some(101));
        }
    }

    #[test]
    fn the_time_of_a_restart_lies_between_the_two_answers() {
        for (uptime, started) in [(20, 180), (0, 200), (150, 100), (1000, 100)] {
            let mut reachability = Reachability::new();
            reachability.observe(&answer(100, 1, 5), 100, 1000);
            let since = reachability.observe(&answer(200, 2, uptime), 200, 1000);
            assert_eq!(since.restart, Some(started));
            assert!(!since.uninterrupted);
        }
    }
}
