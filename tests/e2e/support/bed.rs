//! What one test works on: a database of its own on a source and on a target, with the extension,
//! a few tables and a publication, and names that nobody would write without quotes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use postgres::error::Error;
use postgres::types::FromSqlOwned;
use testbed::{Cluster, PASSWORD, poll_until, poll_value};

use super::{DEADLINE, Session, secrets_in_log, servers};

static NUMBER: AtomicU32 = AtomicU32::new(1);

const TABLES: &str = r#"
    CREATE EXTENSION pgmig_extras;
    CREATE SCHEMA "Shop" AUTHORIZATION shop;
    SET ROLE shop;
    CREATE TABLE "Shop"."Orders" (id int PRIMARY KEY, note text);
    CREATE TABLE "Shop"."Order Lines" (id bigint PRIMARY KEY, "Größe" numeric);
    CREATE TABLE "Shop"."New One" (id int PRIMARY KEY);
    RESET ROLE;
    CREATE SCHEMA vault;
    GRANT USAGE ON SCHEMA vault TO PUBLIC;
    CREATE TABLE vault.secrets (id int PRIMARY KEY, note text);"#;

const SLOTS: &str =
    "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()";

const SUBSCRIPTIONS: &str = "
    SELECT subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
    WHERE datname = current_database() ORDER BY 1";

pub struct Bed {
    pub source: &'static Cluster,
    pub target: &'static Cluster,
    pub database: String,
    number: u32,
    /// How much had been logged before this test.
    logged: [u64; 2],
}

impl Bed {
    /// A whole test: it must leave nothing behind but subscriptions that its operator can drop.
    pub fn run(source: u16, target: u16, test: &str, body: fn(&Bed)) {
        let bed = Bed::new(source, target, test);
        body(&bed);
        bed.drop_subscriptions();
        bed.assert_nothing_left();
        bed.assert_no_secret_logged();
    }

    pub fn new(source: u16, target: u16, test: &str) -> Bed {
        Bed::on(servers::source(source), servers::target(target), test)
    }

    pub fn on(source: &'static Cluster, target: &'static Cluster, test: &str) -> Bed {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut database = format!("Größe \"{number}\" {test}");
        database.truncate(database.floor_char_boundary(63));
        let logged = [source.log_length(), target.log_length()];
        let bed = Bed { source, target, database, number, logged };
        bed.create_databases();
        bed
    }

    fn create_databases(&self) {
        let name = quoted(&self.database);
        let create = |cluster, owner| {
            let mut superuser = Session::open(cluster, "postgres", "postgres");
            superuser.run(&format!("CREATE DATABASE {name} OWNER {owner}"));
            let mut superuser = Session::open(cluster, "postgres", &self.database);
            superuser.run(TABLES);
            superuser
        };
        create(self.source, "app").run(
            r#"ALTER TABLE vault.secrets OWNER TO shop;
               ALTER SCHEMA vault OWNER TO shop;
               INSERT INTO "Shop"."Orders" SELECT i, 'order ' || i FROM generate_series(1, 100) i;
               INSERT INTO "Shop"."Order Lines" SELECT i, i / 7.0 FROM generate_series(1, 100) i;
               INSERT INTO vault.secrets VALUES (666, 'planted')"#,
        );
        self.app().run(&format!(
            r#"CREATE PUBLICATION {} FOR TABLE "Shop"."Orders", "Shop"."Order Lines""#,
            quoted(&self.publication())
        ));
        create(self.target, "postgres").run(
            r#"ALTER TABLE vault.secrets OWNER TO victim;
               INSERT INTO vault.secrets VALUES (1, 'treasure');
               SELECT pgmig_extras.grant_operator('operator');
               SELECT pgmig_extras.grant_operator('rival')"#,
        );
    }

    pub fn publication(&self) -> String {
        format!("Pub \"{}\" ä", self.number)
    }

    pub fn subscription(&self) -> String {
        format!("Sub \"{}\" ö", self.number)
    }

    pub fn slot(&self) -> String {
        format!("slot_{}", self.number)
    }

    /// The owner of the source's database and tables.
    pub fn app(&self) -> Session {
        Session::open(self.source, "app", &self.database)
    }

    /// The role that migrates: no superuser, a member of the owner of the target's tables.
    pub fn operator(&self) -> Session {
        self.as_role("operator")
    }

    pub fn as_role(&self, role: &str) -> Session {
        Session::open(self.target, role, &self.database)
    }

    pub fn superuser(&self) -> Session {
        self.as_role("postgres")
    }

    /// To this test's source, as `app`.
    pub fn conninfo(&self) -> String {
        self.source.conninfo("app", PASSWORD, &self.database)
    }

    /// Creates this test's subscription, with a slot and the initial copy.
    pub fn subscribe(&self, session: &mut Session) -> Result<(), Error> {
        self.subscribe_as(session, &self.subscription(), &self.slot(), true)
    }

    pub fn subscribe_as(
        &self,
        session: &mut Session,
        subscription: &str,
        slot: &str,
        copy: bool,
    ) -> Result<(), Error> {
        let (conninfo, publication) = (self.conninfo(), self.publication());
        session
            .call(
                "pg_create_subscription",
                &[&subscription, &conninfo, &publication, &slot, &true, &copy],
            )
            .map(drop)
    }

    /// A subscription that is up to date.
    pub fn subscribed(&self) -> Session {
        let mut operator = self.operator();
        self.subscribe(&mut operator).expect("an operator subscribes");
        self.wait_until_equal();
        operator
    }

    /// Waits until the initial copy is over and both sides have the same rows.
    #[track_caller]
    pub fn wait_until_equal(&self) {
        const READY: &str = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'";
        let (mut app, mut target) = (self.app(), self.superuser());
        poll_until(DEADLINE, "the target to have what the source has", || {
            let ready: i64 = target.value(READY);
            Ok((ready == 0 && contents(&mut app) == contents(&mut target)).then_some(()))
        });
    }

    /// Polls the target until a question's answer is true.
    #[track_caller]
    pub fn wait_for(&self, sql: &str) {
        let mut superuser = self.superuser();
        poll_until(DEADLINE, sql, || Ok(superuser.value::<bool>(sql).then_some(())));
    }

    /// Slots of this test's source database, but for those of core's table sync.
    pub fn slots(&self) -> Vec<String> {
        self.of_source(&format!("{SLOTS} AND slot_name NOT LIKE 'pg\\_%\\_sync\\_%'"))
    }

    /// Waits until these are all: temporary ones end with their connection, a moment after a commit.
    #[track_caller]
    pub fn assert_slots(&self, expected: &[&str]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let look = || {
            let mut slots = self.slots();
            slots.sort_unstable();
            slots
        };
        poll_value(DEADLINE, &format!("the slots {expected:?}"), look, |slots| *slots == expected);
    }

    pub fn subscriptions(&self) -> Vec<String> {
        self.superuser().column(SUBSCRIPTIONS)
    }

    /// A column of what the extension lists of this test's subscriptions.
    pub fn listed<T: FromSqlOwned>(&self, session: &mut Session, column: &str) -> Vec<T> {
        session.column(&format!(
            "SELECT {column} FROM pgmig_extras.pg_list_all_subscriptions()
             JOIN pg_database d ON d.oid = subdbid AND datname = current_database()"
        ))
    }

    fn of_source(&self, sql: &str) -> Vec<String> {
        Session::open(self.source, "postgres", &self.database).column(sql)
    }

    fn drop_subscriptions(&self) {
        let mut operator = self.operator();
        for subscription in self.subscriptions() {
            operator.call("pg_drop_subscription", &[&subscription]).expect("the operator drops");
        }
    }

    /// No slot, no connection of ours, no subscription, no table of one and no origin.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        poll_value(DEADLINE, "nothing to be left behind", || self.left(), Vec::is_empty);
    }

    fn left(&self) -> Vec<String> {
        const CONNECTIONS: &str = "
            SELECT format('%s %L', backend_type, application_name) FROM pg_stat_activity
            WHERE datname = current_database()
              AND (application_name LIKE 'pgmig_extras%' OR backend_type = 'walsender')";
        const ORIGINS: &str = "
            SELECT roname FROM pg_replication_origin
            WHERE NOT EXISTS (SELECT FROM pg_subscription s
                              WHERE roname = 'pg_' || s.oid OR roname LIKE 'pg\\_' || s.oid || '\\_%')";
        let mut superuser = self.superuser();
        let mut left = self.of_source(SLOTS);
        left.extend(self.of_source(CONNECTIONS));
        left.extend(self.subscriptions());
        left.extend(superuser.column::<String>(CONNECTIONS));
        left.extend(superuser.column::<String>(ORIGINS));
        left.extend(superuser.column("SELECT srrelid::regclass::text FROM pg_subscription_rel"));
        left
    }

    #[track_caller]
    pub fn assert_no_secret_logged(&self) {
        for (cluster, logged) in [self.source, self.target].into_iter().zip(self.logged) {
            let log = cluster.log_since(logged);
            assert_eq!(secrets_in_log(&log), [""; 0], "in the log of {cluster}");
        }
    }

    /// What this test's part of the logs says.
    fn show_logs(&self) {
        for (cluster, logged) in [self.source, self.target].into_iter().zip(self.logged) {
            let log = cluster.log_since(logged);
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- log of {cluster} ---\n{}", last.join("\n"));
        }
    }

    /// Also after a test that failed: its databases and workers must not be in the way of others.
    fn remove(&self) -> Result<(), Error> {
        let mut target = Session::try_open(self.target, "postgres", &self.database)?;
        for row in target.query(SUBSCRIPTIONS, &[])? {
            let name = quoted(row.get(0));
            target.batch_execute(&format!("ALTER SUBSCRIPTION {name} OWNER TO postgres"))?;
            target.batch_execute(&format!("ALTER SUBSCRIPTION {name} DISABLE"))?;
            target.batch_execute(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"))?;
            target.batch_execute(&format!("DROP SUBSCRIPTION {name}"))?;
        }
        drop(target);
        for cluster in [self.target, self.source] {
            let mut superuser = Session::try_open(cluster, "postgres", "postgres")?;
            superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
                &[&self.database],
            )?;
            let drop = format!("DROP DATABASE {} WITH (FORCE)", quoted(&self.database));
            // A walsender that is about to end still holds its slot, and that the database.
            let mut tries = 0..100;
            while let Err(error) = superuser.batch_execute(&drop) {
                tries.next().ok_or(error)?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
        if let Err(error) = self.remove() {
            eprintln!("database {:?} is left: {error:?}", self.database);
        }
    }
}

fn contents(session: &mut Session) -> Vec<String> {
    const TABLES: [&str; 3] =
        [r#""Shop"."Orders""#, r#""Shop"."Order Lines""#, r#""Shop"."New One""#];
    let sum = |table| {
        format!(
            "SELECT coalesce(md5(string_agg(t::text, ';' ORDER BY t::text)), '') FROM {table} t"
        )
    };
    TABLES.into_iter().map(|table| session.value(&sum(table))).collect()
}

/// A name as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
