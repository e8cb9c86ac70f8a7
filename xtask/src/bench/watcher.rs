//! What watching costs: the same servers with `pgmig_extras.watch` on and off, and the views against
//! PostgreSQL's own.

use super::times::{Times, median};
use anyhow::{Context, Result, ensure};
use postgres::Client;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testbed::{Cluster, PASSWORD, build, majors, poll_until};

const MAJOR: u16 = 17;
const DEADLINE: Duration = Duration::from_secs(60);

const PAIRS: usize = 12;
const SLICE: Duration = Duration::from_secs(4);

const DATABASES: usize = 10;
const SUBSCRIPTIONS: usize = 100;
const CPU_TIME: Duration = Duration::from_secs(30);

const READS: usize = 300;
const LAG: &str = "SELECT * FROM pgmig_extras.subscription_lag";
const CORE: &str = "SELECT * FROM pg_stat_subscription";

pub fn run() -> Result<()> {
    build::build_and_install(&majors::prepare(MAJOR)?, true)?;
    let throughput = Throughput::measure()?;
    let many = Many::measure()?;
    report(&throughput, &many);
    Ok(())
}

fn clusters() -> Result<(Cluster, Cluster)> {
    let room = |cluster: testbed::Builder| {
        ["max_replication_slots", "max_wal_senders", "max_logical_replication_workers"]
            .iter()
            .fold(cluster, |cluster, name| cluster.config(name, SUBSCRIPTIONS + 10))
            .config("max_worker_processes", SUBSCRIPTIONS + DATABASES + 20)
            .config("max_connections", 2 * SUBSCRIPTIONS + 50)
            .fsync(true)
    };
    let source = room(Cluster::builder(MAJOR)).start()?;
    let target = room(Cluster::builder(MAJOR))
        .preload("pgmig_extras")
        .config("pgmig_extras.max_subscriptions", SUBSCRIPTIONS)
        .start()?;
    source.create_role("app", "REPLICATION")?;
    Ok((source, target))
}

/// Transactions per second of a pgbench on the source, whose tables are replicated, and of another
/// one on the target, at the same time.
struct Throughput {
    /// With and without, one pair after the other.
    source: Vec<(f64, f64)>,
    target: Vec<(f64, f64)>,
    reads: Reads,
}

impl Throughput {
    fn measure() -> Result<Self> {
        let (source, target) = clusters()?;
        for cluster in [&source, &target] {
            cluster.superuser("postgres")?.batch_execute("CREATE DATABASE shop")?;
            fill(cluster, "shop")?;
        }
        target.superuser("postgres")?.batch_execute("CREATE DATABASE own")?;
        fill(&target, "own")?;
        subscribe_shop(&source, &target)?;
        let mut both = Self { source: Vec::new(), target: Vec::new(), reads: Reads::default() };
        for pair in 0..PAIRS {
            let mut tps = [(0.0, 0.0); 2];
            // Who goes first changes: the databases grow.
            let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
            for on in order {
                watch(&target, on, 1)?;
                let loads = [load(&source, "shop")?, load(&target, "own")?];
                tps[usize::from(!on)] = transactions_per_second(loads)?;
            }
            both.source.push((tps[0].0, tps[1].0));
            both.target.push((tps[0].1, tps[1].1));
        }
        watch(&target, true, 1)?;
        both.reads = Reads::measure(&mut target.superuser("shop")?)?;
        Ok(both)
    }
}

fn fill(cluster: &Cluster, database: &str) -> Result<()> {
    let mut pgbench = cluster.pgbench_command("postgres", database)?;
    pgbench.args(["--initialize", "--quiet", "--scale=5"]);
    let output = pgbench.output().context("cannot run pgbench")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn subscribe_shop(source: &Cluster, target: &Cluster) -> Result<()> {
    // pgbench_history has no key; it is only inserted into.
    source.superuser("shop")?.batch_execute(
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO app; CREATE PUBLICATION p FOR ALL TABLES",
    )?;
    let mut client = target.superuser("shop")?;
    client.batch_execute("CREATE EXTENSION pgmig_extras")?;
    client.batch_execute(&format!(
        "CREATE SUBSCRIPTION shop CONNECTION '{}' PUBLICATION p WITH (copy_data = false)",
        conninfo(source, "shop")
    ))?;
    Ok(())
}

fn conninfo(source: &Cluster, database: &str) -> String {
    source.conninfo("app", PASSWORD, database).replace('\'', "''")
}

/// Switches watching, and waits until as many watchers are there as are to be.
fn watch(target: &Cluster, on: bool, watchers: usize) -> Result<()> {
    let mut client = target.superuser("postgres")?;
    client.batch_execute(&format!("ALTER SYSTEM SET pgmig_extras.watch = {on}"))?;
    client.batch_execute("SELECT pg_reload_conf()")?;
    let wanted = if on { watchers } else { 0 };
    poll_until(DEADLINE, &format!("{wanted} watchers"), || {
        Ok((processes(&mut client, "watcher")?.len() == wanted).then_some(()))
    });
    Ok(())
}

fn processes(client: &mut Client, kind: &str) -> Result<Vec<i32>> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgmig_extras ' || $1";
    let rows = client.query(sql, &[&kind])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn load(cluster: &Cluster, database: &str) -> Result<Child> {
    let mut pgbench: Command = cluster.pgbench_command("postgres", database)?;
    pgbench.args(["--client=2", "--no-vacuum", &format!("--time={}", SLICE.as_secs())]);
    pgbench.stdout(Stdio::piped()).spawn().context("cannot run pgbench")
}

fn transactions_per_second(loads: [Child; 2]) -> Result<(f64, f64)> {
    let [source, target] = loads.map(|load| -> Result<f64> {
        let output = String::from_utf8(load.wait_with_output()?.stdout)?;
        let line = output.lines().find_map(|line| line.strip_prefix("tps = "));
        let number = line.and_then(|line| line.split(' ').next()).context("pgbench has no tps")?;
        Ok(number.parse()?)
    });
    Ok((source?, target?))
}

/// Many subscriptions, each with its own connection to the source.
struct Many {
    /// Of one core, of all watchers and the launcher together.
    cpu_percent: f64,
    /// The same, of the sessions on the source that they ask.
    source_cpu_percent: f64,
    bytes_per_subscription: i64,
    reads: Reads,
}

impl Many {
    fn measure() -> Result<Self> {
        let (source, target) = clusters()?;
        source.superuser("postgres")?.batch_execute("CREATE DATABASE shop")?;
        source.superuser("shop")?.batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t",
        )?;
        for database in 0..DATABASES {
            subscribe_often(&source, &target, database)?;
        }
        watch(&target, true, DATABASES)?;
        let mut client = target.superuser("shop0")?;
        client.batch_execute("CREATE EXTENSION pgmig_extras")?;
        poll_until(DEADLINE, "all subscriptions to stream", || {
            let sql =
                "SELECT count(*) FROM pgmig_extras.subscription_lag WHERE state = 'streaming'";
            let count: i64 = client.query_one(sql, &[])?.get(0);
            Ok((count == SUBSCRIPTIONS as i64).then_some(()))
        });
        let (cpu_percent, source_cpu_percent) = cpu(&source, &mut client)?;
        let sql = "SELECT allocated_size FROM pg_shmem_allocations WHERE name = 'pgmig_extras'";
        let bytes: i64 = client.query_one(sql, &[])?.get(0);
        Ok(Self {
            cpu_percent,
            source_cpu_percent,
            bytes_per_subscription: bytes / SUBSCRIPTIONS as i64,
            reads: Reads::measure(&mut client)?,
        })
    }
}

fn subscribe_often(source: &Cluster, target: &Cluster, database: usize) -> Result<()> {
    let name = format!("shop{database}");
    target.superuser("postgres")?.batch_execute(&format!("CREATE DATABASE {name}"))?;
    let mut client = target.superuser(&name)?;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)")?;
    for number in 0..SUBSCRIPTIONS / DATABASES {
        client.batch_execute(&format!(
            "CREATE SUBSCRIPTION s{database}_{number} CONNECTION '{}' PUBLICATION p \
             WITH (copy_data = false)",
            conninfo(source, "shop")
        ))?;
    }
    Ok(())
}

fn cpu(source: &Cluster, target: &mut Client) -> Result<(f64, f64)> {
    let mut ours = processes(target, "watcher")?;
    ours.append(&mut processes(target, "launcher")?);
    let asked = source.superuser("postgres")?.query(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgmig_extras watcher'",
        &[],
    )?;
    let asked: Vec<i32> = asked.iter().map(|row| row.get(0)).collect();
    let start = Instant::now();
    let before = (cpu_seconds(&ours)?, cpu_seconds(&asked)?);
    std::thread::sleep(CPU_TIME);
    let percent = |before: f64, now: f64| 100.0 * (now - before) / start.elapsed().as_secs_f64();
    Ok((percent(before.0, cpu_seconds(&ours)?), percent(before.1, cpu_seconds(&asked)?)))
}

/// User and system time of processes, which /proc counts in hundredths of a second.
fn cpu_seconds(pids: &[i32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a worker is gone")?;
        // The fields after the name: user time is the 14th of all, system time the 15th.
        let (_, fields) = stat.rsplit_once(')').context("/proc is not as it was")?;
        let times = fields.split_whitespace().skip(11).take(2);
        ticks += times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    }
    Ok(ticks as f64 / 100.0)
}

/// Reads of the view and of core's own, in turns.
#[derive(Default)]
struct Reads {
    lag: Times,
    core: Times,
}

impl Reads {
    fn measure(client: &mut Client) -> Result<Self> {
        let mut reads = Self::default();
        for number in 0..READS {
            for (sql, times) in [(LAG, &mut reads.lag), (CORE, &mut reads.core)] {
                let start = Instant::now();
                client.simple_query(sql)?;
                if number >= READS / 10 {
                    times.push(start.elapsed());
                }
            }
        }
        Ok(reads)
    }

    fn ratio(&self) -> f64 {
        self.lag.median_ms() / self.core.median_ms()
    }
}

fn report(throughput: &Throughput, many: &Many) {
    println!(
        "PostgreSQL {MAJOR}, fsync on, a look each second; {PAIRS} pairs of {} s of pgbench on the \
         source and on the target at once, with and without watching",
        SLICE.as_secs()
    );
    println!("{:<34} {:>9} {:>9} {:>9}", "transactions per second", "with", "without", "ratio");
    let mut ratios = Vec::new();
    for (side, pairs) in [("source", &throughput.source), ("target", &throughput.target)] {
        let ratio = median(pairs.iter().map(|(with, without)| with / without));
        let with = median(pairs.iter().map(|pair| pair.0));
        let without = median(pairs.iter().map(|pair| pair.1));
        println!("{:<34} {with:>9.0} {without:>9.0} {ratio:>9.3}", format!("{side}, median"));
        ratios.push(ratio);
    }
    println!("\n{:<34} {:>9} {:>9} {:>9}", "milliseconds", "min", "median", "max");
    for (count, reads) in [(1, &throughput.reads), (SUBSCRIPTIONS, &many.reads)] {
        println!("{}", reads.lag.row(&format!("subscription_lag, {count} rows")));
        println!("{}", reads.core.row(&format!("pg_stat_subscription, {count} rows")));
    }
    println!("\n{SUBSCRIPTIONS} subscriptions in {DATABASES} databases");
    println!("{:<34} {:>8.2}%", "CPU of launcher and watchers", many.cpu_percent);
    println!("{:<34} {:>8.2}%", "CPU of their sessions, source", many.source_cpu_percent);
    println!("{:<34} {:>9}", "shared memory of each, bytes", many.bytes_per_subscription);
    println!(
        "{{\"source_tps_ratio\": {:.3}, \"target_tps_ratio\": {:.3}, \"cpu_percent_100\": {:.2}, \
         \"bytes_per_subscription\": {}, \"read_ratio\": {:.2}, \"read_ratio_100\": {:.2}}}",
        ratios[0],
        ratios[1],
        many.cpu_percent,
        many.bytes_per_subscription,
        throughput.reads.ratio(),
        many.reads.ratio()
    );
}
