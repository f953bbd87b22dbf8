//! Where a sitting goes when its runs are done: to the terminal, and to files.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Sitting, terminal};

/// Files to write.
#[derive(Args, Debug)]
pub struct Output {
    /// Write the report as JSON to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Output {
    /// Prints a sitting, and writes it to the files that are asked for.
    pub fn publish(&self, sitting: &mut Sitting) -> Result<(), String> {
        sitting.leave_out_what_is_no_figure();
        print(&terminal::sitting(sitting))?;
        if let Some(path) = &self.json {
            sitting.write(path)?;
        }
        Ok(())
    }
}

/// Prints to standard output; it may be a pipe that ends early.
pub fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
