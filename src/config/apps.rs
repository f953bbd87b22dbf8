//! Settings of the namespaces of Socket.IO that belong to the application: a table for each.

use toml::{Table, Value};

use super::kinds::{Checked, Mismatch, Shaped};
use crate::base::{Name, limits};
use crate::domain::app::AppRules;

impl Shaped for AppRules {}

fn wrong<T>(part: impl Into<Value>, expected: impl Into<String>) -> Checked<T> {
    Err(Mismatch { part: Some(part.into()), expected: expected.into() })
}

/// Checks the tables.
pub(super) fn namespaces(value: &Value) -> Checked<Vec<AppRules>> {
    const WORDS: &str = "a table for each namespace, such as [socketio.namespaces.\"/game\"] with mode = \"app\"";
    let tables = match value {
        Value::Table(tables) => tables,
        Value::Array(none) if none.is_empty() => return Ok(Vec::new()),
        _ => return Err(Mismatch { part: None, expected: WORDS.to_owned() }),
    };
    if tables.len() > limits::APP_NAMESPACES {
        return Err(Mismatch { part: None, expected: format!("at most {} namespaces", limits::APP_NAMESPACES) });
    }
    let rules = tables.iter().map(|(name, table)| match table {
        Value::Table(table) => namespace(name, table),
        _ => Err(Mismatch { part: None, expected: WORDS.to_owned() }),
    });
    rules.collect()
}

fn namespace(name: &str, table: &Table) -> Checked<AppRules> {
    const KEYS: [&str; 3] = ["mode", "join", "relay"];
    let is_text = |byte: u8| byte.is_ascii_graphic() && !b",?".contains(&byte);
    if !name.starts_with('/') || name.len() > limits::APP_ROOM_BYTES || !name.bytes().all(is_text) {
        return wrong(name, "names of namespaces that begin with / and have no spaces, commas or question marks");
    }
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return wrong(unknown.as_str(), format!("only these keys in {name}: {}", KEYS.join(", ")));
    }
    match table.get("mode") {
        Some(Value::String(mode)) if mode == "app" => {}
        mode => return wrong(mode.cloned().unwrap_or("".into()), format!("mode = \"app\" in {name}")),
    }
    let join = texts(table, "join", name)?;
    Ok(AppRules {
        namespace: name.into(),
        join: join.into_iter().map(Name::from).collect(),
        relay: texts(table, "relay", name)?.into_iter().map(Into::into).collect(),
    })
}

fn texts(table: &Table, key: &str, name: &str) -> Checked<Vec<String>> {
    let Some(value) = table.get(key) else { return Ok(Vec::new()) };
    let is_fit = |text: &&str| (1..=limits::APP_ROOM_BYTES).contains(&text.len());
    let all = value.as_array().map(|values| values.iter().map(Value::as_str).collect::<Vec<_>>());
    match all.and_then(|all| all.into_iter().collect::<Option<Vec<&str>>>()) {
        Some(all) if all.len() <= 100 && all.iter().all(is_fit) => Ok(all.into_iter().map(str::to_owned).collect()),
        _ => wrong(value.clone(), format!("{key} of {name}: a list of at most 100 texts of 1 to 256 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<AppRules>, String> {
        let table: Table = text.parse().expect("it is TOML");
        namespaces(&table["namespaces"]).map_err(|mismatch| mismatch.expected)
    }

    #[test]
    fn namespace_has_rules() {
        let rules = read("[namespaces.'/game']\nmode = 'app'\njoin = ['all']\nrelay = ['chat *']").expect("good");
        assert_eq!((&*rules[0].namespace, &*rules[0].join[0], &*rules[0].relay[0]), ("/game", "all", "chat *"));
        let rules = read("[namespaces.'/']\nmode = 'app'").expect("good");
        assert!(rules[0].join.is_empty() && rules[0].relay.is_empty());
    }

    #[test]
    fn wrong_part_of_a_namespace_is_named() {
        for (text, part) in [
            ("namespaces = 7", "a table for each"),
            ("[namespaces]\n'/a' = 7", "a table for each"),
            ("[namespaces.a]\nmode = 'app'", "begin with /"),
            ("[namespaces.'/a,b']\nmode = 'app'", "begin with /"),
            ("[namespaces.'/a']", "mode = \"app\" in /a"),
            ("[namespaces.'/a']\nmode = 'relay'", "mode = \"app\" in /a"),
            ("[namespaces.'/a']\nmode = 'app'\nrelay = 'x'", "relay of /a"),
            ("[namespaces.'/a']\nmode = 'app'\njoin = ['']", "join of /a"),
            ("[namespaces.'/a']\nmode = 'app'\nrooms = []", "only these keys in /a"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
