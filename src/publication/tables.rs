//! The tables that a caller names, checked before they are added to a publication.

use pgmig_core::name;
use pgmig_core::publication::{Published, TableSpec};
use pgmig_core::secret::shown;

use crate::caller::Caller;
use crate::error::{Error, Kind, Result, invalid};
use crate::ffi::parser::{self, Fault};
use crate::server::query;
use crate::server::table::{Table, label};

/// Finds the tables and makes the checks whose errors can be clearer here. PostgreSQL checks again when
/// the tables are added.
pub fn resolve(specs: &[TableSpec], caller: Caller) -> Result<Vec<Published>> {
    specs.iter().map(|spec| resolve_one(spec, caller)).collect()
}

fn resolve_one(spec: &TableSpec, caller: Caller) -> Result<Published> {
    let (schema, table) = parse_name(spec)?;
    let found = Table::lock(&schema, &table)?.ok_or_else(|| {
        let label = label(&schema, &table);
        Error::new(Kind::UndefinedTable, format!("table \"{}\" does not exist", shown(&label)))
    })?;
    found.check_kind()?;
    found.check_owner(caller)?;
    if let Some(filter) = &spec.filter {
        check_filter(&found, filter)?;
    }
    let (columns, filter) = (spec.columns.clone(), spec.filter.clone());
    Ok(Published { schema, table, only: false, columns, filter })
}

/// Reads `schema.table` by PostgreSQL's rules for identifiers. parse_ident does not truncate.
pub fn parse_name(spec: &TableSpec) -> Result<(String, String)> {
    let text = spec.table.as_str();
    let parts: Vec<Vec<String>> =
        query::column("SELECT pg_catalog.parse_ident($1)", &[text.into()])?;
    match parts.first().map(Vec::as_slice) {
        Some([schema, table]) => {
            name::check("schema", schema)?;
            name::check("table", table)?;
            Ok((schema.clone(), table.clone()))
        }
        Some([table]) => {
            Err(invalid(format!("table name \"{}\" is not schema-qualified", shown(table)))
                .hint(format!("Name its schema too, such as \"public.{table}\".")))
        }
        _ => Err(invalid(format!("improper qualified name: {text}"))
            .hint("Name a table of this database by schema and table.")),
    }
}

fn check_filter(table: &Table, filter: &str) -> Result<()> {
    let fault = match parser::check_expression(filter) {
        Ok(()) => return Ok(()),
        Err(fault) => fault,
    };
    let label = table.label();
    Err(match fault {
        Fault::Syntax(message) => Error::new(
            Kind::SyntaxError,
            format!("invalid row filter of table \"{label}\": {message}"),
        ),
        Fault::SeveralExpressions => Error::new(
            Kind::SyntaxError,
            format!("row filter of table \"{label}\" is not one expression"),
        ),
        Fault::Subquery => Error::new(
            Kind::FeatureNotSupported,
            format!("row filter of table \"{label}\" contains a subquery"),
        ),
    }
    .hint("Give one condition on the table's own columns, such as \"id > 100\"."))
}
