//! Example payloads look like those of real conversations.

use serde_json::Value;

use super::golden::{Sample, has_shape, samples};
use super::markdown::documents;

#[test]
fn payloads_have_the_shape_of_real_ones() {
    let samples = samples();
    let mut checked = 0;
    for document in documents() {
        let mut is_after_command = false;
        for block in document.blocks() {
            let is_answer = block.is_adjacent && is_after_command;
            is_after_command = block.language == "sh";
            if block.language != "json" || is_answer {
                continue;
            }
            for value in serde_json::Deserializer::from_str(&block.text).into_iter::<Value>() {
                let value = value.unwrap_or_else(|error| panic!("{}: {error} in\n{}", document.name, block.text));
                check(&value, &samples, &document.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked} payloads found");
}

fn check(value: &Value, samples: &[Sample], place: &str) {
    let (name, payload, is_raw) = match value {
        Value::Object(fields) => (fields["type"].as_str(), value, true),
        Value::Array(values) => (values[0].as_str(), values.get(1).unwrap_or(&Value::Null), false),
        _ => panic!("{place}: {value} is no message"),
    };
    let name = name.unwrap_or_else(|| panic!("{place}: {value} has no name"));
    let is_of = |sample: &&Sample| sample.name == name && (sample.dialect == "raw") == is_raw && !sample.is_ack;
    let real: Vec<&Value> = samples.iter().filter(is_of).map(|sample| &sample.value).collect();
    let is_known = real.iter().any(|real| has_shape(payload, real));
    assert!(is_known, "{place}: {value} has no like among {:#?}", real.iter().take(5).collect::<Vec<_>>());
}
