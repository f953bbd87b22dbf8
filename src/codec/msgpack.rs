//! MessagePack to JSON. Binary values become placeholders, as those of Socket.IO; what JSON does not have becomes what JavaScript
//! writes for it: `null` for numbers without a value, text for times and for names of fields that are numbers.

use std::fmt;

use rmp::Marker;

use super::json;
use super::json::portable::DEPTH_MAX;
use super::socketio::ATTACHMENTS_MAX;
use crate::base::time::rfc3339;

/// The type of extension that is a time.
const TIMESTAMP: i8 = -1;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsgpackError {
    /// It ends too early.
    Truncated,
    /// Bytes follow the value.
    Trailing,
    /// Nesting deeper than [`DEPTH_MAX`].
    Depth,
    /// A text that is not UTF-8.
    Text,
    /// The name of a field that is neither a text nor a whole number, or that placeholders have.
    Field,
    /// An unknown type of value.
    Kind,
    /// More than [`ATTACHMENTS_MAX`] binary values.
    TooManyAttachments,
}

impl fmt::Display for MsgpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the MessagePack ends too early",
            Self::Trailing => "bytes follow the MessagePack",
            Self::Depth => return write!(f, "the MessagePack is nested deeper than {DEPTH_MAX}"),
            Self::Text => "a text is not UTF-8",
            Self::Field => "the name of a field is no text, or that of a placeholder",
            Self::Kind => "a value has an unknown type",
            Self::TooManyAttachments => return write!(f, "there are more than {ATTACHMENTS_MAX} binary values"),
        })
    }
}

/// Reads one value as JSON text. Appends its binary values to `attachments`; placeholders in the text refer to them.
///
/// # Errors
/// It is not one value of MessagePack, or not one that JSON with placeholders can have.
pub fn to_json(bytes: &[u8], attachments: &mut Vec<Box<[u8]>>) -> Result<String, MsgpackError> {
    let mut reader = Reader { rest: bytes, out: Vec::with_capacity(bytes.len() * 2), attachments };
    reader.value(0)?;
    if !reader.rest.is_empty() {
        return Err(MsgpackError::Trailing);
    }
    Ok(String::from_utf8(reader.out).expect("invariant: the JSON writer emits UTF-8"))
}

struct Reader<'a, 'o> {
    rest: &'a [u8],
    out: Vec<u8>,
    attachments: &'o mut Vec<Box<[u8]>>,
}

impl<'a> Reader<'a, '_> {
    fn value(&mut self, depth: usize) -> Result<(), MsgpackError> {
        if depth > DEPTH_MAX {
            return Err(MsgpackError::Depth);
        }
        let marker = self.marker()?;
        if let Some(number) = self.whole(marker)? {
            self.write(&number);
            return Ok(());
        }
        if let Some(text) = self.text(marker)? {
            json::string(&mut self.out, text);
            return Ok(());
        }
        match marker {
            Marker::Null => self.out.extend_from_slice(b"null"),
            Marker::True => self.out.extend_from_slice(b"true"),
            Marker::False => self.out.extend_from_slice(b"false"),
            Marker::F32 => {
                let number = f32::from_be_bytes(self.array()?);
                self.write(&f64::from(number));
            }
            Marker::F64 => {
                let number = f64::from_be_bytes(self.array()?);
                // serde_json writes null for what is no number.
                self.write(&number);
            }
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                let length = self.length(marker)?;
                self.list(length, depth + 1)?;
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                let length = self.length(marker)?;
                self.fields(length, depth + 1)?;
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let length = self.length(marker)?;
                let bytes = self.take(length)?;
                self.binary(bytes)?;
            }
            other => {
                let length = self.length(other)?;
                self.extension(length)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, length: usize, depth: usize) -> Result<(), MsgpackError> {
        self.out.push(b'[');
        for number in 0..length {
            if number > 0 {
                self.out.push(b',');
            }
            self.value(depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn fields(&mut self, length: usize, depth: usize) -> Result<(), MsgpackError> {
        self.out.push(b'{');
        for number in 0..length {
            if number > 0 {
                self.out.push(b',');
            }
            let marker = self.marker()?;
            match self.whole(marker)? {
                Some(name) => json::string(&mut self.out, &name.to_string()),
                None => match self.text(marker)? {
                    None | Some("_placeholder") => return Err(MsgpackError::Field),
                    Some(name) => json::string(&mut self.out, name),
                },
            }
            self.out.push(b':');
            self.value(depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn binary(&mut self, bytes: &[u8]) -> Result<(), MsgpackError> {
        if self.attachments.len() >= ATTACHMENTS_MAX {
            return Err(MsgpackError::TooManyAttachments);
        }
        self.out.extend_from_slice(b"{\"_placeholder\":true,\"num\":");
        self.write(&self.attachments.len());
        self.out.push(b'}');
        self.attachments.push(bytes.into());
        Ok(())
    }

    /// A time; there are no other extensions.
    fn extension(&mut self, length: usize) -> Result<(), MsgpackError> {
        let [kind] = self.array()?;
        if i8::from_be_bytes([kind]) != TIMESTAMP {
            return Err(MsgpackError::Kind);
        }
        let (seconds, nanoseconds) = match length {
            4 => (i64::from(u32::from_be_bytes(self.array()?)), 0),
            8 => {
                let packed = u64::from_be_bytes(self.array()?);
                ((packed & 0x3_ffff_ffff) as i64, (packed >> 34) as u32)
            }
            12 => {
                let nanoseconds = u32::from_be_bytes(self.array()?);
                (i64::from_be_bytes(self.array()?), nanoseconds)
            }
            _ => return Err(MsgpackError::Kind),
        };
        let seconds = u64::try_from(seconds).map_err(|_| MsgpackError::Kind)?;
        let at = seconds.saturating_mul(1_000).saturating_add(u64::from(nanoseconds) / 1_000_000);
        json::string(&mut self.out, &rfc3339(at));
        Ok(())
    }

    fn marker(&mut self) -> Result<Marker, MsgpackError> {
        self.array().map(|[byte]| Marker::from_u8(byte))
    }

    /// A whole number; `None` if the marker is of another value.
    fn whole(&mut self, marker: Marker) -> Result<Option<i128>, MsgpackError> {
        Ok(Some(match marker {
            Marker::FixPos(number) => number.into(),
            Marker::FixNeg(number) => number.into(),
            Marker::U8 => u8::from_be_bytes(self.array()?).into(),
            Marker::U16 => u16::from_be_bytes(self.array()?).into(),
            Marker::U32 => u32::from_be_bytes(self.array()?).into(),
            Marker::U64 => u64::from_be_bytes(self.array()?).into(),
            Marker::I8 => i8::from_be_bytes(self.array()?).into(),
            Marker::I16 => i16::from_be_bytes(self.array()?).into(),
            Marker::I32 => i32::from_be_bytes(self.array()?).into(),
            Marker::I64 => i64::from_be_bytes(self.array()?).into(),
            _ => return Ok(None),
        }))
    }

    /// A text; `None` if the marker is of another value.
    fn text(&mut self, marker: Marker) -> Result<Option<&'a str>, MsgpackError> {
        match marker {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let length = self.length(marker)?;
                let bytes = self.take(length)?;
                std::str::from_utf8(bytes).map(Some).map_err(|_| MsgpackError::Text)
            }
            _ => Ok(None),
        }
    }

    /// The length that a marker is followed by, or has.
    fn length(&mut self, marker: Marker) -> Result<usize, MsgpackError> {
        Ok(match marker {
            Marker::FixStr(length) | Marker::FixArray(length) | Marker::FixMap(length) => length.into(),
            Marker::Str8 | Marker::Bin8 | Marker::Ext8 => u8::from_be_bytes(self.array()?).into(),
            Marker::Str16 | Marker::Bin16 | Marker::Ext16 | Marker::Array16 | Marker::Map16 => {
                u16::from_be_bytes(self.array()?).into()
            }
            Marker::Str32 | Marker::Bin32 | Marker::Ext32 | Marker::Array32 | Marker::Map32 => {
                u32::from_be_bytes(self.array()?) as usize
            }
            Marker::FixExt1 => 1,
            Marker::FixExt2 => 2,
            Marker::FixExt4 => 4,
            Marker::FixExt8 => 8,
            Marker::FixExt16 => 16,
            _ => return Err(MsgpackError::Kind),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(MsgpackError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], MsgpackError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(MsgpackError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn write(&mut self, value: &impl serde::Serialize) {
        serde_json::to_writer(&mut self.out, value).expect("invariant: writing a number to a vector succeeds");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// JSON and its attachments.
    type Parts = (String, Vec<Box<[u8]>>);

    fn read(bytes: &[u8]) -> Result<Parts, MsgpackError> {
        let mut attachments = Vec::new();
        to_json(bytes, &mut attachments).map(|text| (text, attachments))
    }

    #[test]
    fn each_type_of_value_becomes_json() {
        for (bytes, json) in [
            (&b"\xc0"[..], "null"),
            (b"\x92\xc2\xc3", "[false,true]"),
            (
                b"\x95\x7f\xff\xcc\xff\xd1\xff\x00\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                "[127,-1,255,-256,18446744073709551615]",
            ),
            (b"\x92\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xca\x3f\x00\x00\x00", "[1.5,0.5]"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xa3a\"\n", r#""a\"\n""#),
            (b"\x82\xa1a\xd9\x01b\x05\x80", r#"{"a":"b","5":{}}"#),
            (b"\xd6\xff\x67\x80\x40\x68", r#""2025-01-09T21:32:24.000Z""#),
            (b"\xdd\x00\x00\x00\x01\x90", "[[]]"),
        ] {
            assert_eq!(read(bytes), Ok((json.to_owned(), Vec::new())), "{bytes:x?}");
        }
        let (text, attachments) = read(b"\x92\xc4\x02\x01\x02\xc4\x00").expect("two binaries");
        assert_eq!(text, r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
        assert_eq!(attachments, [Box::from([1, 2]), Box::from([0; 0])]);
    }

    #[test]
    fn fault_of_a_message_is_named() {
        for (bytes, error) in [
            (&b""[..], MsgpackError::Truncated),
            (b"\xdd\xff\xff\xff\xff", MsgpackError::Truncated),
            (b"\xc6\xff\xff\xff\xff", MsgpackError::Truncated),
            (b"\x01\x01", MsgpackError::Trailing),
            (b"\xa1\xff", MsgpackError::Text),
            (b"\x81\xc0\x01", MsgpackError::Field),
            (b"\x81\xac_placeholder\xc3", MsgpackError::Field),
            (b"\xc1", MsgpackError::Kind),
            (b"\xd4\x00\x00", MsgpackError::Kind),
            (&[0x91; 80], MsgpackError::Depth),
        ] {
            assert_eq!(read(bytes), Err(error), "{bytes:x?}");
        }
        let mut many = vec![0x9b];
        many.extend([0xc4, 0].repeat(11));
        assert_eq!(read(&many), Err(MsgpackError::TooManyAttachments));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_become_json(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((text, _)) = read(&bytes) {
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
            }
        }
    }
}
