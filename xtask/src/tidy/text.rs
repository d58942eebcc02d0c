//! What any reader could see: lines that are too long, markers of unfinished work, host names of
//! registries, links to files that do not exist.

use super::{Finding, TextFile, Tree};

/// Columns of a line of Rust, comments included; `max_width` of rustfmt.toml is the same.
const CODE_COLUMNS: usize = 100;

/// Columns of a line of Markdown. A line holds one sentence, so it is longer than a line of code.
const MARKDOWN_COLUMNS: usize = 400;

/// What must not be committed. Each is put together here so that this file does not contain it.
const MARKERS: &[(&str, &str)] = &[
    (concat!("to", "do!("), "unfinished: write it, or leave it out"),
    (concat!("unimpl", "emented!("), "unfinished: write it, or leave it out"),
    (concat!("db", "g!("), "left over from debugging"),
    (concat!("TO", "DO"), "file an issue instead"),
    (concat!("FIX", "ME"), "file an issue instead"),
];

/// Host names of package registries: which one is used is a setting of the reader's machine.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".com"),
    concat!("npmjs", ".org"),
];

/// Beginnings of paths that leave a package. What its tests read lies inside, as a file or as a
/// link that cargo follows when it packs, so that a published package can run its own tests.
const OUTSIDE: &[&str] = &["../spring-", "../../docs", "../../suites", "../../crates"];

/// Checks every text file.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let is_rust = file.path.ends_with(".rs");
        for (index, line) in file.text.lines().enumerate() {
            let mut found = |message| findings.push(Finding::new(&*file.path, index + 1, message));
            let columns = line.chars().count();
            if is_rust && columns > CODE_COLUMNS {
                found(format!("{columns} columns; a line of code has at most {CODE_COLUMNS}"));
            }
            if is_rust {
                for (marker, advice) in MARKERS.iter().filter(|(marker, _)| line.contains(marker)) {
                    found(format!("{marker} {advice}"));
                }
            }
            if is_rust && is_test(&file.path) {
                for path in OUTSIDE.iter().filter(|path| line.contains(&format!("\"{path}"))) {
                    found(format!(
                        "reads {path}… outside its package: link it under tests/fixtures"
                    ));
                }
            }
            for host in HOSTS.iter().filter(|host| line.contains(*host)) {
                found(format!("{host} is a registry's host: say \"the package registry\""));
            }
        }
        if file.path.ends_with(".md") {
            findings.extend(markdown(tree, file));
        }
    }
    findings
}

/// Whether a published package runs the file as a test: benches compare with other crates' data.
fn is_test(path: &str) -> bool {
    path.starts_with("crates/") && ["/src/", "/tests/"].iter().any(|folder| path.contains(folder))
}

/// Long lines outside code and tables, and links to files that do not exist.
fn markdown(tree: &Tree, file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in file.text.lines().enumerate() {
        let mut found = |message| findings.push(Finding::new(&*file.path, index + 1, message));
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let columns = line.chars().count();
        if columns > MARKDOWN_COLUMNS && !line.starts_with('|') {
            found(format!(
                "{columns} columns; a line of Markdown holds one sentence, of at most \
                 {MARKDOWN_COLUMNS}"
            ));
        }
        for named in code_spans(line).filter(|span| is_source(span)) {
            let places = ["crates", "."].map(|folder| tree.root.join(folder).join(named));
            if !places.iter().any(|place| place.exists()) {
                found(format!("names {named}, which does not exist"));
            }
        }
        for link in links(line) {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if !tree.root.join(folder).join(link).exists() {
                found(format!("links to {link}, which does not exist"));
            }
        }
    }
    findings
}

/// What stands between backticks in a line of Markdown.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether it is the path of a source of ours: `spring-core/src/cut.rs`.
fn is_source(span: &str) -> bool {
    let is_ours = ["spring-", "crates/", "xtask/", "benches/", "docs/", "suites/"]
        .iter()
        .any(|start| span.starts_with(start));
    let is_file = [".rs", ".md", ".toml", ".sql", ".py"].iter().any(|end| span.ends_with(end));
    is_ours && is_file && span.contains('/') && !span.contains([' ', '*', '{', '…'])
}

/// The files that a line of Markdown links to, without their anchors.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains(':')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let (_folder, tree) = tree(&[(path, text), ("docs/there.md", "")]);
        check(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn columns_are_characters_and_comments_count() {
        let line = |columns: usize| format!("// {}", "é".repeat(columns - 3));
        assert_eq!(findings("a.rs", &line(CODE_COLUMNS)), Vec::<String>::new());
        let found = findings("a.rs", &format!("\n{}", line(CODE_COLUMNS + 1)));
        let start = format!("a.rs:2: {} columns", CODE_COLUMNS + 1);
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    }

    #[test]
    fn markdown_has_wider_lines_and_tables_and_code_any() {
        let long = "x".repeat(MARKDOWN_COLUMNS + 1);
        assert_eq!(findings("a.md", &long).len(), 1);
        assert!(findings("a.md", &format!("|{long}|\n```\n{long}\n```\n")).is_empty());
    }

    #[test]
    fn unfinished_work_and_registries_are_found() {
        for (marker, _) in MARKERS {
            assert_eq!(findings("a.rs", &format!("fn f() {{ {marker} }}")).len(), 1, "{marker}");
        }
        for host in HOSTS {
            assert_eq!(findings("a.toml", &format!("# see {host}")).len(), 1, "{host}");
        }
    }

    #[test]
    fn sources_that_are_named_exist() {
        let text = "`docs/there.md`, `docs/gone.md`, `spring-core/src/cut.rs`, `cut.rs`, `a b.rs`";
        let found = findings("docs/a.md", text);
        let gone = |file: &str| format!("docs/a.md:1: names {file}, which does not exist");
        assert_eq!(found, [gone("docs/gone.md"), gone("spring-core/src/cut.rs")]);
    }

    #[test]
    fn tests_read_inside_their_package() {
        let line = concat!("fs::read(\"..", "/spring-model/tests/a\")");
        let found = findings("crates/a/tests/b.rs", line);
        assert!(found.len() == 1 && found[0].contains("outside its package"), "{found:?}");
        assert!(findings("crates/a/benches/b.rs", line).is_empty());
    }

    #[test]
    fn links_lead_to_files() {
        let text = "[a](there.md#part) [b](missing.md) [c](https://example.org) [d](#here)";
        let found = findings("docs/a.md", text);
        assert_eq!(found, ["docs/a.md:1: links to missing.md, which does not exist"]);
    }
}
