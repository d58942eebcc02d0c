//! What Rust sources name and declare: the paths of their imports and expressions, and the public
//! types that cannot grow, read off the syntax tree.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Fields, Item, ItemEnum, ItemMod, ItemStruct, ItemUse, Macro, Meta, UseTree,
    Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::Tree;

/// A path as it stands in a source: `crate::period::learn_period` is three names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub names: Vec<String>,
    pub line: usize,
}

/// What one module of a source names. Code under `#[cfg(test)]` is left out: tests may look
/// wherever they like.
#[derive(Debug, Default)]
pub struct Source {
    /// Everything that is named.
    pub paths: Vec<Named>,
    /// What `use` gives a name to, by that name.
    pub aliases: BTreeMap<String, Named>,
    /// Modules that stand in the same file.
    pub inline: BTreeMap<String, Source>,
    /// Modules declared under `#[cfg(test)]`, whose files are tests too.
    pub tests: Vec<String>,
    /// Imports of everything in a module, which hide what is used.
    pub globs: Vec<Named>,
    /// Public enums and public structs of public fields that another crate may match or make whole,
    /// so that whatever is added to them breaks it.
    pub closed: Vec<Named>,
}

/// The sources of a tree, by path.
pub type Sources = BTreeMap<String, Source>;

/// Parses every Rust source.
///
/// # Errors
///
/// A file is not Rust.
pub fn parse(tree: &Tree) -> Result<Sources> {
    tree.with_extension("rs")
        .map(|file| {
            let parsed = syn::parse_file(&file.text)
                .with_context(|| format!("{} is not Rust", file.path))?;
            let mut source = Source::default();
            source.visit_file(&parsed);
            Ok((file.path.clone(), source))
        })
        .collect()
}

impl Source {
    /// What the file names, in its own modules too.
    pub fn all_paths(&self) -> Vec<&Named> {
        let inner = self.inline.values().flat_map(Self::all_paths);
        self.paths.iter().chain(inner).collect()
    }

    fn close(&mut self, name: &syn::Ident, visibility: &Visibility, attributes: &[Attribute]) {
        let may_grow =
            attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"));
        if matches!(visibility, Visibility::Public(_)) && !may_grow {
            self.closed
                .push(Named { names: vec![name.to_string()], line: name.span().start().line });
        }
    }

    fn import(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        let line = tree.span().start().line;
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, prefix);
                }
            }
            UseTree::Glob(_) => {
                let named = Named { names: prefix.clone(), line };
                self.globs.push(named.clone());
                self.paths.push(named);
            }
            UseTree::Name(name) => self.alias(name.ident.to_string(), None, prefix, line),
            UseTree::Rename(rename) => {
                self.alias(rename.ident.to_string(), Some(rename.rename.to_string()), prefix, line);
            }
        }
    }

    fn alias(&mut self, name: String, rename: Option<String>, prefix: &[String], line: usize) {
        let mut names = prefix.to_vec();
        // `use a::{self, b}`: a itself.
        if name != "self" || names.is_empty() {
            names.push(name);
        }
        let alias = rename.or_else(|| names.last().cloned()).unwrap_or_default();
        let named = Named { names, line };
        self.paths.push(named.clone());
        self.aliases.insert(alias, named);
    }

    /// Paths that begin with `crate`, `super` or `self` in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "crate" || ident == "super" => {
                    let line = ident.span().start().line;
                    let mut names = vec![ident.to_string()];
                    let is_colon = |token: &TokenTree| -> bool {
                        matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':')
                    };
                    while tokens.next_if(is_colon).is_some() && tokens.next_if(is_colon).is_some() {
                        let next = tokens.next_if(|token| matches!(token, TokenTree::Ident(_)));
                        let Some(TokenTree::Ident(name)) = next else { break };
                        names.push(name.to_string());
                    }
                    self.paths.push(Named { names, line });
                }
                _ => {}
            }
        }
    }
}

/// Whether an item is compiled for tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        Meta::Path(path) => path.is_ident("test"),
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        } else if let Item::Mod(module) = item {
            self.tests.push(module.ident.to_string());
        }
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        let is_public = |field: &syn::Field| matches!(field.vis, Visibility::Public(_));
        if !matches!(item.fields, Fields::Unit) && item.fields.iter().all(is_public) {
            self.close(&item.ident, &item.vis, &item.attrs);
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.close(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, &mut Vec::new());
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if let Some((_, items)) = &module.content {
            let mut inner = Self::default();
            for item in items {
                inner.visit_item(item);
            }
            self.inline.insert(module.ident.to_string(), inner);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push(Named { names, line: path.span().start().line });
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    // Links in documentation are not dependencies.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        let mut source = Source::default();
        source.visit_file(&syn::parse_file(text).unwrap());
        source
    }

    fn named(source: &Source) -> Vec<String> {
        source.paths.iter().map(|named| named.names.join("::")).collect()
    }

    #[test]
    fn imports_are_flattened_and_named() {
        let source = source("use crate::{a::{self, B as C}, d::*};\npub use e;");
        assert_eq!(named(&source), ["crate::a", "crate::a::B", "crate::d", "e"]);
        assert_eq!(source.aliases["C"].names.join("::"), "crate::a::B");
        assert_eq!(source.aliases["e"].line, 2);
        assert_eq!(source.globs.len(), 1);
    }

    #[test]
    fn expressions_types_and_macros_name_paths() {
        let source = source(
            "fn f(x: super::A) -> u8 { crate::g(); vec![crate::h::I, 1]; \
             format!(\"{}\", { super::j::K }) }",
        );
        let named = named(&source);
        for path in ["super::A", "crate::g", "crate::h::I", "super::j::K"] {
            assert!(named.contains(&path.to_owned()), "{path} in {named:?}");
        }
    }

    #[test]
    fn public_types_that_cannot_grow_are_noted() {
        let source = source(
            "pub struct Pair { pub a: u8, pub b: u8 }\npub struct Id(pub u64);\n\
             pub enum Kind { A }\n#[non_exhaustive]\npub struct Open { pub a: u8 }\n\
             pub struct Hidden { pub a: u8, b: u8 }\npub struct Unit;\n\
             pub(crate) struct Ours { pub a: u8 }\nenum Own { A }\n\
             #[cfg(test)]\npub enum Test { A }",
        );
        let closed: Vec<_> = source.closed.iter().map(|c| (c.names[0].as_str(), c.line)).collect();
        assert_eq!(closed, [("Pair", 1), ("Id", 2), ("Kind", 3)]);
    }

    #[test]
    fn tests_and_documentation_are_left_out() {
        let source = source(
            "/// See [`crate::a`].\nfn f() {}\n#[cfg(test)]\nmod tests { use crate::b; }\n\
             #[cfg(test)]\nuse crate::c;\nmod inner { use super::d; }",
        );
        assert!(named(&source).is_empty(), "{:?}", named(&source));
        assert_eq!(source.tests, ["tests"]);
        assert_eq!(named(&source.inline["inner"]), ["super::d"]);
    }
}
