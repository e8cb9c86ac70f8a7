//! Compares the tables of a subscription with those that its publications have.

use std::collections::{HashMap, HashSet};

use pgmig_core::lag::observation::Compared;
use pgmig_core::wire::Rows;
use pgrx::pg_sys::Oid;

use crate::error::Result;
use crate::server::{query, text};

/// How the subscription's tables compare with the publisher's list.
pub fn compare(subscription: Oid, published: &Rows) -> Result<Compared> {
    let subscribed = subscribed(subscription)?;
    let tables = published.iter().filter_map(|row| Some((row.get(0)?, row.get(1)?)));
    let (mut unsubscribed, mut both) = (0, HashSet::new());
    for (schema, name) in tables {
        match subscribed.get(schema).and_then(|names| names.get(name)) {
            Some(name) => _ = both.insert(std::ptr::from_ref(name)),
            None => unsubscribed += 1,
        }
    }
    let all = subscribed.values().map(HashSet::len).sum::<usize>();
    Ok(Compared { unsubscribed, unpublished: (all - both.len()) as u32 })
}

/// The published tables that the subscription does not have. The publisher's list may be long, so it is
/// not copied.
pub fn unsubscribed(subscription: Oid, published: &Rows) -> Result<Vec<(&str, &str)>> {
    let subscribed = subscribed(subscription)?;
    let has = |schema: &str, name: &str| subscribed.get(schema).is_some_and(|it| it.contains(name));
    let tables = published.iter().filter_map(|row| Some((row.get(0)?, row.get(1)?)));
    Ok(tables.filter(|(schema, name)| !has(schema, name)).collect())
}

/// The names of a subscription's tables, by schema.
fn subscribed(subscription: Oid) -> Result<HashMap<String, HashSet<String>>> {
    let tables = query::read(
        &format!(
            "SELECT {schema}, {name} FROM pg_catalog.pg_subscription_rel r \
               JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.srrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
              WHERE r.srsubid OPERATOR(pg_catalog.=) $1",
            schema = text::as_utf8("n.nspname::pg_catalog.text"),
            name = text::as_utf8("c.relname::pg_catalog.text"),
        ),
        &[subscription.into()],
        |row| Ok((text::not_null(&row, 1)?, text::not_null(&row, 2)?)),
    )?;
    let mut names: HashMap<String, HashSet<String>> = HashMap::new();
    for (schema, name) in tables {
        names.entry(schema).or_default().insert(name);
    }
    Ok(names)
}
