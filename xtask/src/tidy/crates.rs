//! Who may depend on whom, who may name burn, and what every manifest holds.

use anyhow::Result;
use toml::{Table, Value};

use super::{Finding, Package, Tree, paths::Sources};

/// A package and the packages of ours that it may depend on.
#[derive(Debug, Clone, Copy)]
struct Layer {
    name: &'static str,
    /// In `[dependencies]`: what it is made of.
    uses: &'static [&'static str],
    /// In `[dev-dependencies]`, besides: for its tests, benches and examples.
    tests_use: &'static [&'static str],
}

const fn layer(name: &'static str, uses: &'static [&'static str]) -> Layer {
    Layer { name, uses, tests_use: &[] }
}

impl Layer {
    const fn tests_use(self, tests_use: &'static [&'static str]) -> Self {
        Self { tests_use, ..self }
    }
}

/// The published crates from the bottom to the top: a crate may depend only on crates that stand
/// before it in the list, so there can be no circle. Packages that are not published (tools,
/// benches) may depend on everything.
const LAYERS: &[Layer] = &[
    layer("spring-numerics", &[]),
    layer("spring-drift", &["spring-numerics"]),
    layer("spring-memory", &["spring-numerics"]),
    layer("spring-fuse", &["spring-numerics"]),
    layer("spring-gguf", &["spring-numerics"]),
    layer("spring-lm", &["spring-numerics", "spring-gguf"]),
    layer("spring-model", &["spring-numerics", "spring-lm", "spring-gguf"]),
    layer("spring-metrics", &["spring-numerics"]),
    layer("spring-store", LEAVES),
    layer("spring-core", CORE).tests_use(&["spring-model"]),
    layer("spring-engine", &["spring-numerics", "spring-core"]).tests_use(&["spring-model"]),
    layer("spring-data", &["spring-numerics", "spring-memory"]),
    layer("spring-eval", EVAL).tests_use(&["spring-model"]),
    layer("spring-report", REPORT).tests_use(&["spring-model"]),
    layer("spring-serve", &["spring-numerics"]),
    layer("spring-cli", PROGRAM),
];

const LEAVES: &[&str] =
    &["spring-numerics", "spring-drift", "spring-memory", "spring-fuse", "spring-lm"];

/// The loop over the leaves and the store. A language model comes in by the traits of spring-lm.
const CORE: &[&str] = &[
    "spring-numerics",
    "spring-drift",
    "spring-memory",
    "spring-fuse",
    "spring-lm",
    "spring-store",
];

const EVAL: &[&str] = &[
    "spring-numerics",
    "spring-drift",
    "spring-memory",
    "spring-fuse",
    "spring-lm",
    "spring-metrics",
    "spring-store",
    "spring-core",
    "spring-data",
];

const REPORT: &[&str] = &[
    "spring-numerics",
    "spring-drift",
    "spring-memory",
    "spring-fuse",
    "spring-lm",
    "spring-metrics",
    "spring-store",
    "spring-core",
    "spring-data",
    "spring-eval",
];

/// The program chooses among everything.
const PROGRAM: &[&str] = &[
    "spring-numerics",
    "spring-drift",
    "spring-memory",
    "spring-fuse",
    "spring-lm",
    "spring-gguf",
    "spring-model",
    "spring-metrics",
    "spring-store",
    "spring-core",
    "spring-engine",
    "spring-data",
    "spring-eval",
    "spring-report",
    "spring-serve",
];

/// Packages that may name burn.
const MAY_NAME_BURN: &[&str] = &["spring-model", "spring-pretrain", "spring-benches"];

/// Published crates with `unsafe` code, and where it is.
const UNSAFE: &[(&str, &str)] = &[
    ("spring-gguf", "intrinsics of the kernels, in simd/"),
    ("spring-model", "gemm's products of matrices, in backend/cpu.rs and backend/vector.rs"),
];

/// The fields that a published package must have, its own or the workspace's.
const FIELDS: &[&str] = &[
    "description",
    "version",
    "edition",
    "rust-version",
    "license",
    "authors",
    "keywords",
    "categories",
    "readme",
];

/// Checks every package.
///
/// # Errors
///
/// A manifest cannot be read.
pub fn check(tree: &Tree, sources: &Sources) -> Result<Vec<Finding>> {
    let packages = tree.packages()?;
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &packages {
        let mut found = |line, message: String| {
            findings.push(Finding::new(package.file, line, message));
        };
        for message in lints(package).into_iter().chain(dependencies(package, &names)) {
            found(0, message);
        }
        if package.is_published() {
            for message in published(tree, package) {
                found(0, message);
            }
        }
        if !MAY_NAME_BURN.contains(&package.name.as_str()) {
            findings.extend(burn(package, &packages, sources));
        }
    }
    Ok(findings)
}

fn lints(package: &Package<'_>) -> Option<String> {
    let lints = package.manifest.get("lints").and_then(|lints| lints.get("workspace"));
    (lints.and_then(Value::as_bool) != Some(true))
        .then(|| "does not take the workspace's lints: add [lints] workspace = true".to_owned())
}

/// The tables of dependencies of one kind, those of single targets too.
fn tables<'a>(manifest: &'a Table, kind: &str) -> Vec<&'a Table> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let of_targets = targets.into_iter().flat_map(|targets| targets.values());
    let all = manifest.get(kind).into_iter().chain(of_targets.filter_map(|of| of.get(kind)));
    all.filter_map(Value::as_table).collect()
}

fn dependencies(package: &Package<'_>, ours: &[&str]) -> Vec<String> {
    let name = package.name.as_str();
    let layer = LAYERS.iter().find(|layer| layer.name == name);
    if layer.is_none() && package.is_published() {
        return vec![format!("{name} has no layer: add it to LAYERS in xtask/src/tidy/crates.rs")];
    }
    let mut messages = Vec::new();
    for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for dependency in tables(&package.manifest, kind).into_iter().flat_map(Table::keys) {
            let is_burn = dependency == "burn" || dependency.starts_with("burn-");
            if is_burn && !MAY_NAME_BURN.contains(&name) {
                messages.push(format!(
                    "{kind}: {name} names {dependency}, which only {} may: \
                     go through the traits of spring-lm",
                    MAY_NAME_BURN.join(", ")
                ));
            }
            let Some(layer) = layer else { continue };
            let allowed = layer.uses.contains(&dependency.as_str())
                || kind == "dev-dependencies" && layer.tests_use.contains(&dependency.as_str());
            if ours.contains(&dependency.as_str()) && !allowed {
                let may = match layer.uses {
                    [] => "on no other crate of the workspace".to_owned(),
                    uses => format!("on {}", uses.join(", ")),
                };
                messages.push(format!(
                    "{kind}: {name} depends on {dependency}, but may depend only {may}: \
                     move the code, or LAYERS in xtask/src/tidy/crates.rs and \
                     docs/architecture.md"
                ));
            }
        }
    }
    messages
}

/// What a package needs to be published.
fn published(tree: &Tree, package: &Package<'_>) -> Vec<String> {
    let fields = package.manifest.get("package").and_then(Value::as_table);
    let field = |name: &str| fields.and_then(|fields| fields.get(name));
    let mut messages: Vec<String> = FIELDS
        .iter()
        .filter(|name| field(name).is_none())
        .map(|name| format!("[package] has no {name}"))
        .collect();
    let keywords = field("keywords").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_keyword = |word: &Value| word.as_str().is_some_and(|word| word.len() <= 20);
    if keywords.len() > 5 || !keywords.iter().all(is_keyword) {
        messages.push("a registry takes at most 5 keywords of at most 20 characters".to_owned());
    }
    let features = package.manifest.get("features").and_then(Value::as_table);
    let shown = field("metadata").and_then(|metadata| metadata.get("docs"));
    let shown = shown.and_then(|docs| docs.get("rs")).and_then(|rs| rs.get("features"));
    match (features, shown.and_then(Value::as_array)) {
        (Some(_), None) => messages.push(
            "has features: name those that the published documentation shows, in \
             [package.metadata.docs.rs] features"
                .to_owned(),
        ),
        (features, Some(shown)) => {
            for feature in shown.iter().filter_map(Value::as_str) {
                if features.is_none_or(|features| !features.contains_key(feature)) {
                    messages.push(format!("[package.metadata.docs.rs]: no feature {feature}"));
                }
            }
        }
        (None, None) => {}
    }
    for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
        if !tree.root.join(package.folder).join(license).is_file() {
            messages.push(format!("no {license} beside it: copy the workspace's"));
        }
    }
    let root = ["lib.rs", "main.rs"].iter().find_map(|root| {
        let path = format!("{}/src/{root}", package.folder);
        tree.text(&path).map(|text| (path, text))
    });
    let may = UNSAFE.iter().any(|(name, _)| *name == package.name);
    let forbids = |text: &str| text.lines().any(|line| line == "#![forbid(unsafe_code)]");
    if let Some((path, _)) = root.filter(|(_, text)| !may && !forbids(text)) {
        messages.push(format!("{path} does not say #![forbid(unsafe_code)]"));
    }
    messages
}

/// The places where a package's sources name burn.
fn burn(package: &Package<'_>, packages: &[Package<'_>], sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in sources.iter().filter(|(file, _)| package.holds(file, packages)) {
        for named in source.all_paths() {
            let first = named.names.first().map_or("", String::as_str);
            // A name alone may be a variable; a crate's path goes on.
            if named.names.len() > 1 && (first == "burn" || first.starts_with("burn_")) {
                let message = format!(
                    "names {}, which only {} may",
                    named.names.join("::"),
                    MAY_NAME_BURN.join(", ")
                );
                findings.push(Finding::new(file, named.line, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{paths::parse, tests::tree};

    /// A manifest of a published package that has all it needs.
    fn manifest(name: &str, rest: &str) -> String {
        format!(
            "[package]\nname = \"{name}\"\ndescription = \"d\"\nversion = \"1.0.0\"\n\
             edition = \"2024\"\nrust-version = \"1.92\"\nlicense = \"MIT\"\nauthors = [\"a\"]\n\
             keywords = [\"k\"]\ncategories = [\"science\"]\nreadme = \"README.md\"\n\
             [lints]\nworkspace = true\n{rest}"
        )
    }

    /// The findings for packages made of a name, the rest of the manifest, and lib.rs.
    fn findings(packages: &[(&str, &str, &str)]) -> Vec<String> {
        let mut files = Vec::new();
        for (name, rest, text) in packages {
            files.push((format!("crates/{name}/Cargo.toml"), manifest(name, rest)));
            let text = format!("#![forbid(unsafe_code)]\n{text}");
            files.push((format!("crates/{name}/src/lib.rs"), text));
            for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
                files.push((format!("crates/{name}/{license}"), String::new()));
            }
        }
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (_folder, tree) = tree(&files);
        let sources = parse(&tree).unwrap();
        check(&tree, &sources).unwrap().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn every_layer_uses_only_layers_below_it() {
        for (index, layer) in LAYERS.iter().enumerate() {
            for name in layer.uses.iter().chain(layer.tests_use) {
                let below = LAYERS[..index].iter().any(|below| below.name == *name);
                assert!(below, "{} uses {name}, which does not stand before it", layer.name);
            }
        }
    }

    #[test]
    fn a_leaf_that_uses_another_is_found() {
        let fuse = ("spring-fuse", "", "");
        let ok = ("spring-drift", "[dependencies]\nserde = \"1\"\n", "");
        assert_eq!(findings(&[fuse, ok]), Vec::<String>::new());
        for kind in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
            let rest = format!("[{kind}]\nspring-fuse = {{ path = \"..\" }}\n");
            let found = findings(&[fuse, ("spring-drift", &rest, "")]);
            assert_eq!(found.len(), 1, "{kind}: {found:?}");
            let start = "crates/spring-drift/Cargo.toml: ";
            assert!(found[0].starts_with(start), "{found:?}");
            assert!(found[0].contains("may depend only on spring-numerics"), "{found:?}");
        }
    }

    #[test]
    fn burn_is_named_by_spring_model_alone() {
        let model = ("spring-model", "[dependencies]\nburn = \"1\"\n", "use burn::tensor;");
        assert_eq!(findings(&[model]), Vec::<String>::new());
        let core = ("spring-core", "[dependencies]\nburn-cuda = \"1\"\n", "\nuse burn::tensor;");
        let found = findings(&[model, core]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("names burn-cuda"), "{found:?}");
        assert!(found[1].starts_with("crates/spring-core/src/lib.rs:3: names burn::tensor"));
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        let found = findings(&[("spring-new", "", "")]);
        assert!(found[0].contains("spring-new has no layer"), "{found:?}");
    }

    #[test]
    fn published_packages_say_what_a_stranger_needs() {
        let features = "[features]\ncpu = []\n[package.metadata.docs.rs]\nfeatures = [\"cpu\"]\n";
        assert_eq!(findings(&[("spring-lm", features, "")]), Vec::<String>::new());
        let unknown = features.replace("[\"cpu\"]", "[\"gpu\"]");
        assert!(findings(&[("spring-lm", &unknown, "")])[0].contains("no feature gpu"));
        assert!(findings(&[("spring-lm", "[features]\ncpu = []\n", "")])[0].contains("docs.rs"));

        let bare = "[package]\nname = \"spring-lm\"\n";
        let (_folder, tree) = tree(&[("a/Cargo.toml", bare), ("a/src/lib.rs", "//! A crate.\n")]);
        let sources = parse(&tree).unwrap();
        let found: Vec<String> =
            check(&tree, &sources).unwrap().iter().map(Finding::to_string).collect();
        for part in ["lints", "description", "keywords", "LICENSE-MIT", "forbid(unsafe_code)"] {
            assert!(found.iter().any(|line| line.contains(part)), "{part} in {found:?}");
        }
    }
}
