//! The pgaudit setters, on servers with pgaudit where a package has it (13, 15, 17), else with its
//! parameters as PostgreSQL keeps those of a library that it does not know.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use postgres::error::SqlState;
use testbed::{Cluster, MAJORS};

use crate::source::Source;
use crate::support::{Refused, Session, matrix, quoted, secrets_in_log, start_with};

matrix! {
    on_server, [on_13(13), on_14(14), on_15(15), on_16(16), on_17(17), on_18(18)] {
        only_a_grant_of_a_superusers_gives_them,
        null_and_bad_names_are_refused,
        other_parameters_are_refused,
        databases_of_others_are_refused,
        no_role_sets_it_for_itself,
        superusers_and_roles_of_others_are_refused,
        a_value_is_only_a_value,
        the_owner_sets_it_for_a_database,
        who_administers_a_role_sets_it,
        a_superuser_sets_it_for_anybody,
        a_rollback_takes_it_back,
    }
}

matrix! {
    on_server, [pgaudit_13(13), pgaudit_15(15), pgaudit_17(17)] {
        what_is_set_is_recorded,
        values_that_pgaudit_does_not_know_are_refused,
        no_password_is_recorded,
    }
}

matrix! {
    Source::run, [without_13(13), without_14(14), without_15(15), without_16(16), without_17(17), without_18(18)] {
        without_pgaudit_nothing_is_set,
    }
}

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;

fn on_server(major: u16, test: &str, body: fn(&Source)) {
    body(&Source::on(server(major), test));
}

fn server(major: u16) -> &'static Cluster {
    static SERVERS: LazyLock<BTreeMap<u16, OnceLock<Cluster>>> =
        LazyLock::new(|| MAJORS.into_iter().map(|major| (major, OnceLock::new())).collect());
    SERVERS[&major].get_or_init(|| {
        let install = testbed::majors::prepare(major).unwrap();
        let has_pgaudit = testbed::pgaudit::install(&install).unwrap();
        start_with(major, |builder| match has_pgaudit {
            true => builder.preload("pgaudit"),
            false => builder.config("pgaudit.log", "none").config("pgaudit.log_catalog", "on"),
        })
    })
}

/// An auditor that owns the test's database and was granted the functions.
fn auditor(source: &Source) -> Session {
    grant(source, "operator");
    let database = quoted(&source.database);
    source.superuser().run(&format!("ALTER DATABASE {database} OWNER TO operator"));
    source.operator()
}

fn grant(source: &Source, role: &str) {
    let role = quoted(role);
    source.superuser().run(&format!(
        "GRANT EXECUTE ON FUNCTION pgmig_extras.set_pgaudit_parameter(text, text, text) TO {role};
         GRANT EXECUTE ON FUNCTION pgmig_extras.set_pgaudit_role_parameter(text, text, text) TO {role}"
    ));
}

type Answer = Result<(), postgres::Error>;

fn set(session: &mut Session, parameter: &str, database: &str, value: &str) -> Answer {
    session.call("set_pgaudit_parameter", &[&parameter, &database, &value]).map(drop)
}

fn set_for_role(session: &mut Session, parameter: &str, role: &str, value: &str) -> Answer {
    session.call("set_pgaudit_role_parameter", &[&parameter, &role, &value]).map(drop)
}

/// What a database or a role has of its own.
fn settings_of(source: &Source, name: &str) -> Vec<String> {
    let sql = "
        SELECT unnest(setconfig) FROM pg_db_role_setting s
        LEFT JOIN pg_database d ON d.oid = setdatabase LEFT JOIN pg_roles r ON r.oid = setrole
        WHERE coalesce(datname, rolname) = $1 ORDER BY 1";
    let rows = source.superuser().query(sql, &[&name]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn assert_nothing_set(source: &Source, names: &[&str]) {
    for name in names {
        assert_eq!(settings_of(source, name), [""; 0], "{name}");
    }
}

fn only_a_grant_of_a_superusers_gives_them(source: &Source) {
    let (database, role) = (&source.database, source.create_role("audited", ""));
    for of_nothing in ["operator", "stranger"] {
        let mut session = source.session(of_nothing);
        set(&mut session, "log", database, "ddl").refused(DENIED);
        set_for_role(&mut session, "log", &role, "ddl").refused(DENIED);
    }
    assert_nothing_set(source, &[database, &role]);
    let mut auditor = auditor(source);
    set(&mut auditor, "log", database, "ddl").expect("granted");
    source.superuser().call("revoke_operator", &[&"operator"]).unwrap();
    set(&mut auditor, "log", database, "write").expect("operators have nothing to do with it");
}

fn null_and_bad_names_are_refused(source: &Source) {
    let mut auditor = auditor(source);
    let (database, long) = (source.database.as_str(), "x".repeat(64));
    for function in ["set_pgaudit_parameter", "set_pgaudit_role_parameter"] {
        for null in 0..3 {
            let given = [Some("log"), Some(database), Some("ddl")];
            let given: Vec<_> =
                given.iter().enumerate().map(|(at, it)| it.filter(|_| at != null)).collect();
            auditor
                .call(function, &[&given[0], &given[1], &given[2]])
                .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
        }
        let mut refused = |name: &str, code| {
            auditor.call(function, &[&"log", &name, &"ddl"]).refused(code);
        };
        refused(&long, SqlState::NAME_TOO_LONG);
        refused("", SqlState::INVALID_NAME);
        for missing in ["nobody at home", "public", "none", "all", "current_user"] {
            refused(missing, SqlState::UNDEFINED_OBJECT);
        }
    }
}

fn other_parameters_are_refused(source: &Source) {
    let mut auditor = auditor(source);
    for parameter in [
        "",
        "log_client",
        "log_level",
        "role",
        "LOG",
        "pgaudit.log",
        "log = 'none', x",
        "search_path",
        "session_preload_libraries",
    ] {
        let invalid = SqlState::INVALID_PARAMETER_VALUE;
        let report = set(&mut auditor, parameter, &source.database, "on").refused(invalid.clone());
        assert!(report.hint().is_some_and(|it| it.contains("log_catalog")), "{report:?}");
        set_for_role(&mut auditor, parameter, "rival", "on").refused(invalid);
    }
    assert_nothing_set(source, &[&source.database, "rival"]);
}

fn databases_of_others_are_refused(source: &Source) {
    let mut auditor = auditor(source);
    let database = quoted(&source.database);
    for owner in ["victim", "rival", "postgres"] {
        source.superuser().run(&format!("ALTER DATABASE {database} OWNER TO {owner}"));
        set(&mut auditor, "log", &source.database, "none").refused(DENIED);
    }
    // A member of a superuser role has its rights, and yet not here.
    let boss = source.create_role("boss", "SUPERUSER");
    let boss_name = quoted(&boss);
    source.superuser().run(&format!(
        "GRANT {boss_name} TO operator; ALTER DATABASE {database} OWNER TO {boss_name}"
    ));
    set(&mut auditor, "log", &source.database, "none").refused(DENIED);
    source.superuser().run(&format!("REVOKE {boss_name} FROM operator"));
    for of_superusers in ["postgres", "template1"] {
        set(&mut auditor, "log", of_superusers, "none").refused(DENIED);
    }
    assert_nothing_set(source, &[&source.database, "postgres", "template1"]);
    source.superuser().run(&format!("ALTER DATABASE {database} OWNER TO postgres"));
}

fn no_role_sets_it_for_itself(source: &Source) {
    let (auditor, office) =
        (source.create_role("auditor", "CREATEROLE"), source.create_role("office", "CREATEROLE"));
    source.superuser().run(&format!("GRANT {} TO {}", quoted(&office), quoted(&auditor)));
    grant(source, &auditor);
    grant(source, &office);
    let mut session = source.session(&auditor);
    set_for_role(&mut session, "log", &auditor, "none").refused(DENIED);
    // Nor by another role that it has taken.
    session.run(&format!("SET ROLE {}", quoted(&office)));
    for itself in [&auditor, &office] {
        let report = set_for_role(&mut session, "log", itself, "none").refused(DENIED);
        assert!(report.detail().is_some_and(|it| it.contains("itself")), "{report:?}");
    }
    assert_nothing_set(source, &[&auditor, &office]);
}

fn superusers_and_roles_of_others_are_refused(source: &Source) {
    let mut auditor = auditor(source);
    let boss = source.create_role("boss", "SUPERUSER");
    source.superuser().run(&format!("GRANT {} TO operator WITH ADMIN OPTION", quoted(&boss)));
    let other = source.create_role("other", "");
    // The members of a role are not those who administer it.
    let member = source.create_role("member", "");
    source.superuser().run(&format!("GRANT {} TO operator", quoted(&member)));
    for role in [&boss, &other, &member, "postgres"] {
        set_for_role(&mut auditor, "log", role, "none").refused(DENIED);
        assert_nothing_set(source, &[role]);
    }
    source.superuser().run(&format!("REVOKE {} FROM operator", quoted(&boss)));
}

/// CREATEROLE may change any role that is no superuser's, until 16.
fn who_administers_a_role_sets_it(source: &Source) {
    let mut operator = auditor(source);
    let role = source.create_role("Audited \"role\" 'x'", "");
    source.superuser().run(&format!("GRANT {} TO operator WITH ADMIN OPTION", quoted(&role)));
    set_for_role(&mut operator, "log", &role, "ddl, write").expect("it administers the role");
    set_for_role(&mut operator, "log_catalog", &role, "off").unwrap();
    assert_eq!(settings_of(source, &role), ["pgaudit.log=ddl, write", "pgaudit.log_catalog=off"]);
    assert_eq!(source.session(&role).value::<String>("SHOW pgaudit.log"), "ddl, write");

    let creator = source.create_role("creator", "CREATEROLE");
    grant(source, &creator);
    let answer = set_for_role(&mut source.session(&creator), "log", &role, "none");
    if source.major() < 16 {
        answer.expect("as ALTER ROLE");
    } else {
        answer.refused(DENIED);
    }
}

fn a_value_is_only_a_value(source: &Source) {
    let mut auditor = auditor(source);
    let before = settings_of(source, &source.database);
    for value in ["none'; ALTER ROLE operator SUPERUSER; --", r"\'; DROP TABLE x", "none, 1=1", ""]
    {
        // pgaudit itself refuses them; without it any text is a value.
        if set(&mut auditor, "log", &source.database, value).is_ok() {
            assert_eq!(settings_of(source, &source.database), [format!("pgaudit.log={value}")]);
        } else {
            assert_eq!(settings_of(source, &source.database), before);
        }
    }
    let is_superuser: bool =
        source.superuser().value("SELECT rolsuper FROM pg_roles WHERE rolname = 'operator'");
    assert!(!is_superuser);
}

fn the_owner_sets_it_for_a_database(source: &Source) {
    let mut auditor = auditor(source);
    set(&mut auditor, "log", &source.database, "ddl, write").expect("its owner");
    assert_eq!(settings_of(source, &source.database), ["pgaudit.log=ddl, write"]);
    assert_eq!(source.session("stranger").value::<String>("SHOW pgaudit.log"), "ddl, write");
    let database = quoted(&source.database);
    source.superuser().run(&format!("ALTER DATABASE {database} OWNER TO shop"));
    set(&mut auditor, "log", &source.database, "none").expect("a member of its owner");
}

fn a_superuser_sets_it_for_anybody(source: &Source) {
    let mut superuser = source.superuser();
    let boss = source.create_role("boss", "SUPERUSER");
    set(&mut superuser, "log", &source.database, "ddl").expect("as ALTER DATABASE");
    set_for_role(&mut superuser, "log", &boss, "ddl").expect("as ALTER ROLE");
    assert_eq!(settings_of(source, &boss), ["pgaudit.log=ddl"]);
    set(&mut superuser, "role", &source.database, "x").refused(SqlState::INVALID_PARAMETER_VALUE);
}

fn a_rollback_takes_it_back(source: &Source) {
    let mut auditor = auditor(source);
    auditor.run("BEGIN");
    set(&mut auditor, "log", &source.database, "ddl").unwrap();
    auditor.run("ROLLBACK");
    assert_nothing_set(source, &[&source.database]);
}

fn what_is_set_is_recorded(source: &Source) {
    set(&mut auditor(source), "log", &source.database, "ddl").unwrap();
    source.operator().run(r#"CREATE TABLE "Shop".recorded (id int)"#);
    let log = source.cluster.log();
    let is_record = |line: &str| line.contains("AUDIT: SESSION") && line.contains("recorded");
    assert!(log.lines().any(is_record), "{log}");
}

fn values_that_pgaudit_does_not_know_are_refused(source: &Source) {
    let mut auditor = auditor(source);
    for bad in ["everything", "ddl; none"] {
        set(&mut auditor, "log", &source.database, bad).refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    set(&mut auditor, "log_catalog", &source.database, "perhaps")
        .refused(SqlState::INVALID_PARAMETER_VALUE);
    assert_nothing_set(source, &[&source.database]);
}

fn no_password_is_recorded(source: &Source) {
    set(&mut auditor(source), "log", &source.database, "all").unwrap();
    set(&mut auditor(source), "log_parameter", &source.database, "on").unwrap();
    let before = source.cluster.log_length();
    let mut operator = source.operator();
    // It knows what to leave out once it is loaded.
    operator.run("SELECT pgmig_extras.caller()");
    let conninfo = source.cluster.conninfo("app", testbed::PASSWORD, "no such database");
    operator
        .call("drop_replication_slot", &[&conninfo, &"no_slot"])
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    let log = source.cluster.log_since(before);
    assert!(log.contains("AUDIT: SESSION"), "{log}");
    assert_eq!(secrets_in_log(&log), [""; 0]);
}

fn without_pgaudit_nothing_is_set(source: &Source) {
    let mut auditor = auditor(source);
    let wrong_state = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
    let report = set(&mut auditor, "log", &source.database, "all").refused(wrong_state.clone());
    assert!(report.hint().is_some(), "{report:?}");
    set_for_role(&mut auditor, "log", "rival", "all").refused(wrong_state);
    assert_nothing_set(source, &[&source.database, "rival"]);
}
