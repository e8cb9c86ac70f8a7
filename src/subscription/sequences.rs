//! Sequences are not replicated. On the target they have the values of the schema's dump. A drop of the
//! subscription warns of them, because that is when the target takes over.

use std::collections::HashMap;

use pgmig_core::secret::shown;
use pgmig_core::sql;
use pgrx::datum::DatumWithOid;

use super::owned::Subscription;
use crate::caller::Caller;
use crate::check::{NAMED, listed};
use crate::error::Result;
use crate::notice::Notice;
use crate::publisher::Publisher;
use crate::server::table::label;
use crate::server::{query, text};

/// A sequence whose last value is behind that of the publisher's sequence of the same name.
struct Behind {
    schema: String,
    name: String,
    /// The publisher's last value.
    value: i64,
}

impl Behind {
    fn label(&self) -> String {
        label(&self.schema, &self.name)
    }

    fn remedy(&self) -> String {
        let name = sql::literal(&sql::qualified(&self.schema, &self.name));
        format!("SELECT pg_catalog.setval({}, {});", name.trim_start(), self.value)
    }
}

/// Warns of sequences that are behind. A publisher that cannot answer does not prevent the drop.
pub fn warn(subscription: &Subscription, publisher: &mut Publisher, caller: Caller) {
    match behind(subscription, publisher, caller) {
        Ok(behind) if behind.is_empty() => {}
        Ok(behind) => warning(&behind).send(),
        Err(error) => {
            Notice::warning("it is not known whether sequences are behind the publisher's")
                .detail(format!("{}.", error.message))
                .send()
        }
    }
}

fn warning(behind: &[Behind]) -> Notice {
    let what = match behind {
        [one] => format!("sequence \"{}\" is behind the publisher's", shown(&one.label())),
        _ => format!("{} sequences are behind the publisher's", behind.len()),
    };
    let labels: Vec<_> = behind.iter().map(Behind::label).collect();
    let remedies: Vec<_> = behind.iter().take(NAMED).map(Behind::remedy).collect();
    Notice::warning(what)
        .detail(format!("They would give out values that exist already: {}.", listed(&labels)))
        .hint(format!("Once nothing is written there any more, run here: {}", remedies.join(" ")))
}

fn behind(
    subscription: &Subscription,
    publisher: &mut Publisher,
    caller: Caller,
) -> Result<Vec<Behind>> {
    let any: Vec<i32> = query::column("SELECT 1 FROM pg_catalog.pg_sequence LIMIT 1", &[])?;
    if any.is_empty() {
        return Ok(Vec::new()); // what is asked below costs a millisecond
    }
    let here = sequences_here(subscription, caller)?;
    if here.is_empty() {
        return Ok(Vec::new());
    }
    // last_value is NULL if the role may not read it, or if nextval() was never called.
    let rows = publisher.query(
        "SELECT s.schemaname, s.sequencename, s.last_value FROM pg_catalog.pg_sequences s \
          WHERE s.increment_by OPERATOR(pg_catalog.>) 0 AND s.last_value IS NOT NULL",
    )?;
    let behind = rows.iter().filter_map(|row| {
        let (schema, name, value) = (row.get(0)?, row.get(1)?, row.get(2)?.parse().ok()?);
        let last = here.get(&(schema.to_owned(), name.to_owned()))?;
        let is_behind = last.is_none_or(|last| last < value);
        is_behind.then(|| Behind { schema: schema.to_owned(), name: name.to_owned(), value })
    });
    let mut behind: Vec<_> = behind.collect();
    behind.sort_by_key(Behind::label);
    Ok(behind)
}

/// The caller's sequences that give values to columns of the subscription's tables: their last values
/// by name.
fn sequences_here(
    subscription: &Subscription,
    caller: Caller,
) -> Result<HashMap<(String, String), Option<i64>>> {
    let found = query::read(
        &format!(
            "SELECT {schema}, {name}, pg_catalog.pg_sequence_last_value(c.oid) \
               FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
              WHERE c.relkind OPERATOR(pg_catalog.=) 'S' \
                AND pg_catalog.pg_has_role($2, c.relowner, 'USAGE') \
                AND c.oid IN ( \
                    SELECT d.objid FROM pg_catalog.pg_depend d \
                      JOIN pg_catalog.pg_subscription_rel r \
                        ON r.srrelid OPERATOR(pg_catalog.=) d.refobjid AND r.srsubid OPERATOR(pg_catalog.=) $1 \
                     WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
                       AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
                       AND d.deptype IN ('a', 'i') \
                     UNION ALL \
                    SELECT d.refobjid FROM pg_catalog.pg_depend d \
                      JOIN pg_catalog.pg_attrdef a ON a.oid OPERATOR(pg_catalog.=) d.objid \
                      JOIN pg_catalog.pg_subscription_rel r \
                        ON r.srrelid OPERATOR(pg_catalog.=) a.adrelid AND r.srsubid OPERATOR(pg_catalog.=) $1 \
                     WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
                       AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass)",
            schema = text::as_utf8("n.nspname::pg_catalog.text"),
            name = text::as_utf8("c.relname::pg_catalog.text"),
        ),
        &[subscription.oid.into(), DatumWithOid::from(caller.oid())],
        |row| {
            let name = |column| text::not_null(&row, column);
            Ok(((name(1)?, name(2)?), row.get::<i64>(3)?))
        },
    )?;
    Ok(found.into_iter().collect())
}
