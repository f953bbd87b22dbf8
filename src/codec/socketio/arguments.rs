//! Iterator over the values of a JSON array, in a text already validated.

/// Arguments of an event or ack, as JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// The text from the next value to the array's `]`; empty after the last value.
    rest: &'a str,
}

impl<'a> Arguments<'a> {
    /// The values of an array. `array` is valid JSON and starts with `[`.
    pub(super) fn of_array(array: &'a str) -> Self {
        debug_assert!(array.starts_with('['), "invariant: arguments are a JSON array");
        Self::behind(array.trim_end(), 1)
    }

    /// The text at `at`, the index after a `[` or `,`.
    fn behind(array: &'a str, at: usize) -> Self {
        let rest = array.get(at..).unwrap_or_default().trim_start();
        Self { rest: if rest == "]" { "" } else { rest } }
    }

    /// The remaining values with the commas between them, as in the array.
    pub fn text(&self) -> &'a str {
        self.rest.strip_suffix(']').unwrap_or_default().trim_end()
    }
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let end = value_end(self.rest.as_bytes());
        let value = self.rest.get(..end)?;
        *self = Self::behind(self.rest, end + 1);
        Some(value.trim_end())
    }
}

/// End of the value at the start of `bytes`: the comma or bracket that does not belong to it.
fn value_end(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += text_length(&bytes[at..]) - 1,
            b'[' | b'{' => depth += 1,
            b',' | b']' | b'}' if depth == 0 => return at,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Length of the string at the start of `bytes`, with quotes.
pub(super) fn text_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(array: &str) -> Vec<&str> {
        Arguments::of_array(array).collect()
    }

    #[test]
    fn values_are_cut_at_their_own_commas() {
        assert_eq!(values("[]"), [""; 0]);
        assert_eq!(values("[ ]"), [""; 0]);
        assert_eq!(values("[1]"), ["1"]);
        assert_eq!(
            values(r#"[ 1 , "a,]\"" ,{"a":[1,{}],"b]":2}, [ [], 3 ] ,null ] "#),
            ["1", r#""a,]\"""#, r#"{"a":[1,{}],"b]":2}"#, "[ [], 3 ]", "null"]
        );
    }

    #[test]
    fn what_is_left_is_text_too() {
        let mut arguments = Arguments::of_array(r#"["a", 1, [2] ]"#);
        assert_eq!(arguments.text(), r#""a", 1, [2]"#);
        arguments.next();
        assert_eq!(arguments.text(), "1, [2]");
        assert_eq!(arguments.nth(1), Some("[2]"));
        assert_eq!((arguments.text(), arguments.next()), ("", None));
    }
}
