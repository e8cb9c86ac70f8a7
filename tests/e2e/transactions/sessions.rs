//! Two sessions at the same time.

use std::thread;

use postgres::error::SqlState;

use crate::support::{Bed, Refused, Session, matrix, quoted};

matrix! {
    Bed::run, every pair {
        two_sessions_create_different_subscriptions_at_once,
        of_two_sessions_that_want_one_name_one_gets_it,
        of_two_sessions_that_want_one_slot_one_gets_it,
        of_two_sessions_that_drop_one_drops,
        two_sessions_that_alter_do_not_fail_each_other,
        two_sessions_refresh_at_once,
    }
}

/// Runs the same work in two sessions at once.
fn twice_at_once<T: Send>(bed: &Bed, work: impl Fn(&mut Session, usize) -> T + Sync) -> [T; 2] {
    let barrier = std::sync::Barrier::new(2);
    let run = |number| {
        let mut session = bed.operator();
        barrier.wait();
        work(&mut session, number)
    };
    thread::scope(|scope| {
        let threads = [0, 1].map(|number| {
            let run = &run;
            scope.spawn(move || run(number))
        });
        threads.map(|thread| thread.join().expect("the session ends"))
    })
}

fn two_sessions_create_different_subscriptions_at_once(bed: &Bed) {
    let slots = [0, 1].map(|number| format!("{}_{number}", bed.slot()));
    let results = twice_at_once(bed, |session, number| {
        bed.subscribe_as(session, &format!("number {number}"), &slots[number], false)
    });
    for result in results {
        result.expect("they do not disturb each other");
    }
    bed.assert_slots(&[&slots[0], &slots[1]]);
}

fn of_two_sessions_that_want_one_name_one_gets_it(bed: &Bed) {
    let slots = [0, 1].map(|number| format!("{}_{number}", bed.slot()));
    let results = twice_at_once(bed, |session, number| {
        bed.subscribe_as(session, &bed.subscription(), &slots[number], false)
    });
    let winner = results.iter().position(Result::is_ok).expect("one gets it");
    let [first, second] = results;
    let lost = if winner == 0 { second } else { first };
    lost.refused(SqlState::DUPLICATE_OBJECT);
    bed.assert_slots(&[&slots[winner]]);
    assert_eq!(bed.subscriptions(), [bed.subscription()]);
}

fn of_two_sessions_that_want_one_slot_one_gets_it(bed: &Bed) {
    let names = ["first", "second"];
    let results = twice_at_once(bed, |session, number| {
        bed.subscribe_as(session, names[number], &bed.slot(), false)
    });
    let winner = results.iter().position(Result::is_ok).expect("one gets it");
    assert!(results[1 - winner].is_err(), "one slot, one subscription");
    bed.assert_slots(&[&bed.slot()]);
    assert_eq!(bed.subscriptions(), [names[winner]]);
}

fn of_two_sessions_that_drop_one_drops(bed: &Bed) {
    drop(bed.subscribed());
    let results = twice_at_once(bed, |session, _| {
        session.call("pg_drop_subscription", &[&bed.subscription()])
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for result in lost {
        result.refused(SqlState::UNDEFINED_OBJECT);
    }
    bed.assert_nothing_left();
}

fn two_sessions_that_alter_do_not_fail_each_other(bed: &Bed) {
    drop(bed.subscribed());
    let results = twice_at_once(bed, |session, number| {
        let functions = ["pg_alter_subscription_disable", "pg_alter_subscription_enable"];
        for _ in 0..10 {
            session.call(functions[number], &[&bed.subscription()])?;
        }
        Ok::<_, postgres::Error>(())
    });
    for result in results {
        result.expect("no \"tuple concurrently updated\"");
    }
    bed.operator().call("pg_alter_subscription_enable", &[&bed.subscription()]).unwrap();
    bed.wait_until_equal();
}

fn two_sessions_refresh_at_once(bed: &Bed) {
    drop(bed.subscribed());
    bed.app().run(&format!(
        r#"INSERT INTO "Shop"."New One" VALUES (1);
           ALTER PUBLICATION {} ADD TABLE "Shop"."New One""#,
        quoted(&bed.publication())
    ));
    let results = twice_at_once(bed, |session, _| {
        session.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()])
    });
    for result in results {
        result.expect("the second finds it done");
    }
    bed.wait_until_equal();
}
