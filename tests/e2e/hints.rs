//! Hints that lead somewhere: to the database that has the subscription, to what a URI must not have.

use postgres::error::SqlState;

use crate::support::{Bed, Refused, Session, matrix};

matrix! { Bed::run, every pair {
    a_subscription_of_another_database_is_found,
    a_uri_is_told_how_to_write_special_characters,
} }

fn a_subscription_of_another_database_is_found(bed: &Bed) {
    bed.subscribed();
    let other = Bed::new(bed.source.major(), bed.target.major(), "elsewhere");
    let subscription = bed.subscription();
    let place = format!("It is in database \"{}\".", bed.database);
    let hint = format!("Connect to database \"{}\" and run this there.", bed.database);
    for function in
        ["pg_drop_subscription", "pg_alter_subscription_disable", "subscription_lag_history"]
    {
        let call = |role| other.as_role(role).call(function, &[&subscription]);
        let error = call("operator").refused(SqlState::UNDEFINED_OBJECT);
        assert_eq!(error.message().trim_end(), error.message());
        assert_eq!(error.detail(), Some(place.as_str()), "{function}");
        assert_eq!(error.hint(), Some(hint.as_str()), "{function}");
        // Who may not see it there is not led to it.
        let error = call("rival").refused(SqlState::UNDEFINED_OBJECT);
        assert_eq!(error.detail(), None, "{function}");
        assert!(error.hint().unwrap().contains("pg_list_all_subscriptions"), "{function}");
    }
    let mut superuser = other.superuser();
    superuser.run("CREATE EXTENSION aiven_extras");
    let error = superuser
        .query("SELECT aiven_extras.pg_drop_subscription($1)", &[&subscription])
        .refused(SqlState::UNDEFINED_OBJECT);
    assert_eq!(error.message(), format!("No subscription found for name: {subscription}"));
    assert_eq!(error.detail(), Some(place.as_str()));
    drop(superuser);
    other.assert_nothing_left();
}

fn a_uri_is_told_how_to_write_special_characters(bed: &Bed) {
    let mut operator: Session = bed.operator();
    let mut hint = |conninfo: &str| {
        let error = operator
            .call("pg_create_subscription", &[&"s", &conninfo, &"p", &"s", &true])
            .refused(SqlState::INVALID_PARAMETER_VALUE);
        assert_eq!(error.message(), "invalid connection string");
        error.hint().unwrap().to_owned()
    };
    for uri in ["postgresql://app:sec%ret@h/d", "postgres://app:x@h/d%zz"] {
        assert!(hint(uri).contains("% as %25"));
    }
    assert!(hint("host='h").contains("escape a quote"));
}
