//! A publisher that does not answer: every call ends within a second of its timeout, of a cancel and
//! of a terminate, wherever it waits, and leaves nothing behind.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Error;
use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use crate::hostile::{ANY_QUERY, Behaviour, Hostile, Moment};
use crate::support::{Bed, DEADLINE, Refused, Session, matrix};

matrix! { Bed::run, every pair {
    creating_a_subscription_ends_in_time,
    refreshing_a_subscription_ends_in_time,
    changing_the_connection_ends_in_time,
    dropping_a_subscription_ends_in_time,
    a_drop_that_hangs_holds_up_no_one_else,
    creating_and_dropping_a_slot_ends_in_time,
    a_commit_that_waits_for_the_publisher_ends_in_time,
    a_drop_after_the_commit_ends_in_time_with_a_warning,
    own_timeouts_end_a_call,
    a_name_that_does_not_resolve_in_time_can_be_canceled,
} }

/// How long after its end was asked for a call may take.
const GRACE: Duration = Duration::from_secs(1);

/// Where a publisher may fall silent before it takes a query. One that talks without end is for
/// `floods`.
const CONNECTING: [(Moment, Behaviour); 4] = [
    (Moment::Accept, Behaviour::Silence),
    (Moment::Startup, Behaviour::Silence),
    (Moment::Startup, Behaviour::HalfMessage(b'R')),
    (Moment::Login, Behaviour::Silence),
];

/// How it may leave a query without an answer.
const QUERYING: [Behaviour; 4] =
    [Behaviour::Silence, Behaviour::HalfMessage(b'T'), Behaviour::HalfResult, Behaviour::Drip];

fn all_hangs() -> Vec<(Moment, Behaviour)> {
    CONNECTING.into_iter().chain(QUERYING.map(|what| (ANY_QUERY, what))).collect()
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    StatementTimeout,
    Cancel,
    Terminate,
}

/// What is tried on a publisher that hangs, and what is made before while it still behaves.
type Call = fn(&Case, &mut Session) -> Result<(), Error>;
type Preparation = fn(&Case, &mut Session);

/// One call against a publisher of its own, for each way to hang and each way to be ended, all ways
/// to hang at the same time.
fn every_hang_ends(bed: &Bed, hangs: Vec<(Moment, Behaviour)>, prepare: Preparation, call: Call) {
    thread::scope(|scope| {
        for (number, (when, what)) in hangs.into_iter().enumerate() {
            scope.spawn(move || {
                for ending in [Ending::StatementTimeout, Ending::Cancel, Ending::Terminate] {
                    let case = Case::new(bed, number);
                    case.run(when.clone(), what.clone(), ending, prepare, call);
                }
            });
        }
    });
    bed.assert_no_secret_logged();
}

struct Case<'a> {
    bed: &'a Bed,
    publisher: Hostile,
    name: String,
    slot: String,
}

impl<'a> Case<'a> {
    fn new(bed: &'a Bed, number: usize) -> Self {
        let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
        let (name, slot) = (format!("case {number}"), format!("{}_{number}", bed.slot()));
        Self { bed, publisher, name, slot }
    }

    fn run(&self, when: Moment, what: Behaviour, ending: Ending, prepare: Preparation, call: Call) {
        let case = format!("{what:?} at {when:?}, {ending:?}");
        let mut session = self.bed.operator();
        prepare(self, &mut session);
        let before = self.snapshot();
        self.publisher.wait_until_left_alone();
        let seen = self.publisher.twisted();
        self.publisher.misbehaves(when, what);
        let (took, result) = self.end(ending, &mut session, call, seen, &case);
        assert!(took < GRACE, "{case}: {took:?}");
        match ending {
            Ending::StatementTimeout | Ending::Cancel => {
                result.refused(SqlState::QUERY_CANCELED);
                assert!(session.is_alive(), "{case}");
            }
            Ending::Terminate => assert!(result.is_err(), "{case}"),
        }
        self.publisher.wait_until_left_alone();
        assert_eq!(self.snapshot(), before, "{case}");
        self.publisher.behaves();
        if !before.0.is_empty() {
            let mut session = self.bed.operator();
            session.call("pg_drop_subscription", &[&self.name, &false]).unwrap();
        }
    }

    /// Runs the call, asks for its end when the publisher has begun to hang, and tells how long
    /// after that it ended.
    fn end(
        &self,
        ending: Ending,
        session: &mut Session,
        call: Call,
        seen: usize,
        case: &str,
    ) -> (Duration, Result<(), Error>) {
        let pid = session.pid();
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let start = Instant::now();
            if matches!(ending, Ending::StatementTimeout) {
                session.run("SET statement_timeout = '1s'");
            }
            let thread = scope.spawn(move || {
                let result = call(self, session);
                let _ = sender.send(Instant::now());
                result
            });
            poll_until(DEADLINE, &format!("{case} to be reached"), || {
                Ok((self.publisher.twisted() > seen).then_some(()))
            });
            let asked = match ending {
                Ending::StatementTimeout => start + Duration::from_secs(1),
                Ending::Cancel => self.signal("pg_cancel_backend", pid),
                Ending::Terminate => self.signal("pg_terminate_backend", pid),
            };
            let ended = receiver.recv_timeout(GRACE * 8).unwrap_or_else(|_| {
                // Lets the scope end, so that the test can say what went wrong.
                self.publisher.vanish();
                panic!("{case}: did not end")
            });
            (ended.saturating_duration_since(asked), thread.join().expect("a result"))
        })
    }

    fn signal(&self, function: &str, pid: i32) -> Instant {
        let mut superuser = self.bed.superuser();
        let asked = Instant::now();
        superuser.execute(&format!("SELECT {function}($1)"), &[&pid]).unwrap();
        asked
    }

    /// What of this case is in the target's catalogs and on the publisher.
    fn snapshot(&self) -> (Vec<String>, Vec<String>) {
        let rows = self
            .bed
            .superuser()
            .query(
                "SELECT s::text FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
                 WHERE datname = current_database() AND subname = $1
                 UNION ALL SELECT r::text FROM pg_subscription_rel r
                 JOIN pg_subscription s ON s.oid = srsubid WHERE subname = $1",
                &[&self.name],
            )
            .unwrap();
        (rows.iter().map(|row| row.get(0)).collect(), self.publisher.slots())
    }

    fn conninfo(&self) -> String {
        self.publisher.conninfo(PASSWORD)
    }
}

fn nothing(_: &Case, _: &mut Session) {}

/// A subscription without a worker, which would come to the publisher too.
fn subscribed(case: &Case, session: &mut Session) {
    let options = serde_json::json!({"slot_name": case.slot, "copy_data": false, "enabled": false});
    let arguments: [&(dyn postgres::types::ToSql + Sync); 4] =
        [&case.name, &case.conninfo(), &vec!["p"], &options];
    session.call("create_subscription", &arguments).expect("the publisher behaves");
}

fn creating_a_subscription_ends_in_time(bed: &Bed) {
    every_hang_ends(bed, all_hangs(), nothing, |case, session| {
        let conninfo = case.conninfo();
        session
            .call("pg_create_subscription", &[&case.name, &conninfo, &"p", &case.slot, &true])
            .map(drop)
    });
    bed.assert_nothing_left();
}

fn refreshing_a_subscription_ends_in_time(bed: &Bed) {
    every_hang_ends(bed, all_hangs(), subscribed, |case, session| {
        // A refresh needs it enabled; in a transaction that never commits no worker starts.
        session.batch_execute("BEGIN")?;
        session.call("pg_alter_subscription_enable", &[&case.name])?;
        let result = session.call("pg_alter_subscription_refresh_publication", &[&case.name]);
        let _ = session.batch_execute("ROLLBACK");
        result.map(drop)
    });
}

fn changing_the_connection_ends_in_time(bed: &Bed) {
    every_hang_ends(bed, all_hangs(), subscribed, |case, session| {
        let conninfo = format!("{} application_name=moved", case.conninfo());
        session.call("pg_alter_subscription_connection", &[&case.name, &conninfo]).map(drop)
    });
}

/// Once connected, it asks the publisher for nothing before the commit.
fn dropping_a_subscription_ends_in_time(bed: &Bed) {
    every_hang_ends(bed, CONNECTING.to_vec(), subscribed, |case, session| {
        session.call("pg_drop_subscription", &[&case.name]).map(drop)
    });
}

/// DROP SUBSCRIPTION locks the catalog that all databases share: nothing may be waited for then.
fn a_drop_that_hangs_holds_up_no_one_else(bed: &Bed) {
    for (number, when) in [Moment::Accept, Moment::Login, ANY_QUERY].into_iter().enumerate() {
        let case = Case::new(bed, number);
        let mut session = bed.operator();
        subscribed(&case, &mut session);
        let pid = session.pid();
        case.publisher.misbehaves(when, Behaviour::Silence);
        thread::scope(|scope| {
            let hanging = scope.spawn(|| session.call("pg_drop_subscription", &[&case.name]));
            poll_until(DEADLINE, "the drop to hang", || {
                Ok((case.publisher.twisted() > 0).then_some(()))
            });
            let mut other = bed.operator();
            other.run("SET statement_timeout = '1s'");
            let made = bed.subscribe_as(&mut other, "meanwhile", &bed.slot(), false);
            case.signal("pg_cancel_backend", pid);
            let _ = hanging.join().expect("it ends");
            made.expect("not held up");
            other.call("pg_drop_subscription", &[&"meanwhile"]).expect("not held up");
        });
        case.publisher.behaves();
        let _ = bed.operator().call("pg_drop_subscription", &[&case.name]);
    }
}

fn creating_and_dropping_a_slot_ends_in_time(bed: &Bed) {
    every_hang_ends(bed, all_hangs(), nothing, |case, session| {
        session.call("create_replication_slot", &[&case.conninfo(), &case.slot]).map(drop)
    });
    every_hang_ends(bed, all_hangs(), nothing, |case, session| {
        session.call("drop_replication_slot", &[&case.conninfo(), &case.slot]).map(drop)
    });
    bed.assert_nothing_left();
}

/// statement_timeout is off while a transaction commits; cancel and terminate work all the same.
fn a_commit_that_waits_for_the_publisher_ends_in_time(bed: &Bed) {
    let copying = Moment::Query("pg_copy_logical_replication_slot");
    for (number, ending) in
        [Ending::StatementTimeout, Ending::Cancel, Ending::Terminate].into_iter().enumerate()
    {
        let case = Case::new(bed, number);
        let mut session = bed.operator();
        case.publisher.misbehaves(copying.clone(), Behaviour::Silence);
        let call = |case: &Case, session: &mut Session| {
            let conninfo = case.conninfo();
            session
                .call("pg_create_subscription", &[&case.name, &conninfo, &"p", &case.slot, &true])
                .map(drop)
        };
        let (took, result) = case.end(ending, &mut session, call, 0, &format!("{ending:?}"));
        // Undoing may take a moment more: the slot may be there.
        assert!(took < GRACE + Duration::from_millis(600), "{ending:?}: {took:?}");
        result.expect_err("the commit failed");
        assert!(bed.subscriptions().is_empty());
        case.publisher.behaves();
        case.publisher.wait_until_left_alone();
        assert_eq!(case.publisher.slots(), [""; 0]);
    }
    bed.assert_nothing_left();
}

fn a_drop_after_the_commit_ends_in_time_with_a_warning(bed: &Bed) {
    thread::scope(|scope| {
        for (number, what) in QUERYING.into_iter().enumerate() {
            scope.spawn(move || {
                for ending in [Ending::StatementTimeout, Ending::Cancel] {
                    assert_warns_in_time(&Case::new(bed, number), what.clone(), ending);
                }
            });
        }
    });
    bed.assert_nothing_left();
}

fn assert_warns_in_time(case: &Case, what: Behaviour, ending: Ending) {
    let told = format!("{what:?}, {ending:?}");
    let mut session = case.bed.operator();
    subscribed(case, &mut session);
    case.publisher.misbehaves(Moment::Query("DROP_REPLICATION_SLOT"), what);
    session.notices();
    let call = |case: &Case, session: &mut Session| {
        session.call("pg_drop_subscription", &[&case.name]).map(drop)
    };
    let (took, result) = case.end(ending, &mut session, call, 0, &told);
    assert!(took < GRACE, "{told}: {took:?}");
    result.expect("it was committed already");
    let notices = session.notices();
    let warned = notices.iter().any(|notice| {
        notice.severity() == "WARNING"
            && notice.message().contains(&case.slot)
            && notice.hint().is_some_and(|hint| hint.contains("pg_drop_replication_slot"))
    });
    assert!(warned, "{told}: the slot that is left is named: {notices:?}");
    assert!(session.is_alive(), "{told}");
    assert!(case.snapshot().0.is_empty(), "{told}");
    case.publisher.wait_until_left_alone();
}

fn own_timeouts_end_a_call(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    operator
        .run("SET pgmig_extras.connect_timeout = '1s'; SET pgmig_extras.publisher_timeout = '1s'");
    let mut call = |what: SqlState| {
        let start = Instant::now();
        operator
            .call("create_replication_slot", &[&publisher.conninfo(PASSWORD), &bed.slot()])
            .refused(what);
        let took = start.elapsed();
        assert!(took > Duration::from_millis(900) && took < 2 * GRACE, "{took:?}");
    };
    publisher.misbehaves(Moment::Accept, Behaviour::Silence);
    call(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    for what in [Behaviour::Silence, Behaviour::Drip] {
        publisher.misbehaves(ANY_QUERY, what);
        call(SqlState::CONNECTION_FAILURE);
    }
    publisher.wait_until_left_alone();
    // Rows as fast as they go are bounded in size as well as in time.
    publisher.misbehaves(ANY_QUERY, Behaviour::Flood);
    let start = Instant::now();
    operator
        .call("create_replication_slot", &[&publisher.conninfo(PASSWORD), &bed.slot()])
        .expect_err("a flood");
    assert!(start.elapsed() < 2 * GRACE, "{:?}", start.elapsed());
    assert!(operator.is_alive());
}

fn a_name_that_does_not_resolve_in_time_can_be_canceled(bed: &Bed) {
    let mut operator = bed.operator();
    operator.run("SET statement_timeout = '1s'");
    let start = Instant::now();
    let conninfo = format!("host=no-such-host.invalid user=app password='{PASSWORD}'");
    let error = operator
        .call("create_replication_slot", &[&conninfo, &bed.slot()])
        .expect_err("no such host");
    let code = error.code().cloned().expect("an answer of the server");
    let endings = [SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, SqlState::QUERY_CANCELED];
    assert!(endings.contains(&code), "{error:?}");
    assert!(start.elapsed() < 2 * GRACE, "{:?}", start.elapsed());
}
