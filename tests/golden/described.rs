//! The messages at `/asyncapi.json`, compared with the conversations: each message is as its schema says, and each schema is that of
//! a message.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::script::{Dialect, Script, Sent, Step};

const DESCRIPTION: &str = include_str!("../../src/pages/asyncapi.json");
const ADVICE: &str = "after a change of messages: python3 tests/golden/asyncapi.py";

/// A message of a conversation.
struct Said<'a> {
    dialect: &'static str,
    is_request: bool,
    name: &'a str,
    payload: &'a Value,
}

impl Said<'_> {
    /// The name of its description.
    fn id(&self) -> String {
        let words = self.name.split(['-', ':', '_']).map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
        });
        format!("{}{}{}", self.dialect, words.collect::<String>(), if self.is_request { "Request" } else { "Event" })
    }
}

fn dialect_name(dialect: Option<Dialect>) -> &'static str {
    match dialect {
        None => "raw",
        Some(Dialect::Notify) => "notify",
        Some(Dialect::Colon) => "colon",
        Some(Dialect::Camel) => "camel",
    }
}

/// The name and the payload of a message in a dialect; `None` for acknowledgements and packets.
fn parts<'a>(dialect: &str, value: &'a Value) -> Option<(&'a str, &'a Value)> {
    match dialect {
        "raw" => Some((value["type"].as_str()?, value)),
        _ => match value.as_array()?.as_slice() {
            [name] => Some((name.as_str()?, &Value::Null)),
            [name, payload] => Some((name.as_str()?, payload)),
            _ => None,
        },
    }
}

/// Whether the next message that a client hears is a refusal.
fn is_refused(script: &Script, at: usize, who: &str) -> bool {
    let (hears, sends) = (format!("{who} < "), format!("{who} > "));
    for line in &script.lines[at + 1..] {
        if line.text.starts_with(&hears) {
            let words = [r#""type": "error""#, r#""success": false"#, r#"["error""#, r#""code""#];
            return words.iter().any(|word| line.text.contains(word));
        }
        if line.text.starts_with(&sends) {
            return false;
        }
    }
    false
}

/// Calls `each` with the messages of a conversation that are not refused.
fn messages(script: &Script, mut each: impl FnMut(usize, Said<'_>)) {
    let mut speech = BTreeMap::new();
    for (at, line) in script.lines.iter().enumerate() {
        let (who, value, is_request) = match &line.step {
            Step::Connect(who, _, how) => {
                speech.insert(who.clone(), dialect_name(how.dialect));
                continue;
            }
            Step::Hear(who, value) | Step::MayHear(who, value) => (who, value.clone(), false),
            Step::Send(who, Sent::Text(text)) => {
                let json = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
                match serde_json::from_str(json) {
                    Ok(value) if !is_refused(script, at, who) => (who, value, true),
                    _ => continue,
                }
            }
            _ => continue,
        };
        let Some(dialect) = speech.get(who).copied() else { continue };
        if let Some((name, payload)) = parts(dialect, &value) {
            each(line.number, Said { dialect, is_request, name, payload });
        }
    }
}

/// What is wrong with a value; placeholders stand for what they may be.
fn fault(schema: &Value, value: &Value, place: &str) -> Option<String> {
    let text = value.as_str();
    if text == Some("<any>") {
        return None;
    }
    let is_number = text.is_some_and(|text| ["<time", "<later", "<number"].iter().any(|it| text.starts_with(it)));
    if let Some(only) = schema.get("const") {
        return (only != value).then(|| format!("{place}: {value} is not {only}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) if is_number => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = schema.get("type")?;
    if types != kind && !types.as_array().is_some_and(|types| types.iter().any(|known| known == kind)) {
        return Some(format!("{place}: {value} is not of the type {types}"));
    }
    match value {
        Value::Array(items) => items.iter().find_map(|item| fault(&schema["items"], item, &format!("{place}[]"))),
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let missing = required.into_iter().find(|name| !fields.contains_key(*name));
            missing.map(|name| format!("{place}.{name} is missing")).or_else(|| {
                fields.iter().find_map(|(name, value)| match schema["properties"].get(name) {
                    Some(own) => fault(own, value, &format!("{place}.{name}")),
                    None => Some(format!("{place}.{name} is not described")),
                })
            })
        }
        _ => None,
    }
}

#[test]
fn messages_of_the_conversations_are_as_described() {
    let description: Value = serde_json::from_str(DESCRIPTION).expect("JSON");
    let described = description["components"]["messages"].as_object().expect("messages");
    let mut said = BTreeSet::new();
    let mut faults = Vec::new();
    for file in crate::ALL {
        let path = format!("{}/tests/golden/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        let script = Script::parse(&std::fs::read_to_string(&path).expect("a file")).expect("a conversation");
        messages(&script, |line, message| {
            let id = message.id();
            match described.get(&id) {
                Some(known) => {
                    faults.extend(
                        fault(&known["payload"], message.payload, message.name)
                            .map(|it| format!("{path}:{line}: {it}")),
                    );
                    said.insert(id);
                }
                None if !message.is_request => faults.push(format!("{path}:{line}: {id} is not described")),
                // A client may say what the server does not know.
                None => {}
            }
        });
    }
    assert_eq!(faults, Vec::<String>::new(), "{ADVICE}");
    let unsaid: Vec<_> = described.keys().filter(|id| !said.contains(*id)).collect();
    assert_eq!(unsaid, Vec::<&String>::new(), "no conversation has these");
}

#[test]
fn references_of_the_description_lead_to_its_parts() {
    fn check(root: &Value, node: &Value) {
        match node {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').expect("within the document");
                    assert!(root.pointer(pointer).is_some(), "{reference}");
                }
                fields.values().for_each(|value| check(root, value));
            }
            Value::Array(items) => items.iter().for_each(|item| check(root, item)),
            _ => {}
        }
    }
    let description: Value = serde_json::from_str(DESCRIPTION).expect("JSON");
    check(&description, &description);
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(description["asyncapi"], "3.0.0");
    let channels: Vec<_> = description["channels"].as_object().expect("channels").keys().collect();
    assert_eq!(channels, ["camel", "colon", "notify", "raw"]);
}
