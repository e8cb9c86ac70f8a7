//! A client session that keeps its notices, calls the extension's functions by name, and checks
//! every error for secrets.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::thread;

use postgres::error::{DbError, SqlState};
use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, Config, Error, NoTls, Row};
use testbed::{Cluster, PASSWORD};

use super::assert_no_secret;

pub struct Session {
    client: Client,
    notices: Arc<Mutex<Vec<DbError>>>,
}

impl Session {
    #[track_caller]
    pub fn open(cluster: &Cluster, user: &str, database: &str) -> Session {
        Session::try_open(cluster, user, database)
            .unwrap_or_else(|error| panic!("{user} cannot connect to {database}: {error:?}"))
    }

    pub fn try_open(cluster: &Cluster, user: &str, database: &str) -> Result<Session, Error> {
        let mut config = Config::new();
        config.user(user).dbname(database).password(PASSWORD).port(cluster.port());
        // Nothing that a test waits for takes so long: one that hangs is to fail by itself.
        config.options("-c statement_timeout=60s");
        if user == "postgres" {
            config.host_path(cluster.socket_dir());
        } else {
            config.host("127.0.0.1");
        }
        Session::connect(config)
    }

    pub fn connect(mut config: Config) -> Result<Session, Error> {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let kept = notices.clone();
        config.notice_callback(move |notice| kept.lock().unwrap().push(notice));
        Ok(Session { client: config.connect(NoTls)?, notices })
    }

    /// Calls a function of the extension.
    pub fn call(
        &mut self,
        function: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let places: Vec<_> = (1..=arguments.len()).map(|number| format!("${number}")).collect();
        let sql = format!("SELECT * FROM pgmig_extras.{function}({})", places.join(", "));
        self.query(&sql, arguments)
    }

    pub fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let result = self.client.query(sql, values);
        self.after(result)
    }

    pub fn batch_execute(&mut self, sql: &str) -> Result<(), Error> {
        let result = self.client.batch_execute(sql);
        self.after(result)
    }

    /// The server sends an error before it rolls back, and its next answer after it.
    fn after<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            let _ = self.client.simple_query("");
        }
        result
    }

    /// The only value of the only row.
    #[track_caller]
    pub fn value<T: FromSqlOwned>(&mut self, sql: &str) -> T {
        let row =
            self.client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get(0)
    }

    /// The first column of every row.
    #[track_caller]
    pub fn column<T: FromSqlOwned>(&mut self, sql: &str) -> Vec<T> {
        let rows = self.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Statements without parameters, in one simple query.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        self.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub fn pid(&mut self) -> i32 {
        self.value("SELECT pg_backend_pid()")
    }

    /// Notices and warnings since the last time.
    #[track_caller]
    pub fn notices(&mut self) -> Vec<DbError> {
        let notices = std::mem::take(&mut *self.notices.lock().unwrap());
        notices.iter().for_each(assert_no_secret);
        notices
    }

    /// Whether the server still answers on this connection.
    pub fn is_alive(&mut self) -> bool {
        self.client.simple_query("").is_ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.notices();
        }
    }
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// What a test says of a call that must fail.
pub trait Refused {
    /// The server's error, which has this SQLSTATE and no secret in it.
    #[track_caller]
    fn refused(self, code: SqlState) -> DbError;
}

impl<T> Refused for Result<T, Error> {
    #[track_caller]
    fn refused(self, code: SqlState) -> DbError {
        let Err(error) = self else { panic!("succeeded, expected {}", code.code()) };
        let Some(report) = error.as_db_error() else {
            panic!("no answer of the server: {error:?}")
        };
        assert_eq!(report.code(), &code, "{report:?}");
        assert_no_secret(report);
        report.clone()
    }
}
