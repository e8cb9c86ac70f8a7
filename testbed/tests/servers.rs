//! The testbed itself, on real servers.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use testbed::command::output;
use testbed::{Cluster, MAJORS, Mode, PASSWORD, poll_until};

const DEADLINE: Duration = Duration::from_secs(30);

fn rows(cluster: &Cluster, sql: &str) -> i64 {
    let mut client = cluster.superuser("postgres").unwrap();
    client.query_one(&format!("SELECT count(*) FROM ({sql}) AS q"), &[]).unwrap().get(0)
}

fn execute(cluster: &Cluster, sql: &str) {
    cluster.superuser("postgres").unwrap().batch_execute(sql).unwrap();
}

#[test]
fn every_major_starts_as_configured() {
    for major in MAJORS {
        let cluster = Cluster::start(major).unwrap();
        let mut client = cluster.superuser("postgres").unwrap();
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int / 10000,
                        current_setting('wal_level'), current_setting('data_checksums'),
                        current_setting('server_encoding')",
                &[],
            )
            .unwrap();
        assert_eq!(row.get::<_, i32>(0), i32::from(major));
        assert_eq!([1, 2, 3].map(|i| row.get::<_, String>(i)), ["logical", "on", "UTF8"]);
    }
}

#[test]
fn roles_come_in_by_password_and_the_superuser_by_unix_socket_only() {
    let cluster = Cluster::start(15).unwrap();
    cluster.create_role("app", "REPLICATION").unwrap();
    cluster.connect("app", "postgres").unwrap();
    let psql = |conninfo: String| {
        output(Command::new(testbed::tools::psql().unwrap()).args(["-Xwc", "", "-d", &conninfo]))
    };
    assert!(psql(cluster.conninfo("app", PASSWORD, "postgres")).is_ok());
    assert!(psql(cluster.conninfo("app", "wrong", "postgres")).is_err());
    assert!(psql(cluster.conninfo("postgres", "", "postgres")).is_err());
}

/// Every major's own libpq, as a subscriber would use it, against every major's server.
#[test]
fn all_majors_replicate_into_each_other_over_verified_tls() {
    let clusters: Vec<Cluster> =
        MAJORS.iter().map(|major| Cluster::builder(*major).tls_only().start().unwrap()).collect();
    for source in &clusters {
        source.create_role("migrator", "SUPERUSER").unwrap();
        execute(source, "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1)");
        execute(source, "CREATE PUBLICATION p FOR TABLE t");
    }
    for (source, target) in clusters.iter().flat_map(|source| {
        clusters.iter().filter(|target| target.major() != source.major()).map(move |t| (source, t))
    }) {
        let conninfo = source.tls_conninfo("migrator", PASSWORD, "postgres").unwrap();
        let conninfo = conninfo.replace('\'', "''");
        execute(target, "TRUNCATE t");
        execute(
            target,
            &format!(
                "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION p \
                 WITH (slot_name = s{}_{})",
                source.major(),
                target.major()
            ),
        );
        target.wait_for("postgres", "SELECT count(*) = 1 FROM t");
        execute(target, "DROP SUBSCRIPTION s");
        execute(target, "TRUNCATE t; INSERT INTO t VALUES (1)");
    }
}

#[test]
fn with_tls_only_a_plain_connection_is_refused() {
    let cluster = Cluster::builder(15).tls_only().start().unwrap();
    cluster.create_role("app", "").unwrap();
    assert!(cluster.connect("app", "postgres").is_err());
    let conninfo = cluster.tls_conninfo("app", PASSWORD, "postgres").unwrap();
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let mut psql = Command::new(testbed::tools::psql().unwrap());
    assert_eq!(output(psql.args(["-XAt", "-d", &conninfo, "-c", sql])).unwrap(), "t\n");
}

#[test]
fn committed_rows_outlive_a_kill_and_the_port_stays() {
    let mut cluster = Cluster::start(17).unwrap();
    execute(&cluster, "CREATE TABLE t AS SELECT 1 AS n");
    let port = cluster.port();
    cluster.kill9().unwrap();
    assert!(cluster.superuser("postgres").is_err());
    cluster.restart().unwrap();
    assert_eq!((rows(&cluster, "TABLE t"), cluster.port()), (1, port));
    assert!(cluster.log().contains("was not properly shut down"));
    cluster.stop(Mode::Fast).unwrap();
    cluster.restart().unwrap();
    assert_eq!(rows(&cluster, "TABLE t"), 1);
}

#[test]
fn clusters_of_one_major_have_identifiers_of_their_own() {
    let identifier = |cluster: &Cluster| -> i64 {
        let sql = "SELECT system_identifier FROM pg_control_system()";
        cluster.superuser("postgres").unwrap().query_one(sql, &[]).unwrap().get(0)
    };
    let (one, other) = (Cluster::start(18).unwrap(), Cluster::start(18).unwrap());
    assert_ne!(identifier(&one), identifier(&other));
}

#[test]
fn the_clients_of_the_wheel_work_with_the_oldest_and_the_newest_major() {
    for major in [13, 18] {
        let cluster = Cluster::start(major).unwrap();
        cluster.create_role("app", "CREATEDB").unwrap();
        cluster.connect("app", "postgres").unwrap().batch_execute("CREATE DATABASE bench").unwrap();
        let mut pgbench = cluster.pgbench_command("app", "bench").unwrap();
        output(pgbench.args(["--initialize", "--quiet"])).unwrap();
        let dump = output(cluster.pg_dump_command("bench").unwrap().arg("--schema-only")).unwrap();
        assert!(dump.contains("CREATE TABLE public.pgbench_accounts"));
        let mut psql = cluster.psql_command("app", "bench").unwrap();
        let count = output(psql.args(["-c", "SELECT count(*) FROM pgbench_branches"])).unwrap();
        assert_eq!(count, "1\n");
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let error = Cluster::builder(16).preload("no_such_library").start().err().unwrap();
    assert!(format!("{error:#}").contains("no_such_library"), "{error:#}");
}

#[test]
fn a_server_dies_with_the_process_that_started_it() {
    const REPORT: &str = "TESTBED_REPORT_OF_THE_CHILD";
    if let Ok(report) = std::env::var(REPORT) {
        return start_and_wait_to_be_killed(Path::new(&report));
    }
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_dies_with_the_process_that_started_it"])
        .env(REPORT, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (postmaster, folder) = poll_until(DEADLINE, "the child's server", || {
        let text = fs::read_to_string(&report).unwrap_or_default();
        Ok(text.split_once(' ').map(|(pid, folder)| (pid.to_owned(), folder.to_owned())))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    poll_until(DEADLINE, "the server to follow", || Ok(has_ended(&postmaster).then_some(())));
    // The next process with a cluster would remove it, and may have done so.
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_detached_server_outlives_the_process_that_started_it() {
    const REPORT: &str = "TESTBED_REPORT_OF_THE_DETACHING_CHILD";
    if let Ok(report) = std::env::var(REPORT) {
        let cluster = Cluster::start(15).unwrap();
        let folder = cluster.socket_dir().to_owned();
        return write_report(Path::new(&report), cluster.detach().unwrap(), &folder);
    }
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_detached_server_outlives_the_process_that_started_it"])
        .env(REPORT, &report)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(child.success());
    let text = fs::read_to_string(&report).unwrap();
    let (postmaster, folder) = text.split_once(' ').unwrap();
    // Once it is stopped, the next process with a cluster removes its folder.
    let log = fs::File::open(Path::new(folder).join("log")).unwrap();
    let pid = Pid::from_raw(postmaster.parse().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    poll_until(DEADLINE, "the server to stop", || Ok(has_ended(postmaster).then_some(())));
    let log = std::io::read_to_string(log).unwrap();
    // At its parent's end it would have been sent SIGQUIT, well before our signal.
    assert!(!log.contains("received immediate shutdown request"), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.ends_with("database system is shut down"), "{log}");
    let _ = fs::remove_dir_all(folder);
}

fn start_and_wait_to_be_killed(report: &Path) {
    let cluster = Cluster::start(15).unwrap();
    write_report(report, cluster.pid().unwrap(), cluster.socket_dir());
    thread::sleep(DEADLINE);
}

/// Also of a zombie the command line is empty.
fn has_ended(pid: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty()
}

fn write_report(report: &Path, postmaster: u32, folder: &Path) {
    let line = format!("{postmaster} {}", folder.display());
    let unfinished = report.with_extension("unfinished");
    fs::write(&unfinished, line).unwrap();
    fs::rename(unfinished, report).unwrap();
}

#[test]
fn a_standby_follows_its_primary_and_can_take_its_place() {
    for major in MAJORS {
        let mut primary = Cluster::start(major).unwrap();
        let standby = primary.standby(&[("work_mem", "5MB")]).unwrap();
        execute(&primary, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
        standby.wait_for("postgres", "SELECT to_regclass('t') IS NOT NULL");
        standby.wait_for("postgres", "SELECT count(*) = 1 FROM t");
        let is_set = "SELECT current_setting('work_mem') = '5MB' AND pg_is_in_recovery()";
        standby.wait_for("postgres", is_set);
        primary.stop(Mode::Immediate).unwrap();
        execute(&standby, "SELECT pg_promote()");
        execute(&standby, "INSERT INTO t VALUES (2)");
    }
}

#[test]
fn pgaudit_loads_where_a_package_has_it() {
    let mut with_pgaudit = Vec::new();
    for major in MAJORS {
        let install = testbed::majors::prepare(major).unwrap();
        if testbed::pgaudit::install(&install).unwrap() {
            let cluster = Cluster::builder(major).preload("pgaudit").start().unwrap();
            cluster.wait_for("postgres", "SELECT current_setting('pgaudit.log') = 'none'");
            with_pgaudit.push(major);
        }
    }
    assert_eq!(with_pgaudit, [13, 15, 17]);
}
