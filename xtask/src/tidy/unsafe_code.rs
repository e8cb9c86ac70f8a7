//! Unsafe code stands in `src/ffi/` only.

use super::sources::Source;
use super::violation::Violation;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use syn::Item;
use syn::spanned::Spanned;

/// The server finds a background worker's function by its name, which makes the attribute
/// `#[unsafe(no_mangle)]` necessary. What such a function does is not excepted.
const ENTRY_POINTS: [&str; 2] = ["pgmig_extras_launcher", "pgmig_extras_watcher"];

pub fn check(source: &Source) -> Vec<Violation> {
    if source.module.first().is_some_and(|room| room == "ffi") {
        return Vec::new();
    }
    let tokens: TokenStream = source.text.parse().expect("the file was parsed already");
    let mut lines = BTreeSet::new();
    add_lines(tokens, &mut lines);
    let excepted = attributes_of_entry_points(source);
    let refused = |line| Violation {
        path: source.path.clone(),
        line,
        rule: "unsafe code stands in src/ffi only, behind a safe function".to_owned(),
    };
    lines.difference(&excepted).copied().map(refused).collect()
}

/// Where `unsafe` or the lint `unsafe_code` is written, also in what macros are given.
fn add_lines(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) if word == "unsafe" || word == "unsafe_code" => {
                lines.insert(word.span().start().line);
            }
            TokenTree::Group(group) => add_lines(group.stream(), lines),
            _ => {}
        }
    }
}

fn attributes_of_entry_points(source: &Source) -> BTreeSet<usize> {
    let functions = source.syntax.items.iter().filter_map(|item| match item {
        Item::Fn(function) if ENTRY_POINTS.iter().any(|name| function.sig.ident == name) => {
            Some(&function.attrs)
        }
        _ => None,
    });
    functions.flatten().map(|attribute| attribute.span().start().line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    fn lines(code: &str) -> Vec<usize> {
        let sources = planted(&[("src/lib.rs", "mod slot;"), ("src/slot.rs", code)]);
        check(&sources[1]).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn an_unsafe_block_outside_ffi_is_refused() {
        assert_eq!(lines("fn f() {\n    unsafe { g() }\n}"), [2]);
        assert_eq!(lines("fn f() {\n    println!(\"{}\", unsafe { g() })\n}"), [2]);
    }

    #[test]
    fn unsafe_impls_functions_and_allowed_lints_outside_ffi_are_refused() {
        let code = "unsafe impl A for B {}\nunsafe fn f() {}\n#[allow(unsafe_code)]\nmod c {}\n\
                    #[expect(unsafe_code)]\nfn g() {}";
        assert_eq!(lines(code), [1, 2, 3, 5]);
    }

    #[test]
    fn only_the_attributes_of_entry_points_are_excepted() {
        let attributes = "#[unsafe(no_mangle)]\n#[allow(unsafe_code)]\n";
        let entry = format!(
            "{attributes}extern \"C-unwind\" fn pgmig_extras_launcher() {{\nunsafe {{}} }}"
        );
        assert_eq!(lines(&entry), [4]);
        assert_eq!(lines(&format!("{attributes}fn f() {{}}")), [1, 2]);
    }

    #[test]
    fn the_word_in_texts_and_comments_and_the_code_of_ffi_are_no_matter() {
        assert_eq!(lines("// unsafe {}\nconst A: &str = \"unsafe\";"), [0; 0]);
        let ffi = planted(&[("src/lib.rs", "mod ffi;"), ("src/ffi/mod.rs", "unsafe fn f() {}")]);
        assert!(check(&ffi[1]).is_empty());
    }
}
