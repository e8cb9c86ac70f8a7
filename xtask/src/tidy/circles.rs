//! Circles: of files that use each other, directly or through others.

use super::arrows::Arrow;
use super::violation::Violation;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub fn between_files(arrows: &[Arrow]) -> Vec<Violation> {
    let mut known = BTreeSet::new();
    let starts: BTreeSet<&str> = arrows.iter().map(|arrow| &*arrow.from).collect();
    let circles = starts.into_iter().filter_map(|start| shortest(arrows, start));
    circles
        .filter(|circle| {
            known.insert(circle.iter().map(|arrow| &arrow.from).collect::<BTreeSet<_>>())
        })
        .map(|circle| violation(&circle))
        .collect()
}

fn violation(circle: &[&Arrow]) -> Violation {
    let places: Vec<String> = circle
        .iter()
        .map(|arrow| format!("{}:{} uses {}", arrow.from, arrow.line, arrow.to))
        .collect();
    Violation {
        path: circle[0].from.clone(),
        line: circle[0].line,
        rule: format!("files use each other in a circle: {}", places.join(", ")),
    }
}

/// The shortest way along the arrows from `start` back to it.
fn shortest<'a>(arrows: &'a [Arrow], start: &str) -> Option<Vec<&'a Arrow>> {
    let mut came_by: BTreeMap<&str, &Arrow> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for arrow in arrows.iter().filter(|arrow| arrow.from == file) {
            if !came_by.contains_key(&*arrow.to) {
                came_by.insert(&arrow.to, arrow);
                queue.push_back(&arrow.to);
            }
        }
    }
    let mut circle = VecDeque::from([*came_by.get(start)?]);
    while circle[0].from != start {
        circle.push_front(came_by[&*circle[0].from]);
    }
    Some(circle.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{arrows, planted};

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let found = between_files(&arrows::between(&planted(files)));
        found.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn a_circle_of_three_files_is_refused_once_with_all_its_places() {
        let found = circles(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "\nuse crate::c::C;"),
            ("src/c.rs", "fn f() { crate::a::f() }"),
        ]);
        let expected = "src/a.rs:1: files use each other in a circle: src/a.rs:1 uses src/b.rs, \
                        src/b.rs:2 uses src/c.rs, src/c.rs:1 uses src/a.rs";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_circle_within_a_folder_is_refused() {
        let found = circles(&[
            ("src/lib.rs", "mod a;"),
            ("src/a/mod.rs", "mod b; mod c; pub use b::B; pub use c::C;"),
            ("src/a/b.rs", "use super::C;"),
            ("src/a/c.rs", "use super::B;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn files_that_share_a_third_are_no_circle() {
        let found = circles(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::{b::B, c::C};"),
            ("src/b.rs", "use crate::c::C;"),
            ("src/c.rs", ""),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
