//! Rows that are counted on both sides, and a backend that is killed.

use crate::support::Bed;

/// Rows that go in while `work` is on its way, by a role that counts.
pub fn insert_counted(bed: &Bed, from: i32) {
    bed.app().run(&format!(
        r#"INSERT INTO "Shop"."Orders" SELECT i, 'counted' FROM generate_series({from}, {from} + 99) i"#
    ));
}

/// Writes down every row that arrives, also one that arrives twice.
pub fn count_arrivals(bed: &Bed) {
    bed.superuser().run(
        r#"CREATE TABLE public.arrivals (id int);
           GRANT ALL ON public.arrivals TO operator, shop;
           CREATE FUNCTION public.arrive() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO public.arrivals VALUES (new.id); RETURN new; END';
           ALTER TABLE "Shop"."Orders" DROP CONSTRAINT "Orders_pkey";
           ALTER TABLE "Shop"."Orders" ALTER id SET NOT NULL;
           CREATE TRIGGER arrive BEFORE INSERT ON "Shop"."Orders"
               FOR EACH ROW EXECUTE FUNCTION public.arrive();
           ALTER TABLE "Shop"."Orders" ENABLE ALWAYS TRIGGER arrive"#,
    );
}

/// Each of the counted rows arrived once.
#[track_caller]
pub fn assert_arrived_once(bed: &Bed, count: i64) {
    bed.wait_until_equal();
    let row = bed
        .superuser()
        .query_one("SELECT count(*), count(DISTINCT id) FROM public.arrivals WHERE id > 1000", &[])
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (count, count));
}

pub fn kill9(pid: i32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}
