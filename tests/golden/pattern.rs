//! Comparison of received messages with expected ones: exact, except for placeholders such as `<time>` or `<id:m1>`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Values that have been given names, and the names.
pub(crate) type Names = BTreeMap<String, String>;

const MINUTE_MS: u64 = 60_000;
const TWO_DAYS_MS: u64 = 2 * 86_400_000;

/// A placeholder within a text, with what is around it.
#[derive(Debug, PartialEq, Eq)]
struct Placeholder<'a> {
    before: &'a str,
    kind: &'a str,
    name: Option<&'a str>,
    after: &'a str,
}

/// Every difference between what is `expected` and what was `found`, one line each; names new values.
pub(crate) fn differences(expected: &Value, found: &Value, names: &mut Names) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", expected, found, names, &mut lines);
    lines
}

/// `text` with the values of its placeholders; what is not a placeholder with a known value stays.
pub(crate) fn substitute(text: &str, value: impl Fn(&str, Option<&str>) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(found) = placeholder(rest) {
        out.push_str(found.before);
        match value(found.kind, found.name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[found.before.len()..rest.len() - found.after.len()]),
        }
        rest = found.after;
    }
    out + rest
}

fn compare(at: &str, expected: &Value, found: &Value, names: &mut Names, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (field, value) in expected {
                match found.get(field) {
                    Some(other) => compare(&format!("{at}.{field}"), value, other, names, lines),
                    None => lines.push(format!("{at}.{field}: missing, should be {value}")),
                }
            }
            for (field, value) in found.iter().filter(|(field, _)| !expected.contains_key(*field)) {
                lines.push(format!("{at}.{field}: {value} should not be there"));
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (value, other)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{at}[{index}]"), value, other, names, lines);
            }
        }
        (Value::String(pattern), found) if placeholder(pattern).is_some() => {
            if !fits(pattern, found, names) {
                lines.push(format!("{at}: {found} does not fit {pattern}"));
            }
        }
        _ if expected == found => {}
        _ => lines.push(format!("{at}: {found} should be {expected}")),
    }
}

/// The first placeholder in a text.
fn placeholder(text: &str) -> Option<Placeholder<'_>> {
    let (before, rest) = text.split_once('<')?;
    let (inside, after) = rest.split_once('>')?;
    let (kind, name) = inside.split_once(':').map_or((inside, None), |(kind, name)| (kind, Some(name)));
    Some(Placeholder { before, kind, name, after })
}

/// Whether a value is what a text with one placeholder asks for; names it if it is to have one.
fn fits(pattern: &str, found: &Value, names: &mut Names) -> bool {
    let Some(Placeholder { before, kind, name, after }) = placeholder(pattern) else { return false };
    assert!(placeholder(after).is_none(), "a text may have one placeholder: {pattern}");
    let part = match found {
        Value::String(text) => text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)),
        _ if before.is_empty() && after.is_empty() => None,
        _ => return false,
    };
    let known = name.and_then(|name| names.get(&key(kind, name)));
    let plain = part.map_or_else(|| found.to_string(), str::to_owned);
    let is_right = match known {
        Some(known) => *known == plain,
        None => is_of(kind, found, part),
    };
    if is_right && let Some(name) = name {
        names.insert(key(kind, name), plain);
    }
    is_right
}

/// What a named value is found under.
pub(crate) fn key(kind: &str, name: &str) -> String {
    format!("{kind}:{name}")
}

fn is_of(kind: &str, found: &Value, text: Option<&str>) -> bool {
    let is_made_of = |characters: &str, length: usize| {
        text.is_some_and(|text| text.len() == length && text.chars().all(|one| characters.contains(one)))
    };
    let now = now().as_millis() as u64;
    let is_between = |number: u64, from: u64, to: u64| (now + from..=now + to).contains(&(number + MINUTE_MS));
    match kind {
        "any" => true,
        "text" => text.is_some_and(|text| !text.is_empty()),
        "number" => found.is_number(),
        "id" => text.is_some_and(is_uuid_7),
        "connection" => text.is_some_and(|text| text.len() == 24 && text.chars().all(is_base64url)),
        "room" => is_made_of("abcdefghijklmnopqrstuvwxyz234567", 12),
        "guest" => text.and_then(|text| text.strip_prefix("guest:")).is_some_and(|word| word.len() >= 16),
        "time" => found.as_u64().is_some_and(|number| is_between(number, 0, 2 * MINUTE_MS)),
        "later" => found.as_u64().is_some_and(|number| is_between(number, MINUTE_MS, TWO_DAYS_MS)),
        "seconds" => {
            let number = text.and_then(|text| text.parse::<u64>().ok());
            number.is_some_and(|seconds| is_between(seconds * 1000, MINUTE_MS, TWO_DAYS_MS))
        }
        "date" => text.is_some_and(is_date),
        other => panic!("no such placeholder: <{other}>"),
    }
}

fn is_base64url(one: char) -> bool {
    one.is_ascii_alphanumeric() || "-_".contains(one)
}

fn is_uuid_7(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_hex = groups.iter().all(|group| group.chars().all(|one| "0123456789abcdef".contains(one)));
    lengths == [8, 4, 4, 4, 12] && is_hex && groups[2].starts_with('7') && groups[3].starts_with(['8', '9', 'a', 'b'])
}

fn is_date(text: &str) -> bool {
    let Ok(time) = humantime::parse_rfc3339(text) else { return false };
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    text.len() == "2024-01-01T00:00:00.000Z".len() && seconds(time).abs_diff(now().as_secs()) <= 60
}

/// Since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn count(expected: &Value, found: &Value) -> usize {
        differences(expected, found, &mut Names::new()).len()
    }

    #[test]
    fn pattern_matches_equal_fields_only() {
        let expected = json!({ "a": 1, "b": [{ "c": "x" }, null], "d": { "e": true } });
        assert_eq!(count(&expected, &expected), 0);
        assert_eq!(count(&expected, &json!({ "a": 1, "b": [{ "c": "y" }, null], "d": { "e": true } })), 1);
        assert_eq!(count(&expected, &json!({ "a": "1", "b": [{ "c": "x" }], "d": {} })), 3);
        assert_eq!(count(&json!({}), &json!({ "a": 1 })), 1);
        assert_eq!(count(&json!({ "a": null }), &json!({})), 1);
        assert_eq!(count(&json!([]), &json!({})), 1);
    }

    #[test]
    fn placeholder_matches_its_kind_only() {
        let ms = now().as_millis() as u64;
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let table = [
            ("<any>", json!([1]), None),
            ("<text>", json!("x"), Some(json!(""))),
            ("<number>", json!(1.5), Some(json!("1"))),
            ("<id>", json!(id), Some(json!(id.replace("774b", "474b")))),
            ("<connection>", json!("A-_456789012345678901234"), Some(json!("A-_45678901234567890123"))),
            ("<room>", json!("abcdefgh2345"), Some(json!("abcdefgh1345"))),
            ("<guest>", json!("guest:abcdefghijklmnop"), Some(json!("guest:"))),
            ("<time>", json!(ms), Some(json!(ms + 100_000))),
            ("<time>", json!(ms), Some(json!(ms - 100_000))),
            ("<time>", json!(ms), Some(json!(ms.to_string()))),
            ("<later>", json!(ms + 3_600_000), Some(json!(ms - 1_000))),
            ("<seconds>", json!((ms / 1000 + 60).to_string()), Some(json!(ms / 1000 + 60))),
            ("<date>", json!(humantime::format_rfc3339_millis(SystemTime::now()).to_string()), Some(json!("2024"))),
            ("<date>", json!("<date>"), Some(json!("2024-01-01T00:00:00.000Z"))),
            ("a <text> b", json!("a x b"), Some(json!("a x"))),
            ("a <any> b", json!("a  b"), Some(json!(1))),
        ];
        for (pattern, right, wrong) in table {
            if right != json!(pattern) {
                assert_eq!(count(&json!(pattern), &right), 0, "{pattern} {right}");
            }
            if let Some(wrong) = wrong {
                assert_eq!(count(&json!(pattern), &wrong), 1, "{pattern} {wrong}");
            }
        }
    }

    #[test]
    fn named_placeholder_keeps_its_value() {
        let mut names = Names::new();
        let pattern = json!(["<text:a>", "<text:a>", "in <text:b>!"]);
        assert_eq!(differences(&pattern, &json!(["x", "x", "in y!"]), &mut names), [""; 0]);
        assert_eq!(
            differences(&pattern, &json!(["x", "z", "in y!"]), &mut names),
            [r#"[1]: "z" does not fit <text:a>"#]
        );
        let value = |kind: &str, name: Option<&str>| names.get(&key(kind, name?)).cloned();
        assert_eq!(substitute("1 <text:a> <text:c> <text> <text:b>", value), "1 x <text:c> <text> y");
    }
}
