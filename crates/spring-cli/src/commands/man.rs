//! `spring man`: manual pages from the definition of the command line.

use std::io::Write;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Args, ManArgs};

pub fn run(command: &ManArgs) -> Result<()> {
    match &command.out {
        Some(folder) => clap_mangen::generate_to(Args::command(), folder)
            .with_context(|| format!("writing manual pages to {}", folder.display())),
        None => {
            // As `generate_to` prepares it, so that both give the same page.
            let mut spring = Args::command().disable_help_subcommand(true);
            spring.build();
            let mut page = Vec::new();
            Man::new(spring).render(&mut page)?;
            Ok(std::io::stdout().write_all(&page)?)
        }
    }
}
