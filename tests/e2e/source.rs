//! What a test of one server works on: a database of its own with the extension and tables of two
//! owners. `operator` owns some and may run what changes something, and so may `rival`, who owns
//! nothing; `victim` owns the vault; `stranger` is no operator.

use std::sync::atomic::{AtomicU32, Ordering};

use postgres::types::ToSql;
use testbed::{Cluster, PASSWORD};

use crate::support::{self, Session, quoted};

static NUMBER: AtomicU32 = AtomicU32::new(1);

const TABLES: &str = r#"
    CREATE EXTENSION pgmig_extras;
    SELECT pgmig_extras.grant_operator('operator');
    SELECT pgmig_extras.grant_operator('rival');
    CREATE SCHEMA "Shop" AUTHORIZATION operator;
    CREATE SCHEMA vault AUTHORIZATION victim;
    GRANT USAGE ON SCHEMA vault TO PUBLIC;
    SET ROLE victim;
    CREATE TABLE vault.secrets (id int PRIMARY KEY);
    SET ROLE operator;
    CREATE TABLE "Shop"."Orders" (id int PRIMARY KEY, note text);
    CREATE TABLE "Shop"."ta .'ble0" (id int PRIMARY KEY);
    CREATE TABLE "Shop".events (note text);"#;

pub struct Source {
    pub cluster: &'static Cluster,
    pub database: String,
}

impl Source {
    pub fn new(major: u16, test: &str) -> Source {
        Source::on(support::source(major), test)
    }

    /// A test on the shared server of a major.
    pub fn run(major: u16, test: &str, body: fn(&Source)) {
        body(&Source::new(major, test));
    }

    pub fn on(cluster: &'static Cluster, test: &str) -> Source {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut database = format!("{number} {test}");
        database.truncate(database.floor_char_boundary(63));
        let create = format!("CREATE DATABASE {}", quoted(&database));
        Session::open(cluster, "postgres", "postgres").run(&create);
        let source = Source { cluster, database };
        source.superuser().run(TABLES);
        source
    }

    pub fn major(&self) -> u16 {
        self.cluster.major()
    }

    pub fn superuser(&self) -> Session {
        self.session("postgres")
    }

    pub fn operator(&self) -> Session {
        self.session("operator")
    }

    pub fn session(&self, role: &str) -> Session {
        Session::open(self.cluster, role, &self.database)
    }

    /// A role that can log in, of this test alone: its name is made unique.
    pub fn create_role(&self, name: &str, attributes: &str) -> String {
        let name = format!("{name} {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.superuser().run(&format!(
            "SET log_min_duration_statement = -1;
             SET auto_explain.log_min_duration = -1;
             CREATE ROLE {} LOGIN PASSWORD '{PASSWORD}' {attributes}",
            quoted(&name)
        ));
        name
    }

    /// The tables that a publication was given, in order.
    pub fn tables_of(&self, publication: &str) -> Vec<String> {
        const TABLES: &str = "
            SELECT format('%I.%I', n.nspname, c.relname)
            FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
            JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE p.pubname = $1 ORDER BY 1";
        self.strings(TABLES, &[&publication])
    }

    pub fn owner_of(&self, publication: &str) -> Option<String> {
        const OWNER: &str =
            "SELECT pg_get_userbyid(pubowner)::text FROM pg_publication WHERE pubname = $1";
        self.strings(OWNER, &[&publication]).pop()
    }

    pub fn publications(&self) -> Vec<String> {
        self.strings("SELECT pubname::text FROM pg_publication ORDER BY 1", &[])
    }

    fn strings(&self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> Vec<String> {
        let rows = self.superuser().query(sql, arguments).expect("a superuser may ask");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", quoted(&self.database));
        let mut superuser = Session::open(self.cluster, "postgres", "postgres");
        if let Err(error) = superuser.batch_execute(&drop) {
            eprintln!("database {:?} is left: {error:?}", self.database);
        }
    }
}
