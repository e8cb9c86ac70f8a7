//! Subscriptions, as aiven_extras has them.

use pgmig_core::secret::shown;
use pgmig_core::subscription::Options;
use pgrx::prelude::*;

use super::entry;
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::conninfo::secrecy;
use crate::error::{Error, Kind, Result, invalid};
use crate::ffi::call::Call;
use crate::ffi::major;
use crate::ffi::subscription::SubscriptionRow;
use crate::migration::catch_up;
use crate::server::query;
use crate::subscription::{self, Request};

#[pg_extern(sql = false)]
fn aiven_pg_create_subscription(
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
            require_right()?;
            let origin = required("arg_origin", arg_origin)?;
            check_origin(origin)?;
            subscription::create(&Request {
                name: required("arg_subscription_name", arg_subscription_name)?,
                conninfo: required("arg_connection_string", arg_connection_string)?,
                publications: vec![
                    required("arg_publication_name", arg_publication_name)?.to_owned(),
                ],
                options: Options::basic(
                    required("arg_slot_name", arg_slot_name)?,
                    required("arg_slot_create", arg_slot_create)?,
                    required("arg_copy_data", arg_copy_data)?,
                    origin,
                ),
                takes_existing_slot: true,
            })
        })
    })
}

/// Clients know these texts.
fn check_origin(origin: &str) -> Result<()> {
    if !matches!(origin, "any" | "none") {
        return Err(invalid(format!(
            "Invalid origin: {}. Origin must be either \"any\" or \"none\".",
            shown(origin)
        )));
    }
    if origin == "none" && !major::SUBSCRIPTIONS_HAVE_ORIGIN {
        let version: Vec<String> =
            query::column("SELECT pg_catalog.current_setting('server_version_num')", &[])?;
        return Err(Error::new(
            Kind::FeatureNotSupported,
            format!(
                "PostgreSQL version must be 16 or higher to specify origin other than \"any\". \
                 Current version: {}",
                version.concat()
            ),
        ));
    }
    Ok(())
}

/// Before 15 no right to subscribe can be given. Clients react to a privilege error by using a dump
/// instead.
fn require_right() -> Result<()> {
    subscription::require_subscriber(Caller::current()?)
        .map_err(|error| Error { kind: Kind::InsufficientPrivilege, ..error })
}

#[pg_extern(sql = false)]
fn aiven_pg_alter_subscription_enable(arg_subscription_name: Text) {
    entry(|| require_right().and_then(|()| subscription::enable(arg_subscription_name)))
}

#[pg_extern(sql = false)]
fn aiven_pg_alter_subscription_disable(arg_subscription_name: Text) {
    entry(|| require_right().and_then(|()| subscription::disable(arg_subscription_name)))
}

#[pg_extern(sql = false)]
fn aiven_pg_alter_subscription_refresh_publication(
    arg_subscription_name: Text,
    arg_copy_data: Option<bool>,
) {
    entry(|| {
        require_right()?;
        subscription::refresh_publication(arg_subscription_name, arg_copy_data)
    })
}

/// Waits first until the subscription has everything that its publisher has.
#[pg_extern(sql = false)]
fn aiven_pg_drop_subscription(arg_subscription_name: Text, arg_drop_repl_slot: Option<bool>) {
    entry(|| {
        require_right()?;
        let name = required("arg_subscription_name", arg_subscription_name)?;
        let with_slot = required("arg_drop_repl_slot", arg_drop_repl_slot)?;
        check_exists(name)?;
        catch_up::before_drop(name, with_slot)?;
        subscription::drop_subscription(name, with_slot)
    })
}

/// Clients know this text.
fn check_exists(name: &str) -> Result<()> {
    match SubscriptionRow::find(name) {
        Some(_) => Ok(()),
        None => {
            let text = format!("No subscription found for name: {}", shown(name));
            let error = Error::new(Kind::UndefinedObject, text);
            Err(subscription::other_databases::named_in(error, name).unwrap_or_else(|error| error))
        }
    }
}

/// The subscriptions of owners that the caller is a member of, secrets masked.
#[pg_extern(sql = false)]
fn aiven_pg_list_all_subscriptions(call: Call) {
    entry(|| subscription::list(call))
}
