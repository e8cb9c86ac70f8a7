//! Which file of a crate uses which.
//!
//! A name that a `mod.rs` only hands on (`pub use child::Name`) belongs to the file that it comes
//! from: who uses it uses that file, and the `mod.rs` does not.

use super::paths::{Kind, Named, named};
use super::sources::Source;
use std::collections::BTreeMap;

/// One file uses another, for the first time in this line.
#[derive(Debug)]
pub struct Arrow {
    pub from: String,
    pub to: String,
    pub line: usize,
}

/// Sorted by the names of the files.
pub fn between(sources: &[Source]) -> Vec<Arrow> {
    let names: Vec<Vec<Named>> = sources.iter().map(named).collect();
    let modules = Modules::new(sources, &names);
    let mut lines = BTreeMap::new();
    for (source, names) in sources.iter().zip(&names) {
        for name in names {
            let Some(target) = modules.used_by(name) else { continue };
            if *target.module != source.module {
                let line = lines.entry((&source.path, &target.path)).or_insert(name.line);
                *line = name.line.min(*line);
            }
        }
    }
    let arrow = |((from, to), line): ((&String, &String), usize)| Arrow {
        from: from.clone(),
        to: to.clone(),
        line,
    };
    lines.into_iter().map(arrow).collect()
}

struct Modules<'a> {
    /// By module.
    files: BTreeMap<&'a [String], &'a Source>,
    /// What the `use` lines of each module bring into it.
    uses: BTreeMap<&'a [String], Vec<&'a Named>>,
}

impl<'a> Modules<'a> {
    fn new(sources: &'a [Source], names: &'a [Vec<Named>]) -> Self {
        let files = sources.iter().map(|source| (&*source.module, source)).collect();
        let mut uses: BTreeMap<&[String], Vec<&Named>> = BTreeMap::new();
        for name in names.iter().flatten() {
            if let Kind::Use { .. } = name.kind {
                uses.entry(&*name.module).or_default().push(name);
            }
        }
        Modules { files, uses }
    }

    /// The file that a name comes from; none for other crates, and for a name that is only handed on.
    fn used_by(&self, name: &Named) -> Option<&'a Source> {
        let path = self.absolute(&name.module, &name.segments, 0)?;
        let file = self.file_of(&path, 0)?;
        match &name.kind {
            Kind::Use { is_public: true, .. } if is_below(&file.module, &name.module) => None,
            // What is used of a folder shows where it is used.
            Kind::Use { alias, .. } if alias != "*" && self.is_folder(&path) => None,
            // A word alone may be a variable, and what it is by a `use` is counted there.
            Kind::Code if name.segments.len() == 1 || self.is_folder(&path) => None,
            _ => Some(file),
        }
    }

    fn is_folder(&self, path: &[String]) -> bool {
        self.files.contains_key(path) && self.files.keys().any(|other| is_below(other, path))
    }

    /// The path from the crate's root on.
    fn absolute(&self, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let (_, parent) = module.split_last()?;
                match rest.first().is_some_and(|next| next == "super") {
                    true => self.absolute(parent, rest, depth),
                    false => Some([parent, rest].concat()),
                }
            }
            _ if self.files.contains_key(&*[module, &path[..1]].concat()) => {
                Some([module, path].concat())
            }
            _ => self.imported(module, path, depth),
        }
    }

    /// A path that begins with what a `use` of the module names.
    fn imported(&self, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        // `use a::a` names itself.
        if depth > 8 {
            return None;
        }
        let is_named = |name: &&&Named| match &name.kind {
            Kind::Use { alias, .. } => *alias == path[0] && name.segments[0] != path[0],
            Kind::Code => false,
        };
        let name = self.uses.get(module)?.iter().find(is_named)?;
        let start = self.absolute(module, &name.segments, depth + 1)?;
        Some([start, path[1..].to_vec()].concat())
    }

    /// The file of the deepest module on the way, or where that one has the next name from.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&'a Source> {
        let own = (0..=path.len()).rev().find(|end| self.files.contains_key(&path[..*end]))?;
        let (module, rest) = path.split_at(own);
        let origin = (depth < 8 && !rest.is_empty())
            .then(|| self.imported(module, rest, 0))
            .flatten()
            .and_then(|path| self.file_of(&path, depth + 1));
        origin.or_else(|| self.files.get(module).copied())
    }
}

fn is_below(module: &[String], folder: &[String]) -> bool {
    module.len() > folder.len() && module.starts_with(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let line = |arrow: Arrow| format!("{}:{} {}", arrow.from, arrow.line, arrow.to);
        between(&planted(files)).into_iter().map(line).collect()
    }

    /// `a.rs` beside `b/mod.rs`, `b/c.rs` and `b/d.rs`.
    fn arrows_of(a: &str, b: &str, c: &str) -> Vec<String> {
        arrows(&[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", a),
            ("src/b/mod.rs", b),
            ("src/b/c.rs", c),
            ("src/b/d.rs", ""),
        ])
    }

    #[test]
    fn what_a_mod_file_hands_on_belongs_to_the_file_that_it_comes_from() {
        let found = arrows_of("use crate::b::{C, e};", "mod c; mod d; pub use c::C; fn e() {}", "");
        assert_eq!(found, ["src/a.rs:1 src/b/c.rs", "src/a.rs:1 src/b/mod.rs"]);
        let found = arrows_of("", "mod c; mod d; pub use d::D;", "use super::D;");
        assert_eq!(found, ["src/b/c.rs:1 src/b/d.rs"]);
    }

    #[test]
    fn a_parent_that_uses_its_child_and_a_child_that_uses_its_parent_have_arrows() {
        let found = arrows_of("", "mod c; mod d; fn e() {\n c::f() }", "fn f() {\n super::e() }");
        assert_eq!(found, ["src/b/c.rs:2 src/b/mod.rs", "src/b/mod.rs:2 src/b/c.rs"]);
    }

    #[test]
    fn paths_in_code_in_functions_in_types_and_in_macros_count() {
        for code in [
            "fn f() { crate::b::c::g() }",
            "fn f() { use crate::b::c::g; }",
            "fn f(_: &[crate::b::c::T]) {}",
            "fn f() { if let crate::b::c::E::X = x() {} }",
            "fn f() { println!(\"{}\", crate::b::c::g()) }",
            "macro_rules! m { () => { $crate::b::c::g() } }",
            "#[derive(Debug)] struct S(crate::b::c::T);",
            "use super::b::c; fn f() { c::g() }",
            "use crate::b; fn f() { b::c::g() }",
            "mod inner { use super::super::b::c::g; }",
        ] {
            assert_eq!(arrows_of(code, "mod c; mod d;", ""), ["src/a.rs:1 src/b/c.rs"], "{code}");
        }
    }

    #[test]
    fn tests_visibility_and_other_crates_make_no_arrow() {
        for code in [
            "#[cfg(test)] mod tests { use crate::b::c::g; }",
            "pub(in crate::b) fn f() {}",
            "use std::fmt; fn f() -> fmt::Result { a::b::c() }",
        ] {
            assert_eq!(arrows_of(code, "mod c; mod d;", ""), [""; 0], "{code}");
        }
    }
}
