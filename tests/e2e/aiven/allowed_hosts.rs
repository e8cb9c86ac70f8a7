//! `pgmig_extras.allowed_hosts` with ranges of addresses and directories with what is below them.

use postgres::error::SqlState;
use testbed::PASSWORD;

use super::database::call;
use crate::support::{Refused, Session, start_with};

#[test]
fn ranges_and_directories_bound_where_connections_go() {
    for major in [13, 15, 18] {
        let server =
            start_with(major, |builder| builder.hba("local all,replication app scram-sha-256"));
        let mut superuser = Session::open(&server, "postgres", "postgres");
        superuser.run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO app");
        let socket = server.socket_dir().display().to_string();
        let (parent, _) = socket.rsplit_once('/').unwrap();
        let list = format!("127.0.0.0/30, fd00::/8, {parent}/");
        superuser.run(&format!("ALTER SYSTEM SET pgmig_extras.allowed_hosts = '{list}'"));
        superuser.run("SELECT pg_reload_conf()");
        let mut app = Session::open(&server, "app", "postgres");
        let mut slot = |host: &str, action: &str| {
            let conninfo = server.conninfo("app", PASSWORD, "postgres");
            let conninfo = conninfo.replace("host=127.0.0.1", &format!("host={host}"));
            assert!(conninfo.contains(host));
            call(&mut app, "dblink_slot_create_or_drop", &[&conninfo, &"ranged", &action])
        };
        for host in ["127.0.0.1", "localhost hostaddr=127.0.0.1", &socket] {
            slot(host, "create").unwrap_or_else(|error| panic!("{host} on {major}: {error:?}"));
            slot(host, "drop").unwrap();
        }
        for host in [
            "localhost",
            "127.1",
            "127.0.0.5",
            "::1",
            "localhost hostaddr=127.0.0.9",
            "/var/run/postgresql",
            &format!("{parent}/../var/run/postgresql"),
            parent
                .rsplit_once('/')
                .map_or("/", |(above, _)| if above.is_empty() { "/" } else { above }),
        ] {
            let refusal = slot(host, "create").refused(SqlState::INSUFFICIENT_PRIVILEGE);
            assert!(refusal.message().starts_with("a connection to"), "{host}: {refusal:?}");
            assert!(refusal.hint().unwrap().contains("ranges of addresses"), "{refusal:?}");
        }
    }
}
