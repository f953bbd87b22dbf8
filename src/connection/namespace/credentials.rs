//! Credentials in a CONNECT packet.

use std::borrow::Cow;

use serde::Deserialize;

use crate::codec::http::query_value;

/// Fields of a CONNECT's payload that the server reads. All others belong to the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConnectPayload<'a> {
    /// JSON Web Token.
    #[serde(borrow, deserialize_with = "text")]
    pub token: Option<Cow<'a, str>>,
    /// Recovery token of a lost connection.
    #[serde(borrow, deserialize_with = "text")]
    pub pid: Option<Cow<'a, str>>,
    /// Offset of the last received event.
    #[serde(borrow, deserialize_with = "text")]
    pub offset: Option<Cow<'a, str>>,
}

impl<'a> ConnectPayload<'a> {
    /// Parses a payload or, from older clients, the namespace's query. A field that is not a string is ignored.
    pub fn read(payload: Option<&'a str>, query: Option<&'a str>) -> Self {
        match (payload, query) {
            (Some(payload), _) => serde_json::from_str(payload).unwrap_or_default(),
            (None, Some(query)) => Self { token: query_value(query, "token"), ..Self::default() },
            (None, None) => Self::default(),
        }
    }
}

/// A string, borrowed if it has no escapes; `None` for any other type.
fn text<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    let json = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
    let plain = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|text| !text.contains('\\'));
    Ok(match plain {
        Some(plain) => Some(Cow::Borrowed(plain)),
        None => serde_json::from_str(json).ok().map(Cow::Owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_texts_or_nothing() {
        let read = |payload| ConnectPayload::read(Some(payload), None);
        assert_eq!(read("{}"), ConnectPayload::default());
        let whole = read(r#"{"other":[1],"token":"t","pid":"p\n","offset":"5-0"}"#);
        assert!(matches!(whole.token, Some(Cow::Borrowed("t"))));
        assert_eq!((whole.pid.as_deref(), whole.offset.as_deref()), (Some("p\n"), Some("5-0")));
        let odd = read(r#"{"token":{"a":1},"pid":7,"offset":null}"#);
        assert_eq!(odd, ConnectPayload::default());
        assert_eq!(ConnectPayload::read(None, None), ConnectPayload::default());
        let query = ConnectPayload::read(None, Some("uid=1&token=a%2Eb"));
        assert_eq!(query.token.as_deref(), Some("a.b"));
    }
}
