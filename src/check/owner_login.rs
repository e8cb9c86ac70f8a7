//! The apply worker of a subscription logs in as the subscription's owner. If the owner cannot log in,
//! nothing is applied, and the slot keeps the publisher's WAL.

use pgmig_core::sql;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;

use crate::error::{Error, Kind, Result};
use crate::ffi::identity;
use crate::server::query;

pub fn check(owner: Oid) -> Result<()> {
    let (role, ident) = (identity::role_name(owner), sql::ident(&identity::role_name(owner)));
    let refused = |what: &str, remedy: String| {
        Err(Error::new(Kind::ObjectNotInPrerequisiteState, format!("role \"{role}\" {what}"))
            .detail("No apply worker can run as the owner of the subscription.")
            .hint(remedy))
    };
    match may_log_in(owner)? {
        [true, true] => Ok(()),
        [false, _] => refused(
            "can't log in",
            format!(
                "Create it as a role with LOGIN that is a member of \"{role}\", or run: \
                 ALTER ROLE {ident} LOGIN;"
            ),
        ),
        [true, false] => refused(
            "may not connect to this database",
            format!("GRANT CONNECT on the database to {ident}."),
        ),
    }
}

/// Whether it has LOGIN, and CONNECT on this database (InitPostgres, postinit.c).
fn may_log_in(owner: Oid) -> Result<[bool; 2]> {
    let found = query::read(
        "SELECT r.rolcanlogin, r.rolsuper OR pg_catalog.has_database_privilege( \
                r.oid, pg_catalog.current_database()::pg_catalog.text, 'CONNECT') \
           FROM pg_catalog.pg_authid r WHERE r.oid OPERATOR(pg_catalog.=) $1",
        &[DatumWithOid::from(owner)],
        |row| Ok([query::not_null(&row, 1)?, query::not_null(&row, 2)?]),
    )?;
    Ok(found.first().copied().unwrap_or([true, true]))
}
