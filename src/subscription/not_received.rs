//! Warnings before a subscription is dropped: publications and tables whose changes it never received,
//! however far it caught up.

use std::collections::BTreeSet;

use pgmig_core::secret::shown;
use pgmig_core::wire::Rows;

use super::owned::Subscription;
use crate::error::Result;
use crate::notice::Notice;
use crate::probe::unsubscribed;
use crate::publisher::{Publisher, tables as published};
use crate::server::table::label;

/// The most tables that one message names.
const MAX_SHOWN: usize = 5;

/// Warns of publications that do not exist any more, and of tables that were published after the last
/// refresh. A publisher that cannot answer does not prevent the drop.
pub fn warn(subscription: &Subscription, publisher: &mut Publisher) {
    if let Err(error) = look(subscription, publisher) {
        let text = format!(
            "it is not known whether subscription \"{}\" has every published table",
            subscription.name
        );
        let detail = format!("{}.", error.message);
        Notice::warning(text).detail(detail).send();
    }
}

fn look(subscription: &Subscription, publisher: &mut Publisher) -> Result<()> {
    // A list that is too long does not prevent the drop.
    let Ok(publications) = subscription.publications() else { return Ok(()) };
    let query = published::tables_and_publications_query(publisher.major(), publications);
    let answer = publisher.query(&query)?;
    if let Some(name) = published::missing_publication(&answer, publications) {
        Notice::warning(format!("publication \"{}\" does not exist on the publisher", shown(name)))
            .detail(format!(
                "Changes that were made since it was dropped did not reach subscription \"{}\".",
                subscription.name
            ))
            .hint("Compare the tables before you use them.")
            .send();
    }
    warn_of_unsubscribed(subscription, &answer)
}

fn warn_of_unsubscribed(subscription: &Subscription, published: &Rows) -> Result<()> {
    let missing: BTreeSet<_> = unsubscribed(subscription.oid, published)?.into_iter().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Notice::warning(format!(
        "subscription \"{}\" does not have every published table",
        subscription.name
    ))
    .detail(format!("The rows of these tables were never copied: {}.", shortened(&missing)))
    .hint("Refresh a subscription before it is dropped; copy these tables now by other means.")
    .send();
    Ok(())
}

fn shortened(tables: &BTreeSet<(&str, &str)>) -> String {
    let shown: Vec<_> =
        tables.iter().take(MAX_SHOWN).map(|(schema, name)| label(schema, name)).collect();
    match tables.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
