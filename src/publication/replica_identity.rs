//! Tables on which UPDATE and DELETE fail once they are published.
//!
//! PostgreSQL reports that only when the first row is changed (CheckCmdReplicaIdentity,
//! execReplication.c). Then the application fails.

use pgmig_core::publication::Spec;
use pgrx::datum::DatumWithOid;

use crate::error::{Error, Kind, Result};
use crate::ffi::major;
use crate::notice::Notice;
use crate::server::{query, text};

/// How many tables a message names.
const NAMED: usize = 10;

/// What to do about such tables.
pub enum Policy {
    Warn,
    Refuse,
    Allow,
}

impl Policy {
    pub fn of(spec: &Spec) -> Self {
        if spec.allow_missing_replica_identity { Self::Allow } else { Self::Refuse }
    }

    pub fn apply(self, publication: &str) -> Result<()> {
        if matches!(self, Self::Allow) {
            return Ok(());
        }
        let problems = problems(publication)?;
        let Some(first) = problems.first() else { return Ok(()) };
        let error = Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!(
                "updates and deletes fail on {} of publication \"{publication}\"",
                which_tables(&problems)
            ),
        )
        .detail(summary(&problems));
        if matches!(self, Self::Refuse) {
            let allow = "Or set \"allow_missing_replica_identity\": true.";
            return Err(error.hint(format!("{} {allow}", first.hint())));
        }
        Notice::warning_of(error.hint(first.hint())).send();
        Ok(())
    }
}

/// Why changes of a table fail.
struct Problem {
    table: String,
    /// The words that follow the table's name in a message.
    flaw: String,
    remedy: String,
    /// Another statement that mends it.
    statement: Option<String>,
}

impl Problem {
    fn sentence(&self) -> String {
        format!("Table \"{}\" {}.", self.table, self.flaw)
    }

    fn hint(&self) -> String {
        match &self.statement {
            Some(statement) => format!("{}, or run: {statement}", self.remedy),
            None => format!("{}.", self.remedy),
        }
    }
}

/// A table may have several problems, one after the other.
fn which_tables(problems: &[Problem]) -> String {
    let mut tables: Vec<&str> = problems.iter().map(|problem| problem.table.as_str()).collect();
    tables.dedup();
    match tables[..] {
        [table] => format!("table \"{table}\""),
        _ => format!("{} tables", tables.len()),
    }
}

fn summary(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(NAMED).map(Problem::sentence).collect();
    if problems.len() > NAMED {
        lines.push(format!("And {} more.", problems.len() - NAMED));
    }
    lines.join("\n")
}

/// In the order of the tables' names; none if only inserts and truncates are published.
fn problems(publication: &str) -> Result<Vec<Problem>> {
    let mut kinds = vec![MISSING];
    if major::PUBLICATIONS_HAVE_LISTS_AND_FILTERS {
        kinds.extend([UNLISTED, FILTERED]);
    }
    if major::GENERATED_COLUMNS_REPLICATE {
        kinds.push(GENERATED);
    }
    query::rows(
        &format!(
            "{LEAVES} SELECT {table}, {flaw}, {remedy}, {statement} FROM ( \
                SELECT DISTINCT l.label, flaw, remedy, CASE WHEN full_helps THEN l.make_full END AS statement \
                  FROM ({}) problems(leaf, flaw, remedy, full_helps) \
                  JOIN leaf l ON l.leaf OPERATOR(pg_catalog.=) problems.leaf ORDER BY l.label, flaw) found",
            kinds.join(" UNION ALL "),
            table = text::as_utf8("found.label"),
            flaw = text::as_utf8("found.flaw"),
            remedy = text::as_utf8("found.remedy"),
            statement = text::as_utf8("found.statement"),
        ),
        &[DatumWithOid::from(publication)],
        |row| {
            Ok(Problem {
                table: text::not_null(&row, 1)?,
                flaw: text::not_null(&row, 2)?,
                remedy: text::not_null(&row, 3)?,
                statement: text::from_bytes(row.get(4)?),
            })
        },
    )
}

/// The ordinary tables whose changes are published: `published` is the table that the publication
/// has, `leaf` this or a partition of it, and `key` the columns of the leaf's replica identity index
/// (chosen as RelationGetIndexList, relcache.c, does).
const LEAVES: &str = "\
WITH leaf AS ( \
    SELECT p.oid AS publication, g.relid AS published, c.oid AS leaf, \
           pg_catalog.concat(n.nspname, '.', c.relname) AS label, \
           pg_catalog.format('ALTER TABLE %I.%I REPLICA IDENTITY FULL;', n.nspname, c.relname) AS make_full, \
           c.relreplident OPERATOR(pg_catalog.=) 'f' AS is_full, \
           i.indexrelid IS NOT NULL AS has_key, \
           ARRAY(SELECT a.attname FROM pg_catalog.pg_attribute a \
                  WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid \
                    AND a.attnum OPERATOR(pg_catalog.=) ANY \
                        ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts OPERATOR(pg_catalog.-) 1])) AS key \
      FROM pg_catalog.pg_publication p \
     CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname::pg_catalog.text) g \
     CROSS JOIN LATERAL ( \
           SELECT g.relid UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(g.relid) t) r(oid) \
      JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.oid \
      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
      LEFT JOIN pg_catalog.pg_index i \
        ON i.indrelid OPERATOR(pg_catalog.=) c.oid \
       AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL \
       AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END \
     WHERE p.pubname OPERATOR(pg_catalog.=) $1 AND (p.pubupdate OR p.pubdelete) \
       AND c.relkind OPERATOR(pg_catalog.=) 'r')";

const MISSING: &str = "\
SELECT leaf, 'has no replica identity', 'Add a primary key', true \
  FROM leaf WHERE NOT is_full AND NOT has_key";

/// pub_collist_contains_invalid_column, publicationcmds.c.
const UNLISTED: &str = "\
SELECT leaf, 'has a column list that does not cover its replica identity', \
       'List all columns of the replica identity', false \
  FROM leaf JOIN pg_catalog.pg_publication_rel pr \
    ON pr.prpubid OPERATOR(pg_catalog.=) publication AND pr.prrelid OPERATOR(pg_catalog.=) published \
 WHERE pr.prattrs IS NOT NULL AND (is_full OR NOT key OPERATOR(pg_catalog.<@) ARRAY( \
       SELECT a.attname FROM pg_catalog.pg_attribute a \
        WHERE a.attrelid OPERATOR(pg_catalog.=) published \
          AND a.attnum OPERATOR(pg_catalog.=) ANY (pr.prattrs::pg_catalog.int2[])))";

/// pub_rf_contains_invalid_column, publicationcmds.c. A reference to the whole row has number 0,
/// which is no column of any replica identity.
const FILTERED: &str = "\
SELECT leaf, 'has a row filter on columns outside its replica identity', \
       'Filter on columns of the replica identity only', true \
  FROM leaf JOIN pg_catalog.pg_publication_rel pr \
    ON pr.prpubid OPERATOR(pg_catalog.=) publication AND pr.prrelid OPERATOR(pg_catalog.=) published \
 WHERE NOT is_full AND has_key AND EXISTS ( \
       SELECT FROM pg_catalog.regexp_matches(pr.prqual::pg_catalog.text, ':varattno ([0-9]+)', 'g') m(number) \
         LEFT JOIN pg_catalog.pg_attribute a \
           ON a.attrelid OPERATOR(pg_catalog.=) published \
          AND a.attnum OPERATOR(pg_catalog.=) (m.number)[1]::pg_catalog.int2 \
        WHERE (a.attname OPERATOR(pg_catalog.=) ANY (key)) IS NOT TRUE)";

/// pub_contains_invalid_column, publicationcmds.c of 18.
const GENERATED: &str = "\
SELECT leaf, 'has generated columns in its replica identity that are not published', \
       'Publish stored generated columns, and use a replica identity without others', false \
  FROM leaf JOIN pg_catalog.pg_publication p ON p.oid OPERATOR(pg_catalog.=) publication \
  LEFT JOIN pg_catalog.pg_publication_rel pr \
    ON pr.prpubid OPERATOR(pg_catalog.=) publication AND pr.prrelid OPERATOR(pg_catalog.=) published \
 WHERE pr.prattrs IS NULL AND EXISTS ( \
       SELECT FROM pg_catalog.pg_attribute a \
        WHERE a.attrelid OPERATOR(pg_catalog.=) leaf \
          AND (is_full OR a.attname OPERATOR(pg_catalog.=) ANY (key)) \
          AND (a.attgenerated OPERATOR(pg_catalog.=) 'v' \
               OR a.attgenerated OPERATOR(pg_catalog.=) 's' \
              AND p.pubgencols OPERATOR(pg_catalog.<>) 's'))";
