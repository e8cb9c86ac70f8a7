//! Publications: the changes that they publish, the JSON spec of `create_publication`, and the SQL
//! for both.

use std::fmt;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;

use crate::error::{Result, invalid};
use crate::json::{from_object, refuse_later};
use crate::secret::shown;
use crate::{name, sql};

/// The changes that a publication publishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions {
    insert: bool,
    update: bool,
    delete: bool,
    truncate: bool,
}

impl Actions {
    /// Reads a list such as `INSERT, update`.
    pub fn parse(list: &str) -> Result<Self> {
        Self::from_words(list.split(','))
    }

    fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut actions = Self::default();
        for word in words {
            *actions.flag(word.trim())? = true;
        }
        if actions == Self::default() {
            return Err(invalid("a publication must publish something").hint(CHOICES));
        }
        Ok(actions)
    }

    fn flag(&mut self, word: &str) -> Result<&mut bool> {
        match word.to_ascii_lowercase().as_str() {
            "insert" => Ok(&mut self.insert),
            "update" => Ok(&mut self.update),
            "delete" => Ok(&mut self.delete),
            "truncate" => Ok(&mut self.truncate),
            _ => {
                Err(invalid(format!("a publication cannot publish \"{}\"", shown(word)))
                    .hint(CHOICES))
            }
        }
    }
}

const CHOICES: &str = "List any of: insert, update, delete, truncate.";

/// As the value of the option `publish`.
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.insert, "insert"),
            (self.update, "update"),
            (self.delete, "delete"),
            (self.truncate, "truncate"),
        ];
        let given: Vec<_> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(&given.join(", "))
    }
}

impl TryFrom<Value> for Actions {
    type Error = String;

    fn try_from(value: Value) -> std::result::Result<Self, String> {
        let not_a_list = || "publish must be a string or a list of strings".to_owned();
        let words = match &value {
            Value::String(list) => return Self::parse(list).map_err(|error| error.message),
            Value::Array(words) => words.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        Self::from_words(words.ok_or_else(not_a_list)?).map_err(|error| error.message)
    }
}

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        Self::try_from(Value::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The argument of `create_publication`. If a key is absent, PostgreSQL's default applies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    pub tables: Vec<TableSpec>,
    pub schemas: Vec<String>,
    pub all_tables: bool,
    pub allow_missing_replica_identity: bool,
    publish: Option<Actions>,
    publish_via_partition_root: Option<bool>,
    publish_generated_columns: Option<GeneratedColumns>,
}

/// One table of a spec: only its name, or also a column list and a row filter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct TableSpec {
    /// As the caller wrote it: `schema.table`, quoted where SQL needs it.
    pub table: String,
    pub columns: Option<Vec<String>>,
    pub filter: Option<String>,
}

impl TryFrom<Value> for TableSpec {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Object {
            table: String,
            columns: Option<Vec<String>>,
            r#where: Option<String>,
        }
        if let Value::String(table) = value {
            return Ok(Self::named(table));
        }
        let Object { table, columns, r#where } = from_object(value)?;
        Ok(Self { table, columns, filter: r#where })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GeneratedColumns {
    None,
    Stored,
}

impl Spec {
    /// Reads and checks a spec for a publisher of `major`.
    pub fn parse(spec: Value, major: u16) -> Result<Self> {
        let spec: Self = from_object(spec).map_err(|error| {
            invalid("invalid publication spec").detail(format!("{error}.")).hint(
                "Give a JSON object with any of: tables, schemas, all_tables, publish, \
                 publish_via_partition_root, publish_generated_columns, \
                 allow_missing_replica_identity.",
            )
        })?;
        spec.check_major(major)?;
        spec.check_scope()?;
        Ok(spec)
    }

    fn check_major(&self, major: u16) -> Result<()> {
        let later = [
            ("schemas", !self.schemas.is_empty(), 15),
            ("columns", self.tables.iter().any(|table| table.columns.is_some()), 15),
            ("where", self.tables.iter().any(|table| table.filter.is_some()), 15),
            ("publish_generated_columns", self.publish_generated_columns.is_some(), 18),
        ];
        refuse_later("publication", later, major)
    }

    fn check_scope(&self) -> Result<()> {
        if self.all_tables && !(self.tables.is_empty() && self.schemas.is_empty()) {
            return Err(invalid("\"all_tables\" excludes \"tables\" and \"schemas\"")
                .hint("Name the tables and schemas, or publish all of them."));
        }
        for schema in &self.schemas {
            name::check("schema", schema)?;
        }
        for table in &self.tables {
            table.check_columns()?;
        }
        Ok(())
    }

    pub fn options(&self) -> Options {
        Options {
            publish: self.publish,
            via_partition_root: self.publish_via_partition_root,
            generated_columns: self.publish_generated_columns,
        }
    }
}

impl TableSpec {
    /// A table without column list and filter. `table` is the name as the caller wrote it.
    pub fn named(table: impl Into<String>) -> Self {
        Self { table: table.into(), columns: None, filter: None }
    }

    fn check_columns(&self) -> Result<()> {
        let Some(columns) = &self.columns else { return Ok(()) };
        if columns.is_empty() {
            return Err(invalid(format!("the column list of \"{}\" is empty", shown(&self.table)))
                .hint("Remove \"columns\" to publish all columns."));
        }
        columns.iter().try_for_each(|column| name::check("column", column))
    }
}

/// The WITH list of a publication.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    publish: Option<Actions>,
    via_partition_root: Option<bool>,
    generated_columns: Option<GeneratedColumns>,
}

impl Options {
    pub fn publishing(actions: Actions) -> Self {
        Self { publish: Some(actions), ..Self::default() }
    }

    /// Whether updates or deletes are published (by default they are). They need a replica identity
    /// in each table.
    pub fn need_replica_identity(&self) -> bool {
        self.publish.is_none_or(|actions| actions.update || actions.delete)
    }

    fn clause(self) -> String {
        let generated = |columns| match columns {
            GeneratedColumns::None => "none",
            GeneratedColumns::Stored => "stored",
        };
        let given: Vec<String> = [
            self.publish.map(|it| format!("publish = {}", sql::literal(&it.to_string()))),
            self.via_partition_root.map(|on| format!("publish_via_partition_root = {on}")),
            self.generated_columns
                .map(|it| format!("publish_generated_columns = {}", generated(it))),
        ]
        .into_iter()
        .flatten()
        .collect();
        if given.is_empty() { String::new() } else { format!(" WITH ({})", given.join(", ")) }
    }
}

/// What a new publication publishes before tables are added.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    Nothing,
    AllTables,
    Schemas(&'a [String]),
}

pub fn create(name: &str, scope: Scope, options: Options) -> String {
    let scope = match scope {
        Scope::Nothing | Scope::Schemas([]) => String::new(),
        Scope::AllTables => " FOR ALL TABLES".to_owned(),
        Scope::Schemas(schemas) => format!(" FOR TABLES IN SCHEMA {}", sql::idents(schemas)),
    };
    format!("CREATE PUBLICATION {}{scope}{}", sql::ident(name), options.clause())
}

/// A table as it is added to a publication.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    pub schema: String,
    pub table: String,
    /// Whether tables that inherit from it are left out.
    pub only: bool,
    pub columns: Option<Vec<String>>,
    /// One SQL expression. The caller must have checked that with the server's parser.
    pub filter: Option<String>,
}

impl Published {
    fn clause(&self) -> String {
        let only = if self.only { "ONLY " } else { "" };
        let table = sql::qualified(&self.schema, &self.table);
        let columns = self.columns.as_deref().map(sql::idents);
        let columns = columns.map(|list| format!(" ({list})")).unwrap_or_default();
        // The line ends keep a comment at the end of the filter from hiding the parenthesis.
        let filter = self.filter.as_deref().map(|filter| format!(" WHERE (\n{filter}\n)"));
        format!("{only}{table}{columns}{}", filter.unwrap_or_default())
    }
}

pub fn add_tables(name: &str, tables: &[Published]) -> String {
    let tables: Vec<_> = tables.iter().map(Published::clause).collect();
    format!("ALTER PUBLICATION {} ADD TABLE {}", sql::ident(name), tables.join(", "))
}

pub fn drop_tables(name: &str, tables: &[(String, String)]) -> String {
    let tables: Vec<_> =
        tables.iter().map(|(schema, table)| sql::qualified(schema, table)).collect();
    format!("ALTER PUBLICATION {} DROP TABLE {}", sql::ident(name), tables.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Error, Kind};

    fn refusal(spec: Value, major: u16) -> Error {
        Spec::parse(spec, major).expect_err("must be refused")
    }

    #[test]
    fn actions_are_read_in_any_case_with_spaces_and_repetitions() {
        assert_eq!(
            Actions::parse(" INSERT, Truncate,insert ").unwrap().to_string(),
            "insert, truncate"
        );
        let all = Actions::parse("INSERT,UPDATE,DELETE,TRUNCATE").unwrap();
        assert_eq!(all.to_string(), "insert, update, delete, truncate");
    }

    #[test]
    fn an_invalid_list_of_actions_is_refused() {
        for bad in [
            "",
            ",",
            "insert,",
            "insert;update",
            "insert update",
            "\"insert\"",
            "merge",
            "insert') --",
        ] {
            assert_eq!(Actions::parse(bad).unwrap_err().kind, Kind::InvalidParameter, "{bad}");
        }
    }

    #[test]
    fn a_spec_names_tables_alone_or_with_columns_and_filter() {
        let spec = json!({"tables": ["public.a", {"table": "public.b", "columns": ["x"], "where": "x > 0"}]});
        let spec = Spec::parse(spec, 15).unwrap();
        assert_eq!(spec.tables[0], TableSpec::named("public.a"));
        assert_eq!(spec.tables[1].columns.as_deref(), Some(&["x".to_owned()][..]));
        assert_eq!(spec.tables[1].filter.as_deref(), Some("x > 0"));
    }

    #[test]
    fn an_empty_spec_keeps_the_defaults() {
        let spec = Spec::parse(json!({}), 13).unwrap();
        assert_eq!(spec, Spec::default());
        assert_eq!(
            create("p", Scope::Schemas(&spec.schemas), spec.options()),
            "CREATE PUBLICATION \"p\""
        );
    }

    #[test]
    fn unknown_keys_are_refused_by_name_at_every_level() {
        for (spec, key) in [
            (json!({"table": []}), "table"),
            (json!({"tables": [{"table": "a.b", "filter": "x"}]}), "filter"),
        ] {
            let error = refusal(spec, 18);
            assert_eq!(error.kind, Kind::InvalidParameter);
            let detail = error.detail.unwrap();
            assert!(detail.contains(&format!("unknown field `{key}`")), "{detail}");
        }
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        for spec in [
            json!([]),
            json!(null),
            json!("public.a"),
            json!({"tables": "public.a"}),
            json!({"tables": [1]}),
            json!({"tables": [["public.a", null, null]]}),
            json!({"tables": [{"columns": ["a"]}]}),
            json!({"tables": [{"table": "a.b", "columns": []}]}),
            json!({"publish": 1}),
            json!({"publish": ["insert", 1]}),
            json!({"publish": []}),
            json!({"publish": "merge"}),
            json!({"all_tables": "yes"}),
            json!({"publish_generated_columns": "virtual"}),
            json!({"all_tables": true, "tables": ["a.b"]}),
            json!({"all_tables": true, "schemas": ["a"]}),
        ] {
            assert_eq!(refusal(spec.clone(), 18).kind, Kind::InvalidParameter, "{spec}");
        }
    }

    #[test]
    fn updates_and_deletes_need_a_replica_identity() {
        let needs =
            |list| Options::publishing(Actions::parse(list).unwrap()).need_replica_identity();
        assert!(
            needs("update")
                && needs("insert, delete")
                && Options::default().need_replica_identity()
        );
        assert!(!needs("insert") && !needs("truncate, insert"));
    }

    #[test]
    fn options_of_a_later_major_are_refused_and_named() {
        for (spec, key, since) in [
            (json!({"schemas": ["s"]}), "schemas", 15),
            (json!({"tables": [{"table": "a.b", "columns": ["x"]}]}), "columns", 15),
            (json!({"tables": [{"table": "a.b", "where": "true"}]}), "where", 15),
            (json!({"publish_generated_columns": "stored"}), "publish_generated_columns", 18),
        ] {
            let error = refusal(spec.clone(), since - 1);
            assert_eq!(error.kind, Kind::FeatureNotSupported);
            assert!(error.message.contains(&format!("\"{key}\" needs PostgreSQL {since}")));
            assert!(Spec::parse(spec, since).is_ok());
        }
    }

    #[test]
    fn long_names_of_schemas_and_columns_are_refused() {
        let long = "x".repeat(64);
        assert_eq!(refusal(json!({"schemas": [long]}), 18).kind, Kind::NameTooLong);
        let columns = json!({"tables": [{"table": "a.b", "columns": [long]}]});
        assert_eq!(refusal(columns, 18).kind, Kind::NameTooLong);
    }

    #[test]
    fn the_statement_has_only_what_was_asked_for() {
        let spec = json!({
            "schemas": ["S 1", "t\"u"],
            "publish": ["insert", "UPDATE"],
            "publish_via_partition_root": true,
            "publish_generated_columns": "stored",
        });
        let spec = Spec::parse(spec, 18).unwrap();
        assert_eq!(
            create("p\"; DROP", Scope::Schemas(&spec.schemas), spec.options()),
            "CREATE PUBLICATION \"p\"\"; DROP\" FOR TABLES IN SCHEMA \"S 1\", \"t\"\"u\" \
             WITH (publish = 'insert, update', publish_via_partition_root = true, \
             publish_generated_columns = stored)"
        );
        let inserts = Options::publishing(Actions::parse("insert").unwrap());
        assert_eq!(
            create("p", Scope::AllTables, inserts),
            "CREATE PUBLICATION \"p\" FOR ALL TABLES WITH (publish = 'insert')"
        );
    }

    #[test]
    fn tables_are_added_with_their_columns_and_filters() {
        let plain =
            Published { schema: "s".into(), table: "A b".into(), only: true, ..Default::default() };
        let narrowed = Published {
            schema: "s".into(),
            table: "t".into(),
            columns: Some(vec!["x".into(), "y\"z".into()]),
            filter: Some("x > 0 -- positive".into()),
            ..Default::default()
        };
        assert_eq!(
            add_tables("p", &[plain, narrowed]),
            "ALTER PUBLICATION \"p\" ADD TABLE ONLY \"s\".\"A b\", \
             \"s\".\"t\" (\"x\", \"y\"\"z\") WHERE (\nx > 0 -- positive\n)"
        );
        assert_eq!(
            drop_tables("p", &[("s".into(), "a".into()), ("s".into(), "b".into())]),
            "ALTER PUBLICATION \"p\" DROP TABLE \"s\".\"a\", \"s\".\"b\""
        );
    }
}
