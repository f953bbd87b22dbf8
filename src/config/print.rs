//! Settings as text: those in force as a settings file with the source of each value, and all of them as a table for
//! the documentation.

use std::collections::BTreeMap;
use std::fmt::Write;

use toml::Value;

use super::error::SettingSource;
use super::kinds::Shape;
use super::live::{Hidden, SettingChange, is_live};
use super::{Loaded, keys};
use crate::base::time::rfc3339;

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

/// The settings in force as JSON: each with its value (secrets masked), its source, and whether another value takes effect
/// while the server runs; then what was different when the settings were last read again.
pub fn to_json(loaded: &Loaded, changes: &[SettingChange], reloaded_at: Option<u64>) -> String {
    use serde_json::json;
    let settings = loaded.in_force.iter().map(|setting| {
        let (value, source) = (setting.value.to_string(), setting.source.to_string());
        json!({ "key": setting.key, "value": value, "source": source, "isLive": is_live(setting.key) })
    });
    let changes = changes.iter().map(|change| {
        let (before, now) = change.values.clone().unzip();
        json!({ "key": change.key, "before": before, "now": now, "isInForce": change.is_live })
    });
    let (settings, changes): (Vec<_>, Vec<_>) = (settings.collect(), changes.collect());
    json!({ "settings": settings, "changes": changes, "reloadedAt": reloaded_at.map(rfc3339) }).to_string()
}

/// All settings with their defaults and meanings, as a settings file in which each is a comment.
pub fn defaults() -> String {
    let mut text = String::from("# All settings of Switchboard with their defaults.\n");
    let mut current_group = "";
    for key in keys() {
        let (group, word) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if group != current_group {
            let _ = write!(text, "\n[{group}]\n");
            current_group = group;
        }
        let _ = writeln!(text, "\n# {}\n#{word} = {}", key.meaning.trim(), (key.default)());
    }
    text
}

/// A JSON Schema of the settings file, for editors.
pub fn schema() -> serde_json::Value {
    use serde_json::{Map, Value as Json, json};
    let object = |properties: Map<String, Json>| json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let (mut top, mut groups) = (Map::new(), BTreeMap::<&str, Map<String, Json>>::new());
    for key in keys() {
        let default = (key.default)();
        let kind = match (&key.shape, &default) {
            (Shape::List, _) => json!(["array", "string", "object"]),
            (Shape::Plain, Value::Boolean(_)) => json!("boolean"),
            (Shape::Plain, _) => json!("integer"),
            (Shape::Text, _) => json!("string"),
        };
        let mut about = json!({ "description": key.meaning.trim(), "type": kind });
        // Of the number of cores there is none.
        if key.name != "shards" {
            about["default"] = json!(default);
        }
        match key.name.rsplit_once('.') {
            Some((group, word)) => groups.entry(group).or_default().insert(word.to_owned(), about),
            None => top.insert(key.name.to_owned(), about),
        };
    }
    top.extend(groups.into_iter().map(|(group, properties)| (group.to_owned(), object(properties))));
    let mut schema = object(top);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Settings of Switchboard");
    schema
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
