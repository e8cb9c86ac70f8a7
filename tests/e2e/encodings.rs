//! Databases whose encoding is not UTF-8: whatever is named, every function and every view says what it
//! has to say, in that encoding.

use testbed::Cluster;

use crate::support::{self, Session, matrix, on_own_servers};

const DATABASE: &str = "latin";

fn start(major: u16) -> Cluster {
    let cluster = support::start_with(major, |builder| {
        builder.preload("pgmig_extras").config("pgmig_extras.watch_interval", "200ms")
    });
    Session::open(&cluster, "postgres", "postgres").run(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let mut latin = open(&cluster, "postgres");
    latin.run(
        "CREATE EXTENSION pgmig_extras;
         SELECT pgmig_extras.grant_operator('operator');
         CREATE TABLE \"täb\" (id int PRIMARY KEY)",
    );
    latin.run(
        "CREATE SUBSCRIPTION \"sü\"
         CONNECTION 'host=127.0.0.1 port=1 user=ürsula password=x dbname=shöp'
         PUBLICATION \"püb\" WITH (connect = false, slot_name = 's')",
    );
    cluster
}

fn open(cluster: &Cluster, role: &str) -> Session {
    Session::open(cluster, role, DATABASE)
}

/// A call of every function with such a text wherever it takes one.
const CALLS: &str = "
    SELECT format('SELECT * FROM pgmig_extras.%I(%s)', proname, (
               SELECT string_agg(CASE t::regtype::text
                   WHEN 'text' THEN $$'sü'$$
                   WHEN 'text[]' THEN $$ARRAY['sü', 'ö']$$
                   WHEN 'jsonb' THEN $$'{\"slot_name\": \"sü\", \"tables\": [\"public.täb\"]}'$$
                   WHEN 'boolean' THEN 'true'
                   WHEN 'interval' THEN $$'1 h'$$
                   WHEN 'integer' THEN '80'
                   WHEN 'bigint' THEN '1000000'
                   WHEN 'pg_lsn' THEN $$'0/1'$$
                   ELSE 'NULL' END, ', ' ORDER BY n)
                 FROM unnest(proargtypes) WITH ORDINALITY AS a(t, n)))
      FROM pg_proc
     WHERE pronamespace = 'pgmig_extras'::regnamespace
       AND prorettype NOT IN ('event_trigger'::regtype, 'trigger'::regtype)
     ORDER BY 1";
const VIEWS: &str = "
    SELECT format('SELECT * FROM pgmig_extras.%I', relname) FROM pg_class
     WHERE relnamespace = 'pgmig_extras'::regnamespace AND relkind = 'v'";

fn nothing_fails_for_its_encoding(major: u16) {
    let cluster = start(major);
    let mut complaints = Vec::new();
    for role in ["postgres", "operator"] {
        let mut session = open(&cluster, role);
        let statements: Vec<String> =
            [session.column(CALLS), session.column(VIEWS)].into_iter().flatten().collect();
        assert!(statements.len() > 30, "{statements:?}");
        for encoding in ["UTF8", "LATIN1"] {
            for statement in &statements {
                let set = format!("SET LOCAL client_encoding = '{encoding}'");
                let statement = format!("BEGIN; {set}; {statement}; ROLLBACK");
                // The client is told in UTF8 only.
                if encoding == "UTF8" || statement.is_ascii() {
                    if let Err(error) = session.batch_execute(&statement) {
                        let text = format!("{error:?}");
                        if text.contains("valid UTF-8") || text.contains("byte sequence") {
                            complaints.push(format!("{statement}: {text}"));
                        }
                    }
                    session.run("ROLLBACK");
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What is ours has an equal in every encoding.
fn a_chart_is_drawn_in_its_encoding(major: u16) {
    let cluster = start(major);
    let mut latin = open(&cluster, "postgres");
    latin.run("ALTER SUBSCRIPTION \"sü\" RENAME TO plain; ALTER SUBSCRIPTION plain ENABLE");
    cluster.wait_for(
        DATABASE,
        "SELECT state = 'unreachable' AND last_error IS NOT NULL FROM pgmig_extras.subscription_lag",
    );
    let chart: String = latin
        .value("SELECT string_agg(t, E'\\n') FROM pgmig_extras.subscription_lag_chart('plain') t");
    assert!(chart.lines().count() > 8 && chart.is_ascii(), "{chart}");
    let error: String = latin.value("SELECT last_error FROM pgmig_extras.subscription_lag");
    assert!(error.is_ascii(), "{error}");
    latin.run("ALTER SUBSCRIPTION plain DISABLE");
}

/// A client that can't show the blocks gets a chart all the same.
fn a_chart_is_drawn_in_the_encoding_of_the_client(major: u16) {
    let cluster = start(major);
    let mut superuser = Session::open(&cluster, "postgres", "postgres");
    superuser.run(
        "CREATE EXTENSION pgmig_extras;
         CREATE SUBSCRIPTION plain CONNECTION 'host=127.0.0.1 port=1 user=u password=x dbname=d'
         PUBLICATION p WITH (connect = false, slot_name = 's')",
    );
    superuser.run("ALTER SUBSCRIPTION plain ENABLE");
    cluster.wait_for(
        "postgres",
        "SELECT state = 'unreachable' FROM pgmig_extras.subscription_lag WHERE database = 'postgres'",
    );
    const CHART: &str =
        "SELECT string_agg(t, E'\\n') FROM pgmig_extras.subscription_lag_chart('plain') t";
    let chart: String = superuser.value(CHART);
    assert!(chart.contains('│'), "{chart}");
    superuser.run("SET client_encoding = 'LATIN1'");
    let chart: String = superuser.value(CHART);
    assert!(chart.lines().count() > 8 && chart.is_ascii(), "{chart}");
    superuser.run("RESET client_encoding; ALTER SUBSCRIPTION plain DISABLE");
}

matrix! { on_own_servers, [on_15(15), on_18(18)] {
    nothing_fails_for_its_encoding,
    a_chart_is_drawn_in_its_encoding,
    a_chart_is_drawn_in_the_encoding_of_the_client,
} }
