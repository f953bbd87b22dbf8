//! JSON that every receiver can read. Valid JSON (RFC 8259) can have values that common decoders refuse or crash on: half of a
//! surrogate pair, a number beyond the range of a double, very deep nesting. Such JSON is not relayed or stored.

use std::fmt;

/// Maximum of nesting.
pub const DEPTH_MAX: usize = 64;

/// Digits of which any number is within the range of a double.
const DIGITS_SAFE: usize = 300;

/// A value that some decoders cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nesting deeper than [`DEPTH_MAX`].
    Depth,
    /// An escape that is half of a surrogate pair.
    Surrogate,
    /// A number beyond the range of a double.
    Number,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth => write!(f, "is nested deeper than {DEPTH_MAX}"),
            Self::Surrogate => f.write_str("is not valid Unicode: it has half of a surrogate pair"),
            Self::Number => f.write_str("has a number beyond the range of a double"),
        }
    }
}

/// Checks a valid JSON text.
///
/// # Errors
/// It has a value that some decoders cannot read.
pub fn check(json: &str) -> Result<(), Flaw> {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string(bytes, at + 1)?,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Flaw::Depth);
                }
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(is_part).count();
                if !is_double(&json[at..end]) {
                    return Err(Flaw::Number);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// The end of the string whose content begins at `at`.
fn string(bytes: &[u8], mut at: usize) -> Result<usize, Flaw> {
    loop {
        match bytes.get(at) {
            None => return Ok(at),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') if bytes.get(at + 1) == Some(&b'u') => {
                at += unicode_escape(&bytes[at..]).ok_or(Flaw::Surrogate)?;
            }
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// Length of the escape `\u` with four digits, or of the two escapes of a surrogate pair, at the start of `text`; `None` if
/// that is half of a pair, or no such escape.
pub(super) fn unicode_escape(text: &[u8]) -> Option<usize> {
    let unit = |text: &[u8]| -> Option<u32> {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    };
    match unit(text)? {
        0xd800..=0xdbff => matches!(unit(text.get(6..)?)?, 0xdc00..=0xdfff).then_some(12),
        0xdc00..=0xdfff => None,
        _ => Some(6),
    }
}

/// Whether a number is within the range of a double.
pub(super) fn is_double(number: &str) -> bool {
    let is_safe = number.len() <= DIGITS_SAFE && !number.contains(['e', 'E']);
    is_safe || number.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_decoders_refuse_are_found() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let digits = |count: usize| "9".repeat(count);
        let pairs = [
            (r#""a""#.to_owned(), Ok(())),
            (r#"{"a":[1,-2.5e3,1e308,5e-324,1e-999,null,true],"b":"\ud83d\ude00 \\ud800 \u00e9"}"#.to_owned(), Ok(())),
            (r#""\ud800""#.to_owned(), Err(Flaw::Surrogate)),
            (r#""\udc00""#.to_owned(), Err(Flaw::Surrogate)),
            (r#""\ud800\ud800\udc00""#.to_owned(), Err(Flaw::Surrogate)),
            (r#""\ud800\\udc00""#.to_owned(), Err(Flaw::Surrogate)),
            (r#"{"\uDBFF":1}"#.to_owned(), Err(Flaw::Surrogate)),
            (r#"[{"a":"x\uD83D"}]"#.to_owned(), Err(Flaw::Surrogate)),
            ("1e999".to_owned(), Err(Flaw::Number)),
            ("[-1E+400]".to_owned(), Err(Flaw::Number)),
            (digits(308), Ok(())),
            (digits(400), Err(Flaw::Number)),
            (format!("0.{}", digits(400)), Ok(())),
            (nested(DEPTH_MAX), Ok(())),
            (nested(DEPTH_MAX + 1), Err(Flaw::Depth)),
            (format!("[{}]", vec![nested(DEPTH_MAX - 1); 3].join(",")), Ok(())),
            (format!(r#""{}""#, "[".repeat(99)), Ok(())),
        ];
        for (json, expected) in pairs {
            assert_eq!(check(&json), expected, "{json}");
        }
    }
}
