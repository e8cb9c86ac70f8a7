//! Functions act for the outer user. Here an operator has its code run while that is somebody else:
//! PostgreSQL itself runs it, for a superuser who analyses a table, a victim who deletes a row, the
//! owner of a subscription. None of it may act in their name.
//!
//! All attacks end in `"Shop".attack()`, which runs as the operator whoever calls it, makes the
//! calls, and writes down what came of each.

use postgres::error::SqlState;
use testbed::poll_until;

use crate::source::Source;
use crate::support::{DEADLINE, Refused, Session, matrix};

matrix! {
    Source::run, [on_15(15), on_16(16), on_18(18)] {
        in_a_statement_of_the_superusers_own_each_call_is_done,
        an_index_expression_cannot_act_for_who_maintains_the_table,
        a_materialized_view_cannot_act_for_who_refreshes_it,
        a_cascade_cannot_act_for_who_deletes_the_row,
        a_table_owner_cannot_act_for_the_owner_of_a_subscription,
        a_parallel_worker_acts_for_nobody,
        set_role_changes_who_acts,
        a_wrapper_acts_for_who_calls_it,
    }
}

const ATTACK: &str = r#"
    GRANT USAGE ON SCHEMA "Shop" TO PUBLIC;
    CREATE TABLE "Shop".calls (call text);
    CREATE TABLE "Shop".results (call text, result text);
    CREATE TABLE "Shop".bait (id int PRIMARY KEY, note text);
    INSERT INTO "Shop".bait SELECT generate_series(1, 100);
    CREATE FUNCTION "Shop".attack() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE next text;
    BEGIN
        FOR next IN SELECT call FROM "Shop".calls LOOP
            BEGIN
                EXECUTE 'SELECT pgmig_extras.' || next;
                INSERT INTO "Shop".results VALUES (next, 'done');
            EXCEPTION WHEN OTHERS THEN
                INSERT INTO "Shop".results VALUES (next, SQLERRM);
            END;
        END LOOP;
        RETURN 1;
    END $$;
    CREATE FUNCTION "Shop".attack_too() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM "Shop".attack();
        RETURN coalesce(new, old);
    END $$"#;

const REFUSAL: &str =
    "permission denied for functions of pgmig_extras in code that PostgreSQL runs by itself";

/// The operator, with the attack prepared and not yet started.
fn attacker(source: &Source) -> Session {
    source.superuser().run("CREATE PUBLICATION bait");
    let mut operator = source.operator();
    operator.run(ATTACK);
    for call in calls(source) {
        operator.execute(r#"INSERT INTO "Shop".calls VALUES ($1)"#, &[&call]).unwrap();
    }
    operator
}

/// The subscription goes through the superusers' socket, without a password: only one of them may
/// connect so.
fn calls(source: &Source) -> [String; 7] {
    let conninfo = format!(
        "host={} port={} user=postgres dbname='{}'",
        source.cluster.socket_dir().display(),
        source.cluster.port(),
        source.database
    );
    [
        "pg_create_publication('stolen', 'insert', 'vault.secrets')".to_owned(),
        "pg_create_publication_for_all_tables('all stolen', 'insert')".to_owned(),
        format!(
            r#"create_subscription('stolen_{}', '{}', '{{bait}}',
                   '{{"create_slot": false, "enabled": false}}')"#,
            source.cluster.port(),
            conninfo.replace('\'', "''")
        ),
        "session_replication_role('replica')".to_owned(),
        "set_auto_explain_log_verbose('on')".to_owned(),
        "claim_public_schema_ownership()".to_owned(),
        "caller()".to_owned(),
    ]
}

/// Somebody who is neither superuser nor operator, in a session of its own.
fn victim(source: &Source) -> Session {
    let mut victim = source.superuser();
    victim.run("SET SESSION AUTHORIZATION victim");
    victim
}

/// Each call of the attack was made, this often in all, and none of them was any use.
#[track_caller]
fn assert_all_refused(source: &Source, times: usize) {
    let mut superuser = source.superuser();
    let results: Vec<String> = superuser.column(r#"SELECT result FROM "Shop".results"#);
    assert_eq!(results.len(), times * calls(source).len());
    for result in results {
        assert_eq!(result, REFUSAL);
    }
    assert_eq!(source.publications(), ["bait"]);
    let stolen: i64 =
        superuser.value("SELECT count(*) FROM pg_subscription WHERE subname LIKE 'stolen%'");
    assert_eq!(stolen, 0);
}

fn replication_role(session: &mut Session) -> String {
    session.value("SHOW session_replication_role")
}

/// So it is not the calls that are at fault where they fail.
fn in_a_statement_of_the_superusers_own_each_call_is_done(source: &Source) {
    drop(attacker(source));
    let mut superuser = source.superuser();
    superuser.run(r#"BEGIN; SELECT "Shop".attack()"#);
    let results: Vec<String> = superuser.column(r#"SELECT result FROM "Shop".results"#);
    assert_eq!(results, ["done"; 7]);
    assert_eq!(replication_role(&mut superuser), "replica");
    superuser.run("ROLLBACK");
}

fn an_index_expression_cannot_act_for_who_maintains_the_table(source: &Source) {
    // 1. An index on what looks like a constant.
    attacker(source).run(
        r#"CREATE FUNCTION "Shop".one(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
           CREATE INDEX expression ON "Shop".bait ("Shop".one(id));
           CLUSTER "Shop".bait USING expression"#,
    );
    // 2. The constant becomes the attack. The server believes that it is still immutable.
    source.operator().run(
        r#"CREATE OR REPLACE FUNCTION "Shop".one(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
           $$ BEGIN RETURN CASE WHEN $1 = 1 THEN "Shop".attack() ELSE 1 END; END $$"#,
    );
    // 3. A superuser looks after the table.
    let mut superuser = source.superuser();
    let statements = ["ANALYZE", "REINDEX TABLE", "VACUUM FULL", "CLUSTER"];
    for statement in statements {
        superuser.run(&format!(r#"{statement} "Shop".bait"#));
        assert_eq!(replication_role(&mut superuser), "origin", "{statement}");
    }
    assert_all_refused(source, statements.len());
}

fn a_materialized_view_cannot_act_for_who_refreshes_it(source: &Source) {
    attacker(source)
        .run(r#"CREATE MATERIALIZED VIEW "Shop".summary AS SELECT "Shop".attack() WITH NO DATA"#);
    let mut superuser = source.superuser();
    superuser.run(r#"REFRESH MATERIALIZED VIEW "Shop".summary"#);
    assert_eq!(replication_role(&mut superuser), "origin");
    assert_all_refused(source, 1);
}

/// 18 runs an AFTER trigger as the role that queued it: here the owner of the referencing table,
/// who deleted the row there. Before, it is who deletes the row that it refers to.
fn a_cascade_cannot_act_for_who_deletes_the_row(source: &Source) {
    // 1. The victim lets the operator refer to its rows.
    source.superuser().run(
        "INSERT INTO vault.secrets SELECT generate_series(1, 9);
         GRANT REFERENCES ON vault.secrets TO operator",
    );
    // 2. The operator does, with triggers on the rows that go with them.
    attacker(source).run(
        r#"CREATE TABLE "Shop".children (id int REFERENCES vault.secrets ON DELETE CASCADE);
           INSERT INTO "Shop".children SELECT generate_series(1, 9);
           CREATE TRIGGER early BEFORE DELETE ON "Shop".children
               FOR EACH ROW EXECUTE FUNCTION "Shop".attack_too();
           CREATE TRIGGER late AFTER DELETE ON "Shop".children
               FOR EACH ROW EXECUTE FUNCTION "Shop".attack_too();
           CREATE CONSTRAINT TRIGGER latest AFTER DELETE ON "Shop".children
               DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION "Shop".attack_too()"#,
    );
    // 3. The victim deletes a row of its own, and so does a superuser.
    let mut sessions = [victim(source), source.superuser()];
    for (session, id) in sessions.iter_mut().zip(1..) {
        session.run(&format!("DELETE FROM vault.secrets WHERE id = {id}"));
        assert_eq!(replication_role(session), "origin");
    }
    assert_all_refused(source, sessions.len() * 3);
}

/// The subscription is the superuser's own: PostgreSQL's command, from another database of this
/// cluster. What fires is a default and a trigger; from 16 on, where the apply worker takes the role
/// of the table's owner, PostgreSQL itself refuses those that are deferred.
fn a_table_owner_cannot_act_for_the_owner_of_a_subscription(source: &Source) {
    attacker(source).run(
        r#"CREATE TABLE "Shop".inbox (id int PRIMARY KEY, made int DEFAULT "Shop".attack());
           CREATE TRIGGER late AFTER INSERT ON "Shop".inbox
               FOR EACH ROW EXECUTE FUNCTION "Shop".attack_too();
           ALTER TABLE "Shop".inbox ENABLE ALWAYS TRIGGER late"#,
    );
    let mut fired = 2;
    if source.major() < 16 {
        source.operator().run(
            r#"CREATE CONSTRAINT TRIGGER latest AFTER INSERT ON "Shop".inbox
                   DEFERRABLE INITIALLY DEFERRED
                   FOR EACH ROW EXECUTE FUNCTION "Shop".attack_too();
               ALTER TABLE "Shop".inbox ENABLE ALWAYS TRIGGER latest"#,
        );
        fired += 1;
    }
    let publisher = Source::new(source.major(), "publisher");
    let slot = format!("outer_user_{}", source.major());
    publisher.superuser().run(
        r#"CREATE TABLE "Shop".inbox (id int PRIMARY KEY);
           CREATE PUBLICATION inbox FOR TABLE "Shop".inbox"#,
    );
    publisher
        .superuser()
        .run(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    let mut superuser = source.superuser();
    superuser.run(&format!(
        "CREATE SUBSCRIPTION {slot} CONNECTION 'host={} port={} user=postgres dbname={}'
             PUBLICATION inbox WITH (create_slot = false, copy_data = false)",
        source.cluster.socket_dir().display(),
        source.cluster.port(),
        format_args!("''{}''", publisher.database)
    ));
    publisher.superuser().run(r#"INSERT INTO "Shop".inbox VALUES (1)"#);
    poll_until(DEADLINE, "the row to arrive", || {
        let rows: i64 = superuser.value(r#"SELECT count(*) FROM "Shop".inbox"#);
        Ok((rows == 1).then_some(()))
    });
    superuser.run(&format!("DROP SUBSCRIPTION {slot}"));
    assert_all_refused(source, fired);
}

/// Nothing of the extension is PARALLEL SAFE; a function that says it is, is not believed. Workers
/// know nothing of the triggers that they work for.
fn a_parallel_worker_acts_for_nobody(source: &Source) {
    let setting = if source.major() < 16 { "force_parallel_mode" } else { "debug_parallel_query" };
    source.operator().run(
        r#"CREATE FUNCTION "Shop".who() RETURNS text PARALLEL SAFE LANGUAGE plpgsql AS
           $$ BEGIN RETURN pgmig_extras.caller()::regrole; END $$"#,
    );
    let mut operator = source.operator();
    const WHO: &str = r#"SELECT "Shop".who()"#;
    assert_eq!(operator.value::<String>(WHO), "operator");
    operator.run(&format!("SET {setting} = on"));
    let report = operator.batch_execute(WHO).refused(SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(report.message(), REFUSAL);
}

fn caller(session: &mut Session) -> String {
    session.value("SELECT pgmig_extras.caller()::regrole::text")
}

fn set_role_changes_who_acts(source: &Source) {
    let mut session = source.superuser();
    assert_eq!(caller(&mut session), "postgres");
    session.run("SET ROLE operator");
    assert_eq!(caller(&mut session), "operator");
    session
        .run(r#"SELECT pgmig_extras.pg_create_publication('mine', 'insert', '"Shop"."Orders"')"#);
    assert_eq!(source.owner_of("mine").as_deref(), Some("operator"));
    session.run("RESET ROLE; SET SESSION AUTHORIZATION stranger");
    assert_eq!(caller(&mut session), "stranger");
}

/// Through a function that runs as a superuser, and one of the operator's. They lend the right to
/// call the extension, and no right to anything else.
fn a_wrapper_acts_for_who_calls_it(source: &Source) {
    source.superuser().run(
        r#"CREATE SCHEMA wrappers;
           GRANT USAGE ON SCHEMA wrappers TO PUBLIC;
           CREATE FUNCTION wrappers.inner_one(tables text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
           BEGIN
               PERFORM pgmig_extras.pg_create_publication('wrapped', 'insert', tables);
               RETURN pgmig_extras.caller()::regrole;
           END $$;
           ALTER FUNCTION wrappers.inner_one OWNER TO operator;
           CREATE FUNCTION wrappers.outer_one(tables text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN RETURN wrappers.inner_one(tables); END $$;
           CREATE TABLE wrappers.strange (id int);
           ALTER TABLE wrappers.strange OWNER TO stranger"#,
    );
    let mut stranger = source.session("stranger");
    stranger
        .batch_execute(r#"SELECT wrappers.outer_one('"Shop"."Orders"')"#)
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    let caller: String = stranger.value("SELECT wrappers.outer_one('wrappers.strange')");
    assert_eq!(caller, "stranger");
    assert_eq!(source.owner_of("wrapped").as_deref(), Some("stranger"));
}
