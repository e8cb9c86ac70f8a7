//! What one file names: the paths in its `use` lines, in its code and in the tokens of its macros.

use super::sources::{Source, attributes, is_test_only};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, Macro, Meta, UseTree, Visibility};

/// A path as it is written, with the module that it is written in.
pub struct Named {
    pub module: Vec<String>,
    pub segments: Vec<String>,
    pub line: usize,
    pub kind: Kind,
}

pub enum Kind {
    /// `use a::b as alias`; for `use a::*` the alias is `*`.
    Use {
        alias: String,
        is_public: bool,
    },
    Code,
}

pub fn named(source: &Source) -> Vec<Named> {
    let mut reader = Reader { module: source.module.clone(), found: Vec::new() };
    reader.visit_file(&source.syntax);
    reader.found
}

struct Reader {
    module: Vec<String>,
    found: Vec<Named>,
}

impl Reader {
    fn add(&mut self, segments: Vec<String>, line: usize, kind: Kind) {
        self.found.push(Named { module: self.module.clone(), segments, line, kind });
    }

    /// Finds `a::b::c` wherever it stands, since a macro may take any tokens.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut colons, mut line) = (0, 0);
        for token in tokens {
            match &token {
                TokenTree::Ident(name) => {
                    if colons < 2 {
                        self.end_path(&mut path, line);
                        line = name.span().start().line;
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end_path(&mut path, line);
                    self.add_tokens(group.stream());
                    colons = 0;
                }
                _ => {
                    self.end_path(&mut path, line);
                    colons = 0;
                }
            }
        }
        self.end_path(&mut path, line);
    }

    fn end_path(&mut self, path: &mut Vec<String>, line: usize) {
        let segments = std::mem::take(path);
        if !segments.is_empty() {
            self.add(segments, line, Kind::Code);
        }
    }

    fn add_use(&mut self, tree: &UseTree, mut prefix: Vec<String>, is_public: bool) {
        let line = tree.span().start().line;
        let mut leaf = |name: String, alias: String| {
            if name != "self" {
                prefix.push(name);
            }
            self.add(prefix.clone(), line, Kind::Use { alias, is_public });
        };
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(&path.tree, prefix, is_public);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, prefix.clone(), is_public);
                }
            }
            UseTree::Name(name) if name.ident == "self" => {
                let alias = prefix.last().cloned().unwrap_or_default();
                self.add(prefix, line, Kind::Use { alias, is_public });
            }
            UseTree::Name(name) => leaf(name.ident.to_string(), name.ident.to_string()),
            UseTree::Rename(rename) => leaf(rename.ident.to_string(), rename.rename.to_string()),
            UseTree::Glob(_) => {
                self.add(prefix, line, Kind::Use { alias: "*".to_owned(), is_public });
            }
        }
    }
}

impl Visit<'_> for Reader {
    fn visit_item(&mut self, item: &Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.add_use(&item.tree, Vec::new(), is_public);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(segments, path.span().start().line, Kind::Code);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &Macro) {
        self.visit_path(&call.path);
        self.add_tokens(call.tokens.clone());
    }

    fn visit_meta(&mut self, meta: &Meta) {
        if let Meta::List(list) = meta {
            self.add_tokens(list.tokens.clone());
        }
        visit::visit_meta(self, meta);
    }

    /// `pub(super)` uses nothing of the module.
    fn visit_visibility(&mut self, _: &Visibility) {}
}
