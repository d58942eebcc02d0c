//! `cargo xtask tidy`: the invariants of docs/architecture.md that can be read off the sources.
//!
//! Nothing is compiled: manifests are read as TOML, sources as syntax trees. Each finding is one
//! line that names the place, what is wrong and what to do.

mod crates;
mod growth;
mod modules;
mod msrv;
mod paths;
mod text;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;

pub const EXAMPLES: &str = "\
Checked: which crate may depend on which, who may name burn, circles between modules, public
types that cannot grow, line lengths, markers such as todo!, host names of registries, links in
Markdown, what every manifest holds, and that no dependency asks for a newer Rust than the workspace
does.

Example:
  cargo xtask tidy";

/// The settings of `tidy`.
#[derive(Debug, Args)]
pub struct Tidy {
    /// The workspace to read
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
}

impl Tidy {
    /// Prints every finding; gives exit code 1 if there is one.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is not what its name says.
    pub fn run(&self) -> Result<u8> {
        let mut findings = findings(&self.root)?;
        findings.extend(msrv::check()?);
        for finding in &findings {
            eprintln!("tidy: {finding}");
        }
        match findings.len() {
            0 => Ok(0),
            count => {
                eprintln!("tidy: {count} findings");
                Ok(1)
            }
        }
    }
}

/// Everything that is wrong in the workspace at `root`, by place.
///
/// # Errors
///
/// A file cannot be read or is not what its name says.
pub fn findings(root: &Path) -> Result<Vec<Finding>> {
    let tree = Tree::read(root)?;
    let sources = paths::parse(&tree)?;
    let mut findings = crates::check(&tree, &sources)?;
    findings.extend(growth::check(&tree, &sources, growth::CLOSED)?);
    findings.extend(modules::check(&tree, &sources, modules::EXCEPTIONS)?);
    findings.extend(text::check(&tree));
    findings.sort();
    Ok(findings)
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    file: String,
    /// Counted from 1; 0 is the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// The text files of a workspace, by their paths from its root, in order.
#[derive(Debug)]
pub struct Tree {
    pub root: PathBuf,
    files: Vec<TextFile>,
}

#[derive(Debug)]
struct TextFile {
    /// With `/` between folders on every system.
    path: String,
    text: String,
}

impl Tree {
    /// What is read; weights, data and pictures are not.
    const EXTENSIONS: [&str; 6] = ["rs", "toml", "md", "py", "sh", "yml"];
    /// Folders of other programs, and of runs.
    const SKIPPED: [&str; 5] = [".git", "target", "runs", "__pycache__", "node_modules"];

    /// Reads every text file below `root`.
    ///
    /// # Errors
    ///
    /// A file or folder cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder)
                .with_context(|| format!("cannot read {}", folder.display()))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
                let path = entry.path();
                let kind =
                    entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if kind.is_dir() && !Self::SKIPPED.contains(&name.as_str()) {
                    folders.push(path);
                } else if kind.is_file() && Self::is_text(&path) {
                    let text = fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    files.push(TextFile { path: Self::relative(root, &path), text });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { root: root.to_path_buf(), files })
    }

    fn is_text(path: &Path) -> bool {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(extension) => Self::EXTENSIONS.contains(&extension),
            None => path
                .parent()
                .is_some_and(|folder| folder.file_name().is_some_and(|name| name == ".ci")),
        }
    }

    fn relative(root: &Path, path: &Path) -> String {
        let parts = path.strip_prefix(root).unwrap_or(path).components();
        parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        Some(&self.files[at].text)
    }

    fn with_extension(&self, extension: &str) -> impl Iterator<Item = &TextFile> {
        let end = format!(".{extension}");
        self.files.iter().filter(move |file| file.path.ends_with(&end))
    }

    /// The folders that hold a Cargo.toml with a package, from the root.
    ///
    /// # Errors
    ///
    /// A manifest is not TOML.
    pub fn packages(&self) -> Result<Vec<Package<'_>>> {
        let mut packages = Vec::new();
        for file in self.with_extension("toml") {
            let Some(folder) = file.path.strip_suffix("Cargo.toml") else { continue };
            let manifest: toml::Table =
                file.text.parse().with_context(|| format!("{} is not TOML", file.path))?;
            let name = manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str());
            let Some(name) = name.map(str::to_owned) else { continue };
            // Fuzz targets are workspaces of their own, for a toolchain of their own.
            if manifest.contains_key("workspace") {
                continue;
            }
            let folder = folder.trim_end_matches('/');
            packages.push(Package { name, folder, file: &file.path, manifest });
        }
        Ok(packages)
    }
}

/// A package of the workspace.
#[derive(Debug)]
pub struct Package<'a> {
    pub name: String,
    /// From the root; empty for a package at the root.
    pub folder: &'a str,
    /// Its Cargo.toml.
    pub file: &'a str,
    pub manifest: toml::Table,
}

impl Package<'_> {
    /// Whether it may go to a registry.
    pub fn is_published(&self) -> bool {
        let publish = self.manifest.get("package").and_then(|fields| fields.get("publish"));
        publish.and_then(toml::Value::as_bool) != Some(false)
    }

    /// Whether a file, by its path from the root, belongs to the package and to no package inside
    /// its folder.
    fn holds(&self, file: &str, others: &[Package<'_>]) -> bool {
        let inside = |folder: &str| file.starts_with(&format!("{folder}/"));
        inside(self.folder)
            && !others.iter().any(|other| {
                other.folder.len() > self.folder.len()
                    && other.folder.starts_with(self.folder)
                    && inside(other.folder)
            })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A workspace made of `files`, on disk.
    pub fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let tree = Tree::read(folder.path()).unwrap();
        (folder, tree)
    }

    #[test]
    fn text_files_are_found_and_outputs_are_not() {
        let (_folder, tree) = tree(&[
            ("crates/a/src/lib.rs", ""),
            ("crates/a/model.safetensors", ""),
            ("target/debug/build/b.rs", ""),
            (".ci/run", ""),
            ("docs/a.md", "text"),
        ]);
        let paths: Vec<&str> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".ci/run", "crates/a/src/lib.rs", "docs/a.md"]);
        assert_eq!(tree.text("docs/a.md"), Some("text"));
        assert_eq!(tree.text("docs/b.md"), None);
    }

    #[test]
    fn a_file_belongs_to_the_innermost_package() {
        let named = |name: &str| format!("[package]\nname = \"{name}\"\n");
        let (outer, inner) = (named("outer"), named("inner"));
        let (_folder, tree) = tree(&[
            ("a/Cargo.toml", &outer),
            ("a/b/Cargo.toml", &inner),
            ("Cargo.toml", "[workspace]\n"),
        ]);
        let packages = tree.packages().unwrap();
        let holder = |file: &str| {
            let holds = |package: &&Package<'_>| package.holds(file, &packages);
            packages.iter().find(holds).map(|package| package.name.as_str())
        };
        assert_eq!(holder("a/src/lib.rs"), Some("outer"));
        assert_eq!(holder("a/b/src/lib.rs"), Some("inner"));
        assert_eq!(holder("ab/src/lib.rs"), None);
    }

    #[test]
    fn a_finding_names_its_place() {
        let at = |line| Finding::new("a.rs", line, "too long").to_string();
        assert_eq!(at(3), "a.rs:3: too long");
        assert_eq!(at(0), "a.rs: too long");
    }
}
