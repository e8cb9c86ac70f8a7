//! Every ordered pair of majors: one short migration as a person would do it, with capital letters
//! in every name.

use postgres::error::SqlState;

use crate::support::{Bed, Refused, matrix};

/// From publication to drop, by roles that are no superusers.
fn a_database_is_migrated(bed: &Bed) {
    let mut source = bed.app();
    let publication = "All Of It";
    let tables = [r#""Shop"."Orders""#, r#""Shop"."Order Lines""#, r#""Shop"."New One""#];
    crate::support::Session::open(bed.source, "postgres", &bed.database)
        .run("SELECT pgmig_extras.grant_operator('app')");
    source
        .query(
            "SELECT pgmig_extras.pg_create_publication($1, $2, VARIADIC $3)",
            &[&publication, &"insert,update,delete,truncate", &tables.to_vec()],
        )
        .expect("the owner of the tables publishes them");

    let mut operator = bed.operator();
    let (name, conninfo, slot) = (bed.subscription(), bed.conninfo(), bed.slot());
    operator
        .call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true])
        .expect("an operator subscribes");
    source.run(
        r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'Größe 🐘');
           UPDATE "Shop"."Order Lines" SET "Größe" = "Größe" + 1 WHERE id < 50;
           DELETE FROM "Shop"."Orders" WHERE id BETWEEN 10 AND 20;
           INSERT INTO "Shop"."New One" SELECT generate_series(1, 1000)"#,
    );
    bed.wait_until_equal();
    let count: i64 = operator.value(r#"SELECT count(*) FROM "Shop"."New One""#);
    assert_eq!(count, 1000);

    source.run(r#"TRUNCATE "Shop"."New One""#);
    bed.wait_until_equal();
    let is_superuser: bool =
        operator.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user");
    assert!(!is_superuser);
    bed.as_role("stranger")
        .call("pg_drop_subscription", &[&name])
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    operator.call("pg_drop_subscription", &[&name]).expect("its owner drops it");
    bed.assert_nothing_left();
    source.call("drop_publication", &[&publication]).expect("its owner drops it");
}

matrix! { Bed::run, each {
    a_database_is_migrated: [
    from_13_to_15(13, 15), from_13_to_16(13, 16), from_13_to_17(13, 17), from_13_to_18(13, 18),
    from_14_to_15(14, 15), from_14_to_16(14, 16), from_14_to_17(14, 17), from_14_to_18(14, 18),
    from_15_to_15(15, 15), from_15_to_16(15, 16), from_15_to_17(15, 17), from_15_to_18(15, 18),
    from_16_to_15(16, 15), from_16_to_16(16, 16), from_16_to_17(16, 17), from_16_to_18(16, 18),
    from_17_to_15(17, 15), from_17_to_16(17, 16), from_17_to_17(17, 17), from_17_to_18(17, 18),
    from_18_to_15(18, 15), from_18_to_16(18, 16), from_18_to_17(18, 17), from_18_to_18(18, 18)
    ];
} }
