//! Code that is compiled for some majors only.
//!
//! A gate that says `not(feature = "pg13")`, or a statement for 17 and 18 without a counterpart,
//! decides for a major that nobody has looked at yet. So a gate lists its majors, and alternatives
//! together cover each major exactly once: items of the same name in their scope; statements,
//! fields, arms, arguments and elements where they follow each other. For a new major the check, or
//! the compiler, then names every place that has to decide. What is only declared (`use`, `extern`
//! blocks) may lack majors: the compiler says where it is used.

use super::sources::{self, Source};
use super::violation::Violation;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, Expr, ExprArray, ExprCall, ExprMatch, ExprMethodCall, ExprStruct, ExprTuple,
    FieldsNamed, FieldsUnnamed, File, FnArg, ImplItem, Item, ItemEnum, ItemForeignMod, ItemImpl,
    ItemMod, ItemTrait, Lit, Macro, Meta, Signature, Stmt, Token, TraitItem,
};

type Majors = BTreeSet<u16>;

pub fn check(source: &Source, majors: &[u16]) -> Vec<Violation> {
    let majors = majors.iter().copied().collect();
    let mut reader = Reader { majors, known: BTreeSet::new(), refused: BTreeMap::new() };
    reader.visit_file(&source.syntax);
    let violation = |(line, rule)| Violation { path: source.path.clone(), line, rule };
    reader.refused.into_iter().map(violation).collect()
}

struct Reader {
    /// For which the code that is being read is compiled.
    majors: Majors,
    /// Lines and columns of the gates that belong to a list or a scope.
    known: BTreeSet<(usize, usize)>,
    /// By line.
    refused: BTreeMap<usize, String>,
}

/// Alternatives so far: what they leave open, and where the last of them stands.
struct Alternatives {
    open: Majors,
    line: usize,
}

impl Reader {
    fn refuse(&mut self, line: usize, rule: impl Into<String>) {
        self.refused.entry(line).or_insert(rule.into());
    }

    /// The gate among the attributes of an element: its line and its majors.
    fn gate(&mut self, attributes: &[Attribute]) -> Option<(usize, Majors)> {
        let gate = attributes.iter().find(|attribute| is_gate(attribute))?;
        let start = gate.span().start();
        self.known.insert((start.line, start.column));
        let majors = gate.path().is_ident("cfg").then(|| gate.parse_args().ok()).flatten();
        let majors = majors.and_then(|condition| listed(&condition));
        if majors.is_none() {
            let form = "#[cfg(feature = \"pg13\")] or #[cfg(any(feature = \"pg13\", …))]";
            self.refuse(start.line, format!("a gate lists its majors: {form}"));
        }
        Some((start.line, majors?))
    }

    /// Elements that follow each other.
    fn list<'a>(&mut self, elements: impl IntoIterator<Item = &'a [Attribute]>) {
        let mut before = None;
        for attributes in elements {
            match self.gate(attributes) {
                Some((line, majors)) => self.add(&mut before, line, &majors),
                None => self.end(before.take()),
            }
        }
        self.end(before);
    }

    /// Elements with names, in any order. One without a name is only declared.
    fn scope<'a>(&mut self, items: impl IntoIterator<Item = (Option<String>, &'a [Attribute])>) {
        let mut before: BTreeMap<String, Option<Alternatives>> = BTreeMap::new();
        for (name, attributes) in items {
            if let (Some((line, majors)), Some(name)) = (self.gate(attributes), name) {
                self.add(before.entry(name).or_default(), line, &majors);
            }
        }
        before.into_values().for_each(|alternatives| self.end(alternatives));
    }

    fn add(&mut self, before: &mut Option<Alternatives>, line: usize, majors: &Majors) {
        let all = &self.majors;
        let alternatives = before.get_or_insert_with(|| Alternatives { open: all.clone(), line });
        let surplus: Vec<&u16> = majors.difference(&alternatives.open).collect();
        if !surplus.is_empty() {
            let rule = format!("decided already, here or by the gate around this: {surplus:?}");
            self.refused.entry(line).or_insert(rule);
        }
        alternatives.open.retain(|major| !majors.contains(major));
        alternatives.line = line;
        if alternatives.open.is_empty() {
            *before = None;
        }
    }

    fn end(&mut self, alternatives: Option<Alternatives>) {
        if let Some(Alternatives { open, line }) = alternatives {
            let forgotten: Vec<u16> = open.into_iter().collect();
            self.refuse(line, format!("this gate and those beside it forget {forgotten:?}"));
        }
    }

    /// Reads what a gate encloses: alternatives in there have to cover the gate's majors.
    fn within(&mut self, attributes: &[Attribute], read: impl FnOnce(&mut Self)) {
        let outer = self.majors.clone();
        if let Some((_, gate)) = self.gate(attributes) {
            self.majors.retain(|major| gate.contains(major));
        }
        read(self);
        self.majors = outer;
    }

    fn items<'a>(&mut self, items: impl Iterator<Item = &'a Item>) {
        self.scope(items.map(|item| (name_of(item), sources::attributes(item))));
    }
}

impl Visit<'_> for Reader {
    /// Comes after the list or scope that the attribute's element belongs to.
    fn visit_attribute(&mut self, attribute: &Attribute) {
        let start = attribute.span().start();
        if is_gate(attribute) && !self.known.contains(&(start.line, start.column)) {
            self.refuse(start.line, "no gate can be checked here: gate an item or a statement");
        }
    }

    fn visit_macro(&mut self, call: &Macro) {
        if !mentions_majors(call.tokens.clone()) {
            return;
        }
        let line = call.span().start().line;
        if call.path.is_ident("cfg") {
            return self.refuse(line, "cfg! is false for a new major: gate an item instead");
        }
        let arguments = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(file) = call.parse_body::<File>() {
            self.visit_file(&file);
        } else if let Ok(statements) = call.parse_body_with(Block::parse_within) {
            self.list(statements.iter().map(attributes_of_statement));
            statements.iter().for_each(|statement| self.visit_stmt(statement));
        } else if let Ok(arguments) = call.parse_body_with(arguments) {
            self.list(arguments.iter().map(attributes_of));
            arguments.iter().for_each(|argument| self.visit_expr(argument));
        } else {
            self.refuse(line, "no gate can be checked in here: gate what stands outside the macro");
        }
    }

    fn visit_file(&mut self, file: &File) {
        self.items(file.items.iter());
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, module: &ItemMod) {
        self.items(module.content.iter().flat_map(|(_, items)| items));
        visit::visit_item_mod(self, module);
    }

    fn visit_item_impl(&mut self, block: &ItemImpl) {
        self.scope(block.items.iter().map(|item| match item {
            ImplItem::Const(item) => (Some(item.ident.to_string()), &*item.attrs),
            ImplItem::Fn(item) => (Some(item.sig.ident.to_string()), &*item.attrs),
            ImplItem::Type(item) => (Some(item.ident.to_string()), &*item.attrs),
            _ => (None, &[][..]),
        }));
        visit::visit_item_impl(self, block);
    }

    fn visit_item_trait(&mut self, block: &ItemTrait) {
        self.scope(block.items.iter().map(|item| match item {
            TraitItem::Const(item) => (Some(item.ident.to_string()), &*item.attrs),
            TraitItem::Fn(item) => (Some(item.sig.ident.to_string()), &*item.attrs),
            TraitItem::Type(item) => (Some(item.ident.to_string()), &*item.attrs),
            _ => (None, &[][..]),
        }));
        visit::visit_item_trait(self, block);
    }

    fn visit_item_foreign_mod(&mut self, block: &ItemForeignMod) {
        for item in &block.items {
            match item {
                syn::ForeignItem::Fn(item) => drop(self.gate(&item.attrs)),
                syn::ForeignItem::Static(item) => drop(self.gate(&item.attrs)),
                _ => {}
            }
        }
        visit::visit_item_foreign_mod(self, block);
    }

    fn visit_block(&mut self, block: &Block) {
        let items = block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(item) => Some(item),
            _ => None,
        });
        self.items(items);
        let others = block.stmts.iter().filter(|statement| !matches!(statement, Stmt::Item(_)));
        self.list(others.map(attributes_of_statement));
        visit::visit_block(self, block);
    }

    fn visit_fields_named(&mut self, fields: &FieldsNamed) {
        self.list(fields.named.iter().map(|field| &*field.attrs));
        visit::visit_fields_named(self, fields);
    }

    fn visit_fields_unnamed(&mut self, fields: &FieldsUnnamed) {
        self.list(fields.unnamed.iter().map(|field| &*field.attrs));
        visit::visit_fields_unnamed(self, fields);
    }

    fn visit_item_enum(&mut self, item: &ItemEnum) {
        self.list(item.variants.iter().map(|variant| &*variant.attrs));
        visit::visit_item_enum(self, item);
    }

    fn visit_signature(&mut self, signature: &Signature) {
        self.list(signature.inputs.iter().map(|input| match input {
            FnArg::Receiver(input) => &*input.attrs,
            FnArg::Typed(input) => &*input.attrs,
        }));
        visit::visit_signature(self, signature);
    }

    fn visit_expr_match(&mut self, expression: &ExprMatch) {
        self.list(expression.arms.iter().map(|arm| &*arm.attrs));
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr_struct(&mut self, expression: &ExprStruct) {
        self.list(expression.fields.iter().map(|field| &*field.attrs));
        visit::visit_expr_struct(self, expression);
    }

    fn visit_expr_call(&mut self, expression: &ExprCall) {
        self.list(expression.args.iter().map(attributes_of));
        visit::visit_expr_call(self, expression);
    }

    fn visit_expr_method_call(&mut self, expression: &ExprMethodCall) {
        self.list(expression.args.iter().map(attributes_of));
        visit::visit_expr_method_call(self, expression);
    }

    fn visit_expr_array(&mut self, expression: &ExprArray) {
        self.list(expression.elems.iter().map(attributes_of));
        visit::visit_expr_array(self, expression);
    }

    fn visit_expr_tuple(&mut self, expression: &ExprTuple) {
        self.list(expression.elems.iter().map(attributes_of));
        visit::visit_expr_tuple(self, expression);
    }

    fn visit_item(&mut self, item: &Item) {
        self.within(sources::attributes(item), |reader| visit::visit_item(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.within(&item.attrs, |reader| visit::visit_impl_item_fn(reader, item));
    }

    fn visit_stmt(&mut self, statement: &Stmt) {
        let attributes = attributes_of_statement(statement);
        self.within(attributes, |reader| visit::visit_stmt(reader, statement));
    }

    fn visit_arm(&mut self, arm: &syn::Arm) {
        self.within(&arm.attrs, |reader| visit::visit_arm(reader, arm));
    }
}

/// Whether a condition on majors.
fn is_gate(attribute: &Attribute) -> bool {
    let is_condition = attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr");
    let list = attribute.meta.require_list();
    is_condition && list.is_ok_and(|list| mentions_majors(list.tokens.clone()))
}

fn mentions_majors(tokens: TokenStream) -> bool {
    let mut follows_feature = false;
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_majors(group.stream()),
        TokenTree::Literal(text) => {
            follows_feature && major(text.to_string().trim_matches('"')).is_some()
        }
        TokenTree::Ident(word) => {
            follows_feature = word == "feature";
            false
        }
        TokenTree::Punct(_) => false,
    })
}

/// `feature = "pg13"`, or `any` of such.
fn listed(condition: &Meta) -> Option<Majors> {
    match condition {
        Meta::NameValue(pair) if pair.path.is_ident("feature") => {
            let Expr::Lit(value) = &pair.value else { return None };
            let Lit::Str(text) = &value.lit else { return None };
            Some(Majors::from([major(&text.value())?]))
        }
        Meta::List(list) if list.path.is_ident("any") => {
            let parts =
                list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
            let majors: Option<Vec<Majors>> = parts.iter().map(listed).collect();
            Some(majors?.into_iter().flatten().collect())
        }
        _ => None,
    }
}

fn major(feature: &str) -> Option<u16> {
    feature.strip_prefix("pg")?.parse().ok()
}

/// What alternatives have in common; none for what is only declared.
fn name_of(item: &Item) -> Option<String> {
    let text = |span: proc_macro2::Span| span.source_text().unwrap_or_default();
    Some(match item {
        Item::Use(_) | Item::ForeignMod(_) => return None,
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Mod(item) => item.ident.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        Item::Impl(item) => {
            let of_trait = item.trait_.as_ref().map(|(_, path, _)| text(path.span()));
            format!("impl {} for {}", of_trait.unwrap_or_default(), text(item.self_ty.span()))
        }
        Item::Macro(item) => text(item.mac.path.span()),
        other => text(other.span()),
    })
}

/// syn puts the attributes of `#[cfg(…)] a = b;` on `a`.
fn attributes_of_statement(statement: &Stmt) -> &[Attribute] {
    let mut expression = match statement {
        Stmt::Local(local) => return &local.attrs,
        Stmt::Macro(call) => return &call.attrs,
        Stmt::Item(item) => return sources::attributes(item),
        Stmt::Expr(expression, _) => expression,
    };
    loop {
        expression = match expression {
            Expr::Assign(assignment) => &assignment.left,
            Expr::Binary(operation) => &operation.left,
            Expr::Cast(cast) => &cast.expr,
            other => return attributes_of(other),
        }
    }
}

fn attributes_of(expression: &Expr) -> &[Attribute] {
    macro_rules! of {
        ($($kind:ident)*) => {
            match expression {
                $(Expr::$kind(expression) => &expression.attrs,)*
                _ => &[],
            }
        };
    }
    of!(Array Assign Async Await Binary Block Break Call Cast Closure Const Continue Field ForLoop Group
        If Index Infer Let Lit Loop Macro Match MethodCall Paren Path Range RawAddr Reference Repeat
        Return Struct Try TryBlock Tuple Unary Unsafe While Yield)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    /// With the majors 13, 14 and 15.
    fn refusals(code: &str) -> Vec<String> {
        let found = check(&planted(&[("src/lib.rs", code)])[0], &[13, 14, 15]);
        found.iter().map(|violation| format!("{}: {}", violation.line, violation.rule)).collect()
    }

    fn assert_refused(code: &str, rule: &str) {
        let found = refusals(code);
        assert!(found.len() == 1 && found[0].contains(rule), "{code}\n{found:?}");
    }

    const OLD: &str = "#[cfg(any(feature = \"pg13\", feature = \"pg14\"))]\n";
    const NEW: &str = "#[cfg(feature = \"pg15\")]\n";

    #[test]
    fn a_gate_that_forgets_a_major_is_refused() {
        for code in [
            format!("{OLD}fn f() {{}}"),
            format!(
                "{OLD}impl Drop for A {{}} {NEW}impl Drop for B {{}} {OLD}impl Drop for B {{}}"
            ),
            format!("impl A {{ {OLD}fn f() {{}} fn g() {{}} }}"),
            format!("fn f() {{ {OLD}g(); h(); }}"),
            format!("fn f() {{ {OLD}a = b; }}"),
            format!("fn f() {{ {OLD}let a = 1; h() }}"),
            format!("struct S {{ {OLD}a: u8, b: u8 }}"),
            format!("const A: [u8; 2] = [1, {OLD}2];"),
            format!("fn f() {{ g(1, {OLD}2) }}"),
            format!("fn f() {{ match 1 {{ {OLD}1 => 2, _ => 3 }} }}"),
            format!("fn f() {{ S {{ {OLD}a: 1, b: 2 }} }}"),
            format!("thread_local! {{ {OLD}static A: u8 = const {{ 1 }}; }}"),
            format!("fn f() {{ vec![1, {OLD}2] }}"),
        ] {
            assert_refused(&code, "forget [15]");
        }
    }

    #[test]
    fn alternatives_that_cover_each_major_once_are_right() {
        for code in [
            format!("{OLD}fn f() {{}} fn g() {{}} {NEW}fn f() {{}}"),
            format!("{OLD}mod m {{}} {NEW}mod m {{}}"),
            format!("fn f() {{ {OLD}g(); {NEW}h(); {OLD}return 1; {NEW}unsafe {{ 2 }} }}"),
            format!("const A: [u8; 2] = [1, {OLD}2, {NEW}3];"),
            format!("{OLD}use a::b; {OLD}unsafe extern \"C\" {{ fn c(); }}"),
            "#[cfg(test)] fn f() {} #[cfg(target_os = \"linux\")] fn g() {}".to_owned(),
        ] {
            assert_eq!(refusals(&code), [""; 0], "{code}");
        }
    }

    #[test]
    fn a_gate_within_a_gate_covers_the_majors_of_that_one() {
        let inner = "#[cfg(feature = \"pg13\")] g(); #[cfg(feature = \"pg14\")] h();";
        assert_eq!(refusals(&format!("{OLD}fn f() {{ {inner} }} {NEW}fn f() {{}}")), [""; 0]);
        let inner = "#[cfg(feature = \"pg13\")] g();";
        assert_refused(&format!("{OLD}fn f() {{ {inner} }} {NEW}fn f() {{}}"), "forget [14]");
        let inner =
            format!("#[cfg(feature = \"pg13\")] g(); #[cfg(feature = \"pg14\")] g(); {NEW} h();");
        assert_refused(&format!("{OLD}fn f() {{ {inner} }} {NEW}fn f() {{}}"), "decided already");
    }

    #[test]
    fn a_major_that_is_decided_twice_is_refused() {
        let twice = format!(
            "{OLD}fn f() {{}}\n#[cfg(any(feature = \"pg14\", feature = \"pg15\"))] fn f() {{}}"
        );
        assert_refused(&twice, "decided already, here or by the gate around this: [14]");
    }

    #[test]
    fn conditions_that_are_no_list_of_majors_are_refused() {
        for condition in [
            "not(feature = \"pg15\")",
            "not(any(feature = \"pg13\", feature = \"pg14\"))",
            "all(feature = \"pg15\", target_os = \"linux\")",
            "any(feature = \"pg15\", test)",
        ] {
            assert_refused(&format!("#[cfg({condition})] fn f() {{}}"), "a gate lists its majors");
        }
        assert_refused("#[cfg_attr(feature = \"pg15\", inline)] fn f() {}", "a gate lists");
    }

    #[test]
    fn gates_that_cannot_be_checked_are_refused() {
        assert_refused("fn f() { if cfg!(feature = \"pg15\") { g() } }", "cfg! is false");
        assert_refused(
            "fn f() { a + (#[cfg(feature = \"pg15\")] b) }",
            "no gate can be checked here",
        );
        let rules = format!("macro_rules! m {{ () => {{ {OLD}fn f() {{}} }} }}");
        assert_refused(&rules, "no gate can be checked in here");
    }
}
