//! Who may do what: operators and others, owners and others, and roles that try to get around it.

use postgres::error::SqlState;
use postgres::types::PgLsn;
use testbed::PASSWORD;

use crate::hostile::Hostile;
use crate::support::{Bed, Refused, Session, matrix, quoted};

matrix! { Bed::run, every pair {
    who_is_no_operator_is_refused_everywhere,
    an_operator_may_not_touch_what_others_subscribed,
    a_member_of_the_owner_may_do_everything,
    the_caller_must_own_every_table,
    a_set_role_counts_and_a_wrapper_lends_nothing,
    a_superuser_may_but_owns_the_result,
    settings_of_the_operator_change_no_rule,
    a_socket_needs_to_be_listed,
    hosts_can_be_limited,
} }

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;

/// PostgreSQL refuses these before the function runs, so the statement is logged as it is: the
/// connection string has no password here.
fn who_is_no_operator_is_refused_everywhere(bed: &Bed) {
    let mut stranger = bed.as_role("stranger");
    let name = bed.subscription();
    let (conninfo, names, slot) = ("host=h user=u", vec![bed.publication()], bed.slot());
    let publication = bed.publication();
    stranger
        .call("pg_create_subscription", &[&name, &conninfo, &publication, &slot])
        .refused(DENIED);
    stranger.call("create_subscription", &[&name, &conninfo, &names]).refused(DENIED);
    for function in [
        "pg_alter_subscription_enable",
        "pg_alter_subscription_disable",
        "pg_alter_subscription_refresh_publication",
        "pg_drop_subscription",
    ] {
        stranger.call(function, &[&name]).refused(DENIED);
    }
    stranger.call("pg_alter_subscription_connection", &[&name, &conninfo]).refused(DENIED);
    stranger.call("pg_alter_subscription_set_publication", &[&name, &names]).refused(DENIED);
    stranger.call("pg_alter_subscription_skip", &[&name, &PgLsn::from(1)]).refused(DENIED);
    stranger.call("create_replication_slot", &[&conninfo, &slot]).refused(DENIED);
    stranger.call("drop_replication_slot", &[&conninfo, &slot]).refused(DENIED);
    bed.assert_nothing_left();
}

/// Every change of a subscription, by a role that must be refused.
fn assert_may_not_change(bed: &Bed, session: &mut Session) {
    let (name, conninfo, names) = (bed.subscription(), bed.conninfo(), vec![bed.publication()]);
    for function in [
        "pg_alter_subscription_enable",
        "pg_alter_subscription_disable",
        "pg_alter_subscription_refresh_publication",
        "pg_drop_subscription",
    ] {
        let report = session.call(function, &[&name]).refused(DENIED);
        assert!(report.message().contains(&name), "{report:?}");
        assert!(report.detail().is_some() && report.hint().is_some(), "{report:?}");
    }
    session.call("pg_drop_subscription", &[&name, &false]).refused(DENIED);
    session.call("pg_alter_subscription_connection", &[&name, &conninfo]).refused(DENIED);
    session.call("pg_alter_subscription_set_publication", &[&name, &names]).refused(DENIED);
    session.call("pg_alter_subscription_skip", &[&name, &PgLsn::from(1)]).refused(DENIED);
}

fn an_operator_may_not_touch_what_others_subscribed(bed: &Bed) {
    drop(bed.subscribed());
    let mut rival = bed.as_role("rival");
    assert_may_not_change(bed, &mut rival);
    // Nor block its owner by trying: the lock is taken after the check.
    rival.run("BEGIN");
    rival.call("pg_drop_subscription", &[&bed.subscription()]).refused(DENIED);
    let mut operator = bed.operator();
    operator.run("SET statement_timeout = '5s'");
    operator.call("pg_alter_subscription_disable", &[&bed.subscription()]).unwrap();
    operator.call("pg_alter_subscription_enable", &[&bed.subscription()]).unwrap();
    rival.run("ROLLBACK");
    bed.wait_until_equal();
}

fn a_member_of_the_owner_may_do_everything(bed: &Bed) {
    let member = format!("member_{}", bed.slot());
    let mut superuser = bed.superuser();
    superuser.run("SET log_min_duration_statement = -1");
    superuser.run(&format!("CREATE ROLE {member} LOGIN PASSWORD '{PASSWORD}' IN ROLE operator"));
    superuser.call("grant_operator", &[&member]).unwrap();
    drop(bed.subscribed());
    let mut session = bed.as_role(&member);
    let name = bed.subscription();
    session.call("pg_alter_subscription_disable", &[&name]).unwrap();
    session.call("pg_alter_subscription_enable", &[&name]).unwrap();
    session.call("pg_alter_subscription_refresh_publication", &[&name]).unwrap();
    session.call("pg_alter_subscription_connection", &[&name, &bed.conninfo()]).unwrap();
    assert_eq!(bed.listed::<String>(&mut session, "subslotname::text"), [bed.slot()]);
    session.call("pg_drop_subscription", &[&name]).unwrap();
    bed.assert_nothing_left();
    drop(session);
    bed.superuser().run(&format!("DROP OWNED BY {member}; DROP ROLE {member}"));
}

fn the_caller_must_own_every_table(bed: &Bed) {
    let (name, conninfo, slot) = (bed.subscription(), bed.conninfo(), bed.slot());
    let mut app = bed.app();
    app.run("CREATE PUBLICATION all_of_them FOR TABLE vault.secrets, \"Shop\".\"Orders\"");
    let mut operator = bed.operator();
    for session in [&mut bed.as_role("rival"), &mut operator] {
        let report = session
            .call("pg_create_subscription", &[&name, &conninfo, &"all_of_them", &slot, &true])
            .refused(DENIED);
        assert!(report.message().contains("table"), "{report:?}");
        bed.assert_nothing_left();
    }

    bed.subscribe(&mut operator).unwrap();
    bed.wait_until_equal();
    app.run(&format!("ALTER PUBLICATION {} ADD TABLE vault.secrets", quoted(&bed.publication())));
    let report =
        operator.call("pg_alter_subscription_refresh_publication", &[&name]).refused(DENIED);
    assert!(report.message().contains("vault.secrets"), "{report:?}");
    operator
        .call("pg_alter_subscription_set_publication", &[&name, &vec!["all_of_them"]])
        .refused(DENIED);
    assert_eq!(treasure(bed), ["1 treasure"]);
}

fn treasure(bed: &Bed) -> Vec<String> {
    bed.superuser().column("SELECT id || ' ' || note FROM vault.secrets ORDER BY 1")
}

fn a_set_role_counts_and_a_wrapper_lends_nothing(bed: &Bed) {
    drop(bed.subscribed());
    let name = bed.subscription();
    // A role of its own: other tests on this server count on what `rival` may not do.
    let member = format!("borrower_{}", bed.slot());
    let mut superuser = bed.superuser();
    superuser.run("SET log_min_duration_statement = -1");
    superuser.run(&format!("CREATE ROLE {member} LOGIN PASSWORD '{PASSWORD}' IN ROLE operator"));
    superuser.call("grant_operator", &[&member]).unwrap();
    superuser.run(&format!(
        "CREATE FUNCTION public.lend() RETURNS void SECURITY DEFINER LANGUAGE sql AS
             $$SELECT pgmig_extras.pg_drop_subscription('{name}')$$;
         ALTER FUNCTION public.lend() OWNER TO operator"
    ));
    let mut session = bed.as_role(&member);
    session.run(&format!("SELECT pgmig_extras.pg_alter_subscription_disable('{name}')"));
    superuser.run(&format!("REVOKE operator FROM {member}"));
    // The function runs as its owner, and its caller is still that role.
    session.batch_execute("SELECT public.lend()").refused(DENIED);
    assert_eq!(bed.subscriptions(), [name.as_str()]);

    superuser.run(&format!("SET ROLE {member}"));
    superuser.call("pg_drop_subscription", &[&name]).refused(DENIED);
    superuser.run("SET ROLE operator");
    superuser.call("pg_drop_subscription", &[&name]).expect("as its owner");
    bed.assert_nothing_left();
    drop(session);
    bed.superuser().run(&format!("DROP OWNED BY {member}; DROP ROLE {member}"));
}

fn a_superuser_may_but_owns_the_result(bed: &Bed) {
    let mut superuser = bed.superuser();
    bed.app().run("CREATE PUBLICATION vault FOR TABLE vault.secrets");
    let conninfo = bed.source.conninfo("trusted", PASSWORD, &bed.database);
    let (name, slot) = (bed.subscription(), bed.slot());
    superuser
        .call("pg_create_subscription", &[&name, &conninfo, &"vault", &slot, &true, &false])
        .expect("neither ownership nor password rules bind a superuser");
    assert_may_not_change(bed, &mut bed.operator());
    let owner: Vec<String> = bed.listed(&mut superuser, "subowner::regrole::text");
    assert_eq!(owner, ["postgres"]);
    superuser.call("pg_drop_subscription", &[&name]).unwrap();
    bed.assert_nothing_left();
}

/// Also before the library is loaded, when PostgreSQL takes any value for a name it does not know.
fn settings_of_the_operator_change_no_rule(bed: &Bed) {
    let trusting = bed.source.conninfo("trusted", PASSWORD, &bed.database);
    let without = trusting.replace(&format!("password='{PASSWORD}'"), "");
    let assert_refused = |session: &mut Session| {
        session.call("create_replication_slot", &[&without, &bed.slot()]).refused(DENIED);
        let socket = format!("host={} user=app password=x", bed.source.socket_dir().display());
        session.call("create_replication_slot", &[&socket, &bed.slot()]).refused(DENIED);
        let certificate = format!("{} sslrootcert=/etc/hostname", bed.conninfo());
        session.call("create_replication_slot", &[&certificate, &bed.slot()]).refused(DENIED);
    };
    let settings = [
        ("require_password", "off"),
        ("allowed_hosts", "/,/tmp,127.0.0.1"),
        ("ssl_directory", "/"),
    ];

    let mut early = bed.operator();
    for (name, value) in settings {
        // A placeholder, which is thrown away when the library defines the setting.
        let _ = early.batch_execute(&format!("SET pgmig_extras.{name} = '{value}'"));
    }
    assert_refused(&mut early);
    for (name, value) in settings {
        early.batch_execute(&format!("SET pgmig_extras.{name} = '{value}'")).refused(DENIED);
        early
            .batch_execute(&format!("SELECT set_config('pgmig_extras.{name}', '{value}', false)"))
            .refused(DENIED);
    }
    early.batch_execute("SET pgmig_extras.no_such_setting = 1").refused(SqlState::INVALID_NAME);

    let mut fresh = bed.operator();
    for (name, value) in settings {
        let database = quoted(&bed.database);
        let _ = fresh.batch_execute(&format!(
            "ALTER ROLE operator IN DATABASE {database} SET pgmig_extras.{name} = '{value}'"
        ));
    }
    assert_refused(&mut bed.operator());

    let mut config: postgres::Config =
        bed.target.conninfo("operator", PASSWORD, &bed.database).parse().unwrap();
    config.options("-c pgmig_extras.require_password=off -c pgmig_extras.ssl_directory=/");
    // Refused at login, or without effect.
    if let Ok(mut session) = Session::connect(config) {
        assert_refused(&mut session);
    }
    bed.assert_nothing_left();
}

fn a_socket_needs_to_be_listed(bed: &Bed) {
    let socket = bed.source.socket_dir().display().to_string();
    let conninfo = format!(
        "host={socket} port={} user=app dbname={} password='{PASSWORD}'",
        bed.source.port(),
        "postgres"
    );
    let mut operator = bed.operator();
    operator.call("create_replication_slot", &[&conninfo, &bed.slot()]).refused(DENIED);
    bed.superuser().run(&format!(
        "ALTER ROLE operator IN DATABASE {} SET pgmig_extras.allowed_hosts = '{socket}'",
        quoted(&bed.database)
    ));
    // Now it is tried: the source lets nobody but its superuser in by its socket.
    bed.operator()
        .call("create_replication_slot", &[&conninfo, &bed.slot()])
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
}

fn hosts_can_be_limited(bed: &Bed) {
    let allow = |hosts: &str| {
        bed.superuser().run(&format!(
            "ALTER ROLE operator IN DATABASE {} SET pgmig_extras.allowed_hosts = '{hosts}'",
            quoted(&bed.database)
        ));
    };
    allow("db.example, 10.0.0.1");
    let mut operator = bed.operator();
    bed.subscribe(&mut operator).refused(DENIED);
    bed.assert_nothing_left();
    allow("db.example, 127.0.0.1");
    let mut operator = bed.operator();
    bed.subscribe(&mut operator).expect("a listed host");
    // The list is looked at again when a connection is changed.
    let elsewhere = bed.conninfo().replace("127.0.0.1", "127.0.0.2");
    operator
        .call("pg_alter_subscription_connection", &[&bed.subscription(), &elsewhere])
        .refused(DENIED);
}

/// 15 itself lets an owner re-point a subscription anywhere, without a password.
#[test]
fn an_owner_on_15_cannot_get_around_the_rules() {
    Bed::run(15, 15, "guard", |bed| {
        let trap = Hostile::start(15, &[]);
        let mut operator = bed.subscribed();
        let name = quoted(&bed.subscription());
        let elsewhere = trap.conninfo("x").replace('\'', "").replace("password=x", "");
        for change in [
            format!("ALTER SUBSCRIPTION {name} CONNECTION '{elsewhere}'"),
            format!("ALTER SUBSCRIPTION {name} OWNER TO postgres"),
            format!("ALTER SUBSCRIPTION {name} OWNER TO rival"),
            format!(
                "DO $do$ BEGIN EXECUTE $$ALTER SUBSCRIPTION {name} CONNECTION '{elsewhere}'$$; END $do$"
            ),
        ] {
            operator.batch_execute(&change).refused(DENIED);
        }
        let shown = bed.listed::<String>(&mut operator, "subconninfo").concat();
        assert!(shown.contains(&format!("port='{}'", bed.source.port())), "{shown}");
        assert!(trap.queries().is_empty());
        // What an owner may do by himself goes on working.
        operator.run(&format!("ALTER SUBSCRIPTION {name} DISABLE"));
        operator.run(&format!("ALTER SUBSCRIPTION {name} ENABLE"));
        bed.wait_until_equal();
    });
}

/// Inside the apply worker only triggers that are ENABLE ALWAYS fire.
#[test]
fn a_trigger_in_the_apply_worker_of_15_cannot_repoint_its_subscription() {
    Bed::run(15, 15, "trigger", |bed| {
        let trap = Hostile::start(15, &[]);
        drop(bed.subscribed());
        let name = quoted(&bed.subscription());
        let elsewhere = trap.conninfo("x").replace('\'', "").replace("password=x", "");
        bed.superuser().run(&format!(
            r#"CREATE TABLE public.caught (code text);
               ALTER TABLE public.caught OWNER TO shop;
               CREATE FUNCTION public.repoint() RETURNS trigger LANGUAGE plpgsql AS $f$
               BEGIN
                   EXECUTE $$ALTER SUBSCRIPTION {name} CONNECTION '{elsewhere}'$$;
                   RETURN new;
               EXCEPTION WHEN OTHERS THEN
                   INSERT INTO public.caught VALUES (SQLSTATE);
                   RETURN new;
               END $f$;
               CREATE TRIGGER repoint BEFORE INSERT ON "Shop"."Orders"
                   FOR EACH ROW EXECUTE FUNCTION public.repoint();
               ALTER TABLE "Shop"."Orders" ENABLE ALWAYS TRIGGER repoint"#
        ));
        bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'pulls the trigger')"#);
        bed.wait_for("SELECT count(*) > 0 FROM public.caught");
        assert_eq!(bed.superuser().column::<String>("SELECT code FROM public.caught"), ["42501"]);
        bed.wait_until_equal();
        assert!(trap.queries().is_empty());
    });
}

/// Their apply workers ignore the privileges of the subscription's owner.
#[test]
fn a_target_before_15_is_refused_and_says_why() {
    for major in [13, 14] {
        let bed = Bed::new(15, major, "old target");
        let mut operator = bed.operator();
        let report = bed.subscribe(&mut operator).refused(SqlState::FEATURE_NOT_SUPPORTED);
        assert!(report.message().contains("15"), "{report:?}");
        operator
            .call("pg_drop_subscription", &[&bed.subscription()])
            .refused(SqlState::FEATURE_NOT_SUPPORTED);
        // The publisher's side works there, also seen from there.
        operator.call("create_replication_slot", &[&bed.conninfo(), &bed.slot()]).unwrap();
        bed.assert_slots(&[&bed.slot()]);
        operator.call("drop_replication_slot", &[&bed.conninfo(), &bed.slot()]).unwrap();
        bed.assert_slots(&[]);
        bed.assert_no_secret_logged();
    }
}
