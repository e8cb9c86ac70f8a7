//! What a check finds, and how it names tables.

use pgmig_core::secret::shown;

use crate::error::Error;
use crate::notice::Notice;

/// How many objects a message names.
pub const NAMED: usize = 5;

/// What a check found.
pub enum Finding {
    /// Rows would be lost or wrong, or the copy could never end.
    Refusal(Error),
    /// Rows may be lost or wrong.
    Warning(Notice),
}

/// `table "a"`, or the number of tables.
pub fn tables_text(tables: &[String]) -> String {
    match tables {
        [table] => format!("table \"{}\"", shown(table)),
        _ => format!("{} tables", tables.len()),
    }
}

/// The first names of a list, and how many more there are.
pub fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(|name| shown(name)).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
