//! No password and no connection string in any log line, error or view, however a call is made and
//! however it ends. Every other test looks through the logs as well; here the calls are odd.

use postgres::error::SqlState;
use testbed::{Cluster, PASSWORD, poll_until};

use crate::hostile::{ANY_QUERY, Behaviour, Hostile};
use crate::support::{Bed, DEADLINE, Refused, Session, matrix, secrets_in, source, start_with};

matrix! { Bed::run, every pair {
    simple_queries_are_logged_without_their_secrets,
    bound_parameters_are_logged_without_their_secrets,
    calls_in_functions_show_no_secret_in_their_context,
    errors_after_the_call_in_the_same_query_show_no_secret,
    activity_shows_no_secret_during_or_after_a_call,
    views_show_no_secret,
    connection_strings_of_every_form_stay_secret,
    no_error_repeats_an_argument_that_is_a_connection_string,
} }

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The call as a person would type it.
fn typed(bed: &Bed, conninfo: &str) -> String {
    let name = bed.subscription();
    let (conninfo, publication) = (literal(conninfo), literal(&bed.publication()));
    format!(
        "SELECT pgmig_extras.pg_create_subscription({}, {conninfo}, {publication}, '{}', true)",
        literal(&name),
        bed.slot()
    )
}

/// Connection strings that fail, each in its own way.
fn failing(bed: &Bed) -> Vec<String> {
    let other = |user, password, database| bed.source.conninfo(user, password, database);
    vec![
        other("app", &format!("{PASSWORD} wrong"), &bed.database),
        other("app", PASSWORD, "no such database"),
        other("stranger", PASSWORD, &bed.database),
        format!("{} options=-cx", bed.conninfo()),
        format!("{} nosuchkeyword=1", bed.conninfo()),
        format!("{} 'unbalanced", bed.conninfo()),
        format!("{} port=0", bed.conninfo()),
        format!("postgresql://app:{PASSWORD}@127.0.0.1:bad/x"),
        format!("host=127.0.0.1 port=1 user=app password='{PASSWORD}'"),
    ]
}

/// The server did log the statements: what was looked through was not empty.
fn assert_calls_were_logged(bed: &Bed) {
    let log = bed.target.log();
    assert!(log.contains("pg_create_subscription"), "durations are logged");
    bed.assert_no_secret_logged();
}

fn simple_queries_are_logged_without_their_secrets(bed: &Bed) {
    let mut operator = bed.operator();
    for conninfo in failing(bed) {
        let error = operator.batch_execute(&typed(bed, &conninfo)).expect_err("it fails");
        let code = error.code().cloned().expect("an answer of the server");
        Err::<(), _>(error).refused(code);
        bed.assert_no_secret_logged();
    }
    operator.run(&typed(bed, &bed.conninfo()));
    operator.batch_execute(&typed(bed, &bed.conninfo())).refused(SqlState::DUPLICATE_OBJECT);
    let (name, conninfo) = (literal(&bed.subscription()), literal(&bed.conninfo()));
    operator
        .run(&format!("SELECT pgmig_extras.pg_alter_subscription_connection({name}, {conninfo})"));
    operator.run(&format!(
        "SELECT pgmig_extras.create_replication_slot({conninfo}, '{}_2')",
        bed.slot()
    ));
    operator
        .run(&format!("SELECT pgmig_extras.drop_replication_slot({conninfo}, '{}_2')", bed.slot()));
    assert_calls_were_logged(bed);
}

fn bound_parameters_are_logged_without_their_secrets(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    for conninfo in failing(bed) {
        let error = operator
            .call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true])
            .expect_err("it fails");
        let code = error.code().cloned().expect("an answer of the server");
        Err::<(), _>(error).refused(code);
        bed.assert_no_secret_logged();
    }
    bed.subscribe(&mut operator).unwrap();
    assert_calls_were_logged(bed);
    bed.subscribe(&mut operator).refused(SqlState::DUPLICATE_OBJECT);
    let conninfo = bed.conninfo();
    operator.call("pg_alter_subscription_connection", &[&name, &conninfo]).unwrap();
    bed.assert_no_secret_logged();
}

fn calls_in_functions_show_no_secret_in_their_context(bed: &Bed) {
    let mut operator = bed.operator();
    let other = bed.source.conninfo("app", &format!("{PASSWORD} wrong"), &bed.database);
    for conninfo in [other, format!("{} options=-cx", bed.conninfo())] {
        let inner = typed(bed, &conninfo);
        for body in [
            format!("EXECUTE {}", literal(&inner)),
            inner.replace("SELECT", "PERFORM"),
            format!(
                "EXECUTE 'SELECT pgmig_extras.create_replication_slot($1, $2)' USING {}, 'x'",
                literal(&conninfo)
            ),
        ] {
            let error = operator
                .batch_execute(&format!("DO $do$ BEGIN {body}; END $do$"))
                .expect_err("it fails");
            let code = error.code().cloned().expect("an answer of the server");
            Err::<(), _>(error).refused(code);
            bed.assert_no_secret_logged();
        }
    }
    let good = typed(bed, &bed.conninfo());
    operator.run(&format!("DO $do$ BEGIN EXECUTE {}; END $do$", literal(&good)));
    bed.assert_no_secret_logged();
}

fn errors_after_the_call_in_the_same_query_show_no_secret(bed: &Bed) {
    let mut operator = bed.operator();
    let call = typed(bed, &bed.conninfo());
    for tail in ["; SELECT 1/0", "; SELECT no_such_column"] {
        operator.batch_execute("BEGIN").unwrap();
        let error = operator.batch_execute(&format!("{call}{tail}"));
        operator.batch_execute("ROLLBACK").unwrap();
        let error = error.expect_err("it fails");
        let code = error.code().cloned().expect("an answer of the server");
        Err::<(), _>(error).refused(code);
        bed.assert_no_secret_logged();
    }
    bed.assert_nothing_left();
}

fn activity_shows_no_secret_during_or_after_a_call(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    publisher.misbehaves(ANY_QUERY, Behaviour::Silence);
    let activity = |pid: i32| -> String {
        bed.superuser()
            .query_one("SELECT query FROM pg_stat_activity WHERE pid = $1", &[&pid])
            .unwrap()
            .get(0)
    };
    let mut operator = bed.operator();
    let pid = operator.pid();
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| operator.batch_execute(&typed(bed, &publisher.conninfo(PASSWORD))));
        poll_until(DEADLINE, "the call to wait", || Ok((publisher.twisted() > 0).then_some(())));
        let during = activity(pid);
        bed.superuser().execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        assert_eq!(secrets_in(&during), [""; 0]);
        assert!(during.contains("pg_create_subscription"), "{during}");
        waiting.join().unwrap().refused(SqlState::QUERY_CANCELED);
    });
    assert_eq!(secrets_in(&activity(pid)), [""; 0], "after it failed");
    let mut operator = bed.operator();
    let pid = operator.pid();
    operator.run(&typed(bed, &bed.conninfo()));
    assert_eq!(secrets_in(&activity(pid)), [""; 0], "after it succeeded");
    publisher.behaves();
}

fn views_show_no_secret(bed: &Bed) {
    drop(bed.subscribed());
    let shown = |session: &mut Session, sql: &str| -> Vec<String> {
        session.column(&format!("SELECT v::text FROM ({sql}) v"))
    };
    for role in ["operator", "rival", "postgres"] {
        let mut session = bed.as_role(role);
        let mut texts =
            shown(&mut session, "SELECT * FROM pgmig_extras.pg_list_all_subscriptions()");
        texts.extend(shown(&mut session, "SELECT * FROM pg_stat_subscription"));
        texts.extend(shown(
            &mut session,
            "SELECT * FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        ));
        texts.extend(shown(&mut session, "SELECT * FROM pgmig_extras.pg_stat_replication"));
        assert_eq!(secrets_in(&texts.join("\n")), [""; 0], "as {role}");
    }
    bed.operator()
        .batch_execute("SELECT subconninfo FROM pg_subscription")
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    let mut source = bed.app();
    let texts = shown(&mut source, "SELECT * FROM pg_stat_activity");
    assert_eq!(secrets_in(&texts.join("\n")), [""; 0]);
}

fn connection_strings_of_every_form_stay_secret(bed: &Bed) {
    let mut operator = bed.operator();
    let encoded = PASSWORD.replace(' ', "%20");
    let database: String = bed.database.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let uri = format!("postgresql://app:{encoded}@127.0.0.1:{}/{database}", bed.source.port());
    operator.run(&typed(bed, &uri));
    let shown: Vec<String> = bed.listed(&mut operator, "subconninfo");
    assert_eq!(secrets_in(&shown[0]), [""; 0]);
    bed.wait_until_equal();
    for cluster in [bed.source, bed.target] {
        let log = cluster.log();
        let hits: Vec<_> = log.lines().filter(|line| line.contains(&encoded)).collect();
        assert_eq!(hits, [""; 0], "{cluster}");
    }
}

/// Arguments in the wrong order.
fn no_error_repeats_an_argument_that_is_a_connection_string(bed: &Bed) {
    let mut operator = bed.operator();
    let long = literal(&format!("{} application_name={}", bed.conninfo(), "x".repeat(60)));
    let short = "'host=h password=hidden7'";
    let uri = "'postgresql://app:hidden7@h/d'";
    for conninfo in [long.as_str(), short, uri] {
        for call in [
            format!("pg_create_subscription({conninfo}, 'name', 'p', 's')"),
            format!("pg_create_subscription('name', 'host=h', {conninfo}, 's')"),
            format!("pg_create_subscription('name', 'host=h', 'p', {conninfo})"),
            format!("pg_alter_subscription_connection({conninfo}, 'name')"),
            format!("pg_alter_subscription_enable({conninfo})"),
            format!("pg_drop_subscription({conninfo})"),
            format!("create_replication_slot('slot', {conninfo})"),
            format!("pg_create_publication({conninfo} || repeat('x', 64), 'insert')"),
            format!("pg_create_publication('name', {conninfo})"),
            format!("create_publication('name', json_build_object('publish', {conninfo})::jsonb)"),
            format!(
                "create_subscription('name', 'host=h', '{{p}}', \
                 json_build_object('binary', {conninfo})::jsonb)"
            ),
            format!("session_replication_role({conninfo})"),
            format!("subscription_lag_history({conninfo})"),
        ] {
            let error =
                operator.batch_execute(&format!("SELECT pgmig_extras.{call}")).expect_err(&call);
            let code = error.code().cloned().expect("an answer of the server");
            let report = Err::<(), _>(error).refused(code);
            assert!(!format!("{report:?}").contains("hidden7"), "{call}: {report:?}");
        }
    }
    assert!(!bed.target.log().contains("hidden7"));
}

fn preloaded(major: u16) -> Cluster {
    start_with(major, |builder| builder.preload("pgmig_extras").config("log_statement", "all"))
}

/// The log of what `work` does.
fn logged(cluster: &Cluster, work: impl FnOnce()) -> String {
    let before = cluster.log_length();
    work();
    cluster.log_since(before)
}

/// With preload the statements of every role pass by the hook, with or without a grant.
fn nothing_else_of_a_statement_is_hidden_on(major: u16) {
    let target = preloaded(major);
    let mut superuser = Session::open(&target, "postgres", "postgres");
    superuser.run("CREATE EXTENSION pgmig_extras");
    let mut stranger = Session::open(&target, "stranger", "postgres");
    let statements = [
        "SELECT 1 /* pgmig_extras.create_subscription */, ",
        "SELECT 1 /* pgmig_extras.drop_replication_slot(password= */, ",
        "SELECT 1 AS pg_alter_subscription_connection, ",
        "SELECT 1 AS \"dblink_slot_create_or_drop('password=\", ",
        "-- create_subscription password='\nSELECT ",
        "/* password=*/SELECT 1, ",
        "SELECT 'password=', 1, ",
        "SELECT 'password='AS a, ",
        "SELECT pgmig_extras.masked_conninfo('host=h password=hidden7'), ",
        "SELECT pgmig_extras.masked_conninfo(format('pass%s', 'word=hidden7')), ",
        "SELECT pgmig_extras.masked_conninfo('password=SELECT'), ",
        "DO $$ BEGIN PERFORM pgmig_extras.masked_conninfo('password=hidden7'); END $$; SELECT ",
    ];
    for (number, statement) in statements.into_iter().enumerate() {
        let mark = format!("'mark {number} of what it does'");
        for tail in ["", "; SELECT 1/0"] {
            let log = logged(&target, || {
                let _ = stranger.batch_execute(&format!("{statement}{mark}{tail}"));
            });
            // A line of a statement goes on after a tab.
            let lines: Vec<&str> = log.split("\n2").filter(|line| line.contains(&mark)).collect();
            let count = |kind: &str| lines.iter().filter(|line| line.contains(kind)).count();
            assert_eq!(count("statement: "), 1, "log_statement of {statement}: {log}");
            let errors = usize::from(!tail.is_empty());
            assert_eq!(count("STATEMENT: "), errors, "the error of {statement}: {log}");
        }
    }
    // A secret is no way to hide what was run.
    let grant = "DO $$ BEGIN
        PERFORM pgmig_extras.masked_conninfo(format('pass%s', 'word=''GRANT pg_monitor TO x'''));
        EXECUTE 'GRANT pg_monitor TO x'; END $$";
    let log = logged(&target, || {
        stranger.batch_execute(grant).refused(SqlState::UNDEFINED_OBJECT);
    });
    assert_eq!(log.matches("EXECUTE 'GRANT pg_monitor TO x'").count(), 2, "{log}");
}

#[test]
fn nothing_else_of_a_statement_is_hidden_on_15() {
    nothing_else_of_a_statement_is_hidden_on(15);
}

#[test]
fn nothing_else_of_a_statement_is_hidden_on_18() {
    nothing_else_of_a_statement_is_hidden_on(18);
}

/// Names, comments and values that look as if a secret began in them.
fn what_looks_like_a_secret_hides_no_code_on(major: u16) {
    let target = preloaded(major);
    let mut superuser = Session::open(&target, "postgres", "postgres");
    superuser.run("CREATE EXTENSION pgmig_extras; CREATE TABLE people (ssn text)");
    superuser.run("GRANT SELECT ON people TO PUBLIC");
    let mut stranger = Session::open(&target, "stranger", "postgres");
    for statement in [
        "SELECT 1 AS \"password='\", ssn FROM people --'",
        "SELECT 1 AS \"/*password=' \", ssn FROM people -- '",
        "SELECT 1--password='\n,ssn FROM people--'",
        "DO $$ BEGIN PERFORM pgmig_extras.masked_conninfo('/**/delete from people'); \
         EXECUTE '/**/delete from people'; END $$",
        "SET standard_conforming_strings = off",
        "SELECT '\\' password=', ssn FROM people --'",
        "SELECT '\\', '' , ssn AS password FROM people --password='",
    ] {
        let log = logged(&target, || {
            let _ = stranger.batch_execute(statement);
        });
        let shown = format!("statement: {}", statement.replace('\n', "\n\t"));
        assert!(log.contains(&shown), "{statement}: {log}");
        assert!(!log.contains("****"), "{statement}: {log}");
    }
}

#[test]
fn what_looks_like_a_secret_hides_no_code_on_15() {
    what_looks_like_a_secret_hides_no_code_on(15);
}

#[test]
fn what_looks_like_a_secret_hides_no_code_on_18() {
    what_looks_like_a_secret_hides_no_code_on(18);
}

/// However a call is written, and whatever is called. Every password begins with "hid".
fn passwords_are_masked_however_they_are_written_on(major: u16) {
    let target = preloaded(major);
    let mut superuser = Session::open(&target, "postgres", "postgres");
    superuser.run("CREATE EXTENSION pgmig_extras; CREATE EXTENSION dblink");
    let plain = r"host=127.0.0.1 port=1 user=u password='hid den\'s hid'";
    let conninfo = literal(plain);
    let uri = "postgresql://u:hidden7@127.0.0.1:1/d?pass%77ord=hidden8";
    let call = |conninfo: &str| format!("create_replication_slot({conninfo}, 'l')");
    for statement in [
        format!("SELECT PGMIG_EXTRAS.PG_CREATE_SUBSCRIPTION('s', {conninfo}, 'p', 'l')"),
        format!("SELECT \"pgmig_extras\".\"create_replication_slot\"({conninfo}, 'l')"),
        format!("SELECT pgmig_extras . {}", call(&conninfo)),
        format!("SET search_path = pgmig_extras; SELECT {}", call(&conninfo)),
        format!("SELECT {}", call(&format!("E{}", conninfo.replace('\\', r"\\")))),
        format!("SELECT {}", call(&format!("$a$ {plain} $a$"))),
        format!("DO $$ BEGIN EXECUTE {}; END $$", literal(&format!("SELECT {}", call(&conninfo)))),
        format!("SELECT {}", call(&literal(uri))),
        "RESET search_path".to_owned() + "; SELECT 'password=hidden7'",
        format!("SELECT pgmig_extras.pg_create_subscription({conninfo}, 's', 'p', 'l')"),
        format!("SELECT dblink_connect({conninfo})"),
        format!("SELECT dblink_connect('{uri}')"),
        format!("CREATE SUBSCRIPTION s CONNECTION {conninfo} PUBLICATION p"),
        format!("ALTER SUBSCRIPTION nobody CONNECTION {conninfo}"),
        format!("PREPARE x AS SELECT pgmig_extras.masked_conninfo({conninfo})"),
        "EXECUTE x".to_owned(),
        format!("DO $$ BEGIN RAISE WARNING 'using %', {conninfo}; END $$"),
        "CREATE ROLE r PASSWORD 'hidden7' VALID UNTIL 'never'".to_owned(),
    ] {
        let log = logged(&target, || {
            let _ = superuser.batch_execute(&statement);
        });
        assert!(log.contains("statement: "), "{log}");
        assert!(!log.replace("pg_authid", "").contains("hid"), "{statement}: {log}");
        assert!(log.contains("********"), "{statement}: {log}");
    }
    let log = logged(&target, || {
        for sql in
            ["SELECT dblink_connect($1)", "SELECT pgmig_extras.create_replication_slot($1, 'l')"]
        {
            let _ = superuser.query(sql, &[&plain]);
            let _ = superuser.query(sql, &[&uri]);
        }
    });
    assert!(log.contains("$1 = "), "{log}");
    assert!(!log.replace("pg_authid", "").contains("hid"), "{log}");
}

#[test]
fn passwords_are_masked_however_they_are_written_on_15() {
    passwords_are_masked_however_they_are_written_on(15);
}

#[test]
fn passwords_are_masked_however_they_are_written_on_18() {
    passwords_are_masked_however_they_are_written_on(18);
}

/// A call of every function of both extensions that by the names of its arguments is given a connection
/// string. Nothing in it shows what the password is.
const CALLS: &str = "
    SELECT format('SELECT * FROM %I.%I(%s)', n.nspname, p.proname, string_agg(
               CASE WHEN name ~ 'conn' THEN
                        $$format('host=127.0.0.1 port=1 user=u pass%s', 'word=hidden7')$$
                    WHEN type = 'text'::regtype THEN quote_literal('create')
                    WHEN type = 'text[]'::regtype THEN quote_literal('{p}')
                    WHEN type = 'jsonb'::regtype THEN quote_literal('{}')
                    ELSE 'true' END, ', ' ORDER BY place))
      FROM pg_proc p
      JOIN pg_namespace n ON n.oid = pronamespace
      JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e'
      JOIN pg_extension e ON e.oid = refobjid AND extname IN ('pgmig_extras', 'aiven_extras'),
           unnest(proargtypes::oid[], proargnames[:pronargs]) WITH ORDINALITY a(type, name, place)
     GROUP BY p.oid, nspname, proname
    HAVING bool_or(name ~ 'conn')";

fn every_function_conceals_its_connection_string_on(major: u16) {
    let target = start_with(major, |builder| builder.preload("pgmig_extras"));
    let mut superuser = Session::open(&target, "postgres", "postgres");
    superuser.run("CREATE EXTENSION pgmig_extras; CREATE EXTENSION aiven_extras");
    let calls: Vec<String> = superuser.column(CALLS);
    assert!(calls.len() >= 8, "{calls:#?}");
    for call in calls {
        // Without the empty statement that a `Session` sends after an error.
        let mut session = target.superuser("postgres").expect("the superuser connects");
        let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        for statement in [
            format!("{call} /* the end */"),
            format!(
                "DO $do$ DECLARE word text := 'hidden7'; BEGIN EXECUTE $x${call}$x$; END $do$ \
                 /* the end */"
            ),
        ] {
            let log = logged(&target, || {
                let _ = session.batch_execute(&statement);
            });
            assert!(!log.contains("hidden7"), "{statement}: {log}");
            assert!(log.contains("********"), "{statement}: {log}");
            assert!(log.contains("/* the end */"), "{statement}: {log}");
            let shown = superuser
                .query("SELECT query FROM pg_stat_activity WHERE pid = $1", &[&pid])
                .expect("the view answers");
            let shown: String = shown[0].get(0);
            assert!(!shown.contains("hidden7") && shown.ends_with("/* the end */"), "{shown}");
        }
        // Nothing of it is known in the next statement.
        let log = logged(&target, || session.batch_execute("SELECT 'hidden7'").unwrap());
        assert!(log.contains("'hidden7'"), "{log}");
    }
}

#[test]
fn every_function_conceals_its_connection_string_on_15() {
    every_function_conceals_its_connection_string_on(15);
}

#[test]
fn every_function_conceals_its_connection_string_on_18() {
    every_function_conceals_its_connection_string_on(18);
}

/// Databases with a name that is in all of them: as it is there, and what the others show of it.
const ENCODINGS: [(&str, &str); 4] =
    [("utf8", "日本 😀"), ("euc_jp", "日本"), ("latin1", "Größe"), ("sql_ascii", "é")];

fn create_in_every_encoding(target: &Cluster) {
    let mut postgres = Session::open(target, "postgres", "postgres");
    for (encoding, name) in ENCODINGS {
        postgres.run(&format!(
            "CREATE DATABASE {encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ));
        Session::open(target, "postgres", encoding).run(&format!(
            "CREATE EXTENSION pgmig_extras;
             CREATE EXTENSION aiven_extras;
             CREATE SUBSCRIPTION \"{name}\"
             CONNECTION 'host=h dbname=''{name}'' user=u password=''hidden {name}'''
             PUBLICATION \"{name}\" WITH (connect = false, slot_name = NONE)"
        ));
    }
    postgres.run(&format!(
        "CREATE SUBSCRIPTION long CONNECTION 'host=h application_name={}'
         PUBLICATION p WITH (connect = false, slot_name = NONE)",
        "x".repeat(9000)
    ));
}

/// Subscriptions of databases with different encodings, and a string that only native commands store.
fn lists_show_every_row_in_every_encoding_on(major: u16) {
    let target = start_with(major, |builder| builder);
    create_in_every_encoding(&target);
    for (encoding, names) in [
        ("utf8", ["日本 😀", "日本", "Größe", "é"]),
        ("euc_jp", ["日本 ?", "日本", "Größe", "辿"]),
        ("latin1", ["?? ?", "??", "Größe", "Ã©"]),
    ] {
        let mut session = Session::open(&target, "postgres", encoding);
        for schema in ["pgmig_extras", "aiven_extras"] {
            let mut list = |column: &str| -> Vec<String> {
                session.column(&format!(
                    "SELECT {column} FROM {schema}.pg_list_all_subscriptions()
                     JOIN pg_database d ON d.oid = subdbid
                     ORDER BY array_position('{{utf8,euc_jp,latin1,sql_ascii}}', datname::text)"
                ))
            };
            assert_eq!(list("subname::text")[..4], names, "{encoding}");
            assert_eq!(list("subpublications[1]")[..4], names, "{encoding}");
            let shown = list("subconninfo");
            for (text, name) in shown.iter().zip(names) {
                assert!(text.contains(&format!("dbname='{name}'")), "{encoding} {name}: {text}");
                assert!(text.contains("password='********'"), "{text}");
            }
            assert_eq!(shown[4], "<longer than 8 kB>");
        }
        let masked: String =
            session.value("SELECT pgmig_extras.masked_conninfo('postgresql://u%FF%FEv:x@h/d')");
        assert!(masked.contains("user='u") && masked.contains("host='h'"), "{masked}");
        let long: String =
            session.value("SELECT pgmig_extras.masked_conninfo(repeat('x', 100000))");
        assert_eq!(long, "<longer than 8 kB>");
    }
    let japanese: String = Session::open(&target, "postgres", "euc_jp")
        .value("SELECT pgmig_extras.masked_conninfo('host=h user=日本 password=x')");
    assert!(japanese.contains("user='日本'"), "{japanese}");
    let rows: i64 = Session::open(&target, "postgres", "sql_ascii")
        .value("SELECT count(subname) FROM pgmig_extras.pg_list_all_subscriptions()");
    assert_eq!(rows, 5);
}

#[test]
fn lists_show_every_row_in_every_encoding_on_15() {
    lists_show_every_row_in_every_encoding_on(15);
}

#[test]
fn lists_show_every_row_in_every_encoding_on_18() {
    lists_show_every_row_in_every_encoding_on(18);
}

/// PostgreSQL logs the parameters of a bind before the function runs. A library that is there from
/// the start of the server sees that line too.
fn bound_parameters_stay_secret_with(major: u16) {
    let target = start_with(major, |builder| builder.preload("pgmig_extras"));
    let bed = Bed::on(source(15), Box::leak(Box::new(target)), "preloaded");
    let mut operator = bed.subscribed();
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    bed.subscribe_as(&mut operator, "x", "bad name", false).refused(SqlState::INVALID_NAME);
    bed.assert_nothing_left();
    let log = bed.target.log();
    assert!(log.contains(" ms  bind "), "binds are logged");
    assert_eq!(secrets_in(&log), [""; 0]);
}

#[test]
fn bound_parameters_stay_secret_once_the_library_is_loaded_on_15() {
    bound_parameters_stay_secret_with(15);
}

#[test]
fn bound_parameters_stay_secret_once_the_library_is_loaded_on_18() {
    bound_parameters_stay_secret_with(18);
}
