//! JSON values of unknown type, parsed as far as the rules for claims need. A claim of an unexpected type is handled by
//! the rule for that claim and does not make the token malformed. Strings without escapes are borrowed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A claim or header value. `null` equals absence.
#[derive(Debug, Default)]
pub(super) enum Loose<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    /// Strings of an array; other elements are ignored.
    List(Vec<Cow<'a, str>>),
    /// A number, boolean or object.
    Other,
}

impl Loose<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Loose::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the string equals `wanted`, or the list contains it.
    pub(super) fn names(&self, wanted: &str) -> bool {
        match self {
            Loose::Text(text) => text == wanted,
            Loose::List(list) => list.iter().any(|element| element == wanted),
            Loose::Absent | Loose::Other => false,
        }
    }

    /// Whether the list contains `wanted`, or the string does, as a word between `separators`.
    pub(super) fn lists(&self, wanted: &str, separators: &[char]) -> bool {
        match self {
            Loose::Text(text) => text.split(separators).any(|word| word == wanted),
            _ => self.names(wanted),
        }
    }
}

/// The member of a JSON object with this name. A repeated one is an error, like a repeated registered claim.
pub(super) fn member<'a>(json: &'a str, name: &str) -> serde_json::Result<Option<&'a RawValue>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let found = reader.deserialize_map(MemberVisitor(name))?;
    reader.end()?;
    Ok(found)
}

/// The member of this name or, where there is none, that at the end of a path of names with dots between them, such as
/// `realm_access.roles`.
pub(super) fn member_at<'a>(json: &'a str, name: &str) -> serde_json::Result<Option<&'a RawValue>> {
    let found = member(json, name)?;
    let (None, Some((first, rest))) = (found, name.split_once('.')) else { return Ok(found) };
    match member(json, first)? {
        Some(outer) if outer.get().starts_with('{') => member_at(outer.get(), rest),
        _ => Ok(None),
    }
}

/// The same as a claim.
pub(super) fn claim_at<'a>(json: &'a str, name: &str) -> serde_json::Result<Loose<'a>> {
    member_at(json, name)?.map_or(Ok(Loose::Absent), |value| serde_json::from_str(value.get()))
}

struct MemberVisitor<'n>(&'n str);

impl<'de> Visitor<'de> for MemberVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = entries.next_key::<Cow<'_, str>>()? {
            if *name != *self.0 {
                entries.next_value::<IgnoredAny>()?;
            } else if found.replace(entries.next_value::<&'de RawValue>()?).is_some() {
                return Err(A::Error::custom("repeated"));
            }
        }
        Ok(found)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element::<Loose<'de>>()? {
            if let Loose::Text(text) = element {
                list.push(text);
            }
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Loose<'_> {
        serde_json::from_str(json).expect("valid JSON")
    }

    #[test]
    fn words_and_lists() {
        assert!(read(r#""a admin b""#).lists("admin", &[' ']));
        assert!(!read(r#""a,admin""#).lists("admin", &[' ']));
        assert!(read(r#""a,admin""#).lists("admin", &[' ', ',']));
        assert!(!read(r#""administrator""#).lists("admin", &[' ']));
        assert!(read(r#"[1, "admin", {"a": []}]"#).lists("admin", &[' ']));
        assert!(!read(r#"["not admin"]"#).lists("admin", &[' ']));
        assert!(!read(r#"[["admin"]]"#).lists("admin", &[' ']));
        assert!(!read(r#"{"admin": "admin"}"#).lists("admin", &[' ']));
    }

    #[test]
    fn claim_is_found_by_its_name_or_by_a_path() {
        let json = r#"{"a.b":"whole","a":{"c":["x"],"d":{"e.f":"deep"}},"t":"text","n":null}"#;
        let text = |name| claim_at(json, name).expect("an object").text().map(str::to_owned);
        assert_eq!((text("a.b"), text("a.d.e.f")), (Some("whole".to_owned()), Some("deep".to_owned())));
        assert!(claim_at(json, "a.c").expect("an object").names("x"));
        for absent in ["a.x", "t.x", "n.x", "a.c.x", "", "."] {
            assert!(matches!(claim_at(json, absent), Ok(Loose::Absent)), "{absent}");
        }
        assert!(claim_at(r#"{"a":{"b":1,"b":2}}"#, "a.b").is_err());
    }

    #[test]
    fn plain_texts_borrow_and_escaped_ones_are_decoded() {
        assert!(matches!(read(r#""plain""#), Loose::Text(Cow::Borrowed("plain"))));
        assert_eq!(read(r#""\u0061""#).text(), Some("a"));
    }

    #[test]
    fn every_other_type_is_told_apart_from_absence() {
        for json in ["1", "-1", "1.5", "true", "{}"] {
            assert!(matches!(read(json), Loose::Other), "{json}");
        }
        assert!(matches!(read("null"), Loose::Absent));
    }
}
