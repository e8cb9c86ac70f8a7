//! Row security of the publisher. The copy has only the rows that the connection's role may see,
//! without any error. Later changes arrive for all rows, so nothing looks wrong.

use pgmig_core::sql;

use super::facts::Subject;
use super::finding::{Finding, listed, tables_text};
use crate::error::{Error, Kind, Result};

/// Also true if the role has `row_security = off`: then the copy fails.
pub const COLUMN: &str = "pg_catalog.row_security_active(l.oid)";

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    let tables = subject.tables_with(|facts| facts.has_row_security);
    if tables.is_empty() || !subject.copy_data {
        return Ok(None);
    }
    let role = subject.role;
    let error = Error::new(
        Kind::InsufficientPrivilege,
        format!("row security hides rows of {} from role \"{role}\"", tables_text(&tables)),
    )
    .detail(format!("The copy would lack these rows. On the publisher: {}.", listed(&tables)))
    .hint(format!(
        "Let a superuser of the publisher run: ALTER ROLE {} BYPASSRLS; or connect as a role that \
         the policies do not bind.",
        sql::ident(role)
    ));
    Ok(Some(Finding::Refusal(error)))
}
