//! No circles between the modules of a crate.
//!
//! The modules of one folder form layers: what one of them (with all below it) uses of another is
//! an edge, and the edges have no circle. A module and its own children may use each other: the
//! parent is their interface. Names that a parent re-exports are followed to where they are
//! defined.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{
    Finding, Package, Tree,
    paths::{Source, Sources},
};

/// An edge that may close a circle.
#[derive(Debug, Clone, Copy)]
pub struct Exception {
    pub package: &'static str,
    /// The module that uses the others, from the crate's root.
    pub from: &'static str,
    /// The modules beside it that it may use although they use it.
    pub to: &'static [&'static str],
    pub reason: &'static str,
}

/// The circles that stay, and why. An exception that is not needed any more is a finding.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        package: "spring-drift",
        from: "scorer",
        to: &["baselines", "lookahead", "spring"],
        reason: "a trait and its implementations, which its configuration builds by name",
    },
    Exception {
        package: "spring-drift",
        from: "change",
        to: &["adwin", "page_hinkley"],
        reason: "a trait and its implementations, which its configuration builds by name",
    },
    Exception {
        package: "spring-fuse",
        from: "mixture",
        to: &["contrastive", "divergence", "log_linear", "probability"],
        reason: "a trait and its implementations, which its configuration builds by name",
    },
    Exception {
        package: "spring-memory",
        from: "buffer",
        to: &["policy"],
        reason: "a buffer and the trait that it asks: a policy ranks the buffer's items",
    },
    Exception {
        package: "spring-memory",
        from: "dense",
        to: &["graph"],
        reason: "a trait and its implementation, which its configuration builds by name",
    },
    Exception {
        package: "spring-model",
        from: "cache",
        to: &["backend"],
        reason: "a backend's operations read the cache, and the cache is tensors of a backend",
    },
    Exception {
        package: "spring-eval",
        from: "protocol::method",
        to: &["protocol::strategy"],
        reason: "a kind of method builds its strategy, and a strategy sees the run's methods",
    },
    Exception {
        package: "spring-lm",
        from: "checkpoint",
        to: &["special"],
        reason: "a model's files, and the special tokens that are read from several of them",
    },
    Exception {
        package: "spring-lm",
        from: "config",
        to: &["architecture"],
        reason: "one reader in two files: each family fills in what its config.json leaves out",
    },
];

/// Finds circles in every package with a library or a program.
///
/// # Errors
///
/// A manifest cannot be read.
pub fn check(tree: &Tree, sources: &Sources, exceptions: &[Exception]) -> Result<Vec<Finding>> {
    let packages = tree.packages()?;
    let mut findings = Vec::new();
    for package in &packages {
        let crate_of = Crate::new(package, sources);
        let mut edges = crate_of.edges();
        for exception in exceptions.iter().filter(|exception| exception.package == package.name) {
            findings.extend(apply(exception, &mut edges, package));
        }
        for circle in circles(&edges) {
            findings.push(crate_of.finding(&circle, &edges));
        }
    }
    Ok(findings)
}

/// Takes the edges of an exception away; an edge that closes no circle needs no exception.
fn apply(exception: &Exception, edges: &mut Edges, package: &Package<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let knots = circles(edges);
    for to in exception.to {
        let edge = (path(exception.from), path(to));
        let in_circle = knots.iter().any(|knot| knot.contains(&edge.0) && knot.contains(&edge.1));
        if !(in_circle && edges.contains_key(&edge)) {
            let message = format!(
                "{} → {to} closes no circle: take it off the list in xtask/src/tidy/modules.rs, \
                 where the reason is \"{}\"",
                exception.from, exception.reason
            );
            findings.push(Finding::new(package.file, 0, message));
        }
    }
    for to in exception.to {
        edges.remove(&(path(exception.from), path(to)));
    }
    findings
}

/// A module, by the names from the crate's root; the root itself has none.
type Module = Vec<String>;

/// Which module uses which beside it, and where the first such use stands.
type Edges = BTreeMap<(Module, Module), (String, usize)>;

fn path(module: &str) -> Module {
    module.split("::").map(str::to_owned).collect()
}

/// The modules of a crate.
pub(super) struct Crate<'a> {
    modules: BTreeMap<Module, (&'a str, &'a Source)>,
}

impl<'a> Crate<'a> {
    pub fn new(package: &Package<'_>, sources: &'a Sources) -> Self {
        let source = format!("{}/src/", package.folder);
        let root =
            if sources.contains_key(&format!("{source}lib.rs")) { "lib.rs" } else { "main.rs" };
        let mut modules = BTreeMap::new();
        for (file, parsed) in sources {
            let Some(inside) = file.strip_prefix(&source) else { continue };
            if inside.starts_with("bin/") || (inside == "main.rs" && root == "lib.rs") {
                continue;
            }
            let name = inside.trim_end_matches(".rs").trim_end_matches("/mod");
            let module = if inside == root {
                Module::new()
            } else {
                name.split('/').map(str::to_owned).collect()
            };
            add(&mut modules, module, file, parsed);
        }
        let mut this = Self { modules };
        this.leave_tests_out();
        this
    }

    /// The files and what each of their modules names, without tests.
    pub fn sources(&self) -> impl Iterator<Item = (&'a str, &'a Source)> {
        self.modules.values().copied()
    }

    /// Takes away the modules that a parent declares under `#[cfg(test)]`, and all below them.
    fn leave_tests_out(&mut self) {
        let tests: Vec<Module> = self
            .modules
            .iter()
            .flat_map(|(module, (_, source))| {
                source
                    .tests
                    .iter()
                    .map(move |test| [module.as_slice(), std::slice::from_ref(test)].concat())
            })
            .collect();
        self.modules.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (module, (file, source)) in &self.modules {
            for named in &source.paths {
                let Some(target) = self.resolve(module, &named.names, 0) else { continue };
                let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
                if shared < module.len() && shared < target.len() {
                    let edge = (module[..=shared].to_vec(), target[..=shared].to_vec());
                    edges.entry(edge).or_insert_with(|| ((*file).to_owned(), named.line));
                }
            }
        }
        edges
    }

    /// The module that defines what `names` stands for in `module`; None for other crates.
    fn resolve(&self, module: &[String], names: &[String], depth: usize) -> Option<Module> {
        /// More re-exports in a row than a reader would follow.
        const MOST: usize = 16;
        let (first, mut rest) = names.split_first()?;
        let mut at: Module = match first.as_str() {
            "crate" => Module::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            name => {
                let child = [module, &[name.to_owned()]].concat();
                if !self.modules.contains_key(&child) {
                    return None;
                }
                child
            }
        };
        while let Some((name, after)) = rest.split_first() {
            rest = after;
            if name == "super" {
                at.pop()?;
                continue;
            }
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                at = child;
            } else if let Some(alias) = self.modules.get(&at)?.1.aliases.get(name) {
                // A name that a module imports from a module of its own, or from another crate.
                if depth == MOST || alias.names.first() == Some(name) {
                    return None;
                }
                at = self.resolve(&at, &alias.names, depth + 1)?;
            } else {
                break;
            }
        }
        Some(at)
    }

    fn finding(&self, circle: &[Module], edges: &Edges) -> Finding {
        let mut message = String::from("a circle between modules:");
        let mut place = (String::new(), 0);
        for (from, to) in round_trip(circle, edges) {
            let (file, line) = &edges[&(from.clone(), to.clone())];
            if place.1 == 0 {
                place = (file.clone(), *line);
            }
            message += &format!(" {} → {} ({file}:{line}),", from.join("::"), to.join("::"));
        }
        message += " move what both need into a module below them";
        Finding::new(place.0, place.1, message)
    }
}

fn add<'a>(
    modules: &mut BTreeMap<Module, (&'a str, &'a Source)>,
    module: Module,
    file: &'a str,
    source: &'a Source,
) {
    for (name, inner) in &source.inline {
        add(modules, [module.as_slice(), std::slice::from_ref(name)].concat(), file, inner);
    }
    modules.insert(module, (file, source));
}

/// The knots of the graph: sets of modules each of which leads to every other one.
fn circles(edges: &Edges) -> Vec<Vec<Module>> {
    let nodes: BTreeSet<&Module> = edges.keys().flat_map(|(from, to)| [from, to]).collect();
    let mut knots: Vec<Vec<Module>> = Vec::new();
    for node in nodes {
        if knots.iter().any(|knot| knot.contains(node)) {
            continue;
        }
        let ahead = reachable(node, edges);
        let knot: Vec<Module> =
            ahead.iter().filter(|other| reachable(other, edges).contains(node)).cloned().collect();
        if knot.len() > 1 {
            knots.push(knot);
        }
    }
    knots
}

fn reachable(from: &Module, edges: &Edges) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.clone()];
    while let Some(node) = open.pop() {
        for (_, to) in edges.keys().filter(|(from, _)| *from == node) {
            if found.insert(to.clone()) {
                open.push(to.clone());
            }
        }
    }
    found
}

/// The edges of a shortest way from the first module of a knot back to it.
fn round_trip(knot: &[Module], edges: &Edges) -> Vec<(Module, Module)> {
    let Some(start) = knot.first() else { return Vec::new() };
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let Some(last) = way.last() else { continue };
            for (_, to) in edges.keys().filter(|(from, _)| from == last) {
                let mut way = way.clone();
                way.push(to.clone());
                if to == start {
                    return way.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
                }
                if knot.contains(to) && seen.insert(to.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{paths::parse, tests::tree};

    const MANIFEST: &str = "[package]\nname = \"a\"\n";

    fn findings(files: &[(&str, &str)], exceptions: &[Exception]) -> Vec<String> {
        let mut files = files.to_vec();
        files.push(("a/Cargo.toml", MANIFEST));
        let (_folder, tree) = tree(&files);
        let sources = parse(&tree).unwrap();
        check(&tree, &sources, exceptions).unwrap().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn two_modules_that_use_each_other_are_a_circle() {
        let found = findings(
            &[
                ("a/src/lib.rs", "mod left;\nmod right;"),
                ("a/src/left.rs", "use crate::right::Right;"),
                ("a/src/right.rs", "\nfn f() { crate::left::g() }"),
            ],
            &[],
        );
        assert_eq!(found.len(), 1);
        let expected = "a/src/left.rs:1: a circle between modules: left → right (a/src/left.rs:1), \
                        right → left (a/src/right.rs:2), move";
        assert!(found[0].starts_with(expected), "{found:?}");
    }

    #[test]
    fn re_exports_are_followed_to_the_definition() {
        let found = findings(
            &[
                ("a/src/lib.rs", "mod left;\nmod right;\npub use left::deep::Left;"),
                ("a/src/left.rs", "pub mod deep;"),
                ("a/src/left/deep.rs", "use super::super::right;"),
                ("a/src/right.rs", "use crate::Left;"),
            ],
            &[],
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("left → right (a/src/left/deep.rs:1)"), "{found:?}");
    }

    #[test]
    fn layers_parents_tests_and_other_crates_are_no_circle() {
        let found = findings(
            &[
                ("a/src/lib.rs", "mod top;\nmod base;\npub use serde::Error;"),
                ("a/src/top.rs", "use crate::base::Base; mod child; use child::Child;"),
                ("a/src/top/child.rs", "use super::Top; use crate::Error;"),
                ("a/src/base.rs", "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse crate::top::Top;"),
                ("a/src/base/tests.rs", "use crate::top::Top;"),
            ],
            &[],
        );
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn children_of_one_parent_are_layers_too() {
        let found = findings(
            &[
                ("a/src/main.rs", "mod parent;"),
                ("a/src/parent.rs", "mod one;\nmod two;\nuse two::Two;"),
                ("a/src/parent/one.rs", "use super::Two;"),
                ("a/src/parent/two.rs", "use super::one::One;"),
            ],
            &[],
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("parent::one → parent::two"), "{found:?}");
    }

    #[test]
    fn an_exception_is_used_or_taken_off_the_list() {
        let exception = |to| Exception { package: "a", from: "shape", to, reason: "built by name" };
        let files = [
            ("a/src/lib.rs", "mod shape;\nmod circle;\nmod square;"),
            ("a/src/shape.rs", "use crate::{circle::Circle, square::Square};"),
            ("a/src/circle.rs", "use crate::shape::Shape;"),
            ("a/src/square.rs", ""),
        ];
        assert_eq!(findings(&files, &[exception(&["circle"])]), Vec::<String>::new());
        let found = findings(&files, &[exception(&["circle", "square"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("shape → square closes no circle"), "{found:?}");
    }
}
