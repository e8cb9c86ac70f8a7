//! Creating a subscription that the caller owns.

use pgmig_core::secret::shown;
use pgmig_core::subscription::Options;
use pgmig_core::{name, sql};
use pgrx::prelude::*;

use super::guard;
use super::owned::{Subscription, not_found, require_subscriber};
use super::tables::{self, Start};
use crate::argument::{Json, Text, Texts, required};
use crate::caller::Caller;
use crate::check::{self, Entry, Offer, Subject, owner_login, versions};
use crate::commit::{Plan, defer};
use crate::conninfo;
use crate::conninfo::secrecy;
use crate::error::{Error, Hint, Kind, Result, entry};
use crate::ffi::settings::with_settings;
use crate::ffi::subscription::{self as catalog, Column};
use crate::ffi::{database, major};
use crate::notice::Notice;
use crate::publisher::Publisher;
use crate::server::query;
use crate::settings;
use crate::slot::{self, NewSlot};

/// As in aiven_extras.
#[pg_extern(sql = false)]
fn pg_create_subscription(
    arg_subscription_name: Text,
    arg_connection_string: Text,
    arg_publication_name: Text,
    arg_slot_name: Text,
    arg_slot_create: Option<bool>,
    arg_copy_data: Option<bool>,
    arg_origin: Text,
) {
    let others = &[&arg_subscription_name, &arg_publication_name, &arg_slot_name, &arg_origin];
    secrecy::concealing(&arg_connection_string, others, || {
        entry(|| {
            let options = Options::basic(
                required("arg_slot_name", arg_slot_name)?,
                required("arg_slot_create", arg_slot_create)?,
                required("arg_copy_data", arg_copy_data)?,
                required("arg_origin", arg_origin)?,
            );
            require_subscriber(Caller::current()?)?;
            options.check(major::MAJOR)?;
            create(&Request {
                name: required("arg_subscription_name", arg_subscription_name)?,
                conninfo: required("arg_connection_string", arg_connection_string)?,
                publications: vec![
                    required("arg_publication_name", arg_publication_name)?.to_owned(),
                ],
                options,
                takes_existing_slot: false,
            })
        })
    })
}

/// Takes every option of this server's major.
#[pg_extern(sql = false)]
fn create_subscription(name: Text, conninfo: Text, publications: Texts, options: Json) {
    secrecy::concealing(&conninfo, &[&name], || {
        entry(|| {
            let options = required("options", options)?;
            require_subscriber(Caller::current()?)?;
            create(&Request {
                name: required("name", name)?,
                conninfo: required("conninfo", conninfo)?,
                publications: tables::publication_names("publications", publications)?,
                options: Options::parse(options, major::MAJOR)?,
                takes_existing_slot: false,
            })
        })
    })
}

pub struct Request<'a> {
    pub name: &'a str,
    pub conninfo: &'a str,
    pub publications: Vec<String>,
    pub options: Options,
    /// Whether an existing slot is used instead of an error, if a new subscription can use it.
    pub takes_existing_slot: bool,
}

pub fn create(request: &Request) -> Result<()> {
    let caller = Caller::current()?;
    let options = &request.options;
    name::check("subscription", request.name)?;
    tables::check_names(&request.publications)?;
    let slot = options.slot_name.as_deref().unwrap_or(request.name);
    name::check_slot(slot)?;
    database::require_writable(c"CREATE SUBSCRIPTION");
    refuse_duplicate(request.name)?;
    owner_login::check(caller.oid())?;
    let conninfo = conninfo::given(request.conninfo, caller)?;

    let mut publisher = Publisher::connect(&conninfo, caller)?;
    let offer = check::offer(&mut publisher, &request.publications)?;
    let entries = tables::targets(&offer, caller)?;
    check_offer(&publisher, &offer, &entries, options)?;
    let conninfo = conninfo::to_store(&conninfo, &publisher.address(), caller);
    prepare_slot(publisher, slot, request)?;

    if major::SUBSCRIPTIONS_NEED_GUARD && !caller.is_superuser() {
        guard::require()?;
    }
    catalog::lock_name(request.name);
    refuse_duplicate(request.name)?;
    create_unconnected(request, slot, caller)?;
    let subscription = Subscription::find(request.name).ok_or_else(|| not_found(request.name))?;
    give_to(caller, &subscription, conninfo)?;
    tables::add(
        subscription.oid,
        entries.iter().map(|entry| &entry.target),
        Start::from_copy_data(options.copy_data.unwrap_or(true)),
    );
    if options.enabled.unwrap_or(true) {
        query::execute(&format!("ALTER SUBSCRIPTION {} ENABLE", sql::ident(request.name)), &[])?;
    }
    Ok(())
}

/// Refuses what would lose rows. Warns of what may lose some.
fn check_offer(
    publisher: &Publisher,
    offer: &Offer,
    tables: &[Entry],
    options: &Options,
) -> Result<()> {
    let origin = options.origin.as_deref();
    versions::check_origin(publisher, origin)?;
    versions::check_failover(publisher, options.failover == Some(true))?;
    check::run(&Subject {
        copy_data: options.copy_data.unwrap_or(true),
        origin_none: origin == Some("none"),
        ..Subject::new(publisher, &offer.server, tables)
    })
}

fn refuse_duplicate(name: &str) -> Result<()> {
    match Subscription::find(name) {
        Some(_) => Err(Error::new(
            Kind::DuplicateObject,
            format!("subscription \"{}\" already exists", shown(name)),
        )
        .hint(Hint::call(
            "Choose another name, or drop it with ",
            "pg_drop_subscription",
            "().",
        ))),
        None => Ok(()),
    }
}

/// Creates the slot with the commit of this transaction, or makes sure that the slot exists.
fn prepare_slot(mut publisher: Publisher, slot: &str, request: &Request) -> Result<()> {
    let options = &request.options;
    if options.create_slot.unwrap_or(true) {
        if request.takes_existing_slot && existing_slot(&mut publisher, slot)? {
            Notice::info(format!(
                "using replication slot \"{slot}\", which exists on the publisher"
            ))
            .send();
            return Ok(());
        }
        let (new, _) = NewSlot::create(publisher, slot, options.failover.unwrap_or(false))?;
        defer(new);
        Notice::info(format!("created replication slot \"{slot}\" on publisher")).send();
        return Ok(());
    }
    let plans = slot::plans(&mut publisher, slot)?;
    slot::refuse(slot, &plans, &[Plan::Drop])?;
    let is_made = plans.contains(&Plan::Create);
    let is_wanted = options.enabled.unwrap_or(true);
    if is_wanted && !is_made && !slot::exists(&mut publisher, slot)? {
        return Err(slot::missing(slot)
            .hint("Let it be created with the subscription, or create it there first."));
    }
    Ok(())
}

/// Whether the slot exists, or will exist after the commit. An error if no subscription can use the
/// slot, or only with a loss of changes.
fn existing_slot(publisher: &mut Publisher, slot: &str) -> Result<bool> {
    let plans = slot::plans(publisher, slot)?;
    slot::refuse(slot, &plans, &[Plan::Drop])?;
    Ok(plans.contains(&Plan::Create) || slot::is_there_and_fit(publisher, slot)?)
}

/// Creates the subscription with a placeholder for its connection string: no SQL text that could be
/// logged or quoted in an error's CONTEXT ever holds the real one.
fn create_unconnected(request: &Request, slot: &str, caller: Caller) -> Result<()> {
    let mut options = request.options.with_list(slot, major::MAJOR);
    if major::SUBSCRIPTIONS_HAVE_PASSWORD_REQUIRED
        && !caller.is_superuser()
        && !settings::require_password()
    {
        options.push_str(", password_required = false");
    }
    let text = format!(
        "CREATE SUBSCRIPTION {} CONNECTION '' PUBLICATION {} WITH ({options})",
        sql::ident(request.name),
        sql::idents(&request.publications),
    );
    // CREATE SUBSCRIPTION would warn that no tables are subscribed, which is not true here.
    let quiet = [(c"client_min_messages", c"error"), (c"log_min_messages", c"error")];
    with_settings(&quiet, || query::execute(&text, &[]))
}

/// Sets the owner and the connection string. 16 and later give a subscription to an ordinary role by
/// ALTER … OWNER TO. 15 refuses that command, but its apply workers support such an owner.
fn give_to(caller: Caller, subscription: &Subscription, conninfo: String) -> Result<()> {
    catalog::lock(subscription.oid);
    let mut columns = vec![Column::Conninfo(conninfo)];
    if !major::ORDINARY_ROLES_TAKE_SUBSCRIPTIONS {
        columns.push(Column::Owner(caller.oid()));
    }
    catalog::update(subscription.oid, &columns);
    if !major::ORDINARY_ROLES_TAKE_SUBSCRIPTIONS {
        catalog::change_owner_dependency(subscription.oid, caller.oid());
        return Ok(());
    }
    query::execute(
        &format!(
            "ALTER SUBSCRIPTION {} OWNER TO {}",
            sql::ident(&subscription.name),
            sql::ident(&caller.name())
        ),
        &[],
    )
}
