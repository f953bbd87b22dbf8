//! Splits a JSON object into its fields, with each value as text.
//!
//! This is a fast path beside `serde_json`. It accepts the JSON that programs write: no line breaks, no escaped names,
//! no deep nesting. Accepted text is validated completely (RFC 8259), and every receiver can read it
//! ([`super::portable`]). For any other text, valid or not, the scan gives up and the caller uses `serde_json`; a test
//! compares their results.

use memchr::memchr2;

use crate::base::block::{BLOCK, either};
use crate::codec::json::portable;

/// Maximum of nesting; beyond it the scan gives up.
const DEPTH_MAX: u32 = 32;

/// Number of blocks without quote or backslash after that a string is searched in larger steps.
const CLEAN_BLOCKS: u32 = 4;

/// Calls `each` with the name and the value of every field of the object `text`, in order. `None` when the scan gives
/// up; `each` may have been called by then.
pub fn fields<'a>(text: &'a str, mut each: impl FnMut(&'a str, &'a str)) -> Option<()> {
    // Without control characters, strings need no escapes but for quotes and backslashes, and all white space is
    // blanks.
    if text.bytes().fold(false, |found, byte| found | (byte < b' ')) {
        return None;
    }
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0 };
    scan.members(|scan| {
        let name = scan.name()?;
        let start = scan.at;
        scan.value(1)?;
        each(name, &scan.text[start..scan.at]);
        Some(())
    })?;
    scan.blanks();
    (scan.at == text.len()).then_some(())
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Skips blanks and `byte`.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Skips an object; `member` skips each name and value.
    fn members(&mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.expect(b'}').is_some() {
            return Some(());
        }
        loop {
            member(self)?;
            if self.expect(b',').is_none() {
                return self.expect(b'}');
            }
        }
    }

    /// Skips a name, the colon and blanks; returns the name.
    fn name(&mut self) -> Option<&'a str> {
        self.blanks();
        let start = self.at + 1;
        if self.string()? {
            return None;
        }
        let name = &self.text[start..self.at - 1];
        self.expect(b':')?;
        self.blanks();
        Some(name)
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' if depth == DEPTH_MAX => None,
            b'{' => self.members(|scan| {
                scan.name()?;
                scan.value(depth + 1)
            }),
            b'[' => self.items(depth),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn items(&mut self, depth: u32) -> Option<()> {
        self.expect(b'[')?;
        if self.expect(b']').is_some() {
            return Some(());
        }
        loop {
            self.blanks();
            self.value(depth + 1)?;
            if self.expect(b',').is_none() {
                return self.expect(b']');
            }
        }
    }

    /// Skips a string; returns whether it has escapes.
    fn string(&mut self) -> Option<bool> {
        let text = &self.bytes[self.at..];
        if text.first() != Some(&b'"') {
            return None;
        }
        let (mut at, mut clean_blocks, mut has_escapes) = (1, 0, false);
        while let Some(block) = text.get(at..)?.first_chunk() {
            let mut found = either(block, b'"', b'\\');
            clean_blocks = if found == 0 { clean_blocks + 1 } else { 0 };
            let mut next = at + BLOCK;
            while found != 0 {
                let here = at + found.trailing_zeros() as usize;
                if text[here] == b'"' {
                    self.at += here + 1;
                    return Some(has_escapes);
                }
                has_escapes = true;
                let after = here + escape(&text[here..])?;
                next = next.max(after);
                found &= u32::MAX.checked_shl((after - at) as u32).unwrap_or(0);
            }
            at = next;
            if clean_blocks == CLEAN_BLOCKS {
                at += memchr2(b'"', b'\\', text.get(at..)?)?;
                clean_blocks = 0;
            }
        }
        loop {
            match text.get(at)? {
                b'"' => {
                    self.at += at + 1;
                    return Some(has_escapes);
                }
                b'\\' => {
                    has_escapes = true;
                    at += escape(&text[at..])?;
                }
                _ => at += 1,
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        portable::is_double(&self.text[start..self.at]).then_some(())
    }

    /// Skips one digit or more.
    fn digits(&mut self) -> Option<()> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }
}

/// Length of the escape at the start of `text`.
#[inline(always)] // an SDP has hundreds; a call for each is a tenth of its scan
fn escape(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => portable::unicode_escape(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn scanned(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut found = Vec::new();
        fields(text, |name, value| found.push((name, value)))?;
        Some(found)
    }

    /// What is scanned is what `serde_json` finds, and nothing that it refuses.
    fn agrees(text: &str) {
        let Some(found) = scanned(text) else { return };
        let reference: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_else(|error| {
            panic!("{text:?} is scanned and not valid: {error}");
        });
        let found: BTreeMap<&str, &str> = found.into_iter().collect();
        let reference: BTreeMap<&str, &str> =
            reference.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
        assert_eq!(found, reference, "{text}");
        assert_eq!(portable::check(text), Ok(()), "{text}");
    }

    #[test]
    fn what_programs_write_is_scanned() {
        let text = r#"{"type":"offer", "offer" : {"sdp":"v=0\r\no=- 1 \u00e9\"x\\"}, "n":-1.5e+3,"l":[ 1 , {} ,[]], "z":null}"#;
        let expected = vec![
            ("type", r#""offer""#),
            ("offer", r#"{"sdp":"v=0\r\no=- 1 \u00e9\"x\\"}"#),
            ("n", "-1.5e+3"),
            ("l", "[ 1 , {} ,[]]"),
            ("z", "null"),
        ];
        assert_eq!(scanned(text), Some(expected));
        assert_eq!(scanned(" { } "), Some(Vec::new()));
        let long = format!(r#"{{"a":"{}\n{}"}}"#, "x".repeat(100), "é".repeat(100));
        assert_eq!(scanned(&long).map(|fields| fields.len()), Some(1));
    }

    #[test]
    fn the_rest_is_left_to_others() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(40), "]".repeat(40));
        for text in ["", "[]", "1", "{", "{\n}", r#"{"\u0061":1}"#, r#"{"a":1}x"#, r#"{"a":1,}"#, r#"{"a"}"#, &deep] {
            assert_eq!(scanned(text), None, "{text}");
        }
        for value in [
            "1e999",
            "\"\\ud800\"",
            "\"\\udc00\\ud800\"",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "tru",
            "nulL",
            "'a'",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"",
            "[1,]",
            "[,1]",
        ] {
            assert_eq!(scanned(&format!(r#"{{"a":{value}}}"#)), None, "{value}");
        }
    }

    /// JSON as it may come, and texts that are nearly JSON.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just(":".to_owned()),
            Just(",".to_owned()),
            Just(" ".to_owned()),
            Just("\"".to_owned()),
            Just("\\".to_owned()),
            Just("true".to_owned()),
            Just("null".to_owned()),
            Just("\"a\":".to_owned()),
            Just("\"\\u00e9\"".to_owned()),
            Just("\\ud83d".to_owned()),
            Just("\\ude00".to_owned()),
            "-?[0-9]{1,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
            "\"[a-zé\\\\nu0-9]{0,40}\"",
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| format!("{{\"k\":{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn both_give_the_same_answer(text in nearly_json()) {
            agrees(&text);
            agrees(&format!("{text}}}"));
        }

        #[test]
        fn whatever_is_cut_or_changed(at in 0usize..120, byte in 0x20u8..0x7f) {
            let whole = r#"{"type":"message","roomId":"r","content":"a\"b\u1234","metadata":{"n":[1,-2.5e3,null,true]},"x":{}}"#;
            let mut text = whole.to_owned();
            if at < text.len() {
                text.replace_range(at..=at, std::str::from_utf8(&[byte]).expect("ASCII"));
                agrees(&text);
                agrees(&whole[..at]);
            }
        }
    }
}
