//! What README, the reference and the page on aiven_extras say, held against servers: the examples of
//! README and that page are run as they stand there, and README and the reference name every function and setting, with its signature or default.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use testbed::{Cluster, PASSWORD, poll_until, tools};

use crate::aiven::upgrade::install_original;
use crate::support::{DEADLINE, Session, start, start_with};

const README: &str = include_str!("../../README.md");
const AIVEN_EXTRAS: &str = include_str!("../../docs/aiven_extras.md");
const REFERENCE: &str = include_str!("../../docs/reference.md");

#[test]
fn the_migration_of_the_readme_runs_as_it_stands_there() {
    let source = start(15);
    let target = start_with(17, |builder| builder.preload("pgmig_extras"));
    prepare(&source, "REPLICATION");
    prepare(&target, "");
    Session::open(&source, "migrator", "shop").run(&format!("{TABLES}; {ROWS}"));
    run_blocks(README, &source, &target);
    assert_migrated(&source, &target);
}

/// Where nobody waits: the drop does.
#[test]
fn the_examples_of_aiven_extras_run_as_they_stand_there() {
    let (source, target) = (start(15), start(17));
    for server in [&source, &target] {
        prepare(server, "REPLICATION");
        install_original(server.major());
        Session::open(server, "postgres", "shop")
            .run("CREATE EXTENSION aiven_extras VERSION '1.1.18'");
        Session::open(server, "migrator", "shop").run(TABLES);
    }
    Session::open(&source, "migrator", "shop").run(ROWS);
    run_blocks(AIVEN_EXTRAS, &source, &target);
    assert_migrated(&source, &target);
}

const TABLES: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers)";
const ROWS: &str = "
    INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 1000) i;
    INSERT INTO orders SELECT i, i FROM generate_series(1, 1000) i";

/// Every block of a document, in its order.
fn run_blocks(document: &str, source: &Cluster, target: &Cluster) {
    for block in blocks(document) {
        let text = with_servers(block.text, source, target);
        if text.contains("pgmig_extras.pg_drop_subscription") {
            wait_until_equal(source, target);
        }
        match block.info {
            "sql superuser" => [source, target].iter().for_each(|it| psql(it, "postgres", &text)),
            "sql source" => psql(source, "migrator", &text),
            "sql target" => psql(target, "migrator", &text),
            "sh" if text.contains("pg_dump") => shell(&text),
            // Commands of cargo, and lines of configuration.
            info => assert!(["sh", ""].contains(&info), "{text}"),
        }
    }
}

fn assert_migrated(source: &Cluster, target: &Cluster) {
    let mut left = Session::open(source, "postgres", "shop");
    assert_eq!(left.column::<String>("SELECT slot_name::text FROM pg_replication_slots"), [""; 0]);
    assert_eq!(left.column::<String>("SELECT pubname::text FROM pg_publication"), [""; 0]);
    let mut left = Session::open(target, "postgres", "shop");
    assert_eq!(left.column::<String>("SELECT subname::text FROM pg_subscription"), [""; 0]);
    assert_eq!(left.value::<i64>("SELECT count(*) FROM orders"), 1000);
}

fn prepare(server: &Cluster, attributes: &str) {
    server.create_role("migrator", attributes).unwrap();
    Session::open(server, "postgres", "postgres").run("CREATE DATABASE shop OWNER migrator");
}

struct Block<'a> {
    /// What stands behind the opening fence.
    info: &'a str,
    text: &'a str,
}

fn blocks(markdown: &str) -> Vec<Block<'_>> {
    let fenced = markdown.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|part| part.split_once('\n'))
        .map(|(info, text)| Block { info, text })
        .collect()
}

/// The example's addresses and password replaced by the real ones. In a block of SQL the connection
/// string stands in a literal.
fn with_servers(text: &str, source: &Cluster, target: &Cluster) -> String {
    let address = |server: &Cluster| format!("host=127.0.0.1 port={}", server.port());
    text.replace("host=source.example port=5432", &address(source))
        .replace("host=target.example port=5432", &address(target))
        .replace("password=secret", &format!("password=''{PASSWORD}''"))
}

fn psql(server: &Cluster, role: &str, sql: &str) {
    run(&mut server.psql_command(role, "shop").unwrap(), sql)
}

fn shell(script: &str) {
    let folder = |program: std::path::PathBuf| program.parent().map(Path::to_owned).unwrap();
    let programs = [folder(tools::pg_dump(15).unwrap()), folder(tools::psql().unwrap())];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(programs.into_iter().chain(std::env::split_paths(&path)));
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-e"]);
    run(shell.env("PATH", path.unwrap()).env("PGPASSWORD", PASSWORD), script)
}

#[track_caller]
fn run(command: &mut Command, input: &str) {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program is there");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{input}\n{said}");
}

fn wait_until_equal(source: &Cluster, target: &Cluster) {
    const ROWS: &str = "
        SELECT md5(string_agg(t, ';' ORDER BY t)) FROM (
            SELECT c::text FROM customers c UNION ALL SELECT o::text FROM orders o) rows(t)";
    const READY: &str =
        "SELECT count(*) = 2 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel";
    let mut source = Session::open(source, "migrator", "shop");
    let mut target = Session::open(target, "postgres", "shop");
    poll_until(DEADLINE, "the migrated rows", || {
        let is_ready: bool = target.value(READY);
        let rows: [Option<String>; 2] = [source.value(ROWS), target.value(ROWS)];
        Ok((is_ready && rows[0] == rows[1]).then_some(()))
    });
}

/// 15 has one function more than the others. Preloaded: one setting is there only then.
fn with_extension() -> (Cluster, Session) {
    let server = start_with(15, |builder| builder.preload("pgmig_extras"));
    let mut session = Session::open(&server, "postgres", "postgres");
    session.run("CREATE EXTENSION pgmig_extras");
    (server, session)
}

#[test]
fn every_function_stands_in_the_reference_with_its_signature() {
    const SIGNATURES: &str = r"
        SELECT format('### %s(%s) → %s', proname,
                      replace(regexp_replace(regexp_replace(pg_get_function_arguments(p.oid),
                          '(, )?OUT .*', ''), '::[a-z]+(\[\])?', '', 'g'), ' DEFAULT ', ' = '),
                      replace(replace(pg_get_function_result(p.oid), 'SETOF record', 'setof '),
                          'SETOF', 'setof'))
          FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pgmig_extras'
         WHERE d.deptype = 'e' AND proname NOT IN (
               SELECT viewname FROM pg_views WHERE schemaname = 'pgmig_extras')";
    const VIEWS: &str = "
        SELECT format('### %s (view)', viewname) FROM pg_views WHERE schemaname = 'pgmig_extras'";
    let (_server, mut session) = with_extension();
    let mut expected: Vec<String> = session.column(SIGNATURES);
    expected.extend(session.column::<String>(VIEWS));
    let headings: Vec<&str> = REFERENCE.lines().filter(|line| line.starts_with("### ")).collect();
    for heading in &expected {
        // What a set of rows consists of is said in words, or in parentheses.
        let is_it = |line: &&str| {
            line == heading || heading.ends_with("setof ") && line.starts_with(heading)
        };
        assert!(headings.iter().any(is_it), "missing: {heading}");
    }
    assert_eq!(headings.len(), expected.len(), "headings of functions that are gone");
}

#[test]
fn every_function_stands_in_the_table_of_the_readme() {
    const NAMES: &str = "
        SELECT p.proname::text FROM pg_proc p WHERE pronamespace = 'pgmig_extras'::regnamespace
        UNION SELECT viewname FROM pg_views WHERE schemaname = 'pgmig_extras'";
    let (_server, mut session) = with_extension();
    let names: BTreeSet<String> = session.column(NAMES).into_iter().collect();
    let rows = rows(section(README, "## Functions"));
    let name = |code: &str| code.split('(').next().unwrap_or_default().to_owned();
    let documented = rows.iter().flat_map(|cells| codes(cells[0])).map(name).collect();
    assert_eq!(names, documented);
}

#[test]
fn every_setting_stands_in_the_readme_with_its_default() {
    const SETTINGS: &str = "
        SELECT format('%s = %s', name, coalesce(nullif(current_setting(name), ''), 'empty'))
          FROM pg_settings WHERE name LIKE 'pgmig\\_extras.%'";
    let (_server, mut session) = with_extension();
    let settings: BTreeSet<String> = session.column(SETTINGS).into_iter().collect();
    let rows = rows(section(README, "## Settings"));
    let documented = rows.iter().map(|cells| cells[..2].join(" = ").replace('`', "")).collect();
    assert!(!settings.is_empty());
    assert_eq!(settings, documented);
}

fn section<'a>(markdown: &'a str, heading: &str) -> &'a str {
    let (_, rest) = markdown.split_once(heading).expect("the heading is there");
    rest.split("\n## ").next().unwrap_or(rest)
}

/// The cells of a table's rows, without its head.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// What stands in backticks.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
