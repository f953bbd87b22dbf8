//! The commands `completions` and `man`: what shells and `man` know of the command line, generated from it.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::CommandLine;

/// Arguments of `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionArguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManualArguments {
    /// Directory for the pages, one for each command
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// The completions for a shell, as its script.
pub fn completions(arguments: &CompletionArguments) -> String {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "switchboard", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

/// Writes the manual pages.
///
/// # Errors
/// A page cannot be written.
pub fn manual(arguments: &ManualArguments) -> Result<String, String> {
    let directory = arguments.directory.display();
    let written = std::fs::create_dir_all(&arguments.directory)
        .and_then(|()| clap_mangen::generate_to(CommandLine::command(), &arguments.directory));
    written.map(|()| format!("the pages are in {directory}")).map_err(|error| format!("{directory}: {error}"))
}
