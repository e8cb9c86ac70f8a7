//! What the demo does, step by step. Every statement runs as it is shown; what is asked out of
//! sight only watches and checks.

use super::load::{self, Load};
use super::screen::Screen;
use super::server::{self, DATABASE, ORDINARY, SUPERUSER, Server};
use super::watch::{self, grouped, until};
use anyhow::{Context, Result, ensure};
use std::time::Instant;
use testbed::{PASSWORD, command, tls};

/// The publication, the subscription and its slot.
const MIGRATION: &str = "migration";

pub struct Story {
    pub screen: Screen,
    pub source: Server,
    pub target: Server,
}

type Step = fn(&Story) -> Result<()>;
const UNDER_LOAD: [Step; 5] =
    [Story::publish, Story::load_schema, Story::subscribe, Story::copy, Story::lag];
const AT_REST: [Step; 3] = [Story::catch_up, Story::compare, Story::clean_up];

impl Story {
    pub fn tell(&self, scale: u32) -> Result<()> {
        self.introduce();
        self.set_up()?;
        let load = self.start_load(scale)?;
        let began = Instant::now();
        let transactions = self.transactions()?;
        self.play(&UNDER_LOAD)?;
        self.stop_load(load)?;
        self.play(&AT_REST)?;
        let took = began.elapsed().as_secs_f64();
        let transactions = self.transactions()? - transactions;
        ensure!(transactions > 0, "nothing was written during the migration");
        self.screen.heading("Done");
        self.screen.note(&format!(
            "PostgreSQL {} to {} in {took:.1} s, while {} transactions were made.\n\
             All rows are equal, {} was no superuser at any step, nothing is left on either side.",
            self.source.version,
            self.target.version,
            grouped(transactions),
            ORDINARY.name,
        ));
        Ok(())
    }

    /// Makes sure after each step that the role is still what it was.
    fn play(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            step(self)?;
            self.check_role()?;
        }
        Ok(())
    }

    fn introduce(&self) {
        self.screen.heading("Two servers, TLS only, scram-sha-256");
        for server in [&self.source, &self.target] {
            let (name, version, port) = (server.name, &server.version, server.cluster.port());
            self.screen.note(&format!("{name}: PostgreSQL {version} at 127.0.0.1:{port}"));
        }
    }

    fn set_up(&self) -> Result<()> {
        self.screen.heading("Once, by a superuser of each");
        self.create_database(&self.source, "LOGIN REPLICATION")?;
        self.create_database(&self.target, "LOGIN")?;
        let ca = tls::ca_file()?;
        let folder = ca.parent().context("a file is in a folder")?.display().to_string();
        let statement = format!(
            "ALTER DATABASE {DATABASE} SET pgmig_extras.ssl_directory = '{}';",
            folder.replace('\'', "''")
        );
        self.target.session(SUPERUSER, DATABASE).show(&self.screen, &statement)?;
        Ok(())
    }

    fn create_database(&self, server: &Server, attributes: &str) -> Result<()> {
        let role = ORDINARY.name;
        let cluster = server.session(SUPERUSER, "postgres").set("password", PASSWORD);
        let database = server.session(SUPERUSER, DATABASE);
        let create_role = format!("CREATE ROLE {role} {attributes} PASSWORD :'password';");
        cluster.show(&self.screen, &create_role)?;
        cluster.show(&self.screen, &format!("CREATE DATABASE {DATABASE} OWNER {role};"))?;
        database.show(&self.screen, "CREATE EXTENSION pgmig_extras;")?;
        let grant = format!("SELECT pgmig_extras.grant_operator('{role}');");
        database.show(&self.screen, &grant)?;
        Ok(())
    }

    fn start_load(&self, scale: u32) -> Result<Load> {
        self.screen.heading("A live database on the source");
        self.screen.typed("$", &format!("{}{scale} {DATABASE}", load::FILL));
        load::fill(&self.source, scale)?;
        self.screen.typed("$", &format!("{} {DATABASE} &", load::RUN));
        let load = Load::start(&self.source)?;
        until("the first transactions", || Ok((self.transactions()? > 0).then_some(())))?;
        Ok(load)
    }

    /// pgbench writes a row of history in each.
    fn transactions(&self) -> Result<i64> {
        Ok(self.source.ordinary().ask("SELECT count(*) FROM pgbench_history")?.parse()?)
    }

    fn publish(&self) -> Result<()> {
        self.screen.heading(&format!("The migration, by {} alone", ORDINARY.name));
        let source = self.source.ordinary();
        source.show(
            &self.screen,
            "SELECT rolname, rolsuper, rolreplication FROM pg_roles WHERE rolname = current_user;",
        )?;
        source.show(
            &self.screen,
            &format!(
                "SELECT pgmig_extras.pg_create_publication_for_all_tables(\
                 '{MIGRATION}', 'insert,update,delete,truncate');"
            ),
        )?;
        source.show(&self.screen, "ALTER TABLE pgbench_history REPLICA IDENTITY FULL;")?;
        Ok(())
    }

    /// The extension is there already, and not the ordinary role's to comment on or to grant.
    fn load_schema(&self) -> Result<()> {
        const OPTIONS: &str =
            "--schema-only --no-owner --no-privileges --no-comments --no-publications";
        // Only 17 and later know it, and their pg_dump always sets it.
        const NEW_SETTING: &str = "SET transaction_timeout";
        let is_too_new = self.source.cluster.major() >= 17 && self.target.cluster.major() < 17;
        let filter =
            if is_too_new { format!("grep -v '^{NEW_SETTING}' | ") } else { String::new() };
        let pipeline = format!("pg_dump {OPTIONS} \"$SOURCE\" | {filter}psql --quiet \"$TARGET\"");
        self.screen.typed("$", &pipeline);
        let dump = command::output(self.source.pg_dump()?.args(OPTIONS.split_whitespace()))?;
        let schema: String = dump
            .split_inclusive('\n')
            .filter(|line| !is_too_new || !line.starts_with(NEW_SETTING))
            .collect();
        let mut psql = self.target.ordinary().psql()?;
        psql.args(["--quiet", "--output=/dev/null"]);
        let output = server::feed(psql, &schema)?;
        self.screen.answer(&String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "the target refused the schema");
        Ok(())
    }

    fn subscribe(&self) -> Result<()> {
        let target = self.target.ordinary().set("source", self.source.conninfo(PASSWORD)?);
        let without_quotes = self.source.conninfo("********")?.replace('\'', "");
        self.screen.typed(&target.prompt(), &format!("\\set source '{without_quotes}'"));
        target.show(
            &self.screen,
            &format!(
                "SELECT pgmig_extras.pg_create_subscription('{MIGRATION}', :'source', \
                 '{MIGRATION}', '{MIGRATION}', arg_slot_create => true);"
            ),
        )?;
        target.show(
            &self.screen,
            "SELECT subname, subowner::regrole, rolsuper \
             FROM pg_subscription JOIN pg_roles r ON r.oid = subowner;",
        )?;
        self.check_owner()
    }

    fn copy(&self) -> Result<()> {
        watch::copy(&self.screen, &self.source, &self.target)
    }

    /// What the watcher on the target knows, while the load goes on.
    fn lag(&self) -> Result<()> {
        self.screen.heading("How far behind the target is, under load");
        let target = self.target.ordinary();
        let looks = format!(
            "SELECT count(*) >= 5 FROM pgmig_extras.subscription_lag_history('{MIGRATION}') \
              WHERE state <> 'copying'"
        );
        until("five looks at the lag", || Ok((target.ask(&looks)? == "t").then_some(())))?;
        target.show(
            &self.screen,
            "SELECT state, lag, pending_bytes, reason FROM pgmig_extras.subscription_lag;",
        )?;
        let chart = format!(
            "SELECT * FROM pgmig_extras.subscription_lag_chart('{MIGRATION}', '20 seconds', 76);"
        );
        self.screen.typed(&target.prompt(), &format!("\\t \\\\ {chart}"));
        self.screen.lines(&target.ask(&chart)?);
        Ok(())
    }

    /// A backend whose client was killed may still be committing.
    fn stop_load(&self, load: Load) -> Result<()> {
        self.screen.heading("The application stops, the target catches up");
        self.screen.typed("$", "kill %1");
        load.stop()?;
        until("pgbench's sessions to end", || {
            const SESSIONS: &str =
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'";
            Ok((self.source.ordinary().ask(SESSIONS)? == "0").then_some(()))
        })
    }

    /// All that was written before the barrier is applied once the slot has confirmed it; without
    /// the message an idle source might give the target nothing to confirm.
    fn catch_up(&self) -> Result<()> {
        let started = Instant::now();
        let answer = self.source.ordinary().show(
            &self.screen,
            "SELECT pg_current_wal_flush_lsn() AS barrier, \
             pg_logical_emit_message(true, 'pgmig_extras', '') AS message;",
        )?;
        let row = answer.lines().nth(2).context("the answer has a title, a rule and a row")?;
        let barrier = row.split_whitespace().next().context("the row begins with the barrier")?;
        watch::barrier(&self.source, MIGRATION, barrier)?;
        let took = started.elapsed().as_secs_f64();
        self.screen.note(&format!("the target has applied all up to {barrier} after {took:.1} s"));
        Ok(())
    }

    fn compare(&self) -> Result<()> {
        self.screen.heading("Both sides have the same rows");
        let checksums = self.checksums()?;
        self.screen.typed("$", "cat checksums.sql");
        self.screen.answer(&checksums);
        let of = |server: &Server| {
            server.ordinary().show_as(&self.screen, "\\i checksums.sql", &checksums)
        };
        ensure!(of(&self.source)? == of(&self.target)?, "the rows of source and target differ");
        self.screen.note("equal");
        Ok(())
    }

    /// A sum over the rows does not depend on their order, and the hash function is the same in
    /// all majors: hash partitions depend on it.
    fn checksums(&self) -> Result<String> {
        const TABLES: &str = "SELECT relname FROM pg_class \
             WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname";
        let tables = self.source.ordinary().ask(TABLES)?;
        let queries: Vec<String> = tables
            .lines()
            .map(|name| {
                format!(
                    "SELECT '{name}' AS \"table\", count(*) AS rows, \
                     sum(hashtextextended(t::text, 0)) AS checksum FROM {name} t"
                )
            })
            .collect();
        ensure!(!queries.is_empty(), "the source has no tables");
        Ok(format!("{}\nORDER BY 1;", queries.join(" UNION ALL\n")))
    }

    fn clean_up(&self) -> Result<()> {
        self.check_owner()?;
        self.screen.heading("Cleaning up");
        let drop_subscription = format!("SELECT pgmig_extras.pg_drop_subscription('{MIGRATION}');");
        self.target.ordinary().show(&self.screen, &drop_subscription)?;
        let drop_publication = format!("SELECT pgmig_extras.drop_publication('{MIGRATION}');");
        self.source.ordinary().show(&self.screen, &drop_publication)?;
        self.show_nothing(
            &self.source,
            "SELECT slot_name AS left FROM pg_replication_slots \
             UNION ALL SELECT pubname FROM pg_publication;",
        )?;
        self.show_nothing(
            &self.target,
            "SELECT subname AS left FROM pg_subscription \
             UNION ALL SELECT roname FROM pg_replication_origin;",
        )
    }

    fn show_nothing(&self, server: &Server, statement: &str) -> Result<()> {
        let answer = server.ordinary().show(&self.screen, statement)?;
        ensure!(answer.contains("(0 rows)"), "something is left on the {}", server.name);
        Ok(())
    }

    fn check_owner(&self) -> Result<()> {
        let owner = self.target.ordinary().ask(&format!(
            "SELECT pg_get_userbyid(subowner) FROM pg_subscription WHERE subname = '{MIGRATION}'"
        ))?;
        ensure!(owner == ORDINARY.name, "the owner of the subscription is \"{owner}\"");
        Ok(())
    }

    fn check_role(&self) -> Result<()> {
        const IS_SUPERUSER: &str = "SELECT rolsuper FROM pg_roles WHERE rolname = session_user";
        for server in [&self.source, &self.target] {
            let answer = server.ordinary().ask(IS_SUPERUSER)?;
            ensure!(answer == "f", "{} is a superuser of the {}", ORDINARY.name, server.name);
        }
        Ok(())
    }
}
