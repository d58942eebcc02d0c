//! `spring man`: manual pages from the definition of the command line.

use std::path::Path;

use anyhow::{Result, ensure};
use clap::CommandFactory;
use clap_mangen::Man;

use crate::{
    args::{Args, ManArgs},
    files, output, system,
};

pub fn run(command: &ManArgs) -> Result<()> {
    let mut spring = Args::command().disable_help_subcommand(true);
    spring.build();
    match &command.out {
        Some(folder) => {
            ensure!(folder.is_dir(), "{}: no such folder", folder.display());
            system::for_everybody(|| write(&spring, folder))
        }
        None => {
            let mut page = Vec::new();
            Man::new(spring).render(&mut page)?;
            output::whole(&page)
        }
    }
}

/// The page of a command and of those below it.
fn write(command: &clap::Command, folder: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write(below, folder)?;
    }
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    files::write_for_everybody(&folder.join(man.get_filename()), &page)
}
