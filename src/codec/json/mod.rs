//! JSON without an intermediate tree: objects are [written](Object) into a buffer field by field, and [scanned](scan)
//! into fields whose values stay text.

pub mod portable;
pub mod scan;
mod word;

/// Writes an object to the end of a buffer.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    /// Starts an object at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    #[inline(always)] // so that the pieces, of known length, are stored and not copied by a call
    fn name(&mut self, name: &str) {
        self.out.reserve(name.len() + 4);
        self.out.extend_from_slice(&[self.separator, b'"']);
        self.separator = b',';
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Appends a string. `name` must need no escaping, here and in all methods but [`Object::entry`].
    #[inline]
    pub fn string(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        string(self.out, value);
        self
    }

    /// Appends a string whose value needs no escaping.
    #[inline]
    pub fn plain(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(is_plain(value.as_bytes()), "invariant: {value:?} needs no escaping");
        self.name(name);
        quoted(self.out, value);
        self
    }

    /// Appends a string, if present.
    pub fn optional(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.string(name, value),
            None => self,
        }
    }

    /// Appends a number.
    #[inline]
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        number(self.out, value);
        self
    }

    /// Appends a truth value.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// Appends JSON text unchanged.
    #[inline]
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Self {
        self.name(name);
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// Appends JSON text, if present.
    pub fn optional_raw(&mut self, name: &str, json: Option<&str>) -> &mut Self {
        match json {
            Some(json) => self.raw(name, json),
            None => self,
        }
    }

    /// Appends a value by `write`.
    pub fn value(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.name(name);
        write(self.out);
        self
    }

    /// Appends a field with any name, escaped, and a value by `write`.
    pub fn entry(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.out.push(self.separator);
        self.separator = b',';
        string(self.out, name);
        self.out.push(b':');
        write(self.out);
        self
    }

    /// Appends a list, each item by `write`.
    pub fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(&mut Vec<u8>, T),
    ) -> &mut Self {
        self.name(name);
        list(self.out, items, write);
        self
    }

    /// Ends the object.
    pub fn end(&mut self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

/// Appends a list, each item by `write`.
pub fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// The length of the text of a JSON string: bytes, and UTF-16 code units.
pub fn text_lengths(json: &str) -> (usize, usize) {
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    if inner.is_ascii() && !inner.contains('\\') {
        return (inner.len(), inner.len());
    }
    let text: String = serde_json::from_str(json).unwrap_or_default();
    (text.len(), text.encode_utf16().count())
}

/// Appends the text of a JSON string to that of another one.
pub fn append_string(text: &mut String, piece: &str) {
    let inner = piece.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    debug_assert!(inner.is_some() && text.ends_with('"'), "invariant: only strings are joined");
    if let Some(inner) = inner
        && text.len() >= 2
        && text.ends_with('"')
    {
        text.pop();
        text.push_str(inner);
        text.push('"');
    }
}

/// Appends a string, quoted and escaped (RFC 8259 §7).
pub fn string(out: &mut Vec<u8>, value: &str) {
    if is_plain(value.as_bytes()) {
        quoted(out, value);
    } else {
        serde_json::to_writer(out, value).expect("invariant: writing a string to a vector succeeds");
    }
}

#[inline]
fn quoted(out: &mut Vec<u8>, value: &str) {
    out.reserve(value.len() + 2);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// Whether a text needs no escaping. It is checked in words of eight bytes; the last word overlaps the one before.
fn is_plain(text: &[u8]) -> bool {
    let (words, _) = text.as_chunks::<8>();
    let Some(last) = text.last_chunk::<8>() else { return !text.iter().any(|byte| is_escaped(*byte)) };
    words.iter().fold(escaped(*last), |found, word| found | escaped(*word)) == 0
}

/// Non-zero if one of eight bytes needs escaping.
fn escaped(bytes: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(bytes);
    word::below(word, b' ') | word::equal(word, b'"') | word::equal(word, b'\\')
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends a number.
pub fn number(out: &mut Vec<u8>, value: u64) {
    serde_json::to_writer(out, &value).expect("invariant: writing a number to a vector succeeds");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        Object::begin(&mut out)
            .string("text", "a\"\\\n\u{1}é")
            .number("number", 42)
            .bool("yes", true)
            .optional("absent", None)
            .raw("raw", "[1, 2]")
            .list("list", ["a", "b"], string)
            .end();
        let value: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
        let expected = serde_json::json!({
            "text": "a\"\\\n\u{1}é", "number": 42, "yes": true, "raw": [1, 2], "list": ["a", "b"],
        });
        assert_eq!(value, expected);
        assert!(out.windows(6).any(|bytes| bytes == b"[1, 2]"), "raw JSON passes unchanged");
    }

    #[test]
    fn each_byte_that_needs_it_is_escaped_wherever_it_stands() {
        for length in 1..40 {
            for at in 0..length {
                for byte in 0..=127 {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    assert_eq!(is_plain(&text), !is_escaped(byte), "{byte} at {at} of {length}");
                }
            }
        }
        assert!(is_plain("é€😀 and as many more".as_bytes()) && is_plain(b""));
    }

    #[test]
    fn an_object_may_be_empty() {
        let mut out = Vec::new();
        Object::begin(&mut out).end();
        list(&mut out, std::iter::empty::<&str>(), string);
        assert_eq!(out, b"{}[]");
    }
}
