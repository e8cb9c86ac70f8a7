//! claim_public_schema_ownership: for the owner of the database, and from nobody but a superuser.

use postgres::error::SqlState;

use crate::source::Source;
use crate::support::{Refused, Session, matrix, quoted};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_16(16), on_17(17), on_18(18)] {
        who_does_not_own_the_database_is_refused,
        a_wrapper_of_the_owners_claims_it_for_nobody_else,
        a_schema_that_was_given_to_another_role_stays_there,
        a_schema_that_is_missing_stays_so,
        the_owner_of_the_database_claims_it,
        a_member_of_the_owner_claims_it_for_itself,
        a_rollback_gives_it_back,
        a_superuser_claims_it_from_anybody,
    }
}

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;

fn claim(session: &mut Session) -> Result<(), postgres::Error> {
    session.call("claim_public_schema_ownership", &[]).map(drop)
}

fn owner(source: &Source) -> String {
    source
        .superuser()
        .value("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public'")
}

fn own_database(source: &Source, role: &str) {
    let database = quoted(&source.database);
    source.superuser().run(&format!("ALTER DATABASE {database} OWNER TO {role}"));
}

fn who_does_not_own_the_database_is_refused(source: &Source) {
    let before = owner(source);
    let report = claim(&mut source.operator()).refused(DENIED);
    assert!(report.detail().is_some_and(|it| it.contains("\"operator\"")), "{report:?}");
    // Not even the schema's owner: it could have been given for a time.
    source.superuser().run("ALTER SCHEMA public OWNER TO shop");
    claim(&mut source.operator()).refused(DENIED);
    claim(&mut source.session("stranger")).refused(DENIED);
    assert_ne!(before, "shop");
    assert_eq!(owner(source), "shop");
}

fn a_wrapper_of_the_owners_claims_it_for_nobody_else(source: &Source) {
    own_database(source, "operator");
    let before = owner(source);
    source.operator().run(
        r#"GRANT USAGE ON SCHEMA "Shop" TO PUBLIC;
           CREATE FUNCTION "Shop".claim() RETURNS void LANGUAGE sql SECURITY DEFINER AS
           'SELECT pgmig_extras.claim_public_schema_ownership()'"#,
    );
    for role in ["stranger", "rival"] {
        source.session(role).batch_execute(r#"SELECT "Shop".claim()"#).refused(DENIED);
    }
    assert_eq!(owner(source), before);
}

fn a_schema_that_was_given_to_another_role_stays_there(source: &Source) {
    own_database(source, "operator");
    source.superuser().run("ALTER SCHEMA public OWNER TO victim");
    let report = claim(&mut source.operator()).refused(DENIED);
    assert!(report.detail().is_some_and(|it| it.contains("\"victim\"")), "{report:?}");
    assert_eq!(owner(source), "victim");
}

fn a_schema_that_is_missing_stays_so(source: &Source) {
    own_database(source, "operator");
    source.superuser().run("DROP SCHEMA public");
    claim(&mut source.operator()).refused(SqlState::INVALID_SCHEMA_NAME);
}

fn the_owner_of_the_database_claims_it(source: &Source) {
    own_database(source, "operator");
    for owned_by in ["postgres", "operator"] {
        source.superuser().run(&format!("ALTER SCHEMA public OWNER TO {owned_by}"));
        claim(&mut source.operator()).expect("the owner of the database");
        assert_eq!(owner(source), "operator");
    }
    source.operator().run("CREATE TABLE public.mine (id int); ALTER SCHEMA public RENAME TO other");
}

fn a_member_of_the_owner_claims_it_for_itself(source: &Source) {
    own_database(source, "shop");
    claim(&mut source.operator()).expect("a member of shop, as PostgreSQL left the schema");
    assert_eq!(owner(source), "operator");
}

fn a_rollback_gives_it_back(source: &Source) {
    own_database(source, "operator");
    let before = owner(source);
    let mut operator = source.operator();
    operator.run("BEGIN");
    claim(&mut operator).unwrap();
    operator.run("ROLLBACK");
    assert_eq!(owner(source), before);
}

fn a_superuser_claims_it_from_anybody(source: &Source) {
    source.superuser().run("ALTER SCHEMA public OWNER TO victim");
    claim(&mut source.superuser()).expect("as ALTER SCHEMA");
    assert_eq!(owner(source), "postgres");
}
