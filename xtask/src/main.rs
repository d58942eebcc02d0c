//! `cargo xtask`: build, check, test and bench the workspace, and compare its models with a
//! reference.
//!
//! Every task is one or a few cargo commands; the program exits with the code of the command that
//! failed.

mod bench;
mod cases;
mod check;
mod crash_test;
mod criterion;
mod dist;
mod fault_test;
mod machine;
mod page;
mod release;
mod serving;
mod step;
mod tidy;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::cases::Cases;
use crate::check::Check;
use crate::crash_test::CrashTest;
use crate::dist::Dist;
use crate::fault_test::FaultTest;
use crate::release::Release;
use crate::serving::{crash_test::ServerCrashTest, soak::Soak};
use crate::step::Step;
use crate::tidy::Tidy;

/// Build, check, test and bench the workspace.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                               run every test
  cargo xtask check                              what a change must pass
  cargo xtask build --backends cpu,wgpu          the program for CPU and Vulkan, Metal or DirectX
  cargo xtask bench --crate spring-fuse          the benchmarks of one crate

The exit code is that of the cargo command that failed, or 0.";

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the release binary of the `spring` program; print its path and size.
    #[command(after_help = dist::EXAMPLES)]
    Build(Dist),
    /// Check format, lints, documentation and tests, cheapest first, up to the first failure.
    #[command(after_help = check::EXAMPLES)]
    Check(Check),
    /// Check what can be read off the sources: dependencies, circles, line lengths, links.
    #[command(after_help = tidy::EXAMPLES)]
    Tidy(Tidy),
    /// Run all tests, documentation tests included; or one backend's suite.
    #[command(after_help = TEST_EXAMPLES)]
    Test(Test),
    /// Go through the checklist of RELEASE.md; change nothing.
    #[command(after_help = release::EXAMPLES)]
    Release(Release),
    /// Kill the program at random moments and check that no state is damaged.
    #[command(after_help = crash_test::EXAMPLES)]
    CrashTest(CrashTest),
    /// Kill a server at random moments and check that nothing acknowledged is lost.
    #[command(after_help = serving::crash_test::EXAMPLES)]
    ServerCrashTest(ServerCrashTest),
    /// Keep a server busy for some minutes, and check its memory and everybody's texts.
    #[command(after_help = serving::soak::EXAMPLES)]
    Soak(Soak),
    /// Kill workers, cut connections and restart the database under them, and compare what is there
    /// afterwards with an undisturbed run.
    #[command(after_help = fault_test::EXAMPLES)]
    FaultTest(FaultTest),
    /// Run files that gave others trouble, and print a table of verdicts.
    #[command(after_help = cases::EXAMPLES)]
    Cases(Cases),
    /// Compare logits with those of a reference implementation; exit code 1 above the tolerance.
    #[command(after_help = PARITY_EXAMPLES)]
    Parity(Parity),
    /// Train a tokenizer and a small Llama from JSONL, and measure it.
    #[command(after_help = PRETRAIN_EXAMPLES, disable_help_flag = true)]
    Pretrain(Pretrain),
    /// Run criterion's benches, or compare with other systems; write docs/results/performance.md.
    #[command(after_help = bench::EXAMPLES)]
    Bench(Bench),
}

const TEST_EXAMPLES: &str = "\
The suite of wgpu runs on any Vulkan device, also one in software (Debian: mesa-vulkan-drivers).

Examples:
  cargo xtask test
  cargo xtask test --crate spring-drift
  cargo xtask test --backend wgpu";

/// The settings of `test`.
#[derive(Debug, Args)]
struct Test {
    #[command(flatten)]
    scope: Scope,
    /// The suite of spring-model on this backend alone: wgpu or cuda
    #[arg(long, conflicts_with = "name", value_parser = ["wgpu", "cuda"])]
    backend: Option<String>,
}

impl Test {
    fn step(&self) -> Step {
        match &self.backend {
            None => self.scope.narrow(Step::cargo("tests", "test")),
            Some(backend) => Step::cargo("backend", "test")
                .args([
                    "--package",
                    "spring-model",
                    "--features",
                    backend,
                    "--lib",
                    "--test",
                    "model",
                ])
                .args(["--", backend]),
        }
    }
}

const PARITY_EXAMPLES: &str = "\
Each folder: config.json and weights, reference.safetensors with input_ids and logits, and perhaps \
a PEFT folder
adapter/ with adapter_logits. A GGUF file has its reference beside it, as NAME.safetensors
(benches/python/gguf_logits.py writes one), or by --reference. The tolerance is 1e-4 for f32, 1e-3
for GGUF files, 0.05 for f16 and on CUDA for f32 (TF32), 0.3 for bf16.

Examples:
  cargo xtask parity crates/spring-model/tests/fixtures/parity/*
  cargo xtask parity model.gguf --reference reference.safetensors --texts texts.jsonl
  cargo xtask parity --device cuda --precision bf16 path/to/folder";

/// The settings of `parity`.
#[derive(Debug, Args)]
struct Parity {
    /// Where the model runs
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "wgpu", "cuda"])]
    device: String,
    /// Float type of the model's matrices [default: f32, of GGUF files on GPUs half precision]
    #[arg(long, value_parser = ["f32", "f16", "bf16"])]
    precision: Option<String>,
    /// Arithmetic of a GGUF file's quantised matrices
    #[arg(long, default_value = "exact", value_parser = ["fast", "exact"])]
    arithmetic: String,
    /// The reference of the GGUF files [default: beside each, with the ending safetensors]
    #[arg(long, value_name = "FILE")]
    reference: Option<String>,
    /// Also compare the fast arithmetic of GGUF files with the exact one, on 50 of these texts
    #[arg(long, value_name = "JSONL")]
    texts: Option<String>,
    /// Largest difference of a logit allowed [default: by precision]
    #[arg(long)]
    tolerance: Option<f32>,
    /// Folders and GGUF files to compare
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
}

impl Parity {
    fn step(&self) -> Step {
        let tolerance = self.tolerance.map(|t| t.to_string());
        let settings = [
            ("--precision", &self.precision),
            ("--reference", &self.reference),
            ("--texts", &self.texts),
            ("--tolerance", &tolerance),
        ];
        let settings = settings
            .into_iter()
            .filter_map(|(name, value)| Some([name.to_owned(), value.as_ref()?.clone()]));
        Step::cargo("parity", "run")
            .args([
                "--quiet",
                "--package",
                "spring-model",
                "--example",
                "parity",
                "--features",
                &self.device,
            ])
            .args(["--", "--device", &self.device, "--arithmetic", &self.arithmetic])
            .args(settings.flatten())
            .args(&self.models)
    }
}

const PRETRAIN_EXAMPLES: &str = "\
All settings: cargo xtask pretrain --help

Examples:
  cargo xtask pretrain texts.jsonl.zst --out run --steps 2000
  cargo xtask pretrain texts.jsonl.zst --out run --steps 2000 --resume
  cargo xtask pretrain texts.jsonl.zst --out run --device cuda
  cargo xtask pretrain texts.jsonl.zst --report-only run/model";

/// The settings of `pretrain`: those of the program that it starts.
#[derive(Debug, Args)]
struct Pretrain {
    /// Handed to the program spring-pretrain; --device also chooses how it is built
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<String>,
}

impl Pretrain {
    fn step(&self) -> Step {
        let device =
            self.args.iter().enumerate().find_map(|(i, arg)| match arg.strip_prefix("--device") {
                Some("") => self.args.get(i + 1).map(String::as_str),
                rest => rest?.strip_prefix('='),
            });
        let gpu = device.filter(|device| ["wgpu", "cuda"].contains(device));
        Step::cargo("pretrain", "run")
            .args(["--release", "--package", "spring-pretrain"])
            .args(gpu.into_iter().flat_map(|gpu| ["--features", gpu]))
            .args(["--"])
            .args(&self.args)
            // Memory that a step frees is wanted by the next: given back, a tenth of the time went
            // to pages made anew.
            .flags("MIMALLOC_PURGE_DELAY", "-1")
    }
}

/// Which crates a task is about.
#[derive(Debug, Args)]
struct Scope {
    /// One crate alone, for example spring-fuse [default: the whole workspace]
    #[arg(long = "crate", value_name = "NAME")]
    name: Option<String>,
}

impl Scope {
    fn narrow(&self, step: Step) -> Step {
        match &self.name {
            Some(name) => step.args(["--package", name]),
            None => step.args(["--workspace"]),
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Build(dist) => dist.run(),
        Task::Check(check) => check.run(),
        Task::Tidy(tidy) => tidy.run(),
        Task::Test(test) => test.step().run(),
        Task::Release(release) => release.run(),
        Task::CrashTest(test) => test.run(),
        Task::ServerCrashTest(test) => test.run(),
        Task::Soak(soak) => soak.run(),
        Task::FaultTest(test) => test.run(),
        Task::Cases(cases) => cases.run(),
        Task::Parity(parity) => parity.step().run(),
        Task::Pretrain(pretrain) => pretrain.step().run(),
        Task::Bench(bench) => bench.run(),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Task {
        Cli::try_parse_from(line.split(' ')).unwrap().task
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tests_and_benches_cover_the_workspace_or_one_crate() {
        let lines = |line: &str| match parse(line) {
            Task::Test(test) => test.step().to_string(),
            Task::Bench(bench) => bench.criterion().to_string(),
            task => panic!("{task:?}"),
        };
        assert_eq!(lines("xtask test"), "cargo test --workspace");
        assert_eq!(lines("xtask test --crate spring-drift"), "cargo test --package spring-drift");
        assert_eq!(
            lines("xtask test --backend wgpu"),
            "cargo test --package spring-model --features wgpu --lib --test model -- wgpu"
        );
        assert_eq!(lines("xtask bench"), "cargo bench --workspace --bench '*'");
        assert_eq!(
            lines("xtask bench --crate spring-fuse"),
            "cargo bench --package spring-fuse --bench '*'"
        );
    }

    #[test]
    fn peers_are_built_apart_from_ours() {
        let lines = |line: &str| match parse(line) {
            Task::Bench(bench) => [bench.ours().to_string(), bench.candle().to_string()],
            task => panic!("{task:?}"),
        };
        let [ours, candle] = lines("xtask bench --peers");
        assert_eq!(
            ours,
            "cargo build --release --package spring-cli --package spring-benches --bin \
             spring-benches \
             --message-format json-render-diagnostics"
        );
        assert_eq!(
            candle,
            "cargo build --release --package spring-benches-candle --features peers \
             --message-format json-render-diagnostics"
        );
        assert!(lines("xtask bench --peers --quick --native").iter().all(|line| {
            line.starts_with("RUSTFLAGS='-C target-cpu=native' cargo build --package ")
        }));
        assert!(Cli::try_parse_from(["xtask", "bench", "--only", "bm25"]).is_err());
    }

    #[test]
    fn parity_runs_the_example_of_spring_model() {
        let Task::Parity(parity) = parse("xtask parity --device cuda --tolerance 0.5 a b") else {
            panic!()
        };
        assert_eq!(
            parity.step().to_string(),
            "cargo run --quiet --package spring-model --example parity --features cuda -- \
             --device cuda --arithmetic exact --tolerance 0.5 a b"
        );
    }

    #[test]
    fn pretrain_hands_its_arguments_on_and_builds_for_the_device() {
        let line = |line: &str| match parse(line) {
            Task::Pretrain(pretrain) => pretrain.step().to_string(),
            task => panic!("{task:?}"),
        };
        let cargo = "MIMALLOC_PURGE_DELAY='-1' cargo run --release --package spring-pretrain";
        assert_eq!(
            line("xtask pretrain a.jsonl --out run"),
            format!("{cargo} -- a.jsonl --out run")
        );
        assert_eq!(line("xtask pretrain --help"), format!("{cargo} -- --help"));
        assert_eq!(line("xtask pretrain a --device cpu"), format!("{cargo} -- a --device cpu"));
        assert_eq!(
            line("xtask pretrain a --device cuda --out run"),
            format!("{cargo} --features cuda -- a --device cuda --out run")
        );
        assert_eq!(
            line("xtask pretrain --device=wgpu a"),
            format!("{cargo} --features wgpu -- --device=wgpu a")
        );
    }

    #[test]
    fn build_hands_the_backends_to_cargo_as_features() {
        let line = |line: &str| match parse(line) {
            Task::Build(dist) => dist.step().to_string(),
            task => panic!("{task:?}"),
        };
        let cargo = "cargo build --release --package spring-cli --no-default-features \
                     --message-format json-render-diagnostics --features";
        assert_eq!(line("xtask build"), format!("{cargo} cpu"));
        assert_eq!(line("xtask build --backends cpu,wgpu,cuda"), format!("{cargo} cpu,wgpu,cuda"));
        assert_eq!(
            line("xtask build --backends wgpu --autotune"),
            format!("{cargo} wgpu,autotune")
        );
        assert_eq!(
            line("xtask build --backends cuda --native"),
            format!("RUSTFLAGS='-C target-cpu=native' {cargo} cuda")
        );
        assert!(Cli::try_parse_from(["xtask", "build", "--backends", "tpu"]).is_err());
        assert!(Cli::try_parse_from(["xtask", "build", "--backends", ""]).is_err());
    }

    #[test]
    fn check_goes_from_cheap_to_expensive() {
        let names = |line: &str| match parse(line) {
            Task::Check(check) => check.steps().iter().map(Step::name).collect::<Vec<_>>(),
            task => panic!("{task:?}"),
        };
        assert_eq!(names("xtask check"), ["format", "tidy", "lints", "docs", "tests"]);
        assert_eq!(names("xtask check --no-tests"), ["format", "tidy", "lints", "docs"]);
    }
}
