//! Publications of all tables and of schemas.

use postgres::error::SqlState;
use serde_json::json;

use super::calls::*;
use crate::source::Source;
use crate::support::{Refused, Session, matrix, quoted};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        the_databases_owner_publishes_all_tables,
        others_publish_all_tables_only_if_all_are_theirs,
    }
}

mod with_lists_and_schemas {
    use super::*;

    matrix! {
        Source::run, [on_15(15), on_16(16), on_17(17), on_18(18)] {
            schemas_are_published_by_their_owner_alone,
            schemas_in_which_others_may_create_are_not_published,
            a_reader_of_all_tables_can_not_break_the_writes_of_others,
        }
    }
}

fn the_databases_owner_publishes_all_tables(source: &Source) {
    const FOR_ALL: &str = "SELECT puballtables FROM pg_publication WHERE pubname = 'p'";
    let database = quoted(&source.database);
    let mut superuser = source.superuser();
    superuser.run(&format!("ALTER DATABASE {database} OWNER TO rival"));
    let mut rival = source.session("rival");
    create_for_all(&mut rival, "p", ALL).unwrap();
    assert!(superuser.value::<bool>(FOR_ALL));
    assert_eq!(source.owner_of("p").as_deref(), Some("rival"));
    let told = warnings(&mut rival);
    assert!(detail(&told[0]).contains("\"Shop.events\" has no replica identity"), "{told:?}");
    drop_it(&mut rival, "p").unwrap();

    superuser.run(&format!("ALTER DATABASE {database} OWNER TO postgres"));
    create_for_all(&mut rival, "p", ALL).refused(DENIED);
    if source.major() >= 14 {
        superuser.run("GRANT pg_read_all_data TO rival");
        create_for_all(&mut rival, "p", "insert").unwrap();
        assert!(superuser.value::<bool>(FOR_ALL));
        drop_it(&mut rival, "p").unwrap();
        assert_nothing_published(source);
        superuser.run("REVOKE pg_read_all_data FROM rival");
    }

    create_for_all(&mut superuser, "p", "insert").unwrap();
    assert!(superuser.value::<bool>(FOR_ALL));
    assert_eq!(source.owner_of("p").as_deref(), Some("postgres"));
}

/// Neither now nor by a table that is made later.
fn a_reader_of_all_tables_can_not_break_the_writes_of_others(source: &Source) {
    let reader = source.create_role("reader", "IN ROLE pg_read_all_data");
    let mut superuser = source.superuser();
    superuser.run(&format!("SELECT pgmig_extras.grant_operator('{reader}')"));
    let mut reader = source.session(&reader);
    let allowed = json!({"all_tables": true, "allow_missing_replica_identity": true});
    for (what, result) in [
        ("all", create_for_all(&mut reader, "p", ALL)),
        ("update", create_for_all(&mut reader, "p", "update")),
        ("delete", create_for_all(&mut reader, "p", "insert,delete")),
        ("allowed", create_as(&mut reader, "p", &allowed)),
        ("default", create_as(&mut reader, "p", &json!({"all_tables": true}))),
    ] {
        let report = result.refused(DENIED);
        assert!(detail(&report).contains("belongs to another role"), "{what}: {report:?}");
        assert!(report.hint().is_some_and(|hint| hint.contains("inserts")), "{what}: {report:?}");
    }
    assert_nothing_published(source);

    let inserts = json!({"all_tables": true, "publish": "insert, truncate"});
    create_as(&mut reader, "p", &inserts).unwrap();
    reader
        .batch_execute("ALTER PUBLICATION p SET (publish = 'insert, update, delete')")
        .refused(DENIED);
    source.operator().run(
        "CREATE TABLE \"Shop\".later (id int); INSERT INTO \"Shop\".later VALUES (1);
         UPDATE \"Shop\".later SET id = 2; DELETE FROM \"Shop\".later",
    );
    let published = "SELECT count(*) FROM pg_publication_tables WHERE tablename = 'later'";
    assert_eq!(superuser.value::<i64>(published), 1);
    // Whose it is not can't drop it, and no comment makes it theirs.
    drop_it(&mut source.operator(), "p").refused(DENIED);
    let mark =
        "SELECT obj_description(oid, 'pg_publication') FROM pg_publication WHERE pubname = 'p'";
    let mark: String = superuser.value(mark);
    let mut operator = source.operator();
    create(&mut operator, "q", ALL, &[r#""Shop"."Orders""#]).unwrap();
    operator.run(&format!("COMMENT ON PUBLICATION q IS '{mark}'"));
    drop_it(&mut reader, "q").refused(DENIED);
    drop_it(&mut reader, "p").unwrap();
    drop_it(&mut operator, "q").unwrap();
    assert_nothing_published(source);
}

/// Of whoever may create a table in the schema now, nobody's would be published unseen.
fn schemas_in_which_others_may_create_are_not_published(source: &Source) {
    let mut superuser = source.superuser();
    let [team, a, b] = ["team", "a", "b"].map(|name| source.create_role(name, ""));
    let [team_q, a_q, b_q] = [&team, &a, &b].map(|name| quoted(name));
    superuser.run(&format!(
        "SELECT pgmig_extras.grant_operator('{a}');
         GRANT {team_q} TO {a_q};
         CREATE SCHEMA shared AUTHORIZATION {team_q};
         CREATE SCHEMA own AUTHORIZATION {a_q}"
    ));
    let mut session = source.session(&a);
    let spec = |schema: &str| json!({"schemas": [schema]});
    let mut attempt = |schema: &str| create_as(&mut session, "p", &spec(schema));
    let drop = |superuser: &mut Session| superuser.run("DROP PUBLICATION p");
    attempt("shared").unwrap();
    drop(&mut superuser);

    let mut refused = |schema: &str, change: &str, undo: &str| {
        superuser.run(change);
        let report = attempt(schema).refused(DENIED);
        assert!(detail(&report).starts_with(&format!("{b_q} may create")), "{change}: {report:?}");
        superuser.run(undo);
        attempt(schema).unwrap_or_else(|error| panic!("{undo}: {error:?}"));
        drop(&mut superuser);
    };
    // The owner is a group with another member; a grant; a grant to a group.
    refused("shared", &format!("GRANT {team_q} TO {b_q}"), &format!("REVOKE {team_q} FROM {b_q}"));
    refused(
        "own",
        &format!("GRANT CREATE ON SCHEMA own TO {b_q}"),
        &format!("REVOKE CREATE ON SCHEMA own FROM {b_q}"),
    );
    refused(
        "own",
        &format!("GRANT CREATE ON SCHEMA own TO {team_q}; GRANT {team_q} TO {b_q}"),
        &format!("REVOKE CREATE ON SCHEMA own FROM {team_q}; REVOKE {team_q} FROM {b_q}"),
    );
    // Schema public belongs to pg_database_owner, whose members are those of the database's owner.
    let database = quoted(&source.database);
    superuser.run(&format!(
        "ALTER DATABASE {database} OWNER TO {team_q}; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT {team_q} TO {b_q}"
    ));
    let report = attempt("public").refused(DENIED);
    assert!(detail(&report).starts_with(&b_q), "{report:?}");
    // Who does not inherit the group's rights creates its tables in the group's name: A may read them.
    superuser.run(&format!("REVOKE {team_q} FROM {b_q}; ALTER ROLE {b_q} NOINHERIT"));
    superuser.run(&format!("GRANT {team_q} TO {b_q}"));
    attempt("shared").unwrap();
    let mut b = source.session(&b);
    b.batch_execute("CREATE TABLE shared.of_b (id int PRIMARY KEY)").refused(DENIED);
    b.run(&format!("SET ROLE {team_q}; CREATE TABLE shared.of_team (id int PRIMARY KEY)"));
    source.session(&a).run("SELECT FROM shared.of_team");
    drop(&mut superuser);
    superuser.run(&format!("ALTER DATABASE {database} OWNER TO postgres"));
}

fn others_publish_all_tables_only_if_all_are_theirs(source: &Source) {
    let mut operator = source.operator();
    let report = create_for_all(&mut operator, "p", ALL).refused(DENIED);
    assert!(detail(&report).contains("\"vault.secrets\""), "{report:?}");
    create_as(&mut operator, "p", &json!({"all_tables": true})).refused(DENIED);
    assert_nothing_published(source);

    source.superuser().run(
        r#"DROP TABLE vault.secrets;
           CREATE TABLE vault.of_an_extension (id int PRIMARY KEY);
           ALTER EXTENSION pgmig_extras ADD TABLE vault.of_an_extension;
           CREATE UNLOGGED TABLE vault.unlogged (id int);
           CREATE TEMP TABLE temporary (id int);
           DROP TABLE "Shop".events"#,
    );
    operator.run(
        r#"CREATE TABLE "Shop".log (id int PRIMARY KEY) PARTITION BY RANGE (id);
           CREATE TABLE "Shop".log_1 PARTITION OF "Shop".log FOR VALUES FROM (1) TO (100);
           CREATE TABLE "Shop".child (PRIMARY KEY (id)) INHERITS ("Shop"."Orders")"#,
    );
    create_for_all(&mut operator, "p", ALL).unwrap();
    let all = [r#""Shop"."Orders""#, r#""Shop".child"#, r#""Shop".log"#, r#""Shop"."ta .'ble0""#];
    let mut published = source.tables_of("p");
    published.sort_by_key(|name| all.iter().position(|known| known == name));
    assert_eq!(published, all);
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"));
    let told = operator.notices();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].message().contains("the tables that exist now (4)"), "{told:?}");

    operator.run(r#"CREATE TABLE "Shop".later (id int PRIMARY KEY)"#);
    assert_eq!(source.tables_of("p").len(), 4);
    create_as(&mut operator, "q", &json!({"all_tables": true})).unwrap();
    assert_eq!(source.tables_of("q").len(), 5);
}

fn schemas_are_published_by_their_owner_alone(source: &Source) {
    let mut operator = source.operator();
    operator.run("ALTER TABLE \"Shop\".events ADD PRIMARY KEY (note)");
    let shop = json!({"schemas": ["Shop"]});
    create_as(&mut operator, "p", &shop).unwrap();
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"));
    operator.run("CREATE TABLE \"Shop\".later (id int PRIMARY KEY)");
    let count = "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'p'";
    assert_eq!(operator.value::<i64>(count), 4);
    drop_it(&mut operator, "p").unwrap();

    let report =
        create_as(&mut operator, "p", &json!({"schemas": ["Shop", "vault"]})).refused(DENIED);
    assert!(report.message().contains("\"vault\""), "{report:?}");
    create_as(&mut operator, "p", &json!({"schemas": ["shop"]}))
        .refused(SqlState::INVALID_SCHEMA_NAME);
    create_as(&mut source.session("rival"), "p", &shop).refused(DENIED);

    let mut superuser = source.superuser();
    superuser
        .run("CREATE SCHEMA empty AUTHORIZATION victim; GRANT ALL ON SCHEMA empty TO operator");
    let report = create_as(&mut operator, "p", &json!({"schemas": ["empty"]})).refused(DENIED);
    assert_eq!(report.message(), "must be owner of schema \"empty\"");
    superuser.run("ALTER TABLE \"Shop\".later OWNER TO victim");
    let report = create_as(&mut operator, "p", &shop).refused(DENIED);
    assert!(detail(&report).contains("\"Shop.later\""), "{report:?}");
    superuser.run("DROP TABLE \"Shop\".later");
    for grantee in ["victim", "PUBLIC"] {
        operator.run(&format!("GRANT CREATE ON SCHEMA \"Shop\" TO {grantee}"));
        let report = create_as(&mut operator, "p", &shop).refused(DENIED);
        assert!(detail(&report).contains(grantee), "{report:?}");
        operator.run(&format!("REVOKE CREATE ON SCHEMA \"Shop\" FROM {grantee}"));
    }
    assert_nothing_published(source);

    let mixed = json!({"schemas": ["Shop"], "tables": [r#""Shop"."Orders""#]});
    create_as(&mut operator, "p", &mixed).unwrap();
    create_as(&mut superuser, "q", &json!({"schemas": ["vault", "Shop"]})).unwrap();
}
