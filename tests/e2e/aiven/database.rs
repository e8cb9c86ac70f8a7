//! What one test works on: a database on a source and on a target, with `aiven_extras` alone.

use std::sync::atomic::{AtomicU32, Ordering};

use postgres::error::Error;
use postgres::types::ToSql;
use testbed::{Cluster, PASSWORD, poll_until};

use crate::support::{DEADLINE, Session, quoted, secrets_in_log, source, target};

static NUMBER: AtomicU32 = AtomicU32::new(1);

pub struct Databases {
    pub source: &'static Cluster,
    pub target: &'static Cluster,
    pub name: String,
    /// How much had been logged before this test.
    logged: [u64; 2],
}

impl Databases {
    /// `app`, an ordinary role, owns both databases and may use the extension in both.
    pub fn new(source_major: u16, target_major: u16) -> Databases {
        let databases = Databases::empty(source_major, target_major);
        for mut superuser in databases.superusers() {
            superuser
                .run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO app");
        }
        databases
    }

    /// Without the extension.
    pub fn empty(source_major: u16, target_major: u16) -> Databases {
        let name = format!("aiven_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (source, target) = (source(source_major), target(target_major));
        let logged = [source.log_length(), target.log_length()];
        let databases = Databases { source, target, name, logged };
        for cluster in [databases.source, databases.target] {
            Session::open(cluster, "postgres", "postgres")
                .run(&format!("CREATE DATABASE {} OWNER app", quoted(&databases.name)));
        }
        databases
    }

    /// The same table on both ends, with rows on the source.
    pub fn with_rows(self, table: &str, rows: u32) -> Databases {
        let create = format!("CREATE TABLE {table} (id int PRIMARY KEY, note text)");
        let fill =
            format!("INSERT INTO {table} SELECT i, 'row ' || i FROM generate_series(1, {rows}) i");
        self.on_source("app").run(&format!("{create}; {fill}"));
        self.on_target("app").run(&create);
        self
    }

    pub fn on_source(&self, role: &str) -> Session {
        Session::open(self.source, role, &self.name)
    }

    pub fn on_target(&self, role: &str) -> Session {
        Session::open(self.target, role, &self.name)
    }

    fn superusers(&self) -> [Session; 2] {
        [self.on_source("postgres"), self.on_target("postgres")]
    }

    /// To the source, as `app`.
    pub fn conninfo(&self) -> String {
        self.source.conninfo("app", PASSWORD, &self.name)
    }

    /// Publishes all tables and subscribes to them, with a slot of the database's name.
    pub fn subscribe(&self, session: &mut Session) -> Result<(), Error> {
        call(
            &mut self.on_source("app"),
            "pg_create_publication_for_all_tables",
            &[&"everything", &"INSERT,UPDATE,DELETE,TRUNCATE"],
        )?;
        let conninfo = self.conninfo();
        call(
            session,
            "pg_create_subscription",
            &[&self.name, &conninfo, &"everything", &self.name, &true],
        )
    }

    #[track_caller]
    pub fn wait_until_copied(&self) {
        let mut superuser = self.on_target("postgres");
        poll_until(DEADLINE, "all tables to be copied", || {
            let ready: Option<bool> =
                superuser.value("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
            Ok((ready == Some(true)).then_some(()))
        });
    }

    #[track_caller]
    pub fn assert_equal(&self, table: &str) {
        let sum = format!("SELECT md5(string_agg(t::text, ';' ORDER BY id)) FROM {table} t");
        let sums: [Option<String>; 2] = self.superusers().map(|mut session| session.value(&sum));
        assert_eq!(sums[0], sums[1], "{table} is the same on both ends");
        assert!(sums[0].is_some(), "{table} has rows");
    }

    #[track_caller]
    pub fn assert_no_secret_logged(&self) {
        for (cluster, logged) in [self.source, self.target].into_iter().zip(self.logged) {
            assert_eq!(
                secrets_in_log(&cluster.log_since(logged)),
                [""; 0],
                "in the log of {cluster}"
            );
        }
    }

    /// The source's slots.
    pub fn slots(&self) -> Vec<String> {
        self.on_source("postgres").column(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()",
        )
    }

    fn remove(&self) -> Result<(), Error> {
        let mut target = Session::try_open(self.target, "postgres", &self.name)?;
        let subscriptions = "SELECT subname::text FROM pg_subscription s
            JOIN pg_database d ON d.oid = subdbid AND datname = current_database()";
        for row in target.query(subscriptions, &[])? {
            let name = quoted(row.get(0));
            for change in ["OWNER TO postgres", "DISABLE", "SET (slot_name = NONE)"] {
                target.batch_execute(&format!("ALTER SUBSCRIPTION {name} {change}"))?;
            }
            target.batch_execute(&format!("DROP SUBSCRIPTION {name}"))?;
        }
        drop(target);
        for cluster in [self.target, self.source] {
            let mut superuser = Session::try_open(cluster, "postgres", "postgres")?;
            // A walsender that is about to end still holds its slot.
            let drop_slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                WHERE database = $1 AND NOT active";
            superuser.execute(drop_slots, &[&self.name])?;
            superuser
                .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", quoted(&self.name)))?;
        }
        Ok(())
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("database {:?} is left: {error:?}", self.name);
        }
    }
}

/// Calls a function of `aiven_extras`.
pub fn call(
    session: &mut Session,
    function: &str,
    arguments: &[&(dyn ToSql + Sync)],
) -> Result<(), Error> {
    let places: Vec<_> = (1..=arguments.len()).map(|number| format!("${number}")).collect();
    let sql = format!("SELECT FROM aiven_extras.{function}({})", places.join(", "));
    session.query(&sql, arguments).map(drop)
}
