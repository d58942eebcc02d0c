//! Public records and settings can grow without breaking who uses them.
//!
//! A field or a variant that is added to a public type breaks whoever makes or matches it whole. So
//! types of public fields and enums are `#[non_exhaustive]`, made by `new`, `Default` and `with_…`,
//! or stand in [`CLOSED`] with the reason why such a change should be noticed.

use anyhow::Result;

use super::{Finding, Tree, modules::Crate, paths::Sources};

/// Types of a package that are closed for one reason.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    pub package: &'static str,
    pub types: &'static [&'static str],
    pub reason: &'static str,
}

const fn closed(
    package: &'static str,
    types: &'static [&'static str],
    reason: &'static str,
) -> Closed {
    Closed { package, types, reason }
}

/// The types that stay closed, and why. One that is not needed any more is a finding.
pub const CLOSED: &[Closed] = &[
    closed("spring-lm", &["LoraPair", "Message", "RowId", "Sequence"], "identifiers and pairs"),
    closed("spring-lm", &["AdaptOutcome", "TrainStep"], "what an engine for models fills in"),
    closed(
        "spring-lm",
        &["Activation", "LayerKind", "Role", "TokenWeights"],
        "a model must compute every kind",
    ),
    closed("spring-gguf", &["Lora", "LoraBase", "LoraFactors"], "what a file of an adapter holds"),
    closed("spring-gguf", &["LoraTarget"], "every matrix has its name in a file"),
    closed("spring-metrics", &["Direction"], "two, and there is no third"),
    closed("spring-store", &["Periods", "Replica"], "a pair"),
    closed("spring-serve", &["Choice", "Replica"], "a pair"),
    closed(
        "spring-store",
        &[
            "ConsentRow",
            "Extent",
            "GenerationRow",
            "Holder",
            "InteractionRow",
            "InteractionSums",
            "KeyRow",
            "LearnedRow",
            "LeaseRow",
            "MemberRow",
            "MemoriesRow",
            "MemoriesSize",
            "PriorRow",
            "ReplicaRow",
            "SettingsRow",
            "Summed",
            "UserRow",
        ],
        "rows that every backend writes and reads whole",
    ),
    closed(
        "spring-store",
        &["Access", "Durability", "Text", "Texts", "Users", "Wanted"],
        "a backend must handle every kind that it is asked for",
    ),
    closed(
        "spring-store",
        &[
            "AnswerRecord",
            "LearnedPeriod",
            "PeriodRecord",
            "RetrievedText",
            "ScoredText",
            "SelectionRecord",
            "TokenTrace",
            "UpdateRecord",
        ],
        "records that spring-core measures: it must fill in what is added",
    ),
    closed(
        "spring-store",
        &[
            "BankKind",
            "ColdStart",
            "Copied",
            "Cut",
            "Ending",
            "NoveltyReference",
            "RetrieverKind",
            "TextLength",
        ],
        "every kind must be handled where it is read",
    ),
    closed("spring-store", &["Numbers"], "random numbers of the contract's tests"),
    closed("spring-core", &["Turn"], "a pair"),
    closed(
        "spring-core",
        &["Memories", "PeriodInput"],
        "learning, forgetting and evaluation must hand on what is added",
    ),
    closed("spring-engine", &["Event", "Input", "Whose"], "every kind must be handled"),
    closed("spring-eval", &["Start", "SuiteEvent"], "every kind must be handled where it is shown"),
    closed("spring-serve", &["KeyHash"], "an identifier"),
    closed(
        "spring-serve",
        &[
            "Access",
            "AnswerEvent",
            "ChatTurn",
            "Feedback",
            "NewInteraction",
            "Prompt",
            "Role",
            "SinkError",
            "Target",
        ],
        "a service must handle all that it is asked and told",
    ),
    closed(
        "spring-serve",
        &[
            "Adaptation",
            "Added",
            "Answer",
            "AnswerDetail",
            "AnswerToken",
            "BufferText",
            "Consent",
            "Embeddings",
            "EvictedText",
            "ExplainedToken",
            "Explanation",
            "Export",
            "FinishReason",
            "Found",
            "GateDetail",
            "GenerationInfo",
            "Imported",
            "InteractionInfo",
            "JobState",
            "Model",
            "Page",
            "PeriodInfo",
            "PeriodText",
            "Readiness",
            "Receipt",
            "Removed",
            "RetrievedDetail",
            "RolledBack",
            "Stats",
            "Tokens",
            "TopToken",
            "Usage",
            "UserInfo",
        ],
        "what a service answers: it must fill in what is added",
    ),
];

/// Finds public types that cannot grow in every published package with a library.
///
/// # Errors
///
/// A manifest cannot be read.
pub fn check(tree: &Tree, sources: &Sources, closed: &[Closed]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in tree.packages()?.iter().filter(|package| package.is_published()) {
        if tree.text(&format!("{}/src/lib.rs", package.folder)).is_none() {
            continue;
        }
        let mut listed: Vec<(&str, &Closed)> = closed
            .iter()
            .filter(|closed| closed.package == package.name)
            .flat_map(|closed| closed.types.iter().map(move |name| (*name, closed)))
            .collect();
        for (file, source) in Crate::new(package, sources).sources() {
            for found in &source.closed {
                let name = found.names.join("::");
                if let Some(at) = listed.iter().position(|(listed, _)| *listed == name) {
                    listed.remove(at);
                } else {
                    findings.push(Finding::new(file, found.line, refusal(&name)));
                }
            }
        }
        findings.extend(listed.into_iter().map(|(name, closed)| {
            let message = format!(
                "{name} is not a public type that cannot grow: take it off the list in \
                 xtask/src/tidy/growth.rs, where the reason is \"{}\"",
                closed.reason
            );
            Finding::new(package.file, 0, message)
        }));
    }
    Ok(findings)
}

fn refusal(name: &str) -> String {
    format!(
        "{name} cannot grow without breaking who uses it: make it #[non_exhaustive] with new, \
         Default or with_…, or pub(crate), or list it with its reason in \
         xtask/src/tidy/growth.rs"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{paths::parse, tests::tree};

    fn findings(files: &[(&str, &str)], closed: &[Closed]) -> Vec<String> {
        let mut files = files.to_vec();
        files.push(("a/Cargo.toml", "[package]\nname = \"a\"\n"));
        let (_folder, tree) = tree(&files);
        let sources = parse(&tree).unwrap();
        check(&tree, &sources, closed).unwrap().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_public_record_is_open_or_has_its_reason() {
        let files = [("a/src/lib.rs", "mod b;\n"), ("a/src/b.rs", "pub struct B { pub c: u8 }")];
        let found = findings(&files, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a/src/b.rs:1: B cannot grow"), "{found:?}");
        assert_eq!(findings(&files, &[closed("a", &["B"], "a reason")]), Vec::<String>::new());
    }

    #[test]
    fn a_reason_that_is_not_needed_any_more_is_found() {
        let files = [("a/src/lib.rs", "#[non_exhaustive]\npub enum B { C }")];
        let found = findings(&files, &[closed("a", &["B"], "a reason")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("take it off the list"), "{found:?}");
    }

    #[test]
    fn programs_tests_and_what_is_not_published_are_left_alone() {
        let record = "pub struct B { pub c: u8 }";
        assert_eq!(findings(&[("a/src/main.rs", record)], &[]), Vec::<String>::new());
        let files = [("a/src/lib.rs", "#[cfg(test)]\nmod tests;"), ("a/src/tests.rs", record)];
        assert_eq!(findings(&files, &[]), Vec::<String>::new());
        let unpublished = "[package]\nname = \"c\"\npublish = false\n";
        let files = [("c/Cargo.toml", unpublished), ("c/src/lib.rs", record)];
        assert_eq!(findings(&files, &[]), Vec::<String>::new());
    }
}
