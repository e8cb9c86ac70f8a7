//! Tables whose updates and deletes begin to fail when they are published.

use postgres::error::SqlState;
use serde_json::json;

use super::calls::*;
use crate::source::Source;
use crate::support::{Refused, matrix};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        updates_that_will_fail_are_announced,
        partitions_are_looked_at_too,
        create_publication_refuses_what_would_fail,
        every_kind_of_replica_identity_is_known,
    }
}

mod with_lists_and_schemas {
    use super::*;

    matrix! {
        Source::run, [on_15(15), on_16(16), on_17(17), on_18(18)] {
            lists_and_filters_must_keep_the_replica_identity,
        }
    }
}

mod since_18 {
    use super::*;

    matrix! {
        Source::run, [on_18(18)] {
            generated_columns_are_published_or_announced,
        }
    }
}

fn updates_that_will_fail_are_announced(source: &Source) {
    let mut operator = source.operator();
    operator.run("INSERT INTO \"Shop\".events VALUES ('x')");
    let update = "UPDATE \"Shop\".events SET note = 'y'";

    create(&mut operator, "p", "insert,truncate", &["\"Shop\".events"]).unwrap();
    assert_eq!(warnings(&mut operator).len(), 0);
    operator.run(update);
    drop_it(&mut operator, "p").unwrap();

    create(&mut operator, "p", "insert,update", &["\"Shop\".events", r#""Shop"."Orders""#])
        .unwrap();
    let told = warnings(&mut operator);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].code(), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    let message = r#"updates and deletes fail on table "Shop.events" of publication "p""#;
    assert_eq!(told[0].message(), message);
    assert_eq!(detail(&told[0]), "Table \"Shop.events\" has no replica identity.");
    let remedy = r#"ALTER TABLE "Shop".events REPLICA IDENTITY FULL;"#;
    let hint = format!("Add a primary key, or run: {remedy}");
    assert_eq!(told[0].hint(), Some(hint.as_str()));
    operator.batch_execute(update).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    drop_it(&mut operator, "p").unwrap();
    operator.run(update);

    create(&mut operator, "p", "delete", &[]).unwrap();
    assert_eq!(warnings(&mut operator).len(), 0);
    add(&mut operator, "p", "\"Shop\".events").unwrap();
    assert_eq!(warnings(&mut operator).len(), 1);
    drop_it(&mut operator, "p").unwrap();

    let tables: Vec<String> = (0..15).map(|i| format!("\"Shop\".t{i:02}")).collect();
    for table in &tables {
        operator.run(&format!("CREATE TABLE {table} (id int)"));
    }
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    create(&mut operator, "p", ALL, &tables).unwrap();
    let told = warnings(&mut operator);
    assert_eq!(told.len(), 1, "{told:?}");
    let lines: Vec<_> = detail(&told[0]).lines().collect();
    assert_eq!(lines.len(), 11);
    assert!(lines[9].contains("Shop.t09") && lines[10] == "And 5 more.", "{lines:?}");
}

fn partitions_are_looked_at_too(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE TABLE "Shop".log (id int, kind int) PARTITION BY LIST (kind);
           CREATE TABLE "Shop".log_1 PARTITION OF "Shop".log (PRIMARY KEY (id)) FOR VALUES IN (1);
           CREATE TABLE "Shop".log_2 PARTITION OF "Shop".log FOR VALUES IN (2) PARTITION BY LIST (id);
           CREATE TABLE "Shop".log_2_2 PARTITION OF "Shop".log_2 FOR VALUES IN (2);
           INSERT INTO "Shop".log VALUES (1, 1), (2, 2)"#,
    );
    for via_root in [false, true] {
        let spec = json!({"tables": ["\"Shop\".log"], "publish_via_partition_root": via_root});
        let report = create_as(&mut operator, "p", &spec)
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert_eq!(detail(&report), "Table \"Shop.log_2_2\" has no replica identity.");
    }
    create(&mut operator, "p", ALL, &["\"Shop\".log"]).unwrap();
    operator.run("DELETE FROM \"Shop\".log WHERE kind = 1");
    operator
        .batch_execute("DELETE FROM \"Shop\".log WHERE kind = 2")
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
}

fn create_publication_refuses_what_would_fail(source: &Source) {
    let mut operator = source.operator();
    let spec = json!({"tables": ["\"Shop\".events"]});
    let report =
        create_as(&mut operator, "p", &spec).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(detail(&report).contains("\"Shop.events\""), "{report:?}");
    assert!(report.hint().is_some_and(|it| it.contains("allow_missing_replica_identity")));
    assert_nothing_published(source);

    let inserts = json!({"tables": ["\"Shop\".events"], "publish": "insert"});
    create_as(&mut operator, "inserts", &inserts).unwrap();
    let allowed = json!({"tables": ["\"Shop\".events"], "allow_missing_replica_identity": true});
    create_as(&mut operator, "allowed", &allowed).unwrap();
    assert_eq!(warnings(&mut operator).len(), 0);
    operator.run("ALTER TABLE \"Shop\".events REPLICA IDENTITY FULL");
    create_as(&mut operator, "p", &spec).unwrap();
}

/// Whether UPDATE fails is what PostgreSQL says; whether we warn must be the same.
fn every_kind_of_replica_identity_is_known(source: &Source) {
    let mut operator = source.operator();
    operator.run("SET search_path = \"Shop\"");
    for (columns, alter) in [
        ("id int PRIMARY KEY", ""),
        ("id int PRIMARY KEY DEFERRABLE", ""),
        ("id int PRIMARY KEY", "ALTER TABLE t REPLICA IDENTITY NOTHING"),
        ("id int NOT NULL UNIQUE", ""),
        ("id int NOT NULL UNIQUE", "ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key"),
        (
            "id int NOT NULL UNIQUE",
            "ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key;
             ALTER TABLE t DROP CONSTRAINT t_id_key",
        ),
        (
            "id int PRIMARY KEY, other int NOT NULL UNIQUE DEFAULT 1",
            "ALTER TABLE t REPLICA IDENTITY USING INDEX t_other_key;
             ALTER TABLE t DROP CONSTRAINT t_other_key",
        ),
        ("id int", "ALTER TABLE t REPLICA IDENTITY FULL"),
        ("id int", ""),
    ] {
        operator
            .run(&format!("CREATE TABLE t ({columns}); INSERT INTO t (id) VALUES (1); {alter}"));
        create(&mut operator, "p", ALL, &["\"Shop\".t"]).unwrap();
        let warned = !warnings(&mut operator).is_empty();
        let fails = operator.batch_execute("UPDATE t SET id = 2").is_err();
        assert_eq!(warned, fails, "{columns}; {alter}");
        operator.run("DROP PUBLICATION p; DROP TABLE t");
    }
}

/// Says beforehand what UPDATE would say.
fn lists_and_filters_must_keep_the_replica_identity(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"INSERT INTO "Shop"."Orders" VALUES (1, 'x');
           CREATE TABLE "Shop".parts (a int, b int, note text, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
           CREATE TABLE "Shop".part (note text, b int NOT NULL, a int NOT NULL);
           ALTER TABLE "Shop".parts ATTACH PARTITION "Shop".part FOR VALUES IN (1);
           CREATE TABLE "Shop".wide (id int NOT NULL, extra int, note text);
           CREATE UNIQUE INDEX wide_key ON "Shop".wide (id) INCLUDE (extra);
           ALTER TABLE "Shop".wide REPLICA IDENTITY USING INDEX wide_key;
           CREATE TABLE "Shop".whole (id int, note text);
           ALTER TABLE "Shop".whole REPLICA IDENTITY FULL;
           INSERT INTO "Shop".parts VALUES (1, 1, 'x');
           INSERT INTO "Shop".wide VALUES (1, 1, 'x');
           INSERT INTO "Shop".whole VALUES (1, 'x')"#,
    );
    let columns = |names: &[&str]| json!({"columns": names});
    let filter = |text: &str| json!({"where": text});
    for (table, narrowing, works) in [
        (r#""Shop"."Orders""#, columns(&["id"]), true),
        (r#""Shop"."Orders""#, columns(&["note"]), false),
        (r#""Shop"."Orders""#, filter("id > 0"), true),
        (r#""Shop"."Orders""#, filter("note = 'x' OR id > 0"), false),
        (r#""Shop"."Orders""#, filter("true"), true),
        (r#""Shop".parts"#, columns(&["b", "a"]), true),
        (r#""Shop".parts"#, columns(&["a", "note"]), false),
        (r#""Shop".parts"#, filter("b > 0"), true),
        (r#""Shop".parts"#, filter("note > ''"), false),
        (r#""Shop".wide"#, columns(&["id"]), true),
        (r#""Shop".wide"#, filter("extra > 0"), false),
        (r#""Shop".whole"#, columns(&["id", "note"]), false),
        (r#""Shop".whole"#, filter("note = 'x'"), true),
    ] {
        let mut entry = narrowing.clone();
        entry["table"] = json!(table);
        let mut spec = json!({"tables": [entry], "publish_via_partition_root": true});
        let refused = create_as(&mut operator, "p", &spec);
        assert_eq!(refused.is_ok(), works, "{table} {narrowing}");
        if !works {
            let report = refused.refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
            assert!(detail(&report).contains("replica identity"), "{report:?}");
            spec["allow_missing_replica_identity"] = json!(true);
            create_as(&mut operator, "p", &spec).unwrap();
        }
        let updated = operator.batch_execute(&format!("UPDATE {table} SET note = 'x'"));
        assert_eq!(updated.is_ok(), works, "{table} {narrowing}: {updated:?}");
        drop_it(&mut operator, "p").unwrap();
    }
}

fn generated_columns_are_published_or_announced(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE TABLE "Shop".t (id int, next int GENERATED ALWAYS AS (id + 1) STORED NOT NULL UNIQUE);
           ALTER TABLE "Shop".t REPLICA IDENTITY USING INDEX t_next_key;
           CREATE TABLE "Shop".virtual (id int, next int GENERATED ALWAYS AS (id + 1) VIRTUAL);
           ALTER TABLE "Shop".virtual REPLICA IDENTITY FULL;
           CREATE TABLE "Shop".full_stored (id int, next int GENERATED ALWAYS AS (id + 1) STORED);
           ALTER TABLE "Shop".full_stored REPLICA IDENTITY FULL"#,
    );
    for (table, generated, works) in [
        ("t", "none", false),
        ("t", "stored", true),
        ("virtual", "none", false),
        ("virtual", "stored", false),
        ("full_stored", "none", false),
        ("full_stored", "stored", true),
    ] {
        let table = format!("\"Shop\".{table}");
        let mut spec = json!({"tables": [table], "publish_generated_columns": generated});
        let created = create_as(&mut operator, "p", &spec);
        assert_eq!(created.is_ok(), works, "{spec}");
        if !works {
            spec["allow_missing_replica_identity"] = json!(true);
            create_as(&mut operator, "p", &spec).unwrap();
        }
        let mut update = operator.transaction().unwrap();
        let sql = format!("INSERT INTO {table} VALUES (1); UPDATE {table} SET id = 2");
        let updated = update.batch_execute(&sql);
        update.rollback().unwrap();
        assert_eq!(updated.is_ok(), works, "{spec}: {updated:?}");
        drop_it(&mut operator, "p").unwrap();
    }
}
