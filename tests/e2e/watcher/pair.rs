//! Two servers of a test's own, the target with the library preloaded, and questions about the
//! processes there.

use crate::support::{DEADLINE, Session, quiet, start_watching, start_with};
use std::process::Command;
use std::time::Duration;
use testbed::{Builder, Cluster, PASSWORD, poll_until};

/// How soon after its end a worker is back: the launcher is started again after 5 s, and so is a
/// watcher that had just begun.
pub const BACK: Duration = Duration::from_secs(20);

/// A source, and a target with the library preloaded. Both have the database `shop`.
pub struct Pair {
    pub source: Cluster,
    pub target: Cluster,
}

impl Pair {
    pub fn start(major: u16) -> Pair {
        Pair::with(major, |builder| builder)
    }

    /// `change` is for the target.
    pub fn with(major: u16, change: impl FnOnce(Builder) -> Builder) -> Pair {
        let source = start_with(major, quiet);
        let target = start_watching(major, change);
        let pair = Pair { source, target };
        pair.create_database("shop");
        pair
    }

    pub fn create_database(&self, name: &str) {
        for cluster in [&self.source, &self.target] {
            session(cluster, "postgres").run(&format!("CREATE DATABASE {name}"));
            session(cluster, name).run(
                "CREATE TABLE t (id int PRIMARY KEY, note text);
                 CREATE EXTENSION pgmig_extras",
            );
        }
        session(&self.source, name)
            .run("ALTER TABLE t OWNER TO app; CREATE PUBLICATION p FOR TABLE t");
    }

    pub fn shop(&self) -> Session {
        session(&self.target, "shop")
    }

    pub fn conninfo(&self, database: &str) -> String {
        self.source.conninfo("app", PASSWORD, database).replace('\'', "''")
    }

    /// A subscription of the superuser's that streams.
    pub fn subscribe(&self, database: &str, name: &str) {
        self.subscribe_natively(database, name);
        self.wait_until_streaming(database, name);
    }

    pub fn subscribe_natively(&self, database: &str, name: &str) {
        session(&self.target, database).run(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION '{}' PUBLICATION p
             WITH (slot_name = '{name}_{database}')",
            self.conninfo(database)
        ));
    }

    #[track_caller]
    pub fn wait_until_streaming(&self, database: &str, name: &str) {
        let mut client = session(&self.target, database);
        let streams = lag(name, "coalesce(state = 'streaming', false)");
        let sampled = format!("a fresh sample of {name}");
        poll_until(DEADLINE, &sampled, || Ok(client.value::<bool>(&streams).then_some(())));
    }

    /// Waits for a sample that is taken after now.
    #[track_caller]
    pub fn wait_for_sample(&self, database: &str, name: &str, deadline: Duration) {
        let mut client = session(&self.target, database);
        let now: String = client.value("SELECT clock_timestamp()::text");
        let sampled = lag(name, &format!("coalesce(sampled_at > '{now}'::timestamptz, false)"));
        poll_until(deadline, &format!("a fresh sample of {name}"), || {
            let rows = client.query(&sampled, &[]).unwrap();
            Ok(rows.first().is_some_and(|row| row.get(0)).then_some(()))
        });
    }

    pub fn drop_subscription(&self, database: &str, name: &str) {
        session(&self.target, database).run(&format!("DROP SUBSCRIPTION {name}"));
    }
}

/// The superuser's. After a crash of the server it takes until the server is there again.
#[track_caller]
pub fn session(cluster: &Cluster, database: &str) -> Session {
    poll_until(DEADLINE, "the superuser to come in", || {
        Ok(Session::try_open(cluster, "postgres", database).ok())
    })
}

/// A question about a subscription's row.
pub fn lag(name: &str, what: &str) -> String {
    format!("SELECT {what} FROM pgmig_extras.subscription_lag WHERE subscription = '{name}'")
}

/// The one process of a kind that is not `old`.
#[track_caller]
pub fn process(cluster: &Cluster, kind: &str, old: Option<i32>) -> i32 {
    let question = format!(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgmig_extras {kind}' AND pid <> {}",
        old.unwrap_or(0)
    );
    poll_until(BACK, &format!("the {kind}"), || {
        // The server may be going down just now.
        let Ok(mut client) = Session::try_open(cluster, "postgres", "template1") else {
            return Ok(None);
        };
        Ok(client.query_opt(&question, &[]).ok().flatten().map(|row| row.get(0)))
    })
}

pub fn watchers(cluster: &Cluster) -> i64 {
    session(cluster, "template1")
        .value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgmig_extras watcher'")
}

#[track_caller]
pub fn wait_for_watchers(cluster: &Cluster, count: i64) {
    poll_until(BACK, &format!("{count} watchers"), || {
        Ok((watchers(cluster) == count).then_some(()))
    });
}

pub fn signal(name: &str, pid: i32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

#[track_caller]
pub fn set(cluster: &Cluster, name: &str, value: &str) {
    let mut client = session(cluster, "template1");
    client.run(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    client.run("SELECT pg_reload_conf()");
}

/// Lines of the log that are errors.
pub fn errors(log: &str) -> Vec<&str> {
    let is_error =
        |line: &&str| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|level| line.contains(level));
    log.lines().filter(is_error).collect()
}

pub fn occurrences(cluster: &Cluster, text: &str) -> usize {
    cluster.log().matches(text).count()
}

#[track_caller]
pub fn wait_for_log(cluster: &Cluster, text: &str) {
    poll_until(DEADLINE, &format!("the log to say: {text}"), || {
        Ok(cluster.log().contains(text).then_some(()))
    });
}

/// Waits until the launcher has looked so many times.
#[track_caller]
pub fn wait_for_cycles(client: &mut Session, cycles: usize) {
    const LAST: &str = "SELECT (extract(epoch FROM last_cycle) * 10)::bigint
        FROM pgmig_extras.watcher_status WHERE kind = 'launcher'";
    let mut last: Option<i64> = None;
    let mut seen = 0;
    poll_until(DEADLINE, "the launcher to look", || {
        let now = client.query_opt(LAST, &[]).unwrap().and_then(|row| row.get(0));
        // The time is worked out from two clocks, and may differ by a tenth of a second.
        seen += usize::from(now > last.map(|last| last + 2));
        last = last.max(now);
        Ok((seen > cycles).then_some(()))
    });
}
