//! One file per command.

mod adapt;
mod data;
mod demo;
mod eval;
mod explain;
mod generate;
mod ingest;
mod init;
mod metrics;
mod score;
mod suite;
mod users;

use anyhow::Result;

use crate::args::{Args, Command, DataCommand, EvalCommand};

/// Runs the command that was asked for.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Demo(command) => demo::run(args, command),
        Command::Init(command) => init::run(args, command),
        Command::Ingest(command) => ingest::run(args, command),
        Command::Adapt(command) => adapt::run(args, command),
        Command::Generate(command) => generate::run(args, command),
        Command::Explain(command) => explain::run(args, command),
        Command::Users(command) => users::run(args, command),
        Command::Score(command) => score::run(args, command),
        Command::Eval(eval) => match &eval.command {
            Some(EvalCommand::Compare(command)) => eval::compare(args, command),
            Some(EvalCommand::Metrics(command)) => metrics::run(args, command),
            None => suite::run(args, &eval.suite),
        },
        Command::Data(DataCommand::Inspect(command)) => data::inspect(args, command),
        Command::Data(DataCommand::Convert(command)) => data::convert(command),
        Command::Data(DataCommand::Synth(command)) => data::synth(command),
    }
}
