//! Bad input: one clear error with the right SQLSTATE, and nothing left behind.

use postgres::error::SqlState;
use postgres::types::{PgLsn, ToSql};
use testbed::PASSWORD;

use crate::support::{Bed, Refused, Session, matrix, start_with};

matrix! { Bed::run, every pair {
    null_is_refused_for_every_argument,
    names_that_are_too_long_are_refused_and_never_truncated,
    bad_slot_names_are_refused,
    empty_names_are_refused,
    names_with_quotes_spaces_and_capitals_are_taken_as_they_are,
    dangerous_connection_strings_are_refused,
    incomplete_connection_strings_are_refused,
    a_target_table_must_be_there,
    a_password_is_required,
    odd_settings_of_the_caller_change_nothing,
} }

type Argument = Box<dyn ToSql + Sync>;

/// Functions that an operator may call with arguments, with ones that would do.
fn calls(bed: &Bed) -> Vec<(&'static str, Vec<Argument>)> {
    let name = || -> Argument { Box::new(bed.subscription()) };
    let conninfo = || -> Argument { Box::new(bed.conninfo()) };
    let publication = || -> Argument { Box::new(bed.publication()) };
    let publications = || -> Argument { Box::new(vec![bed.publication()]) };
    let slot = || -> Argument { Box::new(bed.slot()) };
    let yes = || -> Argument { Box::new(true) };
    let no = || -> Argument { Box::new(false) };
    let json = || -> Argument { Box::new(serde_json::json!({})) };
    let text = |value: &'static str| -> Argument { Box::new(value) };
    let lsn = || -> Argument { Box::new(PgLsn::from(1)) };
    vec![
        (
            "pg_create_subscription",
            vec![name(), conninfo(), publication(), slot(), yes(), yes(), text("any")],
        ),
        ("create_subscription", vec![name(), conninfo(), publications(), json()]),
        ("pg_alter_subscription_enable", vec![name()]),
        ("pg_alter_subscription_disable", vec![name()]),
        ("pg_alter_subscription_refresh_publication", vec![name(), yes()]),
        ("pg_alter_subscription_set_publication", vec![name(), publications(), yes()]),
        ("pg_alter_subscription_connection", vec![name(), conninfo()]),
        ("pg_alter_subscription_skip", vec![name(), lsn()]),
        ("pg_drop_subscription", vec![name(), yes()]),
        ("create_replication_slot", vec![conninfo(), slot()]),
        ("drop_replication_slot", vec![conninfo(), slot()]),
        ("set_auto_explain_log_format", vec![text("json")]),
        (
            "pg_create_logical_replication_slot_on_standby",
            vec![slot(), text("pgoutput"), no(), no(), no(), no()],
        ),
    ]
}

/// Calls a function with NULL in one place.
fn call_with_null(
    session: &mut Session,
    function: &str,
    arguments: &[Argument],
    null: usize,
) -> Result<Vec<postgres::Row>, postgres::Error> {
    let mut given: Vec<&(dyn ToSql + Sync)> = Vec::new();
    let mut places = Vec::new();
    for (place, argument) in arguments.iter().enumerate() {
        if place == null {
            places.push("NULL".to_owned());
        } else {
            given.push(argument.as_ref());
            places.push(format!("${}", given.len()));
        }
    }
    let sql = format!("SELECT * FROM pgmig_extras.{function}({})", places.join(", "));
    session.query(&sql, &given)
}

fn null_is_refused_for_every_argument(bed: &Bed) {
    let mut operator = bed.operator();
    for (function, arguments) in calls(bed) {
        for place in 0..arguments.len() {
            let report = call_with_null(&mut operator, function, &arguments, place)
                .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
            assert!(report.message().contains('"'), "{function} names the argument: {report:?}");
        }
    }
    let none: Vec<Option<String>> = vec![None];
    let (name, conninfo) = (bed.subscription(), bed.conninfo());
    operator
        .call("create_subscription", &[&name, &conninfo, &none])
        .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
    operator
        .call("create_subscription", &[&name, &conninfo, &Vec::<String>::new()])
        .refused(SqlState::INVALID_PARAMETER_VALUE);
    bed.assert_nothing_left();
}

fn create(
    session: &mut Session,
    bed: &Bed,
    name: &str,
    publication: &str,
    slot: &str,
) -> Result<Vec<postgres::Row>, postgres::Error> {
    let conninfo = bed.conninfo();
    session.call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true, &false])
}

fn names_that_are_too_long_are_refused_and_never_truncated(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    // 63 bytes and one: in letters, and in half as many that take two bytes each.
    for long in ["x".repeat(64), "ü".repeat(32)] {
        let too_long = SqlState::NAME_TOO_LONG;
        create(&mut operator, bed, &long, &publication, &slot).refused(too_long.clone());
        create(&mut operator, bed, &name, &long, &slot).refused(too_long.clone());
        for function in ["pg_drop_subscription", "pg_alter_subscription_enable"] {
            operator.call(function, &[&long]).refused(too_long.clone());
        }
        operator
            .call("create_subscription", &[&name, &bed.conninfo(), &vec![&long]])
            .refused(too_long);
    }
    let long = "x".repeat(64);
    create(&mut operator, bed, &name, &publication, &long).refused(SqlState::NAME_TOO_LONG);
    operator
        .call("create_replication_slot", &[&bed.conninfo(), &long])
        .refused(SqlState::NAME_TOO_LONG);
    bed.assert_nothing_left();

    let just_fits = "x".repeat(63);
    let slot = format!("{}{}", bed.slot(), "y".repeat(63 - bed.slot().len()));
    create(&mut operator, bed, &just_fits, &publication, &slot).expect("63 bytes are a name");
    assert_eq!(bed.subscriptions(), [just_fits]);
    bed.assert_slots(&[&slot]);
}

fn bad_slot_names_are_refused(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, publication) = (bed.subscription(), bed.publication());
    for bad in ["", "Capital", "with space", "dash-ed", "ümlaut", "semi;colon", "quo'te", "none"] {
        let invalid = SqlState::INVALID_NAME;
        create(&mut operator, bed, &name, &publication, bad).refused(invalid.clone());
        for function in ["create_replication_slot", "drop_replication_slot"] {
            operator.call(function, &[&bed.conninfo(), &bad]).refused(invalid.clone());
        }
    }
    // Without a slot's name in the options it is the subscription's, which is none.
    operator
        .call("create_subscription", &[&name, &bed.conninfo(), &vec![publication]])
        .refused(SqlState::INVALID_NAME);
    bed.assert_nothing_left();
}

fn empty_names_are_refused(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    create(&mut operator, bed, "", &publication, &slot).refused(SqlState::INVALID_NAME);
    create(&mut operator, bed, &name, "", &slot).refused(SqlState::INVALID_NAME);
    operator.call("pg_drop_subscription", &[&""]).refused(SqlState::INVALID_NAME);
}

fn names_with_quotes_spaces_and_capitals_are_taken_as_they_are(bed: &Bed) {
    let mut operator = bed.operator();
    let names = [
        r#"Quote " and ' here"#,
        r"back\slash",
        "$$dollar$$",
        "semi;colon -- comment",
        "%s %I",
        "Größe 🐘",
        " spaces ",
    ];
    for (number, name) in names.iter().enumerate() {
        let slot = format!("{}_{number}", bed.slot());
        create(&mut operator, bed, name, &bed.publication(), &slot)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(bed.subscriptions(), [name.to_string()]);
        for change in ["disable", "enable", "refresh_publication"] {
            operator.call(&format!("pg_alter_subscription_{change}"), &[name]).unwrap();
        }
        operator.call("pg_drop_subscription", &[name]).unwrap();
    }
    bed.assert_nothing_left();

    // A backslash in a publication's name is more than the replication protocol can carry.
    let names: Vec<_> = names.into_iter().filter(|name| !name.contains('\\')).collect();
    let mut app = bed.app();
    for name in &names {
        let quoted = crate::support::quoted(name);
        app.run(&format!(r#"CREATE PUBLICATION {quoted} FOR TABLE "Shop"."Orders""#));
    }
    let (name, conninfo) = (bed.subscription(), bed.conninfo());
    let options = serde_json::json!({"slot_name": bed.slot(), "copy_data": false});
    operator
        .call("create_subscription", &[&name, &conninfo, &names, &options])
        .expect("publications of such names");
    app.run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'through all of them')"#);
    bed.wait_for(r#"SELECT EXISTS (SELECT FROM "Shop"."Orders" WHERE id = 1001)"#);
}

fn dangerous_connection_strings_are_refused(bed: &Bed) {
    let mut operator = bed.operator();
    let denied = |operator: &mut Session, extra: &str| {
        let conninfo = format!("{} {extra}", bed.conninfo());
        let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
        operator
            .call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true])
            .refused(SqlState::INSUFFICIENT_PRIVILEGE);
        operator
            .call("create_replication_slot", &[&conninfo, &slot])
            .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    };
    for extra in [
        "passfile=/tmp/x",
        "service=x",
        "options='-c search_path=evil'",
        "krbsrvname=x",
        "gssencmode=prefer",
        "sslcert=/etc/passwd",
        "sslkey=/etc/passwd",
        "sslrootcert=/etc/passwd",
        "sslcrl=/etc/passwd",
        "requirepeer=root",
        "replication=true",
        "host=/tmp",
        "host=@abstract",
        "password=''",
    ] {
        denied(&mut operator, extra);
    }
    bed.assert_nothing_left();
}

fn incomplete_connection_strings_are_refused(bed: &Bed) {
    let mut operator = bed.operator();
    let slot = bed.slot();
    for bad in [
        "",
        "host=127.0.0.1",
        "user=app",
        "host=a,b user=app",
        "host=127.0.0.1 port=1,2 user=app",
        "host=127.0.0.1 port=x user=app",
        "hostaddr=localhost user=app",
        "host=127.0.0.1 user=app nosuchkeyword=1",
        "host=127.0.0.1 user='app",
        "postgresql://[broken",
        "host=127.0.0.1 user=app sslmode=verify-full",
    ] {
        for conninfo in [bad.to_owned(), format!("{bad} password='{PASSWORD}'")] {
            let error = operator
                .call("create_replication_slot", &[&conninfo, &slot])
                .expect_err("a string that cannot be used");
            let code = error.code().cloned().expect("an answer of the server");
            let missing_password = !conninfo.contains(PASSWORD);
            let is_expected = code == SqlState::INVALID_PARAMETER_VALUE
                || (missing_password && code == SqlState::INSUFFICIENT_PRIVILEGE);
            assert!(is_expected, "{conninfo}: {error:?}");
            Err::<(), _>(error).refused(code);
        }
    }
}

fn a_target_table_must_be_there(bed: &Bed) {
    bed.superuser().run(r#"DROP TABLE "Shop"."Order Lines""#);
    let mut operator = bed.operator();
    let report = bed.subscribe(&mut operator).refused(SqlState::UNDEFINED_TABLE);
    assert!(report.message().contains("Order Lines"), "{report:?}");
    bed.assert_nothing_left();
    bed.superuser().run(r#"CREATE TABLE "Shop"."Order Lines" (id bigint, "Größe" numeric)"#);
    bed.subscribe(&mut operator).refused(SqlState::INSUFFICIENT_PRIVILEGE);
    bed.assert_nothing_left();
}

fn a_password_is_required(bed: &Bed) {
    let without = bed.conninfo().replace(&format!("password='{PASSWORD}'"), "");
    assert!(!without.contains(PASSWORD));
    bed.operator()
        .call("create_replication_slot", &[&without, &bed.slot()])
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
}

/// What any role can set for itself and what changes how SQL is read, or how values are written.
const ODD_SETTINGS: &str = "
    SET standard_conforming_strings = off; SET backslash_quote = off;
    SET escape_string_warning = on; SET transform_null_equals = on; SET array_nulls = off;
    SET quote_all_identifiers = on; SET bytea_output = escape; SET datestyle = 'SQL, DMY';
    SET intervalstyle = sql_standard; SET timezone = 'Asia/Kathmandu'; SET extra_float_digits = -15;
    SET lc_numeric = 'C'; SET xmloption = document; SET row_security = off; SET exit_on_error = on;
    SET default_transaction_isolation = serializable; SET default_transaction_deferrable = on;
    SET search_path = nowhere; SET check_function_bodies = off; SET enable_seqscan = off;
    SET enable_indexscan = off; SET jit_above_cost = 0; SET max_parallel_workers_per_gather = 8;
    SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
    SET work_mem = '64kB'; SET plan_cache_mode = force_generic_plan";

fn odd_settings_of_the_caller_change_nothing(bed: &Bed) {
    let mut operator = bed.operator();
    operator.run(ODD_SETTINGS);
    let parallel = match bed.target.major() {
        16.. => "debug_parallel_query",
        _ => "force_parallel_mode",
    };
    operator.run(&format!("SET {parallel} = on"));
    bed.subscribe(&mut operator).expect("an operator subscribes");
    bed.wait_until_equal();
    let name = bed.subscription();
    assert_eq!(bed.listed::<String>(&mut operator, "subname"), [name.as_str()]);
    assert!(!bed.listed::<String>(&mut operator, "subconninfo")[0].contains(PASSWORD));
    for change in ["disable", "enable", "refresh_publication"] {
        operator.call(&format!("pg_alter_subscription_{change}"), &[&name]).unwrap();
    }
    let publications = vec![bed.publication()];
    operator.call("pg_alter_subscription_set_publication", &[&name, &publications]).unwrap();
    operator.call("pg_alter_subscription_connection", &[&name, &bed.conninfo()]).unwrap();
    for relation in ["subscription_lag", "slot_lag", "operators", "watcher_status"] {
        operator.run(&format!("SELECT * FROM pgmig_extras.{relation}"));
    }
    assert_eq!(operator.call("explain_statement", &[&"SELECT 1"]).unwrap().len(), 1);
    let table = r#""Shop"."Orders""#;
    let name = r"it's \a 'publication'";
    operator.call("pg_create_publication", &[&name, &"insert, update", &table]).unwrap();
    operator.call("drop_publication", &[&name]).unwrap();
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
}

/// A server whose own environment and home directory would let anybody in as `app`.
fn lend(major: u16) {
    let home = tempfile::tempdir().expect("a directory");
    let pgpass = home.path().join(".pgpass");
    std::fs::write(&pgpass, format!("*:*:*:*:{PASSWORD}\n")).unwrap();
    let target = start_with(major, |builder| {
        builder.env("HOME", home.path().to_str().unwrap()).env("PGPASSWORD", PASSWORD)
    });
    let bed = Bed::on(crate::support::source(major), Box::leak(Box::new(target)), "lent");
    for password in ["", "password=wrong"] {
        let conninfo = bed.conninfo().replace(&format!("password='{PASSWORD}'"), password);
        let result = bed.operator().call("create_replication_slot", &[&conninfo, &bed.slot()]);
        assert!(result.is_err(), "{conninfo:?} got in on the server's own password");
        bed.assert_nothing_left();
    }
}

#[test]
fn the_environment_of_a_server_15_lends_nothing() {
    lend(15);
}

#[test]
fn the_environment_of_a_server_18_lends_nothing() {
    lend(18);
}
