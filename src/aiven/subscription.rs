//! Subscriptions, as aiven_extras has them.

use pgmig_core::limits;
use pgmig_core::subscription::Options;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use super::{SCHEMA, answer};
use crate::argument::Text;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, internal, invalid, required};
use crate::ffi::catalog::SubscriptionRow;
use crate::ffi::rows;
use crate::subscription::{self, Request, catch_up};
use crate::{MAJOR, conninfo, query, secrecy};

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
    let _hidden = secrecy::hide_call_of(SCHEMA, "pg_create_subscription");
    let run = || -> Result<()> {
        require_right()?;
        let origin = required("arg_origin", arg_origin)?;
        check_origin(origin)?;
        subscription::create(&Request {
            name: required("arg_subscription_name", arg_subscription_name)?,
            conninfo: required("arg_connection_string", arg_connection_string)?,
            publications: vec![required("arg_publication_name", arg_publication_name)?.to_owned()],
            options: Options::basic(
                required("arg_slot_name", arg_slot_name)?,
                required("arg_slot_create", arg_slot_create)?,
                required("arg_copy_data", arg_copy_data)?,
                origin,
            ),
        })
    };
    answer(run())
}

/// Clients know these texts.
fn check_origin(origin: &str) -> Result<()> {
    if !matches!(origin, "any" | "none") {
        return Err(invalid(format!(
            "Invalid origin: {origin}. Origin must be either \"any\" or \"none\"."
        )));
    }
    if origin == "none" && MAJOR < 16 {
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

/// Below 15 no right to subscribe can be lent. A refusal of rights is what makes clients fall back
/// to a dump.
fn require_right() -> Result<()> {
    subscription::require_subscriber(Caller::current()?)
        .map_err(|error| Error { kind: Kind::InsufficientPrivilege, ..error })
}

#[pg_extern(sql = false)]
fn aiven_pg_alter_subscription_enable(arg_subscription_name: Text) {
    answer(require_right().and_then(|()| subscription::alter(arg_subscription_name, "ENABLE")))
}

#[pg_extern(sql = false)]
fn aiven_pg_alter_subscription_disable(arg_subscription_name: Text) {
    answer(require_right().and_then(|()| subscription::alter(arg_subscription_name, "DISABLE")))
}

#[pg_extern(sql = false)]
fn aiven_pg_alter_subscription_refresh_publication(
    arg_subscription_name: Text,
    arg_copy_data: Option<bool>,
) {
    let run = || {
        require_right()?;
        subscription::refresh_publication(arg_subscription_name, arg_copy_data)
    };
    answer(run())
}

/// First lets the subscription have all that its publisher has.
#[pg_extern(sql = false)]
fn aiven_pg_drop_subscription(arg_subscription_name: Text, arg_drop_repl_slot: Option<bool>) {
    let run = || -> Result<()> {
        require_right()?;
        let name = required("arg_subscription_name", arg_subscription_name)?;
        let with_slot = required("arg_drop_repl_slot", arg_drop_repl_slot)?;
        check_exists(name)?;
        catch_up::before_drop(name, with_slot)?;
        subscription::drop_subscription(name, with_slot)
    };
    answer(run())
}

/// Clients know this text.
fn check_exists(name: &str) -> Result<()> {
    match SubscriptionRow::find(name) {
        Some(_) => Ok(()),
        None => Err(Error::new(
            Kind::UndefinedObject,
            format!("No subscription found for name: {name}"),
        )),
    }
}

/// Those of owners that the caller is a member of, passwords masked.
#[pg_extern(sql = false)]
fn aiven_pg_list_all_subscriptions(fcinfo: pg_sys::FunctionCallInfo) {
    answer(list(fcinfo))
}

fn list(fcinfo: pg_sys::FunctionCallInfo) -> Result<()> {
    const SUBSCRIPTIONS: &str = "\
        SELECT s.subdbid, s.subname, s.subowner, s.subenabled, m.conninfo, s.subslotname, \
               s.subsynccommit, s.subpublications \
          FROM pg_catalog.pg_subscription s \
          JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) m(oid, conninfo) \
            ON m.oid OPERATOR(pg_catalog.=) s.oid \
         ORDER BY s.subdbid, s.subname";
    let caller = Caller::current()?;
    let (oids, masked): (Vec<Oid>, Vec<String>) = masked_conninfos(caller)?.into_iter().unzip();
    rows::return_query(fcinfo, SUBSCRIPTIONS, &[oids.into(), masked.into()]).map_err(internal)
}

fn masked_conninfos(caller: Caller) -> Result<Vec<(Oid, String)>> {
    let found = query::read(
        // Native DDL stores any length.
        "SELECT s.oid, CASE WHEN pg_catalog.octet_length(s.subconninfo) OPERATOR(pg_catalog.<=) 8192 \
                            THEN s.subconninfo END \
           FROM pg_catalog.pg_subscription s \
          WHERE pg_catalog.pg_has_role($1, s.subowner, 'USAGE')",
        &[caller.oid().into()],
        |row| Ok((row.get::<Oid>(1)?, row.get::<String>(2)?)),
    )?;
    let masked = |(oid, text): (Option<Oid>, Option<String>)| {
        let too_long = || format!("<longer than {} bytes>", limits::TEXT);
        Some((oid?, text.map_or_else(too_long, |text| conninfo::masked(&text))))
    };
    Ok(found.into_iter().filter_map(masked).collect())
}
