//! Refusals: the HTTP status of each code, and their common shape.
//!
//! A refusal of the domain has a [`Code`] that determines the status ([`status_of`]). A refusal of HTTP itself has a
//! status that determines the code ([`RestRefusal::of_status`]):
//!
//! | status | code |
//! |---|---|
//! | 404 no such path | `NOT_FOUND` |
//! | 405 method, 501 | `UNKNOWN_TYPE` |
//! | 413 body, 414, 431 head | `MESSAGE_TOO_LARGE` |
//! | 415 media type | `UNSUPPORTED_DATA` |
//! | 401 | `UNAUTHENTICATED` |
//! | 403 | `FORBIDDEN` |
//! | 429 | `RATE_LIMITED` |
//! | 503 | `OVERLOADED` |
//! | other 5xx, but for 505 | `INTERNAL` |
//! | the rest: 400 malformed, 408, 417, 505 | `INVALID_MESSAGE` |

use std::borrow::Cow;

use super::encode::RestAnswer;
use super::route::RestRouteFault;
use crate::codec::json::Object;
use crate::domain::reject::{Code, Reject};

/// A refusal and its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRefusal {
    /// The status, 400 to 599.
    pub status: u16,
    /// The refusal in the body.
    pub reject: Reject,
}

impl RestRefusal {
    /// A refusal of HTTP itself. The code is in this module's table.
    pub fn of_status(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        let code = match status {
            401 => Code::Unauthenticated,
            403 => Code::Forbidden,
            404 => Code::NotFound,
            405 | 501 => Code::UnknownType,
            413 | 414 | 431 => Code::MessageTooLarge,
            415 => Code::UnsupportedData,
            429 => Code::RateLimited,
            503 => Code::Overloaded,
            505 => Code::InvalidMessage,
            500.. => Code::Internal,
            _ => Code::InvalidMessage,
        };
        Self { status, reject: Reject::new(code, text) }
    }

    /// A body that is not JSON in UTF-8.
    pub fn unsupported_media_type() -> Self {
        Self::of_status(415, "The body must be application/json in UTF-8")
    }

    /// The refusal as a response.
    pub fn answer(&self) -> RestAnswer {
        let mut body = Vec::with_capacity(128);
        Object::begin(&mut body)
            .string("error", &self.reject.text)
            .string("code", self.reject.code.as_str())
            .bool("success", false)
            .end();
        RestAnswer { status: self.status, body }
    }
}

impl From<Reject> for RestRefusal {
    fn from(reject: Reject) -> Self {
        Self { status: status_of(reject.code), reject }
    }
}

impl From<RestRouteFault> for RestRefusal {
    fn from(fault: RestRouteFault) -> Self {
        match fault {
            RestRouteFault::NotFound => Self::of_status(404, "There is nothing at this path"),
            RestRouteFault::MethodNotAllowed { .. } => Self::of_status(405, "This path does not have that method"),
        }
    }
}

/// A refusal of the domain, as a response.
pub fn refuse(reject: &Reject) -> RestAnswer {
    RestRefusal::from(reject.clone()).answer()
}

/// The HTTP status of a code.
pub fn status_of(code: Code) -> u16 {
    match code {
        Code::BadJson | Code::UnknownType => 400,
        Code::Unauthenticated | Code::TokenExpired => 401,
        Code::Forbidden | Code::NotInRoom | Code::PeerMismatch | Code::Observer => 403,
        Code::NotFound
        | Code::RoomNotFound
        | Code::PeerNotFound
        | Code::UserNotFound
        | Code::ConnectionNotFound
        | Code::MessageNotFound => 404,
        Code::RoomExists
        | Code::RoomFull
        | Code::PeerIdTaken
        | Code::RoomClosed
        | Code::RecoveryFailed
        | Code::StreamConflict
        | Code::MediaStale => 409,
        Code::MessageTooLarge => 413,
        Code::UnsupportedData => 415,
        Code::InvalidMessage | Code::MediaRefused => 422,
        Code::RateLimited => 429,
        Code::Internal => 500,
        Code::StorageUnavailable | Code::Overloaded | Code::MediaUnavailable => 503,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status() {
        let table = [
            (400, vec![Code::BadJson, Code::UnknownType]),
            (401, vec![Code::Unauthenticated, Code::TokenExpired]),
            (403, vec![Code::Forbidden, Code::NotInRoom, Code::PeerMismatch, Code::Observer]),
            (404, vec![Code::RoomNotFound, Code::PeerNotFound, Code::UserNotFound, Code::ConnectionNotFound]),
            (404, vec![Code::MessageNotFound, Code::NotFound]),
            (409, vec![Code::RoomExists, Code::RoomFull, Code::PeerIdTaken, Code::RoomClosed, Code::RecoveryFailed]),
            (413, vec![Code::MessageTooLarge]),
            (415, vec![Code::UnsupportedData]),
            (409, vec![Code::MediaStale, Code::StreamConflict]),
            (422, vec![Code::InvalidMessage, Code::MediaRefused]),
            (429, vec![Code::RateLimited]),
            (500, vec![Code::Internal]),
            (503, vec![Code::Overloaded, Code::MediaUnavailable]),
        ];
        for (status, codes) in table {
            for code in codes {
                assert_eq!(refuse(&Reject::new(code, "")).status, status, "{code:?}");
            }
        }
    }

    #[test]
    fn what_http_refuses_has_a_code_too() {
        let table = [
            (RestRefusal::from(RestRouteFault::NotFound), 404, Code::NotFound),
            (RestRefusal::from(RestRouteFault::MethodNotAllowed { allow: String::new() }), 405, Code::UnknownType),
            (RestRefusal::unsupported_media_type(), 415, Code::UnsupportedData),
        ];
        for (refusal, status, code) in table {
            assert_eq!((refusal.status, refusal.reject.code), (status, code));
        }
        let of_status = |status| RestRefusal::of_status(status, "").reject.code;
        for status in [400, 408, 417, 505] {
            assert_eq!(of_status(status), Code::InvalidMessage, "{status}");
        }
        for status in [413, 414, 431] {
            assert_eq!(of_status(status), Code::MessageTooLarge, "{status}");
        }
        assert_eq!(
            [500, 502, 501, 503].map(of_status),
            [Code::Internal, Code::Internal, Code::UnknownType, Code::Overloaded,]
        );
        assert_eq!([401, 403, 429].map(of_status), [Code::Unauthenticated, Code::Forbidden, Code::RateLimited]);
    }

    #[test]
    fn a_refusal_has_one_shape() {
        let answer = refuse(&Reject::room_not_found());
        let body = r#"{"error":"Room not found","code":"ROOM_NOT_FOUND","success":false}"#;
        assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), (404, body));
    }
}
