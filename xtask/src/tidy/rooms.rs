//! The rooms of the extension, which are the folders and files at the top of `src/`, and their order.

use super::arrows::Arrow;
use super::sources::Source;
use super::violation::Violation;
use std::collections::{BTreeMap, BTreeSet};

/// From the top: a room may use those in layers below its own, and of its own layer those that do
/// not use it. ARCHITECTURE.md says the same to people.
const LAYERS: &[&[&str]] = &[
    &["lib"],
    &["aiven"],
    &["admin", "lag"],
    &["migration", "copy"],
    &["subscription", "publication"],
    &["check", "slot", "watcher"],
    &["probe"],
    &["reports", "commit"],
    &["publisher"],
    &["conninfo", "server"],
    &["caller"],
    &["argument", "notice"],
    &["error", "settings"],
    &["ffi"],
];

pub fn check(sources: &[Source], arrows: &[Arrow]) -> Vec<Violation> {
    let mut violations = unplaced(sources);
    let against = |arrow: &&Arrow| is_against_the_order(room(&arrow.from), room(&arrow.to));
    violations.extend(arrows.iter().filter(against).map(|arrow| {
        let (from, to) = (room(&arrow.from), room(&arrow.to));
        refused(arrow, format!("{from} must not use {to}, which is above it"))
    }));
    violations.extend(within_a_layer(arrows).into_iter().map(|arrow| {
        let (from, to) = (room(&arrow.from), room(&arrow.to));
        refused(arrow, format!("{from} and {to} use each other, directly or through others"))
    }));
    violations
}

/// `src/ffi/wait.rs` is in room `ffi`, `src/error.rs` in `error`.
fn room(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

fn unplaced(sources: &[Source]) -> Vec<Violation> {
    let rooms: BTreeMap<&str, &Source> =
        sources.iter().rev().map(|source| (room(&source.path), source)).collect();
    let unplaced = rooms.into_iter().filter(|(room, _)| layer(room).is_none());
    let rule = |room| {
        format!(
            "room {room} has no place in the order: give it one in {} and ARCHITECTURE.md",
            file!()
        )
    };
    unplaced
        .map(|(room, source)| Violation { path: source.path.clone(), line: 1, rule: rule(room) })
        .collect()
}

fn is_against_the_order(from: &str, to: &str) -> bool {
    layer(from).zip(layer(to)).is_some_and(|(from, to)| from > to)
}

/// The arrows between rooms of one layer from which a way leads back.
fn within_a_layer(arrows: &[Arrow]) -> Vec<&Arrow> {
    let between_rooms = |arrow: &&Arrow| {
        let (from, to) = (room(&arrow.from), room(&arrow.to));
        from != to && layer(from).is_some() && layer(from) == layer(to)
    };
    let level: Vec<&Arrow> = arrows.iter().filter(between_rooms).collect();
    let leads_back = |arrow: &&&Arrow| reached(&level, room(&arrow.to)).contains(room(&arrow.from));
    level.iter().filter(leads_back).copied().collect()
}

fn reached<'a>(arrows: &[&'a Arrow], start: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::from([start]);
    loop {
        let next = arrows.iter().filter(|arrow| reached.contains(room(&arrow.from)));
        let found: BTreeSet<&str> = next.map(|arrow| room(&arrow.to)).collect();
        if found.is_subset(&reached) {
            return reached;
        }
        reached.extend(found);
    }
}

fn refused(arrow: &Arrow, rule: String) -> Violation {
    let rule = format!("uses {}: {rule}", arrow.to);
    Violation { path: arrow.from.clone(), line: arrow.line, rule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{arrows, planted};

    fn refusals(files: &[(&str, &str)]) -> Vec<String> {
        let sources = planted(files);
        let found = check(&sources, &arrows::between(&sources));
        found.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn an_arrow_from_ffi_upward_is_refused() {
        let found = refusals(&[
            ("src/lib.rs", "mod error; mod ffi;"),
            ("src/error.rs", ""),
            ("src/ffi/mod.rs", "pub mod wait;"),
            ("src/ffi/wait.rs", "fn wait() {\n    crate::error::raise()\n}"),
        ]);
        let expected =
            "src/ffi/wait.rs:2: uses src/error.rs: ffi must not use error, which is above it";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn rooms_of_one_layer_may_use_each_other_in_one_direction_only() {
        let one_way = [
            ("src/lib.rs", "mod subscription; mod publication;"),
            ("src/subscription/mod.rs", "mod a; mod b;"),
            ("src/subscription/a.rs", "use crate::publication::c::C;"),
            ("src/subscription/b.rs", ""),
            ("src/publication/mod.rs", "mod c; mod d;"),
            ("src/publication/c.rs", ""),
            ("src/publication/d.rs", ""),
        ];
        assert_eq!(refusals(&one_way), [""; 0]);
        let mut both_ways = one_way;
        both_ways[6].1 = "use crate::subscription::b::B;";
        assert_eq!(refusals(&both_ways).len(), 2);
    }

    #[test]
    fn a_room_without_a_place_in_the_order_is_refused() {
        let found = refusals(&[("src/lib.rs", "mod cellar;"), ("src/cellar.rs", "")]);
        assert!(found[0].contains("room cellar has no place in the order"), "{found:?}");
        assert_eq!(found.len(), 1);
    }
}
