//! `client.py` plays what clients send; here it is started, and the outcome looked at.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use testbed::{Cluster, PASSWORD, tools};

use super::Databases;
use crate::support::matrix;

/// A name that needs quotes of each kind.
const TABLE: &str = r#"public."ta .'ble0""#;

#[derive(Clone, Copy)]
struct Pair(u16, u16);

fn on_pair(source: u16, target: u16, _test: &str, body: fn(Pair)) {
    body(Pair(source, target));
}

matrix! { on_pair, every pair {
    a_tool_migrates_all_tables,
    a_tool_migrates_all_tables_inside_begin,
    a_tool_migrates_the_tables_it_names,
    a_tool_that_stops_early_has_every_row,
    a_guide_is_followed,
    a_guide_is_followed_inside_begin,
    an_owner_of_all_tables_need_not_own_the_database,
    who_does_not_own_a_table_falls_back_to_a_dump,
} }

fn migrated(pair: Pair, play: &str, in_transaction: bool, tables: &[&str], rows: u32) {
    let databases = Databases::new(pair.0, pair.1).with_rows(TABLE, rows);
    run(&databases, play, in_transaction, tables);
    databases.assert_equal(TABLE);
    assert_eq!(databases.slots(), [""; 0]);
    databases.assert_no_secret_logged();
}

fn a_tool_migrates_all_tables(pair: Pair) {
    migrated(pair, "tool", false, &[], 1000);
}

fn a_tool_migrates_all_tables_inside_begin(pair: Pair) {
    migrated(pair, "tool", true, &[], 1000);
}

fn a_tool_migrates_the_tables_it_names(pair: Pair) {
    migrated(pair, "tool", false, &[TABLE], 1000);
}

fn a_tool_that_stops_early_has_every_row(pair: Pair) {
    migrated(pair, "tool", false, &[], 1_000_000);
}

fn a_guide_is_followed(pair: Pair) {
    migrated(pair, "guide", false, &[TABLE], 1000);
}

fn a_guide_is_followed_inside_begin(pair: Pair) {
    migrated(pair, "guide", true, &[TABLE], 1000);
}

fn an_owner_of_all_tables_need_not_own_the_database(pair: Pair) {
    let databases = Databases::new(pair.0, pair.1).with_rows(TABLE, 100);
    databases
        .on_source("postgres")
        .run(&format!("ALTER DATABASE {} OWNER TO postgres", databases.name));
    run(&databases, "tool", false, &[]);
    databases.assert_equal(TABLE);
}

fn who_does_not_own_a_table_falls_back_to_a_dump(pair: Pair) {
    let databases = Databases::new(pair.0, pair.1).with_rows(TABLE, 100);
    databases.on_source("postgres").run(&format!(
        "ALTER DATABASE {} OWNER TO postgres; CREATE TABLE public.hidden (id int PRIMARY KEY)",
        databases.name
    ));
    for tables in [&[][..], &["public.hidden"]] {
        run(&databases, "refused", false, tables);
    }
}

fn run(databases: &Databases, play: &str, in_transaction: bool, tables: &[&str]) {
    run_on(databases.source, databases.target, &databases.name, play, in_transaction, tables);
}

/// As `app`, who is no superuser.
pub fn run_on(
    source: &Cluster,
    target: &Cluster,
    database: &str,
    play: &str,
    in_transaction: bool,
    tables: &[&str],
) {
    let order = json!({
        "play": play,
        "in_transaction": in_transaction,
        "tables": tables,
        "source": connection(source, database),
        "target": connection(target, database),
    });
    let mut python = tools::python_with_psycopg2().expect("Python is there");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/aiven/client.py"));
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = python.spawn().expect("Python starts");
    client.stdin.take().unwrap().write_all(order.to_string().as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn connection(cluster: &Cluster, database: &str) -> Value {
    json!({
        "host": "127.0.0.1",
        "port": cluster.port().to_string(),
        "dbname": database,
        "user": "app",
        "password": PASSWORD,
    })
}
