//! The watcher of one database: observes each of its subscriptions once per interval.

use std::time::{Duration, Instant};

use pgmig_core::lag::Outcome;
use pgmig_core::lag::observation::{Compared, Received, Tables};
use pgrx::pg_sys::{Datum, Oid};
use pgrx::prelude::*;

use super::announce::announce;
use super::place::Process;
use super::{process, shared};
use crate::error::{Kind, raise};
use crate::ffi::{subscription as catalog, worker};
use crate::notice::Notice;
use crate::probe::{
    self, Definition, PublisherProbe, PublisherProbes, SubscriberState, compare, observation,
    received, states,
};
use crate::reports;
use crate::settings;

/// How long an observation waits for publishers. A later answer counts for the next one.
const ANSWER_TIME: Duration = Duration::from_millis(200);
/// The shortest time between two observations of a subscription that lags.
const SHORTEST: Duration = Duration::from_millis(100);
/// Time between two observations of a subscription that was just disabled. The slot's final position
/// must be known before somebody else moves the slot.
const SETTLING: Duration = Duration::from_millis(10);
/// How soon a changed setting and the end of the last subscription are noticed. (DROP DATABASE waits 5
/// s for this worker to leave.)
const ATTENTION: Duration = Duration::from_secs(1);

#[pg_guard]
#[unsafe(no_mangle)]
#[allow(unsafe_code)]
pub extern "C-unwind" fn pgmig_extras_watcher(argument: Datum) {
    let database = Oid::from(argument.value() as u32);
    worker::handle_signals();
    worker::at_exit(on_exit);
    if !process::enter(database) {
        return;
    }
    worker::connect_to_database(database);
    Watcher {
        database,
        probes: PublisherProbes::default(),
        full: false,
        hurries: false,
        settles: false,
    }
    .run();
    process::leave();
}

extern "C-unwind" fn on_exit(_code: i32, _argument: Datum) {
    process::abandon();
}

struct Watcher {
    database: Oid,
    probes: PublisherProbes,
    /// Whether the log already says that there is no place for more subscriptions.
    full: bool,
    /// Whether the next observation should come sooner.
    hurries: bool,
    /// Whether a slot of a disabled subscription may still move.
    settles: bool,
}

impl Watcher {
    /// Observes as long as there are subscriptions to be watched.
    fn run(&mut self) {
        let mut last = None;
        loop {
            worker::reload_configuration();
            if let Some(timeouts) = shared::read(|header, _| header.timeouts) {
                settings::take_timeouts(timeouts);
            }
            if !settings::watch() || worker::in_recovery() || process::is_dismissed() {
                return;
            }
            let due = self.next_cycle(last);
            let goes_on = if process::is_called() {
                last = Some(Instant::now());
                self.cycle()
            } else if Instant::now() >= due {
                last = Some(due);
                self.cycle()
            } else if self.probes.have_news() {
                self.observe_news();
                true
            } else {
                self.has_subscriptions()
            };
            if !goes_on {
                return;
            }
            let until = self.next_cycle(last).min(Instant::now() + ATTENTION);
            self.probes.go_on_until(until, process::is_called);
        }
    }

    /// When the next observation is due. The times lie on a grid, so that a slow observation does not
    /// delay the others.
    fn next_cycle(&self, last: Option<Instant>) -> Instant {
        let now = Instant::now();
        let Some(last) = last else { return now };
        let interval = settings::watch_interval();
        let interval = match () {
            () if self.settles => SETTLING.min(interval),
            () if self.hurries => (interval / 4).max(SHORTEST).min(interval),
            () => interval,
        };
        let due = last + interval;
        // If more than one was missed, the grid starts again now.
        if now.saturating_duration_since(due) > interval { now } else { due }
    }

    fn has_subscriptions(&self) -> bool {
        let everywhere = worker::transaction(catalog::everywhere);
        everywhere.iter().any(|it| it.database == self.database)
    }

    /// Observes every subscription once. False if there is none left.
    fn cycle(&mut self) -> bool {
        let start = Instant::now();
        process::with_own(Process::begin_cycle);
        let definitions = worker::transaction(|| raise(probe::definitions()));
        if definitions.is_empty() {
            return false;
        }
        let watched = self.admit(definitions);
        self.probes.follow(&watched);
        self.probes.ask();
        self.probes.answer_until(start + ANSWER_TIME);
        let outcomes = self.observe_where(|_| true);
        self.hurries = outcomes.iter().any(|outcome| outcome.observe_sooner);
        self.settles = outcomes.iter().any(|outcome| outcome.observe_at_once);
        self.finish(start);
        true
    }

    /// A late answer is used immediately, because it would be old at the next observation.
    fn observe_news(&mut self) {
        self.probes.gather_until(Instant::now() + settings::watch_interval() / 20);
        self.observe_where(PublisherProbe::has_news);
    }

    fn observe_where(&mut self, at: impl Fn(&PublisherProbe) -> bool) -> Vec<Outcome> {
        // The order matters: first the publishers' answers, then what the workers received, then the
        // rest.
        let received = worker::transaction(|| raise(received()));
        let subscribers = worker::transaction(|| raise(states()));
        let outcomes = subscribers.iter().filter_map(|subscriber| {
            let probe = self.probes.get(subscriber.oid).filter(|probe| at(probe))?;
            shared::set_refusal(subscriber.oid, probe.refusal().unwrap_or_default());
            probe
                .refusal()
                .is_none()
                .then(|| self.observe(subscriber, &received))?
                .map(|o| (subscriber, o))
        });
        let outcomes: Vec<_> = outcomes.collect();
        announce(&outcomes);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Keeps the subscriptions that have a place. The log says if an enabled one has none.
    fn admit(&mut self, mut definitions: Vec<Definition>) -> Vec<Definition> {
        let has_place = |there: &Definition| shared::is_admitted(there.oid);
        let mut is_full = false;
        if !definitions.iter().all(has_place) {
            let everywhere = worker::transaction(catalog::everywhere);
            let here = everywhere.iter().filter(|it| it.database == self.database);
            is_full = here.filter(|it| !shared::admit(it) && it.enabled).count() > 0;
            definitions.retain(has_place);
        }
        let was_full = std::mem::replace(&mut self.full, is_full);
        if self.full && !was_full {
            Notice::warning("too many subscriptions to watch")
                .sqlstate(Kind::LimitExceeded)
                .detail("Those without room are not watched.")
                .hint("Raise \"pgmig_extras.max_subscriptions\" and restart the server.")
                .send();
        }
        definitions
    }

    fn observe(
        &mut self,
        subscriber: &SubscriberState,
        received: &[(Oid, Received)],
    ) -> Option<Outcome> {
        let probes = self.probes.len();
        let probe = self.probes.get_mut(subscriber.oid)?;
        take_list(probe, subscriber, probes);
        let tables = Tables { compared: probe.compared, ..subscriber.tables };
        if let Some(cause) = probe.take_cause() {
            reports::keep_cause(subscriber.oid, probe.is_named().then_some(cause.as_str()));
            tell_why(subscriber, cause);
        } else if !probe.is_down() {
            reports::keep_cause(subscriber.oid, None);
        }
        if reports::has_tables(subscriber.oid) {
            worker::transaction(|| reports::forget_over(subscriber.oid));
        }
        let settings = settings::lag();
        if subscriber.hears_within(settings.interval) {
            probe.hurry();
        }
        let observation = observation(subscriber, probe.take_answer(), received, tables);
        shared::track(subscriber.oid, |tracker| tracker.observe(&observation, &settings))
    }

    fn finish(&mut self, start: Instant) {
        let failed: u32 = self.probes.iter_mut().map(PublisherProbe::take_failed).sum();
        let unreachable = self.probes.iter_mut().filter(|probe| probe.is_down()).count() as u32;
        let watched = self.probes.len() as u32;
        process::with_own(|process| {
            process.unreachable = unreachable;
            process.watched = watched;
            process.errors += u64::from(failed);
            process.finish_cycle(start.elapsed());
        });
    }
}

/// Logs why a publisher cannot be reached. The state must not say it, because roles that see the state
/// must not learn which ports are open.
fn tell_why(subscriber: &SubscriberState, cause: String) {
    let text = format!("the publisher of subscription \"{}\" can't be watched", subscriber.name);
    Notice::log_server_only(text).sqlstate(Kind::ConnectionRefused).detail(cause).send();
}

/// Compares the subscription's tables with a new list of the publisher. Short lists arrive at every
/// observation. A list may be older than a refresh of the subscription, so a table counts as not
/// published only if two lists in a row do not have it.
fn take_list(probe: &mut PublisherProbe, subscriber: &SubscriberState, probes: usize) {
    let Some(list) = probe.take_list() else { return };
    let start = Instant::now();
    let found = worker::transaction(|| raise(compare(subscriber.oid, &list)));
    let before = probe.lacking.replace(found.unpublished).unwrap_or(0);
    let unpublished = found.unpublished.min(before);
    probe.compared = Some(Compared { unpublished, ..found });
    probe.pay_for_list(start.elapsed(), probes);
}
