//! Waits before a drop until the subscription has everything that its publisher has, so that the drop
//! loses nothing.

use std::time::{Duration, Instant};

use pgmig_core::lsn::Lsn;

use crate::caller::Caller;
use crate::error::Result;
use crate::ffi::subscription::SubscriptionRow;
use crate::ffi::{identity, wait as clock};
use crate::notice::Notice;
use crate::probe::Definition;
use crate::probe::wait::{End, Obstacle, wait};
use crate::publisher::{self, Publisher};
use crate::reports::last as last_error;
use crate::settings;
use crate::subscription::{Subscription, warn_of_not_received, without_publisher};

/// The time that is left for the drop itself: more than it needs, or half of a short time limit. If the
/// drop were cancelled, the subscription would stay, although clients take it for dropped.
const DROP_TIME: Duration = Duration::from_secs(5);

/// When the wait must end because of `statement_timeout` or `transaction_timeout`.
fn last_moment() -> Option<Instant> {
    let limits = [clock::statement_deadline(), clock::transaction_deadline()];
    let end = limits.into_iter().flatten().min()?;
    Some(end - DROP_TIME.min(end.saturating_duration_since(Instant::now()) / 2))
}

/// Waits until a subscription of the caller's has everything that its publisher has now. If it cannot,
/// or not in the time of the statement, a WARNING says why. Does nothing if
/// `pgmig_extras.catch_up_before_drop` is off. `needs_publisher`: an unreachable publisher is an error.
pub fn before_drop(name: &str, needs_publisher: bool) -> Result<()> {
    if !settings::catch_up_before_drop() {
        return Ok(());
    }
    let caller = Caller::current()?;
    let until = last_moment();
    let subscription = Subscription::find_own(name, caller)?;
    if let End::Stuck(obstacle) = catch_up(&subscription, needs_publisher, until, caller)? {
        Notice::warning(format!(
            "subscription \"{name}\" does not have all that its publisher has"
        ))
        .detail(obstacle.text(last_error(subscription.oid).as_deref()))
        .hint("Compare the tables before you use them.")
        .send();
    }
    Ok(())
}

fn catch_up(
    subscription: &Subscription,
    needs_publisher: bool,
    until: Option<Instant>,
    caller: Caller,
) -> Result<End> {
    let stuck = |text: &str| Ok(End::Stuck(Obstacle::Other(text.to_owned())));
    if !subscription.enabled {
        return stuck("It is disabled.");
    }
    if SubscriptionRow::by_oid(subscription.oid).is_none_or(|row| row.is_of_this_transaction) {
        return stuck("It was made or changed in this very transaction.");
    }
    // A drop that needs the publisher makes these warnings itself.
    let goal = match publisher_position(subscription, !needs_publisher, until, caller) {
        Ok(goal) => goal,
        // The drop asks the publisher again, in the time that is left for it.
        Err(error) if needs_publisher && until.is_none_or(|until| Instant::now() < until) => {
            return Err(without_publisher(subscription, error));
        }
        Err(error) => return stuck(&format!("{}.", error.message)),
    };
    wait(&definitions(subscription), &subscription.name, goal, until)
}

/// The publisher's present position. `warns`: also warns of what it publishes and the subscription does
/// not have.
fn publisher_position(
    subscription: &Subscription,
    warns: bool,
    until: Option<Instant>,
    caller: Caller,
) -> Result<Lsn> {
    let mut publisher = subscription.connect_until(caller, until)?;
    if warns {
        warn_of_not_received(subscription, &mut publisher);
    }
    goal(&mut publisher)
}

/// The publisher's present position. The message that is written there then, in a flushed transaction,
/// lets the slot advance even if nothing else is written.
fn goal(publisher: &mut Publisher) -> Result<Lsn> {
    const LOOK: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
        THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
        pg_catalog.pg_is_in_recovery()";
    const MOVE_ON: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'local', true), \
        pg_catalog.pg_logical_emit_message(true, 'pgmig_extras', '')";
    let answer = publisher.query(LOOK)?;
    let row = answer.first().ok_or_else(publisher::nonsense)?;
    let lsn = row.get(0).and_then(|lsn| lsn.parse().ok()).ok_or_else(publisher::nonsense)?;
    if row.get(1) == Some("f") {
        publisher.query(MOVE_ON)?;
    }
    Ok(lsn)
}

fn definitions(subscription: &Subscription) -> Definition {
    Definition {
        oid: subscription.oid,
        owner: subscription.owner,
        is_superusers: identity::is_superuser(subscription.owner),
        conninfo: subscription.conninfo.clone(),
        slot: subscription.slot.clone(),
        publications: subscription.publications.clone(),
    }
}
