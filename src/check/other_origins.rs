//! With `origin = none` only changes that were made on the publisher itself are wanted; a copy can't
//! tell rows that came from elsewhere from those (check_publications_origin, subscriptioncmds.c).

use super::facts::Subject;
use super::finding::{Finding, listed, tables_text};
use crate::error::Result;
use crate::notice::Notice;

/// Whether the table is, or has as a partition, one that the publisher subscribes to.
pub const COLUMN: &str = "\
l.oid IN (SELECT r.srrelid FROM pg_catalog.pg_subscription_rel r UNION ALL \
          SELECT t.relid FROM pg_catalog.pg_subscription_rel r \
           CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(r.srrelid) t)";

/// Whether the publisher subscribes to any: only then are they looked for.
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
