//! The files of a crate, found as the compiler finds them: from its root by their `mod` lines.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use syn::{Attribute, Item};

/// Texts by path, such as `src/ffi/mod.rs`.
pub type Texts = BTreeMap<String, String>;

pub struct Source {
    pub path: String,
    /// `crate::ffi::wait` is `["ffi", "wait"]`; the root is empty.
    pub module: Vec<String>,
    pub text: String,
    pub syntax: syn::File,
}

/// The texts in `folder`, a path relative to `root`, and in the folders in it.
pub fn read(root: &Path, folder: &str) -> Result<Texts> {
    let mut texts = Texts::new();
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("cannot read {folder}"))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            texts.extend(read(root, &path)?);
        } else if path.ends_with(".rs") {
            texts.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(texts)
}

/// Every file that the file `root` leads to. Modules that are compiled for tests only are left out:
/// tests may use whatever they need.
pub fn parse(texts: &Texts, root: &str) -> Result<Vec<Source>> {
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut sources = Vec::new();
    add(texts, root.to_owned(), Vec::new(), folder, &mut sources)?;
    Ok(sources)
}

fn add(
    texts: &Texts,
    path: String,
    module: Vec<String>,
    folder: &str,
    sources: &mut Vec<Source>,
) -> Result<()> {
    let text = texts.get(&path).with_context(|| format!("there is no {path}"))?.clone();
    let syntax = syn::parse_file(&text).with_context(|| format!("cannot parse {path}"))?;
    let children = declared_modules(&syntax).with_context(|| path.clone())?;
    sources.push(Source { path, module: module.clone(), text, syntax });
    for name in children {
        let child = [module.clone(), vec![name]].concat();
        let place = format!("{folder}/{}", child.join("/"));
        let files = [format!("{place}.rs"), format!("{place}/mod.rs")];
        let found = files.into_iter().find(|file| texts.contains_key(file));
        let path = found.with_context(|| format!("there is no file for module {place}"))?;
        add(texts, path, child, folder, sources)?;
    }
    Ok(())
}

fn declared_modules(file: &syn::File) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for item in &file.items {
        let Item::Mod(module) = item else { continue };
        if module.content.is_some() || is_test_only(&module.attrs) {
            continue;
        }
        ensure!(
            !module.attrs.iter().any(|attribute| attribute.path().is_ident("path")),
            "the check of the sources does not know #[path]: let the file have its module's name"
        );
        names.push(module.ident.to_string());
    }
    Ok(names)
}

/// Whether `#[cfg(test)]` is among the attributes.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|cfg| cfg.tokens.to_string() == "test")
    })
}

pub fn attributes(item: &Item) -> &[Attribute] {
    macro_rules! of {
        ($($kind:ident)*) => {
            match item {
                $(Item::$kind(item) => &item.attrs,)*
                _ => &[],
            }
        };
    }
    of!(Const Enum ExternCrate Fn ForeignMod Impl Macro Mod Static Struct Trait TraitAlias Type Union Use)
}
