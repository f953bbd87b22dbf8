//! What stands for attachments in a packet's JSON: `{"_placeholder":true,"num":n}`, at any depth.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Whether no placeholder in a value, which is JSON, stands for another attachment than the first `count`. Nothing of the
/// value is kept.
pub(super) fn are_within(json: &str, count: usize) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // What the parser does not walk to its end is let through: JSON that is nested too deep for it, and texts that have
    // no Unicode spelling, which JavaScript makes of a character cut in two.
    PlaceholderCheck { count }.deserialize(&mut deserializer).err().is_none_or(|error| !error.is_data())
}

/// Walks a value, and fails at a placeholder for no attachment. What it says of a value is what it is as the field `num`
/// or `_placeholder` of an object.
#[derive(Clone, Copy)]
struct PlaceholderCheck {
    count: usize,
}

/// What a value may be to the object that it is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldValue {
    True,
    /// The number of an attachment that there is.
    Number,
    Other,
}

impl<'de> DeserializeSeed<'de> for PlaceholderCheck {
    type Value = FieldValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<FieldValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PlaceholderCheck {
    type Value = FieldValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, is_true: bool) -> Result<FieldValue, E> {
        Ok(if is_true { FieldValue::True } else { FieldValue::Other })
    }

    fn visit_u64<E>(self, number: u64) -> Result<FieldValue, E> {
        Ok(if number < self.count as u64 { FieldValue::Number } else { FieldValue::Other })
    }

    fn visit_i64<E>(self, _: i64) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_f64<E>(self, number: f64) -> Result<FieldValue, E> {
        // `1.0` and `1e0` are the same number as `1`.
        let is_one = number.fract() == 0.0 && number >= 0.0 && number < self.count as f64;
        Ok(if is_one { FieldValue::Number } else { FieldValue::Other })
    }

    fn visit_str<E>(self, _: &str) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_unit<E>(self) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<FieldValue, A::Error> {
        while values.next_element_seed(self)?.is_some() {}
        Ok(FieldValue::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<FieldValue, A::Error> {
        #[derive(Deserialize)]
        struct Key<'k>(#[serde(borrow)] Cow<'k, str>);
        let (mut mark, mut number) = (FieldValue::Other, FieldValue::Other);
        // Of two fields of one name the last counts.
        while let Some(Key(name)) = fields.next_key()? {
            let value = fields.next_value_seed(self)?;
            match name.as_ref() {
                "_placeholder" => mark = value,
                "num" => number = value,
                _ => {}
            }
        }
        if mark == FieldValue::True && number != FieldValue::Number {
            return Err(A::Error::custom("placeholder for no attachment"));
        }
        Ok(FieldValue::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbers_of_attachments() {
        for json in [
            r#"["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            r#"["a",{"num":1.0,"_placeholder":true},{"num":9},{"_placeholder":false,"num":9},{"_placeholder":"x"}]"#,
            r#"["a",[null,-1,1e300,{"deep":{"\u005fplaceholder":true,"num":0}}],18446744073709551616,"\ud800"]"#,
            r#"["a",{"_placeholder":true,"num":7,"num":1}]"#,
        ] {
            assert!(are_within(json, 2), "{json}");
        }
        for place in [
            r#"{"_placeholder":true,"num":2}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true,"num":0.5}"#,
            r#"{"_placeholder":true,"num":"0"}"#,
            r#"{"_placeholder":true,"num":true}"#,
            r#"{"num":{"_placeholder":true}}"#,
            r#"{"\u005fplaceholder":true,"num":2}"#,
        ] {
            assert!(!are_within(&format!(r#"["a",{{"deep":[{place}]}}]"#), 2), "{place}");
        }
    }

    #[test]
    fn depth_has_a_bound() {
        let place = r#"{"_placeholder":true,"num":1}"#;
        let nested = |depth: usize| format!("{}{place}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!are_within(&nested(100), 1));
        assert!(are_within(&nested(100_000), 1));
    }
}
