//! Nothing is lost by a drop that first lets the subscription have what its publisher had.

use pgmig_core::lsn::Lsn;
use pgrx::PgLogLevel;

use super::drop::connect;
use super::{Subscription, missing};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, report};
use crate::ffi::catalog::SubscriptionRow;
use crate::ffi::identity;
use crate::publisher::{self, Publisher};
use crate::settings;
use crate::watcher::Listed;
use crate::watcher::catch_up::{self, End};

/// Waits until a subscription of the caller's has all that its publisher has now, unless it can't
/// get there: then a WARNING says why. Does nothing where the setting is off.
/// `needs_publisher`: without the publisher, an error.
pub fn before_drop(name: &str, needs_publisher: bool) -> Result<()> {
    if !settings::catch_up_before_drop() {
        return Ok(());
    }
    let caller = Caller::current()?;
    let subscription = Subscription::find_own(name, caller)?;
    if let End::Stuck(reason) = catch_up(&subscription, needs_publisher, caller)? {
        report(
            PgLogLevel::WARNING,
            Error::new(
                Kind::Warning,
                format!("subscription \"{name}\" does not have all that its publisher has"),
            )
            .detail(reason)
            .hint("Compare the tables before you use them."),
        );
    }
    Ok(())
}

fn catch_up(subscription: &Subscription, needs_publisher: bool, caller: Caller) -> Result<End> {
    let stuck = |reason: &str| Ok(End::Stuck(reason.to_owned()));
    if !subscription.enabled {
        return stuck("It is disabled.");
    }
    if SubscriptionRow::by_oid(subscription.oid).is_none_or(|row| row.is_of_this_transaction()) {
        return stuck("It was made or changed in this very transaction.");
    }
    let mut publisher = match connect(subscription, caller) {
        Ok(publisher) => publisher,
        Err(error) if needs_publisher => return Err(error),
        Err(error) => return Ok(End::Stuck(format!("{}.", error.message))),
    };
    if !needs_publisher {
        missing::warn(subscription, &mut publisher); // else the drop does
    }
    let goal = goal(&mut publisher)?;
    drop(publisher);
    catch_up::wait(&subscription.listed(), &subscription.name, goal)
}

/// Where the publisher is now. The message that is then written there, in a transaction that is
/// flushed, moves the slot on even where nothing else is written.
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

impl Subscription {
    fn listed(&self) -> Listed {
        Listed {
            oid: self.oid,
            owner: self.owner,
            is_superusers: identity::is_superuser(self.owner),
            conninfo: self.conninfo.clone(),
            slot: self.slot.clone(),
            publications: self.publications.clone(),
        }
    }
}
