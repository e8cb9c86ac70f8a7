//! Which columns of a table are published, as SQL.

/// The condition that a column `a` (pg_attribute) of table `l` (`publisher::tables::list`) is published.
pub fn is_published(major: u16) -> &'static str {
    match major {
        18.. => "a.attnum OPERATOR(pg_catalog.=) ANY (l.columns)",
        15..=17 => {
            "a.attnum OPERATOR(pg_catalog.=) ANY (l.columns) \
             AND a.attgenerated OPERATOR(pg_catalog.=) ''"
        }
        _ => "a.attgenerated OPERATOR(pg_catalog.=) ''",
    }
}
