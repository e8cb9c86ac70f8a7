//! What the watcher connects to, what it asks there, and what a hostile publisher or a tenant's stored
//! string costs the others whose subscriptions it watches.

use std::fs;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use testbed::{Builder, Cluster, PASSWORD, poll_until};

use crate::hostile::{Behaviour, Hostile, Moment};
use crate::support::{
    DEADLINE, Refused, Session, matrix, on_own_servers, peak_memory, quiet, start_watching,
    start_with,
};

matrix! { on_own_servers, [on_15(15), on_18(18)] {
    a_schema_of_our_name_on_the_source_is_never_called,
    a_stored_string_that_breaks_the_rules_is_not_connected_with,
    strings_and_lists_that_are_too_long_are_not_read,
    hostile_publishers_delay_no_one_else_and_no_shutdown,
    endless_lists_of_tables_take_little_time,
    connections_leave_descriptors_to_the_server,
} }

/// A target whose lag is watched every 200 ms, with a database `shop` of the operator's.
fn target(major: u16, change: impl FnOnce(Builder) -> Builder) -> Cluster {
    let target = start_watching(major, change);
    make_shop(&target);
    open(&target, "shop").run("SELECT pgmig_extras.grant_operator('operator')");
    target
}

fn source(major: u16) -> Cluster {
    let source = start_with(major, quiet);
    make_shop(&source);
    open(&source, "shop").run("ALTER TABLE t OWNER TO app; CREATE PUBLICATION p FOR TABLE t");
    source
}

fn make_shop(cluster: &Cluster) {
    open(cluster, "postgres").run("CREATE DATABASE shop");
    open(cluster, "shop").run(
        "CREATE TABLE t (id int PRIMARY KEY, note text);
         CREATE EXTENSION pgmig_extras; ALTER TABLE t OWNER TO shop",
    );
}

fn open(cluster: &Cluster, database: &str) -> Session {
    Session::open(cluster, "postgres", database)
}

fn subscribe(target: &Cluster, name: &str, conninfo: &str) {
    let conninfo = conninfo.replace('\'', "''");
    open(target, "shop").run(&format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{conninfo}' PUBLICATION p
         WITH (connect = false, slot_name = '{name}')"
    ));
}

/// One that streams.
fn subscribe_honestly(target: &Cluster, source: &Cluster, name: &str) {
    let conninfo = source.conninfo("app", PASSWORD, "shop").replace('\'', "''");
    open(target, "shop").run(&format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{conninfo}' PUBLICATION p WITH (copy_data = false)"
    ));
    wait_for(target, &format!("{name} to stream"), &lag(name, "state = 'streaming'"));
}

fn lag(name: &str, condition: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM pgmig_extras.subscription_lag
                         WHERE subscription = '{name}' AND {condition})"
    )
}

#[track_caller]
fn wait_for(cluster: &Cluster, what: &str, question: &str) {
    let mut client = open(cluster, "shop");
    poll_until(DEADLINE, what, || Ok(client.value::<bool>(question).then_some(())));
}

/// Waits for ten samples, which at 200 ms take 2 s.
#[track_caller]
fn assert_sampled_in_time(target: &Cluster, name: &str) {
    let mut client = open(target, "shop");
    let samples = format!("SELECT count(*) FROM pgmig_extras.subscription_lag_history('{name}')");
    let before: i64 = client.value(&samples);
    let start = Instant::now();
    poll_until(DEADLINE, "ten samples", || {
        Ok((client.value::<i64>(&samples) >= before + 10).then_some(()))
    });
    assert!(start.elapsed() < Duration::from_secs(5), "ten samples took {:?}", start.elapsed());
    assert!(client.value::<bool>(&lag(name, "state = 'streaming'")));
}

fn watcher(target: &Cluster) -> i32 {
    let mut client = open(target, "shop");
    poll_until(DEADLINE, "the watcher", || {
        let rows = client.query(
            "SELECT pid FROM pgmig_extras.watcher_status WHERE kind = 'watcher' AND database = 'shop'",
            &[],
        )?;
        Ok(rows.first().map(|row| row.get::<_, i32>(0)))
    })
}

/// A tenant of the source makes what the extension would have there, and waits for a login of more
/// rights than its own.
fn a_schema_of_our_name_on_the_source_is_never_called(major: u16) {
    let source = start_with(major, quiet);
    let target = target(major, |builder| builder);
    open(&source, "postgres").run("CREATE DATABASE shop");
    let mut superuser = open(&source, "shop");
    superuser.run(&format!(
        "ALTER ROLE postgres PASSWORD '{PASSWORD}';
         GRANT CREATE ON DATABASE shop TO stranger;
         CREATE TABLE t (id int PRIMARY KEY, note text); CREATE PUBLICATION p FOR TABLE t;
         GRANT CREATE ON SCHEMA public TO stranger;
         ALTER DATABASE shop SET search_path = public, pgmig_extras, pg_catalog"
    ));
    // Whatever is called runs with the rights of the login.
    let trap = "BEGIN ALTER ROLE stranger SUPERUSER; RETURN; END";
    Session::open(&source, "stranger", "shop").run(&format!(
        "CREATE SCHEMA pgmig_extras; GRANT USAGE ON SCHEMA pgmig_extras TO PUBLIC;
         CREATE FUNCTION pgmig_extras.pg_stat_replication_list()
             RETURNS TABLE (pid int, sent_lsn pg_lsn, replay_lsn pg_lsn) LANGUAGE plpgsql AS '{trap}';
         CREATE VIEW pgmig_extras.pg_stat_replication AS
             SELECT * FROM pgmig_extras.pg_stat_replication_list();
         CREATE FUNCTION public.pg_current_wal_flush_lsn() RETURNS pg_lsn LANGUAGE plpgsql AS
             'BEGIN ALTER ROLE stranger SUPERUSER; RETURN ''0/0''::pg_lsn; END';
         CREATE FUNCTION public.eq(name, name) RETURNS boolean LANGUAGE plpgsql AS
             'BEGIN ALTER ROLE stranger SUPERUSER; RETURN true; END';
         CREATE OPERATOR public.= (FUNCTION = public.eq, LEFTARG = name, RIGHTARG = name);
         GRANT USAGE ON SCHEMA pgmig_extras TO PUBLIC"
    ));
    let conninfo = source.conninfo("postgres", PASSWORD, "shop");
    subscribe(&target, "orders", &conninfo);
    superuser.run("SELECT pg_create_logical_replication_slot('orders', 'pgoutput')");
    open(&target, "shop").run("ALTER SUBSCRIPTION orders ENABLE");
    open(&target, "shop").run("ALTER SUBSCRIPTION orders REFRESH PUBLICATION");
    wait_for(&target, "it to stream", &lag("orders", "state = 'streaming'"));
    assert_sampled_in_time(&target, "orders");

    // Without preload the session itself asks.
    let plain = start_with(major, quiet);
    make_shop(&plain);
    subscribe(&plain, "other", &conninfo);
    open(&plain, "shop").run("SELECT * FROM pgmig_extras.subscription_lag");
    open(&plain, "shop").run("ALTER SUBSCRIPTION other SET (slot_name = NONE)");
    open(&plain, "shop").run("DROP SUBSCRIPTION other");
    let stolen = "SELECT rolsuper FROM pg_roles WHERE rolname = 'stranger'";
    assert!(!superuser.value::<bool>(stolen));
    open(&target, "shop").run("DROP SUBSCRIPTION orders");
}

/// What a role may store natively since 16, and a superuser's UPDATE stands for before.
fn a_stored_string_that_breaks_the_rules_is_not_connected_with(major: u16) {
    let source = source(major);
    let target = target(major, |builder| {
        builder
            .config("pgmig_extras.allowed_hosts", "127.0.0.1")
            .config("log_connections", "on")
            .config("pgmig_extras.require_password", "off")
    });
    let socket = target.socket_dir().display().to_string();
    let port = target.port();
    let local = format!("host={socket} port={port} user=postgres password=x dbname=shop");
    let hosts = vec!["127.0.0.1"; 500].join(",");
    let strings = [
        ("socket", local.as_str()),
        ("service", "service=x user=postgres password=x"),
        ("elsewhere", "host=127.0.0.2 user=postgres password=x"),
        ("several", &format!("host={hosts} user=postgres password=x")),
        ("nothing", "user=postgres password=x"),
        ("options", "host=127.0.0.1 user=postgres password=x options='-c role=postgres'"),
    ];
    for (name, conninfo) in strings {
        subscribe(&target, name, conninfo);
    }
    let mut superuser = open(&target, "shop");
    superuser
        .run("UPDATE pg_subscription SET subowner = 'operator'::regrole, subslotname = subname");
    subscribe_honestly(&target, &source, "honest");
    for (name, _) in strings {
        let refused = "state = 'unknown' AND reason LIKE 'It is not watched: %' AND lag IS NULL";
        wait_for(&target, &format!("{name} to be refused"), &lag(name, refused));
    }
    assert!(superuser.value::<bool>(&lag(
        "socket",
        "reason = 'It is not watched: a connection to a unix-domain socket is not allowed.'"
    )));
    assert_sampled_in_time(&target, "honest");
    // Neither was a connection opened, nor is one by what a session asks for.
    let mut operator = Session::open(&target, "operator", "shop");
    operator.run("SELECT * FROM pgmig_extras.subscription_lag");
    for name in ["socket", "elsewhere"] {
        operator.call("pg_drop_subscription", &[&name]).expect_err("the rules refuse it");
    }
    let log = target.log();
    let watched = log.lines().filter(|line| line.contains("application_name=pgmig_extras watcher"));
    assert_eq!(watched.count(), 0, "{log}");
    superuser.run("DROP SUBSCRIPTION honest");
}

fn strings_and_lists_that_are_too_long_are_not_read(major: u16) {
    let source = source(major);
    let target = target(major, |builder| builder);
    subscribe_honestly(&target, &source, "honest");
    let pid = watcher(&target);
    let before = peak_memory(pid);
    let mut superuser = open(&target, "shop");
    superuser.run("SET client_min_messages = error");
    let start = "CREATE SUBSCRIPTION {} CONNECTION 'host=127.0.0.1 port=1 user=x password=";
    for number in 0..4 {
        superuser.run(&format!(
            "DO $$ BEGIN EXECUTE format('{}%s'' PUBLICATION p WITH (connect = false)',
                 repeat('x', 30000000)); END $$",
            start.replace("{}", &format!("long{number}")).replace('\'', "''")
        ));
    }
    superuser.run(
        "DO $$ BEGIN EXECUTE format('CREATE SUBSCRIPTION many CONNECTION
             ''host=127.0.0.1 port=1 user=x password=x'' PUBLICATION %s WITH (connect = false)',
             (SELECT string_agg('p' || md5(i::text), ', ') FROM generate_series(1, 2000) i));
         END $$",
    );
    let reason =
        |name: &str, text: &str| lag(name, &format!("reason = 'It is not watched: {text}.'"));
    for number in 0..4 {
        let name = format!("long{number}");
        wait_for(&target, &name, &reason(&name, "the stored connection string is too long"));
    }
    wait_for(&target, "many", &reason("many", "the subscription has too many publications"));
    assert_sampled_in_time(&target, "honest");
    assert_eq!(watcher(&target), pid);
    let grown = peak_memory(pid) - before;
    assert!(grown < 60, "{grown} MB more");
    // They can be dropped as any other.
    superuser.run("SELECT pgmig_extras.pg_drop_subscription('long0', false)");
    superuser.run("SELECT pgmig_extras.pg_drop_subscription('many', false)");
    superuser.run("DROP SUBSCRIPTION honest");
}

const HOURS: Behaviour = Behaviour::Scram(i32::MAX as u32);

fn hostile_publishers_delay_no_one_else_and_no_shutdown(major: u16) {
    let source = source(major);
    let mut target = target(major, |builder| builder);
    subscribe_honestly(&target, &source, "honest");
    let twists = [
        (Moment::Startup, HOURS),
        (Moment::Login, Behaviour::Parameters),
        (Moment::Query(""), Behaviour::Parameters),
        (Moment::Query(""), Behaviour::LongMessage(b'D')),
        (Moment::Query(""), Behaviour::WideRows),
        (Moment::Query(""), Behaviour::Message(b'H', &[0, 0, 0])),
        (Moment::Query(""), Behaviour::Notices),
        (Moment::Query("pg_publication"), Behaviour::Flood),
    ];
    let publishers: Vec<_> = twists
        .into_iter()
        .enumerate()
        .map(|(number, (when, what))| {
            let publisher = Hostile::start(major, &[("public", "t")]);
            publisher.misbehaves(when, what);
            subscribe(&target, &format!("hostile{number}"), &publisher.conninfo(PASSWORD));
            publisher
        })
        .collect();
    for publisher in &publishers[..7] {
        poll_until(DEADLINE, "every publisher to be asked", || {
            Ok((publisher.twisted() > 0).then_some(()))
        });
    }
    let pid = watcher(&target);
    let before = peak_memory(pid);
    for _ in 0..3 {
        assert_sampled_in_time(&target, "honest");
    }
    let grown = peak_memory(pid) - before;
    assert!(grown < 100, "{grown} MB more");
    assert_eq!(watcher(&target), pid);
    let start = Instant::now();
    target.stop(testbed::Mode::Fast).unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "a shutdown took {:?}", start.elapsed());
}

/// Time on a processor so far.
fn cpu(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn endless_lists_of_tables_take_little_time(major: u16) {
    let source = source(major);
    let target = target(major, |builder| builder);
    subscribe_honestly(&target, &source, "honest");
    let tables: Vec<_> =
        (0..100_000).map(|i| ("some schema".to_owned(), format!("table {i}"))).collect();
    let publishers: Vec<_> = (0..10)
        .map(|number| {
            let publisher = Hostile::start(major, &[]);
            publisher.script().tables = tables.clone();
            publisher
                .misbehaves(Moment::Query("pg_current_wal_flush_lsn"), Behaviour::Answer(look()));
            publisher.also_misbehaves(
                Moment::Query("pg_control_system"),
                Behaviour::Answer(vec![crate::hostile::row(&["7", "1"])]),
            );
            subscribe(&target, &format!("many{number}"), &publisher.conninfo(PASSWORD));
            publisher
        })
        .collect();
    let asked = |publisher: &Hostile| {
        publisher
            .queries()
            .iter()
            .filter(|query| {
                query.contains("pg_publication_tables")
                    || query.contains("pg_get_publication_tables")
            })
            .count()
    };
    poll_until(DEADLINE, "every list to be asked for", || {
        Ok(publishers.iter().all(|publisher| asked(publisher) > 0).then_some(()))
    });
    let pid = watcher(&target);
    assert_sampled_in_time(&target, "honest");
    let (start, before) = (Instant::now(), cpu(pid));
    for _ in 0..4 {
        assert_sampled_in_time(&target, "honest");
    }
    let share = (cpu(pid) - before).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share < 0.5, "{:.0} % of a processor", share * 100.0);
    open(&target, "shop").run("DROP SUBSCRIPTION honest");
}

/// What an honest publisher would say of where it is.
fn look() -> Vec<crate::hostile::Row> {
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let mut row = vec![some("0/1000"), some("0/1000"), some("1"), some("1"), some("700")];
    row.extend(vec![None; 11]);
    vec![row]
}

/// A third of the descriptors that a process may have are for connections that the server does not
/// know of. What is beyond that is said in the log.
fn connections_leave_descriptors_to_the_server(major: u16) {
    let source = source(major);
    let target = target(major, |builder| builder.config("max_files_per_process", 64));
    subscribe_honestly(&target, &source, "honest");
    for number in 0..40 {
        subscribe(&target, &format!("s{number}"), &source.conninfo("app", PASSWORD, "shop"));
    }
    poll_until(DEADLINE, "the log to say so", || {
        Ok(target.log().contains("no file descriptor is free for a connection").then_some(()))
    });
    assert_sampled_in_time(&target, "honest");
    let log = target.log();
    for line in ["Too many open files", "out of file descriptors", "PANIC"] {
        assert!(!log.contains(line), "{log}");
    }
    open(&target, "shop").run("DROP SUBSCRIPTION honest");
}

/// Where the server's libpq can't insist on the password, a name is stored with its address.
#[test]
fn before_16_a_name_is_stored_with_the_address_that_was_checked() {
    for major in [15, 18] {
        let source = source(major);
        let target =
            target(major, |builder| builder.config("pgmig_extras.allowed_hosts", "localhost"));
        let conninfo = source.conninfo("app", PASSWORD, "shop").replace("127.0.0.1", "localhost");
        assert!(conninfo.contains("localhost"), "{conninfo}");
        let mut operator = Session::open(&target, "operator", "shop");
        let arguments: [&(dyn postgres::types::ToSql + Sync); 6] =
            [&"orders", &conninfo, &"p", &"orders", &true, &false];
        operator.call("pg_create_subscription", &arguments).unwrap();
        let listed: String =
            operator.value("SELECT subconninfo FROM pgmig_extras.pg_list_all_subscriptions()");
        assert_eq!(listed.contains("hostaddr='"), major == 15, "{listed}");
        wait_for(&target, "it to stream", &lag("orders", "state = 'streaming'"));
        operator.call("pg_alter_subscription_refresh_publication", &[&"orders"]).unwrap();
        operator.call("pg_alter_subscription_connection", &[&"orders", &conninfo]).unwrap();
        operator.call("pg_drop_subscription", &[&"orders"]).unwrap();
    }
}

/// Who connects does not take an address that a caller wrote, while all hosts were allowed, for that of a
/// host that is listed later.
#[test]
fn an_address_of_a_callers_is_held_against_the_hosts_that_are_listed_later() {
    for major in [15, 18] {
        let source = source(major);
        let target = target(major, |builder| builder);
        let mut operator = Session::open(&target, "operator", "shop");
        let named = source.conninfo("app", PASSWORD, "shop").replace("127.0.0.1", "localhost");
        let addressed = format!("{named} hostaddr=127.0.0.1");
        for (name, conninfo) in [("named", &named), ("addressed", &addressed)] {
            let arguments: [&(dyn postgres::types::ToSql + Sync); 6] =
                [&name, conninfo, &"p", &name, &true, &false];
            operator.call("pg_create_subscription", &arguments).unwrap();
            wait_for(&target, "it to stream", &lag(name, "state = 'streaming'"));
        }
        open(&target, "shop").run("ALTER SYSTEM SET pgmig_extras.allowed_hosts = 'localhost'");
        open(&target, "shop").run("SELECT pg_reload_conf()");
        wait_for(
            &target,
            "it to be listed",
            "SELECT current_setting('pgmig_extras.allowed_hosts') <> ''",
        );
        let mut operator = Session::open(&target, "operator", "shop");
        operator.call("pg_alter_subscription_refresh_publication", &[&"named"]).unwrap();
        operator
            .call("pg_alter_subscription_refresh_publication", &[&"addressed"])
            .refused(SqlState::INSUFFICIENT_PRIVILEGE);
        wait_for(&target, "it to stream", &lag("named", "state = 'streaming'"));
    }
}
