//! SQL functions that change a subscription of the caller's.

use std::collections::HashSet;

use pgmig_core::sql;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::owned::Subscription;
use super::removal::Removal;
use super::tables::{self, Recorded, Start};
use crate::argument::{Text, Texts, required};
use crate::caller::Caller;
use crate::check::{self, Subject, owner_login, versions};
use crate::commit::defer;
use crate::conninfo;
use crate::conninfo::secrecy;
use crate::error::{Error, Hint, Kind, Result, entry};
use crate::ffi::lsn::PgLsn;
use crate::ffi::subscription::{self as catalog, Column};
use crate::ffi::{database, major};
use crate::notice::Notice;
use crate::publisher::Publisher;
use crate::server::query;
use crate::settings;
use crate::slot;
use crate::watcher::{self, CallAtCommit};

#[pg_extern(sql = false)]
fn pg_alter_subscription_enable(arg_subscription_name: Text) {
    entry(|| enable(arg_subscription_name))
}

#[pg_extern(sql = false)]
fn pg_alter_subscription_disable(arg_subscription_name: Text) {
    entry(|| disable(arg_subscription_name))
}

pub fn enable(name: Text) -> Result<()> {
    let caller = Caller::current()?;
    let subscription = Subscription::find_own(required("arg_subscription_name", name)?, caller)?;
    owner_login::check(subscription.owner)?;
    warn_of_moved_slot(&subscription, caller);
    alter(name, "ENABLE")
}

/// The watcher observes the subscription immediately after the commit, to know the slot's final
/// position.
pub fn disable(name: Text) -> Result<()> {
    alter(name, "DISABLE")?;
    defer(CallAtCommit(database::my_database()));
    Ok(())
}

/// Warns if somebody advanced the slot while the subscription was disabled: the changes in between will
/// never arrive. The publisher is asked only if the watcher knows the slot's last position. If the
/// publisher does not answer, nothing is said.
fn warn_of_moved_slot(subscription: &Subscription, caller: Caller) {
    let Some(slot) = subscription.slot.as_deref().filter(|_| !subscription.enabled) else { return };
    if watcher::resting(subscription.oid).is_none() {
        return;
    }
    let found = subscription.connect(caller).and_then(|mut it| slot::resting(&mut it, slot));
    let Ok(Some(now)) = found else { return };
    let name = &subscription.name;
    if let Some(rested) = watcher::check_rest(subscription.oid, now) {
        Notice::warning(format!(
            "replication slot \"{slot}\" was moved while subscription \"{name}\" was disabled"
        ))
        .detail(format!("It was at {rested} and is now at {now}: changes in between are lost."))
        .hint("Drop the subscription and create it again to copy its tables again.")
        .send();
    }
}

/// Skips the transaction that ends at this LSN. `0/0` cancels the skip; NULL is refused.
#[pg_extern(sql = false)]
fn pg_alter_subscription_skip(arg_subscription_name: Text, arg_lsn: Option<PgLsn>) {
    entry(|| {
        let PgLsn(lsn) = required("arg_lsn", arg_lsn)?;
        let lsn = if lsn.0 == 0 { "NONE".to_owned() } else { sql::literal(&lsn.to_string()) };
        alter(arg_subscription_name, &format!("SKIP (lsn = {lsn})"))
    })
}

/// Resets the server's counters after the errors and conflicts have been dealt with.
#[pg_extern(sql = false)]
fn reset_subscription_stats(arg_subscription_name: Text) {
    entry(|| {
        let name = required("arg_subscription_name", arg_subscription_name)?;
        let subscription = Subscription::find_own(name, Caller::current()?)?;
        query::execute(
            "SELECT pg_catalog.pg_stat_reset_subscription_stats($1)",
            &[subscription.oid.into()],
        )
    })
}

/// Runs one ALTER SUBSCRIPTION that reads no connection string.
pub fn alter(name: Text, action: &str) -> Result<()> {
    let name = required("arg_subscription_name", name)?;
    let subscription = Subscription::open(name, Caller::current()?)?;
    query::execute(&format!("ALTER SUBSCRIPTION {} {action}", sql::ident(&subscription.name)), &[])
}

/// Changes the connection string, under the rules for a new subscription.
#[pg_extern(sql = false)]
fn pg_alter_subscription_connection(arg_subscription_name: Text, arg_connection_string: Text) {
    secrecy::concealing(&arg_connection_string, &[&arg_subscription_name], || {
        entry(|| set_connection(arg_subscription_name, arg_connection_string))
    })
}

fn set_connection(name: Text, text: Text) -> Result<()> {
    let caller = Caller::current()?;
    let name = required("arg_subscription_name", name)?;
    let text = required("arg_connection_string", text)?;
    let subscription = Subscription::find_own(name, caller)?;
    let conninfo = conninfo::given(text, caller)?;
    let mut publisher = Publisher::connect(&conninfo, caller)?;
    versions::check_origin(&publisher, subscription.origin.as_deref())?;
    if let Some(slot) = &subscription.slot
        && !slot::exists(&mut publisher, slot)?
    {
        Notice::warning_of(slot::missing(slot))
            .detail("Replication stands still until it does.")
            .send();
    }
    let conninfo = conninfo::to_store(&conninfo, &publisher.address(), caller);
    let subscription = subscription.locked()?;
    let mut columns = vec![Column::Conninfo(conninfo)];
    if major::SUBSCRIPTIONS_HAVE_PASSWORD_REQUIRED && !caller.is_superuser() {
        columns.push(Column::PasswordRequired(settings::require_password()));
    }
    catalog::update(subscription.oid, &columns);
    Ok(())
}

#[pg_extern(sql = false)]
fn pg_alter_subscription_refresh_publication(
    arg_subscription_name: Text,
    arg_copy_data: Option<bool>,
) {
    entry(|| refresh_publication(arg_subscription_name, arg_copy_data))
}

pub fn refresh_publication(name: Text, copy_data: Option<bool>) -> Result<()> {
    let caller = Caller::current()?;
    let name = required("arg_subscription_name", name)?;
    let copy_data = required("arg_copy_data", copy_data)?;
    let subscription = Subscription::find_own(name, caller)?;
    let publications = subscription.publications()?.to_vec();
    refresh(subscription, &publications, copy_data, caller)
}

/// Replaces the list of publications and refreshes the tables.
#[pg_extern(sql = false)]
fn pg_alter_subscription_set_publication(
    arg_subscription_name: Text,
    arg_publication_names: Texts,
    arg_copy_data: Option<bool>,
) {
    entry(|| {
        let caller = Caller::current()?;
        let name = required("arg_subscription_name", arg_subscription_name)?;
        let publications =
            tables::publication_names("arg_publication_names", arg_publication_names)?;
        tables::check_names(&publications)?;
        let copy_data = required("arg_copy_data", arg_copy_data)?;
        refresh(Subscription::find_own(name, caller)?, &publications, copy_data, caller)?;
        query::execute(
            &format!(
                "ALTER SUBSCRIPTION {} SET PUBLICATION {} WITH (refresh = false)",
                sql::ident(name),
                sql::idents(&publications)
            ),
            &[],
        )
    })
}

/// Subscribes to the tables that the publications have now, and forgets all others.
fn refresh(
    subscription: Subscription,
    publications: &[String],
    copy_data: bool,
    caller: Caller,
) -> Result<()> {
    check_refreshable(&subscription, copy_data)?;
    let mut publisher = subscription.connect(caller)?;
    versions::check_origin(&publisher, subscription.origin.as_deref())?;
    let offer = check::offer(&mut publisher, publications)?;
    let mut entries = tables::targets(&offer, caller)?;
    let wanted: HashSet<Oid> = entries.iter().map(|entry| entry.target).collect();

    let subscription = subscription.locked()?;
    let recorded = tables::recorded(subscription.oid);
    let had: HashSet<Oid> = recorded.iter().map(|entry| entry.table).collect();
    entries.retain(|entry| !had.contains(&entry.target));
    check::run(&Subject {
        copy_data,
        origin_none: subscription.origin.as_deref() == Some("none"),
        ..Subject::new(&publisher, &offer.server, &entries)
    })?;
    let new = entries.iter().map(|entry| &entry.target);
    tables::add(subscription.oid, new, Start::from_copy_data(copy_data));

    // This is also done if no table goes: an earlier refresh of this transaction may have planned to
    // remove tables that are wanted again.
    let mut gone = recorded.iter().filter(|entry| !wanted.contains(&entry.table));
    let publisher = gone.any(Recorded::may_have_slot).then_some(publisher);
    defer(Removal::of_tables(subscription.oid, wanted, publisher));
    Ok(())
}

/// Checks what core's REFRESH checks (subscriptioncmds.c).
fn check_refreshable(subscription: &Subscription, copy_data: bool) -> Result<()> {
    let refused = |why: &str, hint: Hint| {
        let name = &subscription.name;
        Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!("cannot refresh subscription \"{name}\": {why}"),
        )
        .hint(hint))
    };
    if !subscription.enabled {
        return refused(
            "it is disabled",
            Hint::call("Enable it first with ", "pg_alter_subscription_enable", "()."),
        );
    }
    if subscription.two_phase_enabled && copy_data {
        return refused(
            "tables can't be copied once two_phase is enabled",
            "Refresh with arg_copy_data => false, or drop and create the subscription again."
                .into(),
        );
    }
    Ok(())
}
