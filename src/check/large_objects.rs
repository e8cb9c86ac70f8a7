//! Large objects are not replicated. Tables that refer to them arrive with oids that do not exist on
//! the target.

use super::facts::Subject;
use super::finding::Finding;
use crate::error::Result;
use crate::notice::Notice;

pub const COLUMN: &str = "EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)";

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    let is_meant = subject.server.has_large_objects && subject.copy_data;
    Ok(is_meant.then(|| Finding::Warning(warning("the publisher's database"))))
}

pub fn warning(place: &str) -> Notice {
    Notice::warning(format!("{place} has large objects, which are not replicated"))
        .detail("Tables that refer to them by oid arrive without them.")
        .hint(
            "Move them once nothing is written any more, with pg_dump --large-objects, or copy \
             them into columns of type bytea before.",
        )
}
