//! A publisher that sends without end, breaks the protocol, or has the login compute for hours: a call
//! ends by itself or when it is told to, takes little memory, and leaves no threads behind.

use std::fs;
use std::time::{Duration, Instant};

use postgres::Error;
use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use crate::hostile::{ANY_QUERY, Behaviour, Hostile, Moment};
use crate::support::{Bed, DEADLINE, Refused, Session, matrix, peak_memory};

matrix! { Bed::run, every pair {
    a_copy_response_is_a_lost_connection,
    a_copy_response_before_the_commit_rolls_everything_back,
    a_copy_response_after_the_commit_is_a_warning,
    whatever_is_sent_without_end_is_left_in_time_and_takes_little_memory,
    scram_that_computes_for_hours_can_be_canceled,
    a_login_that_does_not_end_keeps_its_session_from_another,
    calls_that_are_cut_off_leave_no_threads,
} }

/// CopyInResponse, CopyOutResponse and CopyBothResponse of text without columns.
const COPY: [Behaviour; 3] = [
    Behaviour::Message(b'G', &[0, 0, 0]),
    Behaviour::Message(b'H', &[0, 0, 0]),
    Behaviour::Message(b'W', &[0, 0, 0]),
];

fn publisher(bed: &Bed) -> Hostile {
    Hostile::start(bed.source.major(), &[("Shop", "Orders")])
}

fn create_slot(bed: &Bed, session: &mut Session, publisher: &Hostile) -> Result<(), Error> {
    let arguments: [&(dyn postgres::types::ToSql + Sync); 2] =
        [&publisher.conninfo(PASSWORD), &bed.slot()];
    session.call("create_replication_slot", &arguments).map(drop)
}

#[track_caller]
fn within<T>(limit: Duration, what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    assert!(start.elapsed() < limit, "{what} took {:?}", start.elapsed());
    value
}

fn a_copy_response_is_a_lost_connection(bed: &Bed) {
    let publisher = publisher(bed);
    let mut operator = bed.operator();
    for what in COPY {
        publisher.misbehaves(ANY_QUERY, what.clone());
        let result = within(Duration::from_secs(2), &format!("{what:?}"), || {
            create_slot(bed, &mut operator, &publisher)
        });
        result.refused(SqlState::CONNECTION_FAILURE);
        publisher.wait_until_left_alone();
    }
    assert!(operator.is_alive());
}

fn a_copy_response_before_the_commit_rolls_everything_back(bed: &Bed) {
    let publisher = publisher(bed);
    let mut operator = bed.operator();
    for what in COPY {
        publisher.misbehaves(Moment::Query("pg_copy_logical_replication_slot"), what.clone());
        operator.run("BEGIN");
        create_slot(bed, &mut operator, &publisher).unwrap();
        let result = within(Duration::from_secs(2), &format!("{what:?}"), || {
            operator.batch_execute("COMMIT")
        });
        result.refused(SqlState::CONNECTION_FAILURE);
        publisher.wait_until_left_alone();
        assert_eq!(publisher.slots(), [""; 0]);
        operator.notices();
    }
}

fn a_copy_response_after_the_commit_is_a_warning(bed: &Bed) {
    let publisher = publisher(bed);
    let mut operator = bed.operator();
    for what in COPY {
        publisher.behaves();
        create_slot(bed, &mut operator, &publisher).unwrap();
        publisher.misbehaves(Moment::Query("DROP_REPLICATION_SLOT"), what.clone());
        within(Duration::from_secs(2), &format!("{what:?}"), || {
            operator
                .call("drop_replication_slot", &[&publisher.conninfo(PASSWORD), &bed.slot()])
                .unwrap();
        });
        let warnings = operator.notices();
        assert!(warnings.iter().any(|w| w.message().contains("may be left")), "{warnings:?}");
        publisher.wait_until_left_alone();
        publisher.behaves();
        operator
            .call("drop_replication_slot", &[&publisher.conninfo(PASSWORD), &bed.slot()])
            .unwrap();
    }
}

fn whatever_is_sent_without_end_is_left_in_time_and_takes_little_memory(bed: &Bed) {
    let publisher = publisher(bed);
    let messages =
        [b'D', b'E', b'N', b'T', b'A', b'S', b'C', b'R', b'v'].map(Behaviour::LongMessage);
    let others = [Behaviour::Parameters, Behaviour::Notices, Behaviour::WideRows, Behaviour::Flood];
    let floods = messages.into_iter().chain(others);
    for (what, when) in floods.flat_map(|what| {
        [Moment::Startup, Moment::Login, ANY_QUERY].map(|when| (what.clone(), when))
    }) {
        let case = format!("{what:?} at {when:?}");
        let mut operator = bed.operator();
        operator.run("SET statement_timeout = '2s'");
        let pid = operator.pid();
        let before = peak_memory(pid);
        publisher.misbehaves(when, what);
        let error = within(Duration::from_secs(3), &case, || {
            create_slot(bed, &mut operator, &publisher).expect_err(&case)
        });
        assert!(error.as_db_error().is_some(), "{case}: {error:?}");
        assert!(operator.is_alive(), "{case}");
        let grown = peak_memory(pid) - before;
        assert!(grown < 200, "{case}: {grown} MB more");
        publisher.wait_until_left_alone();
    }
}

const HOURS: Behaviour = Behaviour::Scram(i32::MAX as u32);

fn scram_that_computes_for_hours_can_be_canceled(bed: &Bed) {
    let publisher = publisher(bed);
    publisher.misbehaves(Moment::Startup, HOURS);
    let mut operator = bed.operator();
    operator.run("SET statement_timeout = '500ms'");
    within(Duration::from_millis(1500), "a canceled login", || {
        create_slot(bed, &mut operator, &publisher).refused(SqlState::QUERY_CANCELED);
    });
    let pid = operator.pid();
    let mut superuser = bed.superuser();
    superuser.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
    poll_until(Duration::from_secs(1), "the session to end", || {
        Ok((!fs::exists(format!("/proc/{pid}"))?).then_some(()))
    });
}

fn a_login_that_does_not_end_keeps_its_session_from_another(bed: &Bed) {
    let publisher = publisher(bed);
    publisher.misbehaves(Moment::Startup, HOURS);
    let mut operator = bed.operator();
    operator.run("SET pgmig_extras.connect_timeout = '1s'");
    create_slot(bed, &mut operator, &publisher)
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    publisher.behaves();
    for _ in 0..3 {
        let report = within(Duration::from_secs(2), "a refusal", || {
            create_slot(bed, &mut operator, &publisher)
                .refused(SqlState::CONFIGURATION_LIMIT_EXCEEDED)
        });
        assert!(report.message().contains("has not ended"), "{report:?}");
    }
    // Another session is free to.
    let mut other = bed.operator();
    create_slot(bed, &mut other, &publisher).unwrap();
    other.call("drop_replication_slot", &[&publisher.conninfo(PASSWORD), &bed.slot()]).unwrap();
}

fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

fn calls_that_are_cut_off_leave_no_threads(bed: &Bed) {
    let publisher = publisher(bed);
    for (when, what) in [
        (Moment::Accept, Behaviour::Silence),
        (Moment::Startup, HOURS),
        (ANY_QUERY, Behaviour::Silence),
    ] {
        publisher.misbehaves(when, what);
        let mut operator = bed.operator();
        operator.run("SET statement_timeout = '3ms'");
        let pid = operator.pid();
        let most = (0..100)
            .map(|_| {
                create_slot(bed, &mut operator, &publisher).expect_err("cut off");
                threads(pid)
            })
            .max();
        assert!(most <= Some(3), "{most:?} threads");
        let name = "host=no-such-host.invalid user=app password=x";
        for _ in 0..100 {
            operator
                .call("create_replication_slot", &[&name, &bed.slot()])
                .expect_err("no such host");
        }
        assert!(threads(pid) <= 3);
        drop(operator);
    }
    publisher.vanish();
    poll_until(DEADLINE, "nothing to be left", || Ok(bed.slots().is_empty().then_some(())));
}
