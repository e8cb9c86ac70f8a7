//! What is found out before tables are subscribed: refused where rows would be lost, told where they may
//! be.

use postgres::error::{DbError, SqlState};
use testbed::PASSWORD;

use crate::support::{self, Refused, Session, Shop, matrix};

matrix! { run, each {
    row_security_that_hides_rows_is_refused: [from_13_to_15(13, 15), from_15_to_17(15, 17), from_18_to_18(18, 18)];
    tables_that_may_not_be_read_are_refused: [from_13_to_15(13, 15), from_15_to_15(15, 15), from_17_to_18(17, 18)];
    a_partition_published_with_its_root_is_copied_once: [from_13_to_15(13, 15), from_15_to_17(15, 17), from_18_to_18(18, 18)];
    origin_none_is_refused_by_an_older_publisher: [from_15_to_17(15, 17)];
    an_owner_that_can_not_log_in_is_refused: [from_15_to_15(15, 15), from_15_to_17(15, 17), from_18_to_18(18, 18)];
    large_objects_are_told: [from_13_to_18(13, 18), from_15_to_15(15, 15)];
    unlogged_tables_are_told: [from_13_to_15(13, 15), from_15_to_17(15, 17), from_18_to_18(18, 18)];
    unlogged_partitions_are_refused: [from_15_to_17(15, 17)];
    rows_in_the_target_are_told: [from_15_to_17(15, 17), from_18_to_18(18, 18)];
    limits_of_time_are_told: [from_13_to_15(13, 15), from_17_to_18(17, 18)];
    generated_columns_that_a_copy_leaves_out_are_refused: [from_18_to_17(18, 17)];
    tables_of_extensions_are_told: [from_15_to_17(15, 17), from_18_to_18(18, 18)];
    a_refresh_checks_new_tables_only: [from_15_to_17(15, 17)];
} }

fn run(source: u16, target: u16, _test: &str, body: fn(&Shop)) {
    body(&Shop::on(support::source(source), support::target(target)));
}

/// The warnings of a call: message, detail and hint of each.
fn warnings(client: &mut Session) -> Vec<String> {
    let told = client.notices();
    let warnings = told.iter().filter(|notice| notice.severity() == "WARNING");
    warnings.map(whole).collect()
}

fn whole(told: &DbError) -> String {
    let (detail, hint) = (told.detail().unwrap_or_default(), told.hint().unwrap_or_default());
    format!("{} | {detail} | {hint}", told.message())
}

/// Quotes, which all names have in statements, are left out of the comparison.
#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    let plain = |text: &str| text.replace('"', "");
    for part in parts {
        assert!(plain(text).contains(&plain(part)), "no {part:?} in: {text}");
    }
}

/// The only warning that says `first`.
#[track_caller]
fn assert_warns(client: &mut Session, parts: &[&str]) {
    let told = warnings(client);
    let found = told.iter().find(|text| text.contains(parts[0]));
    assert_has(found.unwrap_or_else(|| panic!("no {:?} in {told:?}", parts[0])), parts);
}

impl Shop {
    /// The error of a subscription, which leaves nothing on the publisher.
    #[track_caller]
    fn refused(&self, conninfo: &str, code: SqlState) -> String {
        let error = self.subscribe_to(&mut self.at_target(), conninfo).refused(code);
        let slots = self.at_source().column::<String>(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()",
        );
        assert!(slots.is_empty(), "{slots:?}");
        whole(&error)
    }
}

fn row_security_that_hides_rows_is_refused(shop: &Shop) {
    const ACCT: &str =
        "CREATE SCHEMA \"Odd one\"; CREATE TABLE acct (id int PRIMARY KEY, tenant text);
                        CREATE TABLE \"Odd one\".\"T\" (id int PRIMARY KEY)";
    shop.on_both(ACCT);
    let mut source = shop.at_source();
    source.run(
        "INSERT INTO acct SELECT g, 'a' FROM generate_series(1, 10) g;
         ALTER TABLE acct ENABLE ROW LEVEL SECURITY; ALTER TABLE acct FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON acct USING (tenant = current_setting('app.tenant', true))",
    );
    let told = shop.refused(&shop.conninfo(), SqlState::INSUFFICIENT_PRIVILEGE);
    assert_has(
        &told,
        &["row security hides rows of table \"public.acct\" from role \"app\"", "BYPASSRLS"],
    );

    // Without FORCE it binds those who do not own the table.
    source.run("ALTER TABLE acct NO FORCE ROW LEVEL SECURITY; ALTER TABLE \"Odd one\".\"T\" ENABLE ROW LEVEL SECURITY");
    let [mut superuser, _] = shop.superusers();
    let reader = format!("{}_reader", shop.name);
    superuser.run(&format!(
        "SET log_min_duration_statement = -1; CREATE ROLE {reader} REPLICATION LOGIN PASSWORD '{PASSWORD}';
         GRANT USAGE ON SCHEMA \"Odd one\" TO {reader};
         GRANT SELECT ON ALL TABLES IN SCHEMA public, \"Odd one\" TO {reader}"
    ));
    let conninfo = shop.source.conninfo(&reader, PASSWORD, &shop.name);
    let told = shop.refused(&conninfo, SqlState::INSUFFICIENT_PRIVILEGE);
    assert_has(
        &told,
        &[
            "hides rows of 2 tables",
            "Odd one.T, public.acct",
            &format!("ALTER ROLE {reader} BYPASSRLS"),
        ],
    );

    superuser.run(&format!("ALTER ROLE {reader} BYPASSRLS"));
    let mut target = shop.at_target();
    shop.subscribe_to(&mut target, &conninfo).unwrap();
    assert_eq!(warnings(&mut target), [""; 0]);
    shop.wait_for_rows("acct", "1 2 3 4 5 6 7 8 9 10");
}

fn tables_that_may_not_be_read_are_refused(shop: &Shop) {
    let [mut superuser, _] = shop.superusers();
    let reader = format!("{}_reader", shop.name);
    superuser.run(&format!(
        "SET log_min_duration_statement = -1; CREATE ROLE {reader} REPLICATION LOGIN PASSWORD '{PASSWORD}'"
    ));
    let conninfo = shop.source.conninfo(&reader, PASSWORD, &shop.name);
    let told = shop.refused(&conninfo, SqlState::INSUFFICIENT_PRIVILEGE);
    assert_has(
        &told,
        &["may not read table \"public.a\"", &format!("GRANT SELECT ON public.a TO {reader};")],
    );
    superuser.run("REVOKE USAGE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO app");
    superuser.run(&format!("GRANT SELECT ON a TO {reader}"));
    let told = shop.refused(&conninfo, SqlState::INSUFFICIENT_PRIVILEGE);
    assert_has(&told, &[&format!("GRANT USAGE ON SCHEMA public TO {reader};")]);
    superuser.run(&format!("GRANT USAGE ON SCHEMA public TO {reader}; REVOKE SELECT ON a FROM {reader}; GRANT SELECT (id) ON a TO {reader}"));
    shop.subscribe_to(&mut shop.at_target(), &conninfo).unwrap();
    shop.wait_for_rows("a", "1");
}

fn a_partition_published_with_its_root_is_copied_once(shop: &Shop) {
    shop.on_both(
        "CREATE TABLE m (id int, d int) PARTITION BY LIST (d);
         CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1) PARTITION BY LIST (id);
         CREATE TABLE m11 PARTITION OF m1 FOR VALUES IN (1, 2)",
    );
    shop.at_source().run(
        r#"INSERT INTO m VALUES (1, 1), (2, 1);
           SELECT pgmig_extras.create_publication('r', '{"tables":["public.m"],"publish_via_partition_root":true,"publish":["insert"]}');
           SELECT pgmig_extras.create_publication('l', '{"tables":["public.m11"],"publish":["insert"]}')"#,
    );
    let mut target = shop.at_target();
    target
        .call("create_subscription", &[&"s", &shop.conninfo(), &vec!["r", "l"], &options(shop)])
        .unwrap();
    shop.wait_for_rows("m", "1 2");
    shop.at_source().run("INSERT INTO m VALUES (1, 1)");
    shop.wait_for_rows("m", "1 1 2");
    // Through the root alone, and through the leaf alone, they come as ever.
    let tables = "SELECT srrelid::regclass::text FROM pg_subscription_rel ORDER BY 1";
    assert_eq!(target.column::<String>(tables), ["m"]);
    target.call("pg_alter_subscription_set_publication", &[&"s", &vec!["l"], &false]).unwrap();
    assert_eq!(target.column::<String>(tables), ["m11"]);
}

fn options(shop: &Shop) -> serde_json::Value {
    serde_json::json!({ "slot_name": shop.slot() })
}

fn origin_none_is_refused_by_an_older_publisher(shop: &Shop) {
    let mut target = shop.at_target();
    let mut with = options(shop);
    with["origin"] = "none".into();
    let error = target
        .call("create_subscription", &[&"s", &shop.conninfo(), &vec!["move"], &with])
        .refused(SqlState::FEATURE_NOT_SUPPORTED);
    assert_has(
        &whole(&error),
        &["origin = none needs PostgreSQL 16 or later on the publisher", "is PostgreSQL 15"],
    );
    with["origin"] = "any".into();
    target.call("create_subscription", &[&"s", &shop.conninfo(), &vec!["move"], &with]).unwrap();
}

fn an_owner_that_can_not_log_in_is_refused(shop: &Shop) {
    let [_, mut superuser] = shop.superusers();
    let owner = format!("{}_owner", shop.name);
    superuser.run(&format!(
        "CREATE ROLE {owner} NOLOGIN; GRANT {owner} TO app; SELECT pgmig_extras.grant_operator('{owner}');
         GRANT CREATE ON SCHEMA public TO {owner}; ALTER TABLE a OWNER TO {owner}"
    ));
    let mut target = shop.at_target();
    target.run(&format!("SET ROLE {owner}"));
    let error = shop.subscribe(&mut target).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_has(
        &whole(&error),
        &[&format!("role \"{owner}\" can't log in"), "No apply worker can run"],
    );
    assert!(shop.at_source().column::<String>("SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()").is_empty());

    superuser.run(&format!("ALTER ROLE {owner} LOGIN"));
    shop.subscribe(&mut target).unwrap();
    shop.wait_for_rows("a", "1");
    target.call("pg_alter_subscription_disable", &[&"s"]).unwrap();
    superuser.run(&format!("ALTER ROLE {owner} NOLOGIN"));
    target
        .call("pg_alter_subscription_enable", &[&"s"])
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
}

fn large_objects_are_told(shop: &Shop) {
    let mut source = shop.at_source();
    source.run("CREATE TABLE doc (id int PRIMARY KEY, body oid); INSERT INTO doc VALUES (1, lo_from_bytea(0, 'x'))");
    shop.at_target().run("CREATE TABLE doc (id int PRIMARY KEY, body oid)");
    source.run("DROP PUBLICATION move");
    source.call("pg_create_publication_for_all_tables", &[&"move", &"insert,update"]).unwrap();
    assert_warns(&mut source, &["the database has large objects, which are not replicated"]);
    let mut target = shop.at_target();
    shop.subscribe(&mut target).unwrap();
    assert_warns(
        &mut target,
        &[
            "the publisher's database has large objects, which are not replicated",
            "pg_dump --large-objects",
        ],
    );
}

fn unlogged_tables_are_told(shop: &Shop) {
    let mut source = shop.at_source();
    source.run("CREATE UNLOGGED TABLE cache (id int PRIMARY KEY); INSERT INTO cache VALUES (1); DROP PUBLICATION move");
    source.call("pg_create_publication_for_all_tables", &[&"move", &"insert,update"]).unwrap();
    assert_warns(
        &mut source,
        &[
            "unlogged table \"public.cache\" is not published",
            "ALTER TABLE public.cache SET LOGGED",
        ],
    );
    let mut target = shop.at_target();
    shop.subscribe(&mut target).unwrap();
    assert_warns(&mut target, &["unlogged table \"public.cache\" is not published"]);
    // Who owns the tables but not the database publishes those that are there.
    let [mut superuser, _] = shop.superusers();
    superuser.run(&format!(
        "ALTER DATABASE {} OWNER TO postgres; SELECT pgmig_extras.grant_operator('app')",
        shop.name
    ));
    source.call("pg_create_publication_for_all_tables", &[&"mine", &"insert,update"]).unwrap();
    assert_warns(&mut source, &["unlogged table \"public.cache\" is not published"]);
}

fn unlogged_partitions_are_refused(shop: &Shop) {
    shop.on_both("CREATE TABLE m (id int PRIMARY KEY) PARTITION BY LIST (id)");
    shop.at_source().run(
        r#"CREATE UNLOGGED TABLE m1 PARTITION OF m FOR VALUES IN (1);
           SELECT pgmig_extras.create_publication('r', '{"tables":["public.m"],"publish_via_partition_root":true,"publish":["insert"]}')"#,
    );
    shop.at_target().run("CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1)");
    let error = shop
        .at_target()
        .call("pg_create_subscription", &[&"s", &shop.conninfo(), &"r", &shop.slot(), &true])
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_has(&whole(&error), &["unlogged partitions of table \"public.m\"", "SET LOGGED"]);
}

fn rows_in_the_target_are_told(shop: &Shop) {
    shop.on_both(
        "CREATE TABLE n (id int); CREATE TABLE p (id int) PARTITION BY LIST (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE was (id int)",
    );
    shop.at_target().run(
        "INSERT INTO n VALUES (7); INSERT INTO p VALUES (1); INSERT INTO was SELECT generate_series(1, 1000); DELETE FROM was",
    );
    let mut target = shop.at_target();
    shop.subscribe(&mut target).unwrap();
    assert_warns(
        &mut target,
        &["2 tables have rows already", "public.n, public.p1", "copy_data = false"],
    );
    target.call("pg_drop_subscription", &[&"s"]).unwrap();
    warnings(&mut target);
    let without_copy = [
        &"s" as &(dyn postgres::types::ToSql + Sync),
        &shop.conninfo(),
        &"move",
        &shop.slot(),
        &true,
        &false,
    ];
    target.call("pg_create_subscription", &without_copy).unwrap();
    assert_eq!(warnings(&mut target), [""; 0]);
}

fn limits_of_time_are_told(shop: &Shop) {
    let [mut superuser, _] = shop.superusers();
    superuser
        .run(&format!("ALTER ROLE app IN DATABASE {} SET statement_timeout = '40s'", shop.name));
    let mut target = shop.at_target();
    shop.subscribe(&mut target).unwrap();
    assert_warns(
        &mut target,
        &[
            "the publisher limits the time of a copy: statement_timeout = 40s",
            &format!("ALTER ROLE app IN DATABASE {} SET statement_timeout = 0;", shop.name),
        ],
    );
}

fn generated_columns_that_a_copy_leaves_out_are_refused(shop: &Shop) {
    shop.at_source().run(
        r#"CREATE TABLE g (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED);
           INSERT INTO g VALUES (1, 5); DROP PUBLICATION move;
           SELECT pgmig_extras.create_publication('move', '{"all_tables":true,"publish_generated_columns":"stored"}')"#,
    );
    shop.at_target().run("CREATE TABLE g (id int PRIMARY KEY, a int, s int)");
    let told = shop.refused(&shop.conninfo(), SqlState::FEATURE_NOT_SUPPORTED);
    assert_has(&told, &["does not copy published generated columns", "public.g.s"]);
}

fn tables_of_extensions_are_told(shop: &Shop) {
    for mut superuser in shop.superusers() {
        superuser.run(
            "CREATE EXTENSION pg_trgm; CREATE TABLE spatial_ref_sys (srid int PRIMARY KEY);
             INSERT INTO spatial_ref_sys VALUES (3819); ALTER EXTENSION pg_trgm ADD TABLE spatial_ref_sys;
             GRANT SELECT ON spatial_ref_sys TO app",
        );
    }
    let mut source = shop.at_source();
    source.run("DROP PUBLICATION move");
    source.call("pg_create_publication_for_all_tables", &[&"move", &"insert,truncate"]).unwrap();
    assert_warns(
        &mut source,
        &[
            "table \"public.spatial_ref_sys\" of extensions would be published",
            "create_publication",
        ],
    );
    let told = shop.refused(&shop.conninfo(), SqlState::INSUFFICIENT_PRIVILEGE);
    assert_has(
        &told,
        &[
            "must be owner of table",
            "It is a table of extension \"pg_trgm\".",
            "create_publication",
        ],
    );
}

fn a_refresh_checks_new_tables_only(shop: &Shop) {
    let mut target = shop.at_target();
    shop.subscribe(&mut target).unwrap();
    shop.wait_for_rows("a", "1");
    warnings(&mut target);
    shop.on_both("CREATE TABLE b (id int PRIMARY KEY)");
    target.run("INSERT INTO b VALUES (9)");
    target.call("pg_alter_subscription_refresh_publication", &[&"s", &true]).unwrap();
    assert_warns(&mut target, &["table \"public.b\" has rows already"]);
    shop.on_both("CREATE TABLE c (id int PRIMARY KEY)");
    shop.at_source()
        .run("ALTER TABLE c ENABLE ROW LEVEL SECURITY; ALTER TABLE c FORCE ROW LEVEL SECURITY");
    target
        .call("pg_alter_subscription_refresh_publication", &[&"s", &true])
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    target.call("pg_alter_subscription_refresh_publication", &[&"s", &false]).unwrap();
}
