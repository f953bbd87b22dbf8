//! Settings as text: those in force as a settings file with the source of each value, and all of them as a table for
//! the documentation.

use std::fmt::Write;

use toml::Value;

use super::error::SettingSource;
use super::live::Hidden;
use super::{Loaded, keys};

/// A setting in force, in displayable form.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    /// The key in full.
    pub(super) key: &'static str,
    /// Its value, secrets masked.
    pub(super) value: Value,
    /// Its source.
    pub(super) source: SettingSource,
    /// Its value as given.
    pub(super) given: Hidden,
}

/// The settings in force as TOML: every key with its value (secrets masked) and its source. With its secrets filled in,
/// the text is a valid settings file.
pub fn print(loaded: &Loaded) -> String {
    let mut text = String::from("# Settings in force, each with where it came from.\n");
    let mut current_group = "";
    for setting in &loaded.in_force {
        let (group, word) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
        if group != current_group {
            let _ = write!(text, "\n[{group}]\n");
            current_group = group;
        }
        let _ = writeln!(text, "{word} = {}  # {}", setting.value, setting.source);
    }
    text
}

/// All settings as a Markdown table: key, default, meaning.
pub fn reference() -> String {
    let mut text = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in keys() {
        let default = match key.name {
            "shards" => "number of cores".to_owned(),
            _ => format!("`{}`", (key.default)()),
        };
        let _ = writeln!(text, "| `{}` | {default} | {} |", key.name, key.meaning.trim());
    }
    text
}
