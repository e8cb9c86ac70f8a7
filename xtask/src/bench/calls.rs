//! What safe slots cost: `pg_create_subscription` and `pg_drop_subscription` by an ordinary role
//! against a superuser's CREATE and DROP SUBSCRIPTION, same publisher, tables and connection string.

use super::times::Times;
use anyhow::{Result, ensure};
use postgres::{Client, SimpleQueryMessage};
use std::time::{Duration, Instant};
use testbed::{Cluster, PASSWORD, build, majors, poll_until};

const SOURCE: u16 = 15;
const TARGET: u16 = 17;
const PAIRS: usize = 20;
const WARM_UP: usize = 2;
const TABLES: usize = 10;
const DEADLINE: Duration = Duration::from_secs(60);

pub fn run() -> Result<()> {
    for major in [SOURCE, TARGET] {
        build::build_and_install(&majors::prepare(major)?, true)?;
    }
    let bench = Bench::start()?;
    let (mut ours, mut native) = (Side::default(), Side::default());
    for pair in 0..WARM_UP + PAIRS {
        let counts = pair >= WARM_UP;
        // Who goes first changes, so that neither side always finds the other's warm caches.
        let mut sides = [(&bench.ours, &mut ours), (&bench.native, &mut native)];
        if pair % 2 == 1 {
            sides.reverse();
        }
        let mut seen = Vec::new();
        for (statements, side) in sides {
            let (create, drop, state) = bench.round(statements)?;
            if counts {
                side.create.push(create);
                side.drop.push(drop);
            }
            seen.push(state);
        }
        ensure!(seen[0] == seen[1], "the two sides made different things: {seen:?}");
    }
    report(&ours, &native);
    Ok(())
}

#[derive(Default)]
struct Side {
    create: Times,
    drop: Times,
}

struct Statements {
    role: &'static str,
    create: String,
    drop: &'static str,
}

struct Bench {
    source: Cluster,
    target: Cluster,
    ours: Statements,
    native: Statements,
}

impl Bench {
    fn start() -> Result<Self> {
        let source = Cluster::builder(SOURCE).fsync(true).start()?;
        let target = Cluster::builder(TARGET).fsync(true).start()?;
        source.create_role("app", "REPLICATION")?;
        target.create_role("app", "")?;
        let tables: String = (0..TABLES)
            .map(|table| format!("CREATE TABLE t{table} (id int PRIMARY KEY); "))
            .collect();
        for cluster in [&source, &target] {
            cluster.superuser("postgres")?.batch_execute("CREATE DATABASE shop OWNER app")?;
            let mut owner = cluster.superuser("shop")?;
            owner.batch_execute(&format!(
                "SET ROLE app; CREATE SCHEMA s; SET search_path = s; {tables}"
            ))?;
        }
        source.superuser("shop")?.batch_execute("CREATE PUBLICATION p FOR ALL TABLES")?;
        target.superuser("shop")?.batch_execute(
            "CREATE EXTENSION pgmig_extras; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgmig_extras TO app",
        )?;
        let conninfo = source.conninfo("app", PASSWORD, "shop").replace('\'', "''");
        let ours = Statements {
            role: "app",
            create: format!(
                "SELECT pgmig_extras.pg_create_subscription('sub', '{conninfo}', 'p', 'sub', true)"
            ),
            drop: "SELECT pgmig_extras.pg_drop_subscription('sub')",
        };
        let native = Statements {
            role: "postgres",
            create: format!("CREATE SUBSCRIPTION sub CONNECTION '{conninfo}' PUBLICATION p"),
            drop: "DROP SUBSCRIPTION sub",
        };
        Ok(Self { source, target, ours, native })
    }

    /// Creates, waits until every table is copied, drops. Returns both times and what was there
    /// in between.
    fn round(&self, statements: &Statements) -> Result<(Duration, Duration, String)> {
        let mut client = self.target.connect(statements.role, "shop")?;
        let create = timed(&mut client, &statements.create)?;
        let state = self.settled_state()?;
        let drop = timed(&mut client, statements.drop)?;
        ensure!(self.slots()?.is_empty(), "a slot is left");
        Ok((create, drop, state))
    }

    fn settled_state(&self) -> Result<String> {
        let mut target = self.target.superuser("shop")?;
        let tables = poll_until(DEADLINE, "every table is copied", || {
            let row = target.query_one(
                "SELECT string_agg(srrelid::regclass::text, ' ' ORDER BY srrelid), \
                        bool_and(srsubstate = 'r') FROM pg_subscription_rel",
                &[],
            )?;
            let ready = row.get::<_, Option<bool>>(1) == Some(true);
            Ok(ready.then(|| row.get::<_, String>(0)))
        });
        Ok(format!("{tables}; {:?}", self.slots()?))
    }

    fn slots(&self) -> Result<Vec<String>> {
        let rows = self.source.superuser("shop")?.query(
            "SELECT concat_ws(' ', slot_name, plugin, database, temporary, two_phase) \
             FROM pg_replication_slots ORDER BY 1",
            &[],
        )?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

fn timed(client: &mut Client, statement: &str) -> Result<Duration> {
    let start = Instant::now();
    let _: Vec<SimpleQueryMessage> = client.simple_query(statement)?;
    Ok(start.elapsed())
}

fn report(ours: &Side, native: &Side) {
    let create_ratio = ours.create.median_ms() / native.create.median_ms();
    let drop_ratio = ours.drop.median_ms() / native.drop.median_ms();
    println!(
        "{PAIRS} pairs, PostgreSQL {SOURCE} to {TARGET}, {TABLES} tables, SCRAM, fsync on; milliseconds"
    );
    println!("{:<34} {:>9} {:>9} {:>9}", "", "min", "median", "max");
    println!("{}", ours.create.row("pg_create_subscription"));
    println!("{}", native.create.row("CREATE SUBSCRIPTION, superuser"));
    println!("{}", ours.drop.row("pg_drop_subscription"));
    println!("{}", native.drop.row("DROP SUBSCRIPTION, superuser"));
    println!(
        "{{\"create_ratio\": {create_ratio:.3}, \"drop_ratio\": {drop_ratio:.3}, \
         \"create_ms\": {:.2}, \"native_create_ms\": {:.2}, \"drop_ms\": {:.2}, \"native_drop_ms\": {:.2}}}",
        ours.create.median_ms(),
        native.create.median_ms(),
        ours.drop.median_ms(),
        native.drop.median_ms()
    );
}
