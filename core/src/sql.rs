//! Quoting for SQL text that is sent to another server or run as a utility statement.
//! `postgres_protocol` does the quoting.

use postgres_protocol::escape::{escape_identifier, escape_literal};

/// A quoted identifier.
pub fn ident(name: &str) -> String {
    escape_identifier(name)
}

/// A quoted literal. One that contains a backslash is written as ` E'…'`, so it has the same
/// meaning for every `standard_conforming_strings`.
pub fn literal(value: &str) -> String {
    escape_literal(value)
}

/// `schema.table`, both quoted.
pub fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", ident(schema), ident(table))
}

/// Quoted identifiers, comma-separated.
pub fn idents<S: AsRef<str>>(names: &[S]) -> String {
    join(names, ident)
}

/// Quoted literals, comma-separated.
pub fn literals<S: AsRef<str>>(values: &[S]) -> String {
    join(values, literal)
}

fn join<S: AsRef<str>>(items: &[S], quote: fn(&str) -> String) -> String {
    items.iter().map(|item| quote(item.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_literals_survive_quotes_and_backslashes() {
        assert_eq!(ident("Or\"ders"), "\"Or\"\"ders\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), " E'a\\\\b'");
        assert_eq!(idents(&["A b", "ä"]), "\"A b\", \"ä\"");
    }
}
