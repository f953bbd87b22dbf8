//! Settings that are read again: by the running server, and by the command `reload` before it asks the server to do so.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{LogLevel, ServeArguments, SettingsArguments};
use crate::config::{self, Loaded};
use crate::runtime::key_files::KeyFiles;
use crate::runtime::reload::{Reloaded, SettingsReader};
use crate::runtime::{clock, process, storage};

/// The arguments of `serve`, the settings in force and those that were read last.
pub struct RunningSettings {
    arguments: ServeArguments,
    /// The number of connections that the process can hold.
    connections: usize,
    level: LogLevel,
    in_force: Loaded,
    read: Option<Loaded>,
}

impl RunningSettings {
    /// The settings of a server that was started with `arguments`.
    pub fn new(arguments: ServeArguments, in_force: Loaded, level: LogLevel, connections: usize) -> Self {
        Self { arguments, connections, level, in_force, read: None }
    }
}

impl SettingsReader for RunningSettings {
    fn read(&mut self) -> Result<Reloaded, String> {
        let secret = self.in_force.settings.signing_secret();
        let loaded = self.arguments.load(move |_| secret)?;
        loaded.check_serve().map_err(|error| error.to_string())?;
        let settings = self.in_force.settings.adopt(&loaded.settings);
        let in_force = self.in_force.with_live(loaded.clone(), settings.clone());
        let shown = config::to_json(&in_force, &self.in_force.changes(&loaded), Some(clock::unix_millis()));
        let reloaded = Reloaded {
            options: self.arguments.options(&settings, self.connections, shown),
            keys: KeyFiles::read(settings.key_plan())?,
            tls: settings.tls.options(),
            drain: Duration::from_secs(settings.drain.seconds),
        };
        self.read = Some(loaded);
        Ok(reloaded)
    }

    fn adopted(&mut self) {
        let Some(read) = self.read.take() else {
            debug_assert!(false, "invariant: settings are read before they are adopted");
            return;
        };
        for warning in &read.warnings {
            tracing::warn!("{warning}");
        }
        let changes = self.in_force.changes(&read);
        for change in &changes {
            match change.is_live {
                true => tracing::info!(target: "switchboard::settings", "{change}"),
                false => tracing::warn!(target: "switchboard::settings", "{change}: this needs a restart"),
            }
        }
        let waiting = changes.iter().filter(|change| !change.is_live).count();
        tracing::info!(target: "switchboard::settings", changed = changes.len() - waiting, waiting, "settings read again");
        let settings = self.in_force.settings.adopt(&read.settings);
        self.level.set(settings.log.level);
        // The next difference is to what is in force, of which those that wait for a restart are no part.
        self.in_force = self.in_force.with_live(read, settings);
    }
}

/// Arguments of `reload`.
#[derive(Args, Clone, Debug)]
pub struct ReloadArguments {
    /// The settings of the server.
    #[command(flatten)]
    pub settings: SettingsArguments,
    /// Process id of the server [default: that of the server which uses the data directory]
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

/// Checks the settings and the files they name, and has the running server read them again.
///
/// # Errors
/// The settings are not valid, or there is no such server.
pub fn reload(arguments: &ReloadArguments) -> Result<String, String> {
    let kept = |path: &Path| super::kept_secret(path).ok().flatten();
    let secret = move |directory: Option<&Path>| directory.and_then(kept).unwrap_or_default();
    let loaded = arguments.settings.load(secret).map_err(|error| error.to_string())?;
    super::configuration::check_files(&loaded)?;
    let settings = &loaded.settings;
    let pid = match (arguments.pid, &settings.data_dir) {
        (Some(pid), _) => pid,
        (None, Some(directory)) => storage::running_server(directory).ok_or_else(|| {
            format!("no server uses the data directory {}; --pid names another one", directory.display())
        })?,
        (None, None) => return Err("the server has no data directory: name it by --pid".to_owned()),
    };
    process::hang_up(pid).map_err(|error| format!("process {pid}: {error}"))?;
    Ok(format!("process {pid} reads its settings again; its log tells what has changed"))
}
