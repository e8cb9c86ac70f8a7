//! Changing and dropping publications.

use postgres::error::SqlState;

use super::calls::*;
use crate::source::Source;
use crate::support::{Refused, matrix};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        tables_are_added_and_dropped,
        only_a_member_of_its_owner_changes_a_publication,
        a_publication_can_be_dropped_after_its_tables_were_given_away,
    }
}

fn tables_are_added_and_dropped(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[]).unwrap();
    operator
        .call(
            "alter_publication_add_tables",
            &[&"p", &r#""Shop"."Orders""#, &r#""Shop"."ta .'ble0""#],
        )
        .unwrap();
    assert_eq!(source.tables_of("p").len(), 2);
    add(&mut operator, "p", r#""Shop"."Orders""#).refused(SqlState::DUPLICATE_OBJECT);
    remove(&mut operator, "p", r#""Shop"."Orders""#).unwrap();
    assert_eq!(source.tables_of("p"), [r#""Shop"."ta .'ble0""#]);
    remove(&mut operator, "p", r#""Shop"."Orders""#).refused(SqlState::UNDEFINED_OBJECT);
    remove(&mut operator, "p", "vault.nothing").refused(SqlState::UNDEFINED_TABLE);

    operator.run("BEGIN");
    add(&mut operator, "p", r#""Shop"."Orders""#).unwrap();
    remove(&mut operator, "p", r#""Shop"."ta .'ble0""#).unwrap();
    drop_it(&mut operator, "p").unwrap();
    operator.run("ROLLBACK");
    assert_eq!(source.tables_of("p"), [r#""Shop"."ta .'ble0""#]);

    for missing in ["P", "q", "\"p\""] {
        add(&mut operator, missing, r#""Shop"."Orders""#).refused(SqlState::UNDEFINED_OBJECT);
        remove(&mut operator, missing, r#""Shop"."Orders""#).refused(SqlState::UNDEFINED_OBJECT);
        drop_it(&mut operator, missing).refused(SqlState::UNDEFINED_OBJECT);
    }
    drop_it(&mut operator, "p").unwrap();
    drop_it(&mut operator, "p").refused(SqlState::UNDEFINED_OBJECT);
}

fn only_a_member_of_its_owner_changes_a_publication(source: &Source) {
    create(&mut source.operator(), "p", ALL, &[r#""Shop"."Orders""#]).unwrap();
    source.superuser().run("CREATE PUBLICATION of_postgres; CREATE SCHEMA own AUTHORIZATION rival");
    let mut rival = source.session("rival");
    rival.run("CREATE TABLE own.t (id int PRIMARY KEY)");
    for publication in ["p", "of_postgres"] {
        for report in [
            add(&mut rival, publication, "own.t").refused(DENIED),
            remove(&mut rival, publication, r#""Shop"."Orders""#).refused(DENIED),
            drop_it(&mut rival, publication).refused(DENIED),
        ] {
            let name = format!("permission denied for publication \"{publication}\"");
            assert_eq!(report.message(), name);
            assert!(detail(&report).contains("\"rival\" is not a member"), "{report:?}");
            assert!(report.hint().is_some(), "{report:?}");
        }
    }
    add(&mut source.operator(), "of_postgres", r#""Shop"."Orders""#).refused(DENIED);
    assert_eq!(source.publications(), ["of_postgres", "p"]);
    assert_eq!(source.tables_of("p"), [r#""Shop"."Orders""#]);
    // A publication given away is no longer the giver's.
    source.superuser().run("ALTER PUBLICATION p OWNER TO rival");
    drop_it(&mut source.operator(), "p").refused(DENIED);
    drop_it(&mut rival, "p").unwrap();
}

fn a_publication_can_be_dropped_after_its_tables_were_given_away(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#, r#""Shop"."ta .'ble0""#]).unwrap();
    source.superuser().run(
        r#"ALTER TABLE "Shop"."Orders" OWNER TO victim;
           ALTER TABLE "Shop"."ta .'ble0" OWNER TO victim"#,
    );
    remove(&mut operator, "p", r#""Shop"."Orders""#).unwrap();
    add(&mut operator, "p", r#""Shop"."Orders""#).refused(DENIED);
    drop_it(&mut operator, "p").unwrap();
    assert_nothing_published(source);
}
