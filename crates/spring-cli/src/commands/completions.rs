//! `spring completions`: the arguments of every command, for a shell.

use anyhow::Result;
use clap::CommandFactory;

use crate::{
    args::{Args, CompletionsArgs},
    output,
};

pub fn run(command: &CompletionsArgs) -> Result<()> {
    // Written to memory first: clap's generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Args::command(), "spring", &mut script);
    output::whole(&script)
}
