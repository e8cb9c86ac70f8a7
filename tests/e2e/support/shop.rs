//! A database on both ends that one ordinary role owns with all its tables, as in a migration by a
//! developer who is alone with it.

use std::sync::atomic::{AtomicU32, Ordering};

use postgres::Error;
use testbed::{Cluster, PASSWORD};

use super::Session;

/// On the target `app` is an operator. Both ends have an empty table `a`, the source a row in it and a
/// publication `move` of all tables.
pub struct Shop {
    pub source: &'static Cluster,
    pub target: &'static Cluster,
    pub name: String,
}

impl Shop {
    pub fn on(source: &'static Cluster, target: &'static Cluster) -> Shop {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let shop = Shop { source, target, name };
        for cluster in [source, target] {
            Session::open(cluster, "postgres", "postgres")
                .run(&format!("CREATE DATABASE {} OWNER app", shop.name));
            Session::open(cluster, "postgres", &shop.name).run(
                "CREATE EXTENSION pgmig_extras; SELECT pgmig_extras.grant_operator('app');
                 GRANT CREATE ON SCHEMA public TO app",
            );
            Session::open(cluster, "app", &shop.name).run("CREATE TABLE a (id int PRIMARY KEY)");
        }
        shop.at_source().run("INSERT INTO a VALUES (1)");
        shop.publish();
        shop
    }

    pub fn at_source(&self) -> Session {
        Session::open(self.source, "app", &self.name)
    }

    pub fn at_target(&self) -> Session {
        Session::open(self.target, "app", &self.name)
    }

    pub fn superusers(&self) -> [Session; 2] {
        [self.source, self.target].map(|it| Session::open(it, "postgres", &self.name))
    }

    /// The same on both ends, as `app`.
    pub fn on_both(&self, sql: &str) {
        self.at_source().run(sql);
        self.at_target().run(sql);
    }

    pub fn publish(&self) {
        self.at_source().run(
            "SELECT pgmig_extras.pg_create_publication_for_all_tables('move', 'insert,update,delete,truncate')",
        );
    }

    pub fn conninfo(&self) -> String {
        self.source.conninfo("app", PASSWORD, &self.name)
    }

    pub fn slot(&self) -> String {
        format!("{}_slot", self.name)
    }

    /// A subscription called `s` to publication `move`.
    pub fn subscribe(&self, client: &mut Session) -> Result<(), Error> {
        self.subscribe_to(client, &self.conninfo())
    }

    pub fn subscribe_to(&self, client: &mut Session, conninfo: &str) -> Result<(), Error> {
        client
            .call("pg_create_subscription", &[&"s", &conninfo, &"move", &self.slot(), &true])
            .map(drop)
    }

    #[track_caller]
    pub fn wait_for_rows(&self, table: &str, rows: &str) {
        self.target.wait_for(
            &self.name,
            &format!(
                "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') = '{rows}' FROM {table}"
            ),
        );
    }

    pub fn wait_for_slot(&self, condition: &str) {
        self.source.wait_for(
            &self.name,
            &format!(
                "SELECT {condition} FROM pg_replication_slots WHERE slot_name = '{}'",
                self.slot()
            ),
        );
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let [_, mut target] = self.superusers();
        const THERE: &str =
            "SELECT 1 FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                              WHERE d.datname = current_database() AND subname = 's'";
        if target.column::<i32>(THERE).is_empty() {
            return;
        }
        target.call("pg_drop_subscription", &[&"s", &false]).unwrap();
        self.wait_for_slot("NOT active");
        self.at_source().run(&format!("SELECT pg_drop_replication_slot('{}')", self.slot()));
    }
}
