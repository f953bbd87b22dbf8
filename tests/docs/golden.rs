//! The payloads of the golden conversations (`tests/golden/*.txt`): what clients really sent and received.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::markdown::root;

/// One payload of a conversation.
#[derive(Debug)]
pub(crate) struct Sample {
    /// `raw`, `colon`, `camel` or `notify`.
    pub(crate) dialect: String,
    /// Whether the client sent it.
    pub(crate) is_sent: bool,
    pub(crate) is_ack: bool,
    /// The `type` of an object of `raw`, or the event; an ack has that of its request.
    pub(crate) name: String,
    /// The whole object of `raw`, or the first argument.
    pub(crate) value: Value,
}

/// Fields whose values are the clients' own.
const OPAQUE: [&str; 8] = ["data", "content", "metadata", "attachment", "offer", "answer", "candidate", "deviceInfo"];

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for entry in fs::read_dir(root().join("tests/golden")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            conversation(&fs::read_to_string(&path).expect("text"), &mut samples);
        }
    }
    assert!(samples.len() > 1_000, "{} samples found", samples.len());
    samples
}

fn conversation(text: &str, samples: &mut Vec<Sample>) {
    let mut dialects: BTreeMap<String, String> = BTreeMap::new();
    let mut requests: BTreeMap<(String, String), String> = BTreeMap::new();
    for step in text.replace("\n ", " ").lines() {
        let words: Vec<&str> = step.splitn(3, ' ').collect();
        let [client, verb, rest] = words.as_slice() else { continue };
        if *client == "connect" {
            let dialect = rest.split_once(" speaking ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or("raw");
            dialects.insert((*verb).to_owned(), dialect.to_owned());
            continue;
        }
        let (is_sent, rest) = match *verb {
            ">" => (true, *rest),
            "<" => (false, *rest),
            "may" => (false, rest.trim_start_matches("hear ")),
            _ => continue,
        };
        let Some(dialect) = dialects.get(*client).cloned() else { continue };
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let Ok(value) = serde_json::from_str::<Value>(&rest[number.len()..]) else { continue };
        let key = ((*client).to_owned(), number.clone());
        let (name, is_ack, value) = match &value {
            Value::Object(fields) if number.is_empty() => match fields.get("type") {
                Some(Value::String(name)) => (name.clone(), false, value),
                _ => continue,
            },
            Value::Array(values) if !is_sent && !number.is_empty() => match requests.get(&key) {
                Some(name) => (name.clone(), true, values.first().cloned().unwrap_or(Value::Null)),
                None => continue,
            },
            Value::Array(values) => match values.first() {
                Some(Value::String(name)) => (name.clone(), false, values.get(1).cloned().unwrap_or(Value::Null)),
                _ => continue,
            },
            _ => continue,
        };
        if is_sent && !number.is_empty() {
            requests.insert(key, name.clone());
        }
        samples.push(Sample { dialect, is_sent, is_ack, name, value });
    }
}

/// Whether a documented value has the shape of a real one: the same fields, of the same types. `real` may have the
/// placeholders of the golden conversations.
pub(crate) fn has_shape(documented: &Value, real: &Value) -> bool {
    match (documented, real) {
        (_, Value::String(any)) if any == "<any>" => true,
        (Value::Number(_), Value::String(text)) => ["<time>", "<later>", "<number>"].contains(&text.as_str()),
        (Value::Object(documented), Value::Object(real)) => {
            documented.len() == real.len()
                && documented.iter().all(|(field, value)| match real.get(field) {
                    Some(_) if OPAQUE.contains(&field.as_str()) => true,
                    // An object by room id.
                    Some(Value::Object(rooms)) if field == "rooms" && value.is_object() => {
                        let value = value.as_object().expect("an object");
                        value.values().all(|value| rooms.values().any(|room| has_shape(value, room)))
                    }
                    Some(real) => has_shape(value, real),
                    None => false,
                })
        }
        (Value::Array(documented), Value::Array(real)) => {
            documented.iter().all(|value| real.iter().any(|real| has_shape(value, real)))
        }
        _ => std::mem::discriminant(documented) == std::mem::discriminant(real),
    }
}

#[test]
fn shapes_are_compared_by_fields_and_types() {
    let shape = |documented: &str, real: &str| {
        let value = |text| serde_json::from_str::<Value>(text).expect("JSON");
        has_shape(&value(documented), &value(real))
    };
    assert!(shape(r#"{"a": 1, "b": ["x"]}"#, r#"{"b": ["y", 2], "a": "<time>"}"#));
    assert!(!shape(r#"{"a": 1}"#, r#"{"a": 1, "b": 2}"#));
    assert!(!shape(r#"{"a": 1, "c": 2}"#, r#"{"a": 1, "b": 2}"#));
    assert!(!shape(r#"{"a": "1"}"#, r#"{"a": 1}"#));
    assert!(!shape(r#"{"a": [{"b": 1}]}"#, r#"{"a": [{"c": 1}]}"#));
}
