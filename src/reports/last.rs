//! The last errors of a subscription's workers, as text.

use pgmig_core::error_text::VALUE;
use pgrx::pg_sys::Oid;

use super::keep::shortage;
use super::memory::find;
use super::record::{Found, Record};
use crate::conninfo;
use crate::ffi::encoding;
use crate::ffi::subscription::{self as catalog, SubscriptionRow};
use crate::ffi::{database, relation};

const UNREADABLE: &str = "an error that is in this server's log";

/// The last errors, one per line.
pub fn last(subscription: Oid) -> Option<String> {
    let own = subscription.to_u32();
    let reports = find(own)?;
    let row = SubscriptionRow::by_oid(subscription)?;
    let is_here = row.database == database::my_database();
    let lines = reports.last.iter().filter_map(|record| record.read(own));
    let lines = lines.filter(|found| !is_here || !found.is_over(subscription));
    let cause = reports.watcher.read(own);
    let lines = lines.map(|found| found.line(is_here, &row, cause.as_ref()));
    let shortage = shortage(subscription).map(|setting| {
        format!("no worker is free to copy tables: raise \"{setting}\" and restart the server")
    });
    let lines: Vec<_> = lines.chain(shortage).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Whether `forget_over` may have something to do.
pub fn has_tables(subscription: Oid) -> bool {
    find(subscription.to_u32()).is_some_and(|it| it.last[1..].iter().any(Record::is_used))
}

/// Forgets errors of tables that are copied by now. Works only in the subscription's database.
pub fn forget_over(subscription: Oid) {
    let own = subscription.to_u32();
    let Some(reports) = find(own) else { return };
    for report in &reports.last[1..] {
        if report.read(own).is_some_and(|found| found.is_over(subscription)) {
            report.clear();
        }
    }
}

impl Found {
    /// Whether the table was copied since, or is not subscribed any more. Works only in the
    /// subscription's database.
    fn is_over(&self, subscription: Oid) -> bool {
        let is_due = |(table, state): &(Oid, char)| table.to_u32() == self.table && *state != 'r';
        self.table != 0 && !catalog::tables(subscription).iter().any(is_due)
    }

    /// `cause`: why the watcher cannot connect either.
    fn line(&self, is_here: bool, row: &SubscriptionRow, cause: Option<&Found>) -> String {
        let cause = cause.filter(|_| self.is_connection);
        let mut line = match (self.table, self.table_name(is_here)) {
            (0, _) => String::new(),
            (_, Some(name)) => format!("table \"{name}\""),
            (oid, None) => format!("table with oid {oid}"),
        };
        match cause {
            Some(cause) => {
                line.push_str("could not connect to the publisher: ");
                line.push_str(&cause.shown(row));
            }
            None => line.push_str(&self.shown(row)),
        }
        if let Some(lsn) = self.finished_at {
            line.push_str(&format!(" (finished at {lsn})"));
        }
        line
    }

    fn table_name(&self, is_here: bool) -> Option<String> {
        relation::relation_name(Oid::from(self.table)).filter(|_| is_here)
    }

    /// The text in one line, without the connection's password, which a publisher may repeat.
    fn shown(&self, row: &SubscriptionRow) -> String {
        let text = encoding::as_utf8(&self.text, self.encoding);
        let text = text.replace(char::from(VALUE), "…");
        // Without the connection string the password in the text cannot be recognized.
        let conninfo = row.conninfo.as_deref().and_then(conninfo::parse);
        conninfo.map_or_else(|| UNREADABLE.to_owned(), |conninfo| conninfo::shown(&text, &conninfo))
    }
}
