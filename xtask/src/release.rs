//! `cargo xtask release --dry-run`: RELEASE.md's checklist, as far as a program can go through it.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use clap::Args;
use toml::{Table, Value};

use crate::{
    step::Step,
    tidy::{self, Tree},
};

pub const EXAMPLES: &str = "\
Prints each point of RELEASE.md that a program can check, and what every package would hold.
Nothing is changed, tagged or uploaded. The exit code is 1 if a point is open.

Example:
  cargo xtask release --dry-run";

/// The settings of `release`.
#[derive(Debug, Args)]
pub struct Release {
    /// Check only. There is no other way: RELEASE.md says what is done by hand
    #[arg(long, required = true)]
    dry_run: bool,
}

/// One point of the checklist: what it is about, and what is open about it.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    name: &'static str,
    open: Vec<String>,
}

impl Release {
    /// Goes through the checklist; gives exit code 1 if a point is open.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or cargo or git could not be started.
    pub fn run(&self) -> Result<u8> {
        ensure!(self.dry_run, "only --dry-run is done by this program; RELEASE.md says the rest");
        let root = Path::new(".");
        let tree = Tree::read(root)?;
        let manifest = workspace(&tree)?;
        let version = text(&manifest, &["workspace", "package", "version"])
            .context("Cargo.toml: [workspace.package] has no version")?
            .to_owned();
        let read =
            |name: &str| fs::read_to_string(name).with_context(|| format!("cannot read {name}"));
        let mut points = vec![
            Point { name: "one version", open: versions(&tree, &manifest, &version)? },
            Point { name: "changelog", open: changelog(&read("CHANGELOG.md")?, &version) },
            Point { name: "address", open: address(&manifest) },
            Point {
                name: "tidy",
                open: tidy::findings(root)?.iter().map(ToString::to_string).collect(),
            },
            Point { name: "clean tree on main", open: git()? },
        ];
        let (packages, open) = packages(&tree)?;
        points.push(Point { name: "packages", open });

        println!("SPRInG {version}\n\n{packages}");
        print!("{}", report(&points));
        println!(
            "by hand: .ci/run, cargo deny check advisories, crash-test --rounds 300, benches, \
             cargo package --workspace, tag, publish (RELEASE.md)"
        );
        Ok(u8::from(points.iter().any(|point| !point.open.is_empty())))
    }
}

fn report(points: &[Point]) -> String {
    let mut report = String::new();
    for point in points {
        let state = if point.open.is_empty() { "ok" } else { "OPEN" };
        let _ = writeln!(report, "{state:<5} {}", point.name);
        for open in &point.open {
            let _ = writeln!(report, "      {open}");
        }
    }
    report
}

fn workspace(tree: &Tree) -> Result<Table> {
    let text =
        tree.text("Cargo.toml").context("no Cargo.toml here: run this at the workspace's root")?;
    text.parse().context("Cargo.toml is not TOML")
}

fn text<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a str> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))?.as_str()
}

/// Every crate of ours in `[workspace.dependencies]` must ask for the workspace's version, and
/// every published package must have it.
fn versions(tree: &Tree, manifest: &Table, version: &str) -> Result<Vec<String>> {
    let mut open = Vec::new();
    let dependencies =
        manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for (name, value) in dependencies.and_then(Value::as_table).into_iter().flatten() {
        let Some(dependency) = value.as_table().filter(|table| table.contains_key("path")) else {
            continue;
        };
        match dependency.get("version").and_then(Value::as_str) {
            Some(asked) if asked == version => {}
            asked => open.push(format!(
                "[workspace.dependencies] {name} asks for {}, not {version}",
                asked.unwrap_or("no version")
            )),
        }
    }
    for package in tree.packages()?.iter().filter(|package| package.is_published()) {
        let own = package.manifest.get("package").and_then(|fields| fields.get("version"));
        let inherits =
            own.and_then(|own| own.get("workspace")).and_then(Value::as_bool) == Some(true);
        if !inherits {
            open.push(format!("{}: write version.workspace = true", package.file));
        }
    }
    Ok(open)
}

/// The version must have a section with a date, above it an empty `[Unreleased]`.
fn changelog(text: &str, version: &str) -> Vec<String> {
    let heading = format!("## [{version}]");
    let mut open = Vec::new();
    match text.lines().find(|line| line.starts_with(&heading)) {
        None => {
            open.push(format!("CHANGELOG.md has no section {heading} - DATE: rename [Unreleased]"))
        }
        Some(line) => {
            let date = line[heading.len()..].trim().trim_start_matches("- ");
            let is_date = |date: &str| {
                let parts: Vec<&str> = date.split('-').collect();
                parts.iter().map(|part| part.len()).eq([4, 2, 2])
                    && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
            };
            if !is_date(date) {
                open.push(format!("CHANGELOG.md: {line:?} has no date of the form YYYY-MM-DD"));
            }
        }
    }
    let unreleased = text.split("## [Unreleased]").nth(1).map(|rest| rest.split("\n## ").next());
    match unreleased.flatten() {
        None => {
            open.push("CHANGELOG.md has no section [Unreleased] for what comes next".to_owned())
        }
        Some(rest) if rest.lines().any(|line| line.starts_with("- ")) => {
            open.push(
                "CHANGELOG.md: [Unreleased] has entries; they belong to the version".to_owned(),
            );
        }
        Some(_) => {}
    }
    open
}

fn address(manifest: &Table) -> Vec<String> {
    let is_known = text(manifest, &["workspace", "package", "repository"]).is_some();
    (!is_known)
        .then(|| {
            "[workspace.package] has no repository: where would a reader of the package report a \
             bug?"
                .to_owned()
        })
        .into_iter()
        .collect()
}

fn git() -> Result<Vec<String>> {
    let said = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").args(arguments).output().context("cannot start git")?;
        ensure!(output.status.success(), "git {} failed", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut open = Vec::new();
    let branch = said(&["branch", "--show-current"])?;
    if branch != "main" {
        open.push(format!("the branch is {branch:?}, not main"));
    }
    let changed = said(&["status", "--porcelain"])?.lines().count();
    if changed > 0 {
        open.push(format!("{changed} files are changed or not committed"));
    }
    Ok(open)
}

/// The most bytes of files that a package should hold; registries take 10 MiB packed.
const LARGE: u64 = 16 << 20;

/// A table of what each package would hold, and what is wrong with it.
fn packages(tree: &Tree) -> Result<(String, Vec<String>)> {
    let mut table = String::from("package            files        MB  largest\n");
    let mut open = Vec::new();
    for package in tree.packages()?.iter().filter(|package| package.is_published()) {
        let step = Step::cargo("package", "package").args([
            "--list",
            "--allow-dirty",
            "--quiet",
            "--package",
            &package.name,
        ]);
        let output = step.process().output().with_context(|| format!("cannot start `{step}`"))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            open.push(format!("{}: {}", package.name, error.lines().next().unwrap_or_default()));
            continue;
        }
        let list = String::from_utf8_lossy(&output.stdout).into_owned();
        // Cargo.lock and the like are written by cargo when it packs.
        let sizes = list.lines().map(|file| {
            let bytes = fs::metadata(tree.root.join(package.folder).join(file))
                .map_or(0, |data| data.len());
            (bytes, file)
        });
        let sizes: Vec<(u64, &str)> = sizes.collect();
        let bytes: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
        let largest = sizes.iter().max().map_or("", |(_, file)| file);
        let _ = writeln!(
            table,
            "{:<18} {:>5} {:>9.2}  {largest}",
            package.name,
            sizes.len(),
            bytes as f64 / 1e6
        );
        if bytes > LARGE {
            open.push(format!(
                "{} holds {bytes} bytes: leave out what no user needs",
                package.name
            ));
        }
    }
    Ok((table, open))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    #[test]
    fn all_crates_carry_the_version_of_the_workspace() {
        let workspace = "[workspace.package]\nversion = \"0.2.0\"\n[workspace.dependencies]\n\
                         a = { path = \"a\", version = \"0.1.0\" }\nserde = \"1\"\n";
        let (_folder, tree) = tree(&[
            ("Cargo.toml", workspace),
            ("a/Cargo.toml", "[package]\nname = \"a\"\nversion.workspace = true\n"),
            ("b/Cargo.toml", "[package]\nname = \"b\"\nversion = \"0.2.0\"\n"),
            ("c/Cargo.toml", "[package]\nname = \"c\"\nversion = \"7.0.0\"\npublish = false\n"),
        ]);
        let manifest = super::workspace(&tree).unwrap();
        let open = versions(&tree, &manifest, "0.2.0").unwrap();
        assert_eq!(open.len(), 2, "{open:?}");
        assert!(open[0].contains("a asks for 0.1.0, not 0.2.0"), "{open:?}");
        assert!(open[1].starts_with("b/Cargo.toml"), "{open:?}");
        assert!(versions(&tree, &manifest, "0.1.0").unwrap().len() == 1);
    }

    #[test]
    fn a_version_has_a_dated_section_and_nothing_waits() {
        let ready = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n- New.\n";
        assert_eq!(changelog(ready, "0.2.0"), Vec::<String>::new());
        assert!(changelog(ready, "0.3.0")[0].contains("no section ## [0.3.0]"));
        let waits = ready.replace("[Unreleased]\n", "[Unreleased]\n\n- More.\n");
        assert!(changelog(&waits, "0.2.0")[0].contains("has entries"));
        let undated = ready.replace(" - 2026-12-01", " - soon");
        assert!(changelog(&undated, "0.2.0")[0].contains("has no date"));
        assert_eq!(changelog("", "0.2.0").len(), 2);
    }

    #[test]
    fn the_report_says_what_is_open() {
        let points = [
            Point { name: "tidy", open: Vec::new() },
            Point { name: "changelog", open: vec!["no section".to_owned()] },
        ];
        assert_eq!(report(&points), "ok    tidy\nOPEN  changelog\n      no section\n");
    }
}
