//! With `origin = none` only changes made on the publisher itself are wanted. A copy also takes rows
//! that the publisher received from elsewhere (check_publications_origin, subscriptioncmds.c).

use super::facts::Subject;
use super::finding::{Finding, listed, tables_text};
use crate::error::Result;
use crate::notice::Notice;

/// Whether the publisher subscribes to the table, or to a partition of it.
pub const COLUMN: &str = "\
l.oid IN (SELECT r.srrelid FROM pg_catalog.pg_subscription_rel r UNION ALL \
          SELECT t.relid FROM pg_catalog.pg_subscription_rel r \
           CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(r.srrelid) t)";

/// Whether the publisher has any subscribed table. Only then are the tables checked.
pub const ANY: &str = "EXISTS (SELECT FROM pg_catalog.pg_subscription_rel)";

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    let tables = subject.tables_with(|facts| facts.is_subscribed);
    if tables.is_empty() || !subject.copy_data || !subject.origin_none {
        return Ok(None);
    }
    let warning = Notice::warning(format!(
        "the copy of {} may have rows of another origin",
        tables_text(&tables)
    ))
    .detail(format!("The publisher subscribes to them itself: {}.", listed(&tables)))
    .hint("Subscribe with copy_data = false where this server has these rows already.");
    Ok(Some(Finding::Warning(warning)))
}
