//! One watched subscription: a database of its own on a source and a target, with a heartbeat, and
//! the record of what was written, seen and said.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use postgres::Config;
use testbed::{Builder, Cluster, PASSWORD, poll_until};

use super::recorder::{Recorder, SAMPLE};
use super::score::{INTERVAL, Sample, Score, TOLERANCE};
use crate::support::{DEADLINE, Proxy, Session, start_with};

const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Fewer samples than this say nothing of a scenario.
const ENOUGH: usize = 10;

const TABLES: &str = "
    CREATE TABLE heartbeat (beat bigint NOT NULL);
    ALTER TABLE heartbeat REPLICA IDENTITY FULL;
    ALTER TABLE heartbeat OWNER TO shop;
    CREATE TABLE bulk (id bigint PRIMARY KEY, note text);
    ALTER TABLE bulk OWNER TO shop;
    CREATE TABLE slow (id int PRIMARY KEY);
    ALTER TABLE slow OWNER TO shop;
    CREATE TABLE twice (id int PRIMARY KEY, note text);
    ALTER TABLE twice OWNER TO shop;
    CREATE TABLE late (id int PRIMARY KEY);
    ALTER TABLE late OWNER TO shop;";

const SOURCE: &str = "
    INSERT INTO heartbeat VALUES (0);
    INSERT INTO slow SELECT -i FROM generate_series(1, 30) i;
    CREATE PUBLICATION everything FOR TABLE heartbeat, bulk, slow, twice;
    ALTER PUBLICATION everything OWNER TO app;";

/// Each row of `slow` and `late` takes 0.1 s, to copy and to apply.
const TARGET: &str = "
    CREATE EXTENSION pgmig_extras;
    SELECT pgmig_extras.grant_operator('operator');
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_catalog.pg_sleep(0.1); RETURN new; END';
    CREATE TRIGGER dawdle BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION dawdle();
    CREATE TRIGGER dawdle BEFORE INSERT ON late FOR EACH ROW EXECUTE FUNCTION dawdle();
    ALTER TABLE slow ENABLE ALWAYS TRIGGER dawdle;
    ALTER TABLE late ENABLE ALWAYS TRIGGER dawdle;";

/// A source, and a target that watches.
pub struct Pair {
    pub source: Cluster,
    pub target: Cluster,
}

impl Pair {
    pub fn start(source: u16, target: u16) -> Pair {
        Pair::start_with((source, |builder| builder), (target, |builder| builder))
    }

    /// With servers that differ.
    pub fn start_with(
        (source, at_source): (u16, impl Fn(Builder) -> Builder),
        (target, at_target): (u16, impl Fn(Builder) -> Builder),
    ) -> Pair {
        let quiet = |builder: Builder| {
            builder
                .config("auto_explain.log_min_duration", -1)
                .config("log_min_duration_statement", -1)
        };
        // So little that a large transaction is streamed, or spilled.
        let source = start_with(source, |builder| {
            at_source(quiet(builder).config("logical_decoding_work_mem", "1MB"))
        });
        let target = start_with(target, |builder| {
            at_target(quiet(builder))
                .preload("pgmig_extras")
                .config("pgmig_extras.watch_interval", "1s")
                .config("pgmig_extras.stall_timeout", "5s")
        });
        Pair { source, target }
    }
}

/// Where a server listens, also while it is down.
struct Address {
    port: u16,
    sockets: PathBuf,
}

impl Address {
    fn of(cluster: &Cluster) -> Address {
        Address { port: cluster.port(), sockets: cluster.socket_dir().to_owned() }
    }

    fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.user(user).dbname(database).password(PASSWORD).port(self.port);
        config.options("-c statement_timeout=60s");
        if user == "postgres" {
            config.host_path(&self.sockets);
        } else {
            config.host("127.0.0.1");
        }
        config
    }

    #[track_caller]
    fn open(&self, user: &str, database: &str) -> Session {
        Session::connect(self.config(user, database))
            .unwrap_or_else(|error| panic!("{user} cannot connect to {database}: {error:?}"))
    }
}

pub struct Lane {
    /// Of the databases, the subscription and its slot.
    pub name: &'static str,
    pub target_major: u16,
    pub proxy: Proxy,
    source: Address,
    target: Address,
    recorder: Recorder,
    scenarios: Vec<Scenario>,
    /// What is wrong with the scenario that goes on, in words.
    wrong: Mutex<Vec<String>>,
}

struct Scenario {
    name: &'static str,
    from: Instant,
    to: Instant,
    /// What truth has to come to: with less, nothing has happened.
    at_least: Duration,
    wrong: Vec<String>,
}

impl Lane {
    /// With the tables, and the subscription still to be made.
    pub fn new(pair: &Pair, name: &'static str) -> Lane {
        let (source, target) = (Address::of(&pair.source), Address::of(&pair.target));
        for (address, owner, special) in [(&source, "app", SOURCE), (&target, "postgres", TARGET)] {
            let create = format!("CREATE DATABASE {name} OWNER {owner}");
            address.open("postgres", "postgres").run(&create);
            address.open("postgres", name).run(&format!("{TABLES} {special}"));
        }
        let recorder =
            Recorder::start(source.config("app", name), target.config("operator", name), name);
        Lane {
            name,
            target_major: pair.target.major(),
            proxy: Proxy::start(pair.source.port()),
            source,
            target,
            recorder,
            scenarios: Vec::new(),
            wrong: Mutex::default(),
        }
    }

    /// With a subscription that is in step.
    pub fn subscribed(pair: &Pair, name: &'static str) -> Lane {
        let lane = Lane::new(pair, name);
        lane.app().run("TRUNCATE slow");
        lane.subscribe();
        lane.settle();
        lane
    }

    pub fn subscribe(&self) {
        let (name, port) = (self.name, self.proxy.port());
        let conninfo =
            format!("host=127.0.0.1 port={port} user=app password='{PASSWORD}' dbname={name}");
        self.operator()
            .call("pg_create_subscription", &[&name, &conninfo, &"everything", &name, &true])
            .expect("an operator subscribes");
    }

    /// The owner of the source's tables.
    pub fn app(&self) -> Session {
        self.source.open("app", self.name)
    }

    pub fn source(&self, database: &str) -> Session {
        self.source.open("postgres", database)
    }

    pub fn operator(&self) -> Session {
        self.as_role("operator")
    }

    pub fn superuser(&self) -> Session {
        self.as_role("postgres")
    }

    pub fn as_role(&self, role: &str) -> Session {
        self.target.open(role, self.name)
    }

    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Runs a scenario until all is well again.
    #[track_caller]
    pub fn scenario(&mut self, name: &'static str, at_least: Duration, run: impl FnOnce(&Lane)) {
        let from = Instant::now();
        run(self);
        self.settle();
        self.pass(2 * SAMPLE);
        let wrong = std::mem::take(&mut *self.wrong.lock().unwrap());
        self.scenarios.push(Scenario { name, from, to: Instant::now(), at_least, wrong });
    }

    /// Lets time pass while samples are taken.
    pub fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut until: impl FnMut() -> bool) {
        poll_until(2 * DEADLINE, what, || Ok(until().then_some(())));
    }

    #[track_caller]
    pub fn settle(&self) {
        self.wait_for("the target to be in step", || self.recorder.is_settled());
    }

    /// What is wrong is told at the end, with all else that is.
    fn check(&self, right: bool, told: impl FnOnce() -> String) {
        if !right {
            self.wrong.lock().unwrap().push(told());
        }
    }

    /// Waits for a state, which has to be found in time and for the right reason.
    #[track_caller]
    pub fn detects(&self, since: Instant, state: &str, reason: &str) {
        let found = || self.recorder.read(|record| record.first(since, state).cloned());
        self.wait_for(&format!("the state to be {state}"), || found().is_some());
        let Sample { asked, reason: given, .. } = found().expect("it was there just now");
        let took = asked - since;
        let in_time = took <= STALL_TIMEOUT + 2 * INTERVAL + SAMPLE;
        self.check(in_time, || format!("{state} after {took:.1?}: {given}"));
        self.check(given.contains(reason), || format!("{state} for the wrong reason: {given}"));
    }

    /// Or tells how things are instead.
    #[track_caller]
    fn wait_for(&self, what: &str, mut until: impl FnMut() -> bool) {
        let end = Instant::now() + 2 * DEADLINE;
        poll_until(3 * DEADLINE, what, || {
            let reached = until();
            anyhow::ensure!(reached || Instant::now() < end, "{}", self.recorder.situation());
            Ok(reached.then_some(()))
        });
    }

    /// For a test that keeps no score.
    #[track_caller]
    pub fn assert_right(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// From `since` to `until` rows were missing that no heartbeat tells of.
    pub fn is_never_streaming(&self, since: Instant, until: Instant) {
        let (from, mut taken) = (since + TOLERANCE, 0);
        self.recorder.read(|record| {
            for sample in record.samples(from, until) {
                let at = sample.asked - since;
                self.check(sample.state != "streaming", || {
                    format!("streaming at {at:.1?} while rows differ: {}", sample.reason)
                });
                taken += 1;
            }
        });
        self.check(taken > 0, || "no sample was taken while rows differed".to_owned());
    }

    /// The lines of the table.
    pub fn finish(mut self) -> Vec<(&'static str, Score)> {
        let record = self.recorder.finish();
        let line = |scenario: &Scenario| {
            let mut score = record.score(scenario.from, scenario.to);
            score.wrong.extend_from_slice(&scenario.wrong);
            if score.scored < ENOUGH {
                score.wrong.push(format!("only {} samples were in time", score.scored));
            }
            if score.truth < scenario.at_least {
                score.wrong.push(format!("truth came to {:?} only", score.truth));
            }
            (scenario.name, score)
        };
        self.scenarios.iter().map(line).collect()
    }
}

/// A subscription whose publisher is gone is started again and again. The server's launcher can miss
/// the end of another's worker while it waits for one to start, and starts it minutes later.
impl Drop for Lane {
    fn drop(&mut self) {
        let disable = format!("ALTER SUBSCRIPTION {} DISABLE", self.name);
        let session = Session::connect(self.target.config("postgres", self.name));
        if let Ok(mut session) = session {
            let _ = session.batch_execute(&disable);
        }
    }
}
