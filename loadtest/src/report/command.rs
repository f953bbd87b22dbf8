//! The commands that measure nothing: they show what was measured before.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::comparison::Comparison;
use super::output::print;
use super::page::Page;
use super::{Output, Sitting, terminal};

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show a report that `--json` wrote
    Show {
        /// The report
        #[arg(value_name = "FILE.json")]
        file: PathBuf,
    },
    /// Compare two reports that `--json` wrote
    Compare {
        /// What is compared with
        #[arg(value_name = "A.json")]
        first: PathBuf,
        /// What is compared
        #[arg(value_name = "B.json")]
        second: PathBuf,
    },
}

impl Command {
    /// Does it.
    pub fn run(&self, output: &Output) -> Result<(), String> {
        match self {
            Self::Show { file } => {
                refuse_json(output)?;
                let sitting = Sitting::read(file)?;
                print(&terminal::sitting(&sitting))?;
                output.write_page(&Page::of(&sitting))
            }
            Self::Compare { first, second } => compare(first, second, output),
        }
    }
}

/// Compares two reports.
pub fn compare(first: &Path, second: &Path, output: &Output) -> Result<(), String> {
    refuse_json(output)?;
    let sittings = [Sitting::read(first)?, Sitting::read(second)?];
    let names = [first, second].map(|path| path.display().to_string());
    let comparison = Comparison::of(&sittings[0], &sittings[1]);
    print(&terminal::comparison(&comparison, &names))?;
    output.write_page(&Page::comparing(&sittings, &names, &comparison))
}

fn refuse_json(output: &Output) -> Result<(), String> {
    match output.json {
        Some(_) => Err("--json is for what is measured; --html goes with reports, too".to_owned()),
        None => Ok(()),
    }
}
