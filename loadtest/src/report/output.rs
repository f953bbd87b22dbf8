//! Where a sitting goes when its runs are done: to the terminal, and to files.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::page::Page;
use super::{Sitting, terminal};

/// Files to write.
#[derive(Args, Debug)]
pub struct Output {
    /// Write the report as JSON to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a page of HTML to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Output {
    /// Prints a sitting, and writes it to the files that are asked for.
    pub fn publish(&self, sitting: &mut Sitting) -> Result<(), String> {
        sitting.leave_out_what_is_no_figure();
        print(&terminal::sitting(sitting))?;
        if let Some(path) = &self.json {
            sitting.write(path)?;
        }
        self.write_page(&Page::of(sitting))
    }

    /// Writes the page, if it is asked for.
    pub fn write_page(&self, page: &Page<'_>) -> Result<(), String> {
        match &self.html {
            Some(path) => fs::write(path, page.html()).map_err(|error| format!("{}: {error}", path.display())),
            None => Ok(()),
        }
    }
}

/// Prints to standard output; it may be a pipe that ends early.
pub fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
