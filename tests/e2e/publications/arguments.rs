//! What the functions of publications are given: names, lists, specs.

use postgres::error::SqlState;
use serde_json::json;

use super::calls::*;
use crate::source::Source;
use crate::support::{Refused, matrix, quoted};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        null_is_refused_everywhere,
        bad_lists_of_changes_are_refused,
        bad_table_names_are_refused,
        long_and_empty_names_are_refused_and_never_truncated,
        any_name_is_taken_as_it_is,
        what_cannot_be_replicated_is_refused,
        a_spec_sets_every_option,
        bad_specs_are_refused,
    }
}

mod before_15 {
    use super::*;

    matrix! {
        Source::run, [on_13(13), on_14(14)] {
            options_of_later_majors_are_refused,
        }
    }
}

fn null_is_refused_everywhere(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[]).unwrap();
    for call in [
        "pg_create_publication(NULL, 'insert')",
        "pg_create_publication('q', NULL)",
        "pg_create_publication('q', 'insert', NULL)",
        "pg_create_publication('q', 'insert', 'vault.secrets', NULL)",
        "pg_create_publication('q', 'insert', VARIADIC NULL)",
        "pg_create_publication_for_all_tables(NULL, 'insert')",
        "pg_create_publication_for_all_tables('q', NULL)",
        "create_publication(NULL, '{}')",
        "create_publication('q', NULL)",
        "alter_publication_add_tables(NULL, 'vault.secrets')",
        "alter_publication_add_tables('p', NULL)",
        "alter_publication_add_tables('p', VARIADIC NULL)",
        "alter_publication_drop_tables(NULL, 'vault.secrets')",
        "alter_publication_drop_tables('p', NULL)",
        "drop_publication(NULL)",
    ] {
        let report = operator
            .batch_execute(&format!("SELECT pgmig_extras.{call}"))
            .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
        assert!(report.message().contains("must not be null"), "{report:?}");
    }
    assert_eq!(source.publications(), ["p"]);
}

fn bad_lists_of_changes_are_refused(source: &Source) {
    let mut operator = source.operator();
    for bad in ["", " ", "insert,", "insert;delete", "merge", "insert') --", "\"insert\"", "all"] {
        let report =
            create(&mut operator, "p", bad, &[]).refused(SqlState::INVALID_PARAMETER_VALUE);
        assert!(report.hint().is_some_and(|hint| hint.contains("truncate")), "{report:?}");
        create_for_all(&mut operator, "p", bad).refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    assert_nothing_published(source);
}

fn bad_table_names_are_refused(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[]).unwrap();
    let report =
        create(&mut operator, "q", ALL, &["orders"]).refused(SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(report.message(), "table name \"orders\" is not schema-qualified");
    assert!(report.hint().is_some_and(|hint| hint.contains("public.orders")), "{report:?}");
    for bad in ["", "a.b.c", "a.", ".b", "a b", "\"a.b", "a.\"\"", "a.b; DROP TABLE x", "a.b, c.d"]
    {
        create(&mut operator, "q", ALL, &[bad]).refused(SqlState::INVALID_PARAMETER_VALUE);
        add(&mut operator, "p", bad).refused(SqlState::INVALID_PARAMETER_VALUE);
        remove(&mut operator, "p", bad).refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    let report =
        create(&mut operator, "q", ALL, &["Shop.Orders"]).refused(SqlState::UNDEFINED_TABLE);
    assert!(report.message().contains("shop.orders"), "folded as SQL does: {report:?}");
    create(&mut operator, "q", ALL, &["no_schema.t"]).refused(SqlState::UNDEFINED_TABLE);
    for function in ["alter_publication_add_tables", "alter_publication_drop_tables"] {
        operator
            .batch_execute(&format!("SELECT pgmig_extras.{function}('p', VARIADIC '{{}}')"))
            .refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    assert_eq!(source.publications(), ["p"]);
}

fn long_and_empty_names_are_refused_and_never_truncated(source: &Source) {
    let mut operator = source.operator();
    let (fits, long) = ("ä".repeat(31) + "x", "ä".repeat(32));
    operator.run(&format!("CREATE TABLE \"Shop\".{} (id int PRIMARY KEY)", quoted(&fits)));
    create(&mut operator, &fits, ALL, &[&format!("\"Shop\".{}", quoted(&fits))]).unwrap();
    assert_eq!(source.publications(), [&*fits]);
    for (name, code) in [(&*long, SqlState::NAME_TOO_LONG), ("", SqlState::INVALID_NAME)] {
        create(&mut operator, name, ALL, &[]).refused(code.clone());
        create_for_all(&mut operator, name, ALL).refused(code.clone());
        create_as(&mut operator, name, &json!({})).refused(code.clone());
        add(&mut operator, name, "a.b").refused(code.clone());
        remove(&mut operator, name, "a.b").refused(code.clone());
        drop_it(&mut operator, name).refused(code);
    }
    // Truncated, these would be the table that exists.
    let long_table = format!("\"Shop\".{}", quoted(&(fits.clone() + "y")));
    create(&mut operator, "q", ALL, &[&long_table]).refused(SqlState::NAME_TOO_LONG);
    add(&mut operator, &fits, &long_table).refused(SqlState::NAME_TOO_LONG);
    remove(&mut operator, &fits, &long_table).refused(SqlState::NAME_TOO_LONG);
    assert_eq!(source.publications(), [&*fits]);
}

fn any_name_is_taken_as_it_is(source: &Source) {
    for name in ["Größe", "a b", "it's", "say \"hi\"", "x; DROP TABLE y", "public", "p\\", "$1"] {
        let role = source.create_role(name, "");
        source.superuser().call("grant_operator", &[&role]).unwrap();
        source.superuser().run(&format!(
            "CREATE SCHEMA {0} AUTHORIZATION {0}; SET ROLE {0}; CREATE TABLE {0}.{1} (id int PRIMARY KEY)",
            quoted(&role),
            quoted(name)
        ));
        let table = format!("{}.{}", quoted(&role), quoted(name));
        let mut session = source.session(&role);
        create(&mut session, name, ALL, &[&table]).unwrap();
        assert_eq!(source.owner_of(name), Some(role.clone()));
        remove(&mut session, name, &table).unwrap();
        add(&mut session, name, &table).unwrap();
        assert_eq!(source.tables_of(name).len(), 1);
        drop_it(&mut session, name).unwrap();
        create_as(&mut session, name, &json!({"tables": [table]})).unwrap();
        drop_it(&mut session, name).unwrap();
        drop(session);
        source.superuser().run(&format!("DROP OWNED BY {0}; DROP ROLE {0}", quoted(&role)));
    }
    assert_nothing_published(source);
}

fn what_cannot_be_replicated_is_refused(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE TEMP TABLE scratch (id int PRIMARY KEY);
           CREATE UNLOGGED TABLE "Shop".unlogged (id int PRIMARY KEY);
           CREATE VIEW "Shop".a_view AS SELECT 1 AS id;
           CREATE SEQUENCE "Shop".a_sequence"#,
    );
    for table in
        ["pg_temp.scratch", "pg_catalog.pg_class", "\"Shop\".a_view", "\"Shop\".a_sequence"]
    {
        create(&mut operator, "p", ALL, &[table]).refused(SqlState::WRONG_OBJECT_TYPE);
    }
    create(&mut operator, "p", ALL, &["\"Shop\".unlogged"])
        .refused(SqlState::INVALID_PARAMETER_VALUE);
    assert_nothing_published(source);
}

fn a_spec_sets_every_option(source: &Source) {
    let mut operator = source.operator();
    create_as(&mut operator, "defaults", &json!({})).unwrap();
    let spec = json!({
        "tables": [r#""Shop"."Orders""#, {"table": r#""Shop"."ta .'ble0""#}],
        "publish": ["INSERT", "delete"],
        "publish_via_partition_root": true,
    });
    create_as(&mut operator, "chosen", &spec).unwrap();
    assert_eq!(source.tables_of("chosen"), [r#""Shop"."Orders""#, r#""Shop"."ta .'ble0""#]);
    let options: Vec<String> = operator.column(
        "SELECT concat_ws(' ', pubname, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot)
         FROM pg_publication ORDER BY 1",
    );
    assert_eq!(options, ["chosen t f t f t", "defaults t t t t f"]);
}

fn bad_specs_are_refused(source: &Source) {
    let mut operator = source.operator();
    for (spec, named) in [
        (json!({"table": []}), "table"),
        (json!({"tables": [{"table": "a.b", "filter": "true"}]}), "filter"),
        (json!({"publish": ["merge"]}), "merge"),
        (json!({"publish": []}), "publish"),
        (json!([]), "object"),
        (json!("x"), "object"),
        (json!({"all_tables": true, "tables": ["a.b"]}), "all_tables"),
    ] {
        let report =
            create_as(&mut operator, "p", &spec).refused(SqlState::INVALID_PARAMETER_VALUE);
        assert!(format!("{report:?}").contains(named), "{report:?}");
    }
    assert_nothing_published(source);
}

fn options_of_later_majors_are_refused(source: &Source) {
    let mut operator = source.operator();
    for (key, spec) in [
        ("schemas", json!({"schemas": ["Shop"]})),
        ("columns", json!({"tables": [{"table": r#""Shop"."Orders""#, "columns": ["id"]}]})),
        ("where", json!({"tables": [{"table": r#""Shop"."Orders""#, "where": "true"}]})),
        ("publish_generated_columns", json!({"publish_generated_columns": "stored"})),
    ] {
        let report = create_as(&mut operator, "p", &spec).refused(SqlState::FEATURE_NOT_SUPPORTED);
        assert!(report.message().contains(key), "{report:?}");
    }
    assert_nothing_published(source);
}
