//! SQL for the published tables, and what the answers mean.

use std::collections::BTreeSet;

use pgmig_core::sql;
use pgmig_core::wire::Rows;

/// The query for the tables of these publications.
pub fn query(major: u16, publications: &[String]) -> String {
    format!("SELECT l.schema, l.name FROM ({}) l", list(major, publications, false))
}

/// SQL for the tables of some publications, as fetch_table_list() of subscriptioncmds.c asks for them. A
/// table has one row for each of its column lists if `with_columns`, else one row. A partition whose root
/// is published by another of the publications is left out on every major: its changes are sent as the
/// root's, and the copy of the root has its rows.
pub fn list(major: u16, publications: &[String], with_columns: bool) -> String {
    const NONE: &str = "NULL::pg_catalog.int2[]";
    const NAMES: &str = "JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) gpt.relid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace";
    const TABLE: &str = "c.oid, n.oid AS namespace, n.nspname AS schema, c.relname AS name";
    let names = sql::literals(publications);
    let columns = match major {
        16.. => {
            let columns = if with_columns { "gpt.attrs::pg_catalog.int2[]" } else { NONE };
            return format!(
                "SELECT DISTINCT {TABLE}, {columns} AS columns \
                   FROM (SELECT (pg_catalog.pg_get_publication_tables(VARIADIC pg_catalog.array_agg(p.pubname::pg_catalog.text))).* \
                           FROM pg_catalog.pg_publication p WHERE p.pubname IN ({names})) AS gpt {NAMES}"
            );
        }
        15 if with_columns => {
            "ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a \
                    WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid \
                      AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
                      AND (gpt.attrs IS NULL OR a.attnum OPERATOR(pg_catalog.=) ANY (gpt.attrs)) \
                    ORDER BY a.attnum)"
        }
        _ => NONE,
    };
    format!(
        "WITH offered AS ( \
            SELECT DISTINCT {TABLE}, {columns} AS columns, c.relkind, c.relispartition \
              FROM pg_catalog.pg_publication p \
             CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname::pg_catalog.text) gpt {NAMES} \
             WHERE p.pubname IN ({names})) \
         SELECT o.* FROM offered o \
          WHERE NOT (o.relispartition AND EXISTS ( \
                SELECT FROM pg_catalog.pg_partition_ancestors(o.oid) a(oid) \
                 WHERE a.oid OPERATOR(pg_catalog.<>) o.oid \
                   AND a.oid IN (SELECT r.oid FROM offered r \
                                  WHERE r.relkind OPERATOR(pg_catalog.=) 'p')))"
    )
}

/// The query for the tables of these publications, and for the publications that exist. The latter are
/// rows with a name and no schema.
pub fn tables_and_publications_query(major: u16, publications: &[String]) -> String {
    format!(
        "{} UNION ALL SELECT NULL, p.pubname FROM pg_catalog.pg_publication p WHERE p.pubname IN ({})",
        query(major, publications),
        sql::literals(publications)
    )
}

/// A publication that the answer to that query does not have.
pub fn missing_publication<'a>(answer: &Rows, publications: &'a [String]) -> Option<&'a String> {
    let named = answer.iter().filter(|row| row.get(0).is_none());
    let there: BTreeSet<&str> = named.filter_map(|row| row.get(1)).collect();
    publications.iter().find(|name| !there.contains(name.as_str()))
}

pub fn first_missing<'a>(there: &Rows, publications: &'a [String]) -> Option<&'a String> {
    let there: BTreeSet<&str> = there.iter().filter_map(|row| row.get(0)).collect();
    publications.iter().find(|name| !there.contains(name.as_str()))
}
