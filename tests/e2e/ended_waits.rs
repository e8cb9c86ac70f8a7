//! A wait for the publisher that ends early leaves nothing on the publisher: neither the backend that
//! waited there, for a transaction that goes on, nor its temporary slot.

use std::time::Duration;

use postgres::error::SqlState;
use testbed::{poll_until, poll_value};

use crate::support::{Bed, DEADLINE, Refused, Session, matrix};

matrix! { Bed::run, every pair {
    a_wait_for_a_long_transaction_leaves_nothing_when_it_ends_early,
} }

/// How long after an error something of ours may be there.
const MOMENT: Duration = Duration::from_secs(1);

const LEFT: &str = "
    SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()
    UNION ALL
    SELECT backend_type FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'walsender'";

fn a_wait_for_a_long_transaction_leaves_nothing_when_it_ends_early(bed: &Bed) {
    let mut app = bed.app();
    app.run(r#"BEGIN; INSERT INTO "Shop"."Orders" VALUES (1000, 'not yet')"#);
    let mut source = Session::open(bed.source, "postgres", &bed.database);
    for settings in ["SET pgmig_extras.publisher_timeout = '1s'", "SET statement_timeout = '1s'"] {
        let mut operator = bed.operator();
        operator.run(settings);
        for _ in 0..2 {
            let result = bed.subscribe(&mut operator);
            let code = if settings.contains("statement") {
                SqlState::QUERY_CANCELED
            } else {
                SqlState::CONNECTION_FAILURE
            };
            result.refused(code);
            assert_nothing_left(&mut source);
        }
    }
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let mut operator = bed.operator();
        let pid = operator.pid();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| bed.subscribe(&mut operator));
            let waits = "SELECT count(*) > 0 FROM pg_stat_activity \
                         WHERE datname = current_database() AND backend_type = 'walsender' \
                           AND wait_event = 'transactionid'";
            poll_until(DEADLINE, "the publisher to wait", || {
                Ok(source.value::<bool>(waits).then_some(()))
            });
            bed.superuser().run(&format!("SELECT {end}({pid})"));
            assert!(call.join().unwrap().is_err());
        });
        assert_nothing_left(&mut source);
    }
    app.run("ROLLBACK");
}

#[track_caller]
fn assert_nothing_left(source: &mut Session) {
    let left = || source.column::<String>(LEFT);
    poll_value(MOMENT, "nothing to be left behind", left, Vec::is_empty);
}
