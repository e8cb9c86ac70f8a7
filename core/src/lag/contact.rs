//! Whether the publisher can be reached, and since when not.

use super::Micros;
use super::observation::{Answer, Publisher};

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Contact {
    last: Option<Last>,
    /// Since when the first answer is waited for.
    tried: Option<Micros>,
    lost: Option<Micros>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Micros,
    started: i64,
}

/// What one look says about the time since the look before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The publisher was within reach all the time.
    pub unbroken: bool,
    /// From the last answer to this one; 0 if there is none or contact was broken.
    pub elapsed: Micros,
    /// The publisher's last start, if it was since the last answer.
    pub restart: Option<Micros>,
}

impl Contact {
    pub const fn new() -> Self {
        Self { last: None, tried: None, lost: None }
    }

    /// Since when the publisher is out of reach.
    pub fn lost(&self) -> Option<Micros> {
        self.lost
    }

    /// When its last answer was taken.
    pub fn answered(&self) -> Option<Micros> {
        self.last.map(|last| last.at)
    }

    pub fn observe(&mut self, answer: &Answer, at: Micros, patience: Micros) -> Since {
        match answer {
            Answer::Given(publisher) => self.given(publisher),
            Answer::Failed => self.broken(at),
            Answer::Pending if at.saturating_sub(self.waiting_since(at)) > patience => {
                self.broken(at)
            }
            Answer::Pending => Since { unbroken: self.lost.is_none(), elapsed: 0, restart: None },
        }
    }

    fn waiting_since(&mut self, at: Micros) -> Micros {
        self.answered().unwrap_or_else(|| *self.tried.get_or_insert(at))
    }

    fn broken(&mut self, at: Micros) -> Since {
        self.lost.get_or_insert(at);
        Since { unbroken: false, elapsed: 0, restart: None }
    }

    fn given(&mut self, publisher: &Publisher) -> Since {
        let at = publisher.at();
        let restart = self.restart(publisher, at);
        let unbroken = self.lost.is_none() && restart.is_none();
        let before = self.last.filter(|_| unbroken);
        let elapsed = before.map_or(0, |last| at.saturating_sub(last.at));
        *self =
            Self { last: Some(Last { at, started: publisher.started }), tried: None, lost: None };
        Since { unbroken, elapsed, restart }
    }

    /// The start lies between the last answer and this one, whatever the publisher's clock says.
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
    fn a_failure_breaks_contact_at_once_and_an_answer_mends_it() {
        let mut contact = Contact::new();
        assert!(contact.observe(&answer(10, 1, 5), 10, 100).unbroken);
        assert_eq!(contact.observe(&answer(20, 1, 15), 20, 100).elapsed, 10);
        assert!(!contact.observe(&Answer::Failed, 30, 100).unbroken);
        assert!(!contact.observe(&Answer::Pending, 40, 100).unbroken);
        assert_eq!(contact.lost(), Some(30));
        let since = contact.observe(&answer(50, 1, 45), 50, 100);
        assert_eq!(since, Since { unbroken: false, elapsed: 0, restart: None });
        assert_eq!(contact.lost(), None);
    }

    #[test]
    fn an_answer_that_takes_long_breaks_contact_when_patience_ends() {
        for first in [None, Some(answer(0, 1, 5))] {
            let mut contact = Contact::new();
            if let Some(first) = &first {
                contact.observe(first, 0, 100);
            }
            assert!(contact.observe(&Answer::Pending, 0, 100).unbroken);
            assert!(contact.observe(&Answer::Pending, 100, 100).unbroken);
            assert!(!contact.observe(&Answer::Pending, 101, 100).unbroken);
            assert_eq!(contact.lost(), Some(101));
        }
    }

    #[test]
    fn a_restart_is_placed_between_the_two_answers_whatever_the_clock_there_says() {
        for (uptime, started) in [(20, 180), (0, 200), (150, 100), (1000, 100)] {
            let mut contact = Contact::new();
            contact.observe(&answer(100, 1, 5), 100, 1000);
            let since = contact.observe(&answer(200, 2, uptime), 200, 1000);
            assert_eq!(since.restart, Some(started));
            assert!(!since.unbroken);
        }
    }
}
