//! What a CONNECT says of who sends it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::codec::http::query_value;

/// The fields of a CONNECT's payload that the server reads; all others are the application's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConnectPayload<'a> {
    /// The token.
    #[serde(borrow, deserialize_with = "text")]
    pub token: Option<Cow<'a, str>>,
    /// The secret of a connection that is to be recovered.
    #[serde(borrow, deserialize_with = "text")]
    pub pid: Option<Cow<'a, str>>,
    /// The last thing that the client heard on it.
    #[serde(borrow, deserialize_with = "text")]
    pub offset: Option<Cow<'a, str>>,
}

impl<'a> ConnectPayload<'a> {
    /// Reads a payload, or the query that older clients send in its place. A field that is no text is as good as none.
    pub fn read(payload: Option<&'a str>, query: Option<&'a str>) -> Self {
        match (payload, query) {
            (Some(payload), _) => serde_json::from_str(payload).unwrap_or_default(),
            (None, Some(query)) => Self { token: query_value(query, "token"), ..Self::default() },
            (None, None) => Self::default(),
        }
    }
}

/// A text, borrowed when it has no escapes; `None` for anything else.
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
