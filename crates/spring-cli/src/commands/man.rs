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
            let mut page = Vec::new();
            Man::new(Args::command()).render(&mut page)?;
            Ok(std::io::stdout().write_all(&page)?)
        }
    }
}
