//! The command `config`: the settings in force, their check, all of them with their defaults, and their JSON Schema.

use std::path::{Path, PathBuf};

use clap::Args;

use super::SettingsArguments;
use crate::config::{self, Loaded};
use crate::runtime::key_files::KeyFiles;
use crate::runtime::tls::TlsFiles;

/// Arguments of `config`.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArguments {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingsArguments,
    /// Check the settings, as for `serve`, with the files that they name, and print nothing of them
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["default", "schema"])]
    pub check: Option<Option<PathBuf>>,
    /// Print all settings with their defaults and meanings, as a settings file
    #[arg(long, conflicts_with = "schema")]
    pub default: bool,
    /// Print a JSON Schema of the settings file
    #[arg(long)]
    pub schema: bool,
}

/// What the command prints. `dev_secret` is that of [`SettingsArguments::load`].
///
/// # Errors
/// The settings are not valid.
pub fn configuration(
    arguments: &ConfigArguments,
    dev_secret: impl FnOnce(Option<&Path>) -> String + 'static,
) -> Result<String, String> {
    if arguments.default {
        return Ok(config::defaults());
    }
    if arguments.schema {
        return serde_json::to_string_pretty(&config::schema()).map_err(|error| error.to_string());
    }
    let mut settings = arguments.settings.clone();
    if let Some(Some(file)) = &arguments.check {
        settings.config = Some(file.clone());
    }
    let loaded = settings.load(dev_secret).map_err(|error| error.to_string())?;
    if arguments.check.is_none() {
        return Ok(config::print(&loaded));
    }
    check_files(&loaded)?;
    let warnings = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    Ok(warnings.chain(["the settings are valid".to_owned()]).collect())
}

/// Checks that a server could be started with these settings and the files that they name.
///
/// # Errors
/// What is wrong, in one sentence.
pub(super) fn check_files(loaded: &Loaded) -> Result<(), String> {
    loaded.check_serve().map_err(|error| error.to_string())?;
    let settings = &loaded.settings;
    KeyFiles::read(settings.key_plan())?.verifier()?;
    settings.tls.options().map(TlsFiles::read).transpose().map(drop)
}
