//! The commands on the store: `backup`, `restore`, `check` and `export`. They find it by the settings of the server.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::SettingsArguments;
use crate::runtime::storage::copies;

/// Arguments of `backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArguments {
    /// The new file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The settings of the server.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// Arguments of `restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArguments {
    /// A backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Rename a store that is there, and put the backup in its place
    #[arg(long)]
    pub force: bool,
    /// The settings of the server.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArguments {
    /// A backup [default: the store of the data directory]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The settings of the server.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// Arguments of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArguments {
    /// One room only
    #[arg(long, value_name = "ID")]
    pub room: Option<String>,
    /// The settings of the server.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// The data directory by these settings.
fn directory(arguments: &SettingsArguments) -> Result<PathBuf, String> {
    let settings = arguments.load(|_| "of no use".repeat(4)).map_err(|error| error.to_string())?.settings;
    if settings.redis.url.is_some() {
        return Err(
            "redis.url: rooms and messages are in Redis; back it up by its own means, such as BGSAVE".to_owned()
        );
    }
    settings.data_dir.ok_or_else(|| "data_dir: it is \"\", so that nothing is stored".to_owned())
}

/// Copies the store to a file, also while a server uses it.
///
/// # Errors
/// The reason in one sentence.
pub fn backup(arguments: &BackupArguments) -> Result<String, String> {
    let contents = copies::backup(&directory(&arguments.settings)?, &arguments.file);
    contents.map(|contents| format!("{}: {contents}", arguments.file.display())).map_err(|error| error.to_string())
}

/// Puts a backup in the data directory. `now_ms` is the time in milliseconds since 1970.
///
/// # Errors
/// The reason in one sentence.
pub fn restore(arguments: &RestoreArguments, now_ms: u64) -> Result<String, String> {
    let directory = directory(&arguments.settings)?;
    let restored = copies::restore(&arguments.file, &directory, arguments.force, now_ms);
    let (contents, former) = restored.map_err(|error| error.to_string())?;
    let file = copies::database_of(&directory);
    let kept = former.map(|former| format!("; the former one is {}", former.display())).unwrap_or_default();
    Ok(format!("{}: {contents}{kept}", file.display()))
}

/// Checks a store or a backup.
///
/// # Errors
/// The reason in one sentence.
pub fn check(arguments: &CheckArguments) -> Result<String, String> {
    let file = match &arguments.file {
        Some(file) => file.clone(),
        None => copies::database_of(&directory(&arguments.settings)?),
    };
    let contents = copies::check(&file).map_err(|error| error.to_string())?;
    Ok(format!("{}: {contents}", file.display()))
}

/// Writes rooms and messages as lines of JSON.
///
/// # Errors
/// The reason in one sentence.
pub fn export(arguments: &ExportArguments, out: &mut impl Write) -> Result<(), String> {
    let directory = directory(&arguments.settings)?;
    let lines = copies::export(&directory, arguments.room.as_deref(), out);
    lines.map(drop).map_err(|error| error.to_string())
}
