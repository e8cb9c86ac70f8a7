//! Connections to the publisher, and how they fail.

use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until, tls};

use crate::support::{Bed, DEADLINE, Refused, Session, matrix, quoted};

matrix! {
    Bed::run, every pair {
        the_connection_can_be_changed,
        every_failed_connection_gives_the_same_answer,
        a_publisher_that_trusts_is_refused,
        the_publisher_can_be_verified_by_its_certificate,
    }
}

fn the_connection_can_be_changed(bed: &Bed) {
    let mut operator = bed.subscribed();
    let name = bed.subscription();
    let conninfo = format!("{} application_name=moved", bed.conninfo());
    operator.call("pg_alter_subscription_connection", &[&name, &conninfo]).unwrap();
    let mut source = Session::open(bed.source, "postgres", &bed.database);
    poll_until(DEADLINE, "the apply worker to come back under its new name", || {
        let moved: i64 = source
            .value("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'moved'");
        Ok((moved > 0).then_some(()))
    });
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'after the move')"#);
    bed.wait_until_equal();

    // A place without the slot is allowed, with a warning; a place that does not answer is not.
    operator.notices();
    let elsewhere = bed.source.conninfo("app", PASSWORD, "postgres");
    let wrong = bed.source.conninfo("app", "wrong", &bed.database);
    operator
        .call("pg_alter_subscription_connection", &[&name, &wrong])
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    let shown: Vec<String> = bed.listed(&mut operator, "subconninfo");
    assert!(shown[0].contains("moved"), "{shown:?}");
    // Slots are the cluster's, so the other database sees it too.
    operator.call("pg_alter_subscription_connection", &[&name, &elsewhere]).unwrap();
    operator.call("pg_alter_subscription_connection", &[&name, &conninfo]).unwrap();
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1002, 'and back')"#);
    bed.wait_until_equal();
}

fn every_failed_connection_gives_the_same_answer(bed: &Bed) {
    let mut operator = bed.operator();
    let port = testbed_free_port();
    let broken = [
        bed.source.conninfo("app", "wrong password", &bed.database),
        bed.source.conninfo("app", PASSWORD, "no such database"),
        bed.source.conninfo("nobody at all", PASSWORD, &bed.database),
        bed.source.conninfo("stranger", PASSWORD, &bed.database),
        format!("{} sslmode=require sslnegotiation=bad", bed.conninfo()),
        format!("host=127.0.0.1 port={port} user=app dbname=x password='{PASSWORD}'"),
        format!("host=no-such-host.invalid user=app dbname=x password='{PASSWORD}'"),
    ];
    let known = |conninfo: &&String| !conninfo.contains("sslnegotiation");
    let mut answers = Vec::new();
    for conninfo in broken.iter().filter(known) {
        let report = operator
            .call(
                "pg_create_subscription",
                &[&bed.subscription(), conninfo, &"p", &bed.slot(), &true],
            )
            .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
        answers.push((
            report.message().to_owned(),
            report.detail().map(str::to_owned),
            report.hint().map(str::to_owned),
        ));
        operator
            .call("create_replication_slot", &[conninfo, &bed.slot()])
            .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    }
    assert_eq!(answers[0].0, "could not connect to the publisher");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    bed.assert_nothing_left();
}

/// A port where nobody listens.
fn testbed_free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn a_publisher_that_trusts_is_refused(bed: &Bed) {
    let conninfo = bed.source.conninfo("trusted", PASSWORD, &bed.database);
    let mut operator = bed.operator();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    let mut calls = vec![
        operator.call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true]),
        operator.call("create_replication_slot", &[&conninfo, &slot]),
        operator.call("drop_replication_slot", &[&conninfo, &slot]),
    ];
    bed.subscribe(&mut operator).unwrap();
    calls.push(operator.call("pg_alter_subscription_connection", &[&name, &conninfo]));
    for (number, call) in calls.into_iter().enumerate() {
        let Err(error) = call else { panic!("call {number} succeeded") };
        // From 16 on libpq itself refuses a server that does not ask.
        let code = error.code().expect("an answer of the server").clone();
        let refusals = [
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
        ];
        assert!(refusals.contains(&code), "call {number}: {error:?}");
    }
    bed.assert_slots(&[&slot]);
}

fn the_publisher_can_be_verified_by_its_certificate(bed: &Bed) {
    let conninfo = bed.source.tls_conninfo("app", PASSWORD, &bed.database).unwrap();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    let create = |session: &mut Session| {
        session.call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true])
    };
    create(&mut bed.operator()).refused(SqlState::INSUFFICIENT_PRIVILEGE);
    let authority = tls::ca_file().unwrap();
    let directory = authority.parent().unwrap().display();
    bed.superuser().run(&format!(
        "ALTER ROLE operator IN DATABASE {} SET pgmig_extras.ssl_directory = '{directory}'",
        quoted(&bed.database)
    ));
    create(&mut bed.operator()).expect("a certificate in the directory that is named");
    bed.wait_until_equal();
    let mut source = Session::open(bed.source, "postgres", &bed.database);
    let encrypted: Vec<bool> = source.column(
        "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE backend_type = 'walsender' AND datname = current_database()",
    );
    assert_eq!(encrypted, [true]);
}
