//! The publishers of several subscriptions, asked at the same time.

use std::collections::BTreeMap;
use std::time::Instant;

use pgmig_core::lag::observation::{Answer, Compared};
use pgrx::pg_sys::Oid;

use super::compare;
use super::definition::Definition;
use super::publisher::PublisherProbe;
use crate::error::Result;
use crate::ffi::wait;

/// One connection for each subscription. A publisher that hangs does not delay the others.
#[derive(Default)]
pub struct PublisherProbes(BTreeMap<u32, PublisherProbe>);

impl PublisherProbes {
    pub fn follow(&mut self, definitions: &[Definition]) {
        self.0.retain(|oid, _| definitions.iter().any(|there| there.oid.to_u32() == *oid));
        for there in definitions {
            self.0.entry(there.oid.to_u32()).or_default().follow(there);
        }
    }

    pub fn ask(&mut self) {
        self.0.values_mut().for_each(PublisherProbe::ask);
    }

    /// Advances all connections until none expects an answer soon.
    pub fn answer_until(&mut self, until: Instant) {
        while Instant::now() < until && self.0.values().any(PublisherProbe::is_asked) {
            self.step(until);
        }
    }

    /// Advances all connections until one has an answer, or `is_called`.
    pub fn go_on_until(&mut self, until: Instant, is_called: impl Fn() -> bool) {
        while Instant::now() < until && !self.have_news() && !is_called() {
            self.step(until);
        }
    }

    /// Advances all connections until `until`, so that one observation takes all answers that arrive by
    /// then.
    pub fn gather_until(&mut self, until: Instant) {
        while Instant::now() < until {
            self.step(until);
        }
    }

    pub fn have_news(&self) -> bool {
        self.0.values().any(PublisherProbe::has_news)
    }

    fn step(&mut self, until: Instant) {
        let sockets: Vec<_> = self.0.values().filter_map(PublisherProbe::socket).collect();
        let retry = self.0.values().filter_map(PublisherProbe::retry).min();
        wait::any(&sockets, retry.map_or(until, |retry| retry.min(until)));
        self.0.values_mut().for_each(PublisherProbe::go_on);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut PublisherProbe> {
        self.0.values_mut()
    }

    pub fn get(&self, subscription: Oid) -> Option<&PublisherProbe> {
        self.0.get(&subscription.to_u32())
    }

    pub fn get_mut(&mut self, subscription: Oid) -> Option<&mut PublisherProbe> {
        self.0.get_mut(&subscription.to_u32())
    }

    /// How a subscription's tables compare with those of its publications.
    pub fn compare(&mut self, subscription: Oid) -> Result<Option<Compared>> {
        let list = self.0.get_mut(&subscription.to_u32()).and_then(PublisherProbe::take_list);
        list.map(|list| compare::compare(subscription, &list)).transpose()
    }

    /// Why the rules for connection strings forbid a connection to this publisher.
    pub fn refusal(&self, subscription: Oid) -> Option<&str> {
        self.0.get(&subscription.to_u32())?.refusal()
    }

    pub fn take_answer(&mut self, subscription: Oid) -> Answer {
        self.0.get_mut(&subscription.to_u32()).map_or(Answer::Failed, PublisherProbe::take_answer)
    }
}
