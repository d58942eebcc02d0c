//! One file per command.

mod adapt;
mod chat;
mod check;
mod completions;
mod consent;
mod data;
mod demo;
mod explain;
mod forget;
mod generate;
mod ingest;
mod init;
mod inspect;
mod key;
mod man;
mod metrics;
mod prior;
mod relocate;
mod report;
mod rollback;
mod score;
mod search;
mod serve;
mod suite;
mod summary;
mod table;
mod transfer;
mod unlock;
mod users;
mod worker;

use anyhow::Result;

use crate::args::{Args, Command, DataCommand, EvalCommand, KeyCommand, PriorCommand};

/// Runs the command that was asked for.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Demo(command) => demo::run(args, command),
        Command::Init(command) => init::run(args, command),
        Command::Ingest(command) => ingest::run(args, command),
        Command::Adapt(command) => adapt::run(args, command),
        Command::Worker(command) => worker::run(args, command),
        Command::Rollback(command) => rollback::run(args, command),
        Command::Unlock(command) => unlock::run(args, command),
        Command::Forget(command) => forget::run(args, command),
        Command::Export(command) => transfer::export(args, command),
        Command::Import(command) => transfer::import(args, command),
        Command::Move(command) => relocate::run(args, command),
        Command::Check(command) => check::run(args, command),
        Command::Generate(command) => generate::run(args, command),
        Command::Chat(command) => chat::run(args, command),
        Command::Serve(command) => serve::run(args, command),
        Command::Key(KeyCommand::Add(command)) => key::add(args, command),
        Command::Key(KeyCommand::List(command)) => key::list(args, command),
        Command::Key(KeyCommand::Revoke(command)) => key::revoke(args, command),
        Command::Consent(command) => consent::run(args, command),
        Command::Prior(PriorCommand::Train(command)) => prior::train(args, command),
        Command::Prior(PriorCommand::Show(command)) => prior::show(args, command),
        Command::Prior(PriorCommand::Apply(command)) => prior::apply(args, command),
        Command::Prior(PriorCommand::Drop(command)) => prior::drop(args, command),
        Command::Report(command) => report::run(args, command),
        Command::Search(command) => search::run(args, command),
        Command::Explain(command) => explain::run(args, command),
        Command::Inspect(command) => inspect::run(args, command),
        Command::Users(command) => users::run(args, command),
        Command::Score(command) => score::run(args, command),
        Command::Eval(eval) => match &eval.command {
            Some(EvalCommand::Metrics(command)) => metrics::run(args, command),
            Some(EvalCommand::Table(command)) => table::run(args, command),
            None => suite::run(args, &eval.suite),
        },
        Command::Data(DataCommand::Inspect(command)) => data::inspect(args, command),
        Command::Data(DataCommand::Convert(command)) => data::convert(command),
        Command::Data(DataCommand::Synth(command)) => data::synth(command),
        Command::Completions(command) => completions::run(command),
        Command::Man(command) => man::run(command),
    }
}
