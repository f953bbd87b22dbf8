//! Routing of a method and a path.
//!
//! Paths are compared segment by segment, each with its percent escapes decoded, so an escaped slash stays within its
//! segment. A path with a trailing slash is not found, nor is one with a parameter that is no valid name.

use std::borrow::Cow;

use super::RestCallKind;
use crate::base::ids::is_name;
use crate::codec::http::decode_path_segment;
use crate::domain::policy::{Action, Openness};

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestRoute<'a> {
    /// A call, to be decoded.
    Call(RestCallRoute<'a>),
    /// The liveness and health of the server.
    Health,
    /// The readiness of the server.
    Ready,
    /// The metrics.
    Metrics,
    /// The landing page.
    Landing,
    /// The call page.
    CallPage,
    /// The link of a room, redirected to the call page.
    MeetingLink(Cow<'a, str>),
    /// A file for trying the push dialect out, by its path.
    TestFile,
    /// A file of the pages, by name. It may not exist.
    Asset(Cow<'a, str>),
    /// A file of the dashboard, by name. It may not exist.
    Dashboard(Cow<'a, str>),
    /// A file of Socket.IO's client, by name. It may not exist.
    ClientBundle(Cow<'a, str>),
}

impl RestRoute<'_> {
    /// Whether it is for operators: a listener of their own serves it, if there is one.
    pub fn is_for_operators(&self, open: Openness) -> bool {
        match self {
            Self::Metrics | Self::Dashboard(_) => true,
            Self::Call(call) => match call.kind.action() {
                Action::Administer | Action::Broadcast => true,
                Action::ListRooms => !open.room_list,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether it tells a supervisor how the server is, which every listener does.
    pub fn is_probe(&self) -> bool {
        matches!(self, Self::Health | Self::Ready)
    }

    /// Whether it is a page for people.
    pub fn is_page(&self) -> bool {
        matches!(
            self,
            Self::Landing
                | Self::CallPage
                | Self::TestFile
                | Self::MeetingLink(_)
                | Self::Asset(_)
                | Self::ClientBundle(_)
        )
    }
}

/// A call as named by its method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestCallRoute<'a> {
    /// The kind of the call.
    pub kind: RestCallKind,
    /// The id in the path, decoded; empty when the path has none.
    pub parameter: Cow<'a, str>,
    /// The second id in the path, likewise.
    pub second: Cow<'a, str>,
}

/// The reason that a method and a path have no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestRouteFault {
    /// The path has no route.
    NotFound,
    /// The path has routes for other methods.
    MethodNotAllowed {
        /// Those methods, as the header `Allow` lists them.
        allow: String,
    },
}

struct Row {
    method: &'static str,
    /// A segment that begins with `:` matches any name; a path has at most two.
    path: &'static str,
    end: End,
}

enum End {
    Call(RestCallKind),
    Health,
    Ready,
    Metrics,
    Landing,
    CallPage,
    MeetingLink,
    TestFile,
    Asset,
    /// The file of this name.
    File(&'static str),
    ClientBundle,
    Dashboard,
}

const fn row(method: &'static str, path: &'static str, end: End) -> Row {
    Row { method, path, end }
}

static TABLE: &[Row] = &[
    row("GET", "/api/rooms", End::Call(RestCallKind::ListMeetings)),
    row("POST", "/api/rooms", End::Call(RestCallKind::CreateMeeting)),
    row("GET", "/api/rooms/:roomId", End::Call(RestCallKind::Meeting)),
    row("DELETE", "/api/rooms/:roomId", End::Call(RestCallKind::CloseMeeting)),
    row("POST", "/rooms", End::Call(RestCallKind::CreateRoom)),
    row("GET", "/rooms/:roomId", End::Call(RestCallKind::Room)),
    row("PATCH", "/rooms/:roomId", End::Call(RestCallKind::UpdateRoom)),
    row("POST", "/rooms/:roomId/join", End::Call(RestCallKind::Join)),
    row("POST", "/rooms/:roomId/leave", End::Call(RestCallKind::Leave)),
    row("POST", "/connections", End::Call(RestCallKind::Register)),
    row("GET", "/connections/:userId", End::Call(RestCallKind::Connections)),
    row("DELETE", "/connections/:connectionId", End::Call(RestCallKind::Disconnect)),
    row("GET", "/presence/:userId", End::Call(RestCallKind::Presence)),
    row("PUT", "/presence/:userId", End::Call(RestCallKind::SetPresence)),
    row("POST", "/broadcast", End::Call(RestCallKind::Broadcast)),
    row("POST", "/websocket/message/user", End::Call(RestCallKind::PushToUser)),
    row("POST", "/websocket/message/users", End::Call(RestCallKind::PushToUsers)),
    row("POST", "/websocket/message/broadcast", End::Call(RestCallKind::PushToAll)),
    row("POST", "/websocket/notification", End::Call(RestCallKind::Notify)),
    row("POST", "/api/v1/publish", End::Call(RestCallKind::Publish)),
    row("POST", "/api/v1/batch", End::Call(RestCallKind::Batch)),
    row("GET", "/api/v1/rooms/:roomId/messages", End::Call(RestCallKind::Messages)),
    row("PATCH", "/api/v1/rooms/:roomId/messages/:messageId", End::Call(RestCallKind::EditMessage)),
    row("DELETE", "/api/v1/rooms/:roomId/messages/:messageId", End::Call(RestCallKind::DeleteMessage)),
    row("POST", "/api/v1/rooms/:roomId/messages/:messageId/append", End::Call(RestCallKind::AppendMessage)),
    row("POST", "/api/v1/socketio/emit", End::Call(RestCallKind::AppEmit)),
    row("POST", "/api/v1/socketio/join", End::Call(RestCallKind::AppJoin)),
    row("POST", "/api/v1/socketio/leave", End::Call(RestCallKind::AppLeave)),
    row("POST", "/api/v1/socketio/disconnect", End::Call(RestCallKind::AppDisconnect)),
    row("POST", "/api/v1/rooms", End::Call(RestCallKind::MakeRoom)),
    row("GET", "/api/v1/rooms", End::Call(RestCallKind::SearchRooms)),
    row("PUT", "/api/v1/rooms/:roomId", End::Call(RestCallKind::PutRoom)),
    row("PATCH", "/api/v1/rooms/:roomId", End::Call(RestCallKind::PatchRoom)),
    row("GET", "/api/v1/rooms/:roomId", End::Call(RestCallKind::ShowRoom)),
    row("DELETE", "/api/v1/rooms/:roomId", End::Call(RestCallKind::EndRoom)),
    row("GET", "/api/v1/rooms/:roomId/members", End::Call(RestCallKind::Members)),
    row("GET", "/api/v1/rooms/:roomId/messages/:messageId/receipts", End::Call(RestCallKind::Receipts)),
    row("GET", "/api/v1/rooms/:roomId/unread/:userId", End::Call(RestCallKind::Unread)),
    row("POST", "/api/v1/rooms/:roomId/participants", End::Call(RestCallKind::AddParticipants)),
    row("DELETE", "/api/v1/rooms/:roomId/participants/:userId", End::Call(RestCallKind::RemoveParticipant)),
    row("POST", "/api/v1/rooms/:roomId/join", End::Call(RestCallKind::JoinUser)),
    row("POST", "/api/v1/rooms/:roomId/leave", End::Call(RestCallKind::LeaveUser)),
    row("POST", "/api/v1/keys", End::Call(RestCallKind::MakeKey)),
    row("GET", "/api/v1/keys", End::Call(RestCallKind::Keys)),
    row("POST", "/api/v1/keys/:keyId/rotate", End::Call(RestCallKind::RotateKey)),
    row("DELETE", "/api/v1/keys/:keyId", End::Call(RestCallKind::EndKey)),
    row("GET", "/api/v1/log-filters", End::Call(RestCallKind::LogFilters)),
    row("POST", "/api/v1/log-filters", End::Call(RestCallKind::SetLogFilter)),
    row("DELETE", "/api/v1/log-filters/:filterId", End::Call(RestCallKind::RemoveLogFilter)),
    row("POST", "/api/v1/trace", End::Call(RestCallKind::Trace)),
    row("GET", "/api/v1/settings", End::Call(RestCallKind::Settings)),
    row("POST", "/dev/token", End::Call(RestCallKind::DevToken)),
    row("GET", "/api/v1/webhooks/dead-letters", End::Call(RestCallKind::DeadLetters)),
    row("POST", "/api/v1/webhooks/:endpoint/replay", End::Call(RestCallKind::ReplayWebhook)),
    row("GET", "/websocket/users/connected", End::Call(RestCallKind::ConnectedUsers)),
    row("GET", "/websocket/users/:userId/status", End::Call(RestCallKind::UserStatus)),
    row("GET", "/websocket/me/status", End::Call(RestCallKind::OwnStatus)),
    row("DELETE", "/websocket/users/:userId/disconnect", End::Call(RestCallKind::DisconnectUser)),
    row("POST", "/users/:userId/block", End::Call(RestCallKind::BlockUser)),
    row("DELETE", "/users/:userId/block", End::Call(RestCallKind::UnblockUser)),
    row("GET", "/users/blocked", End::Call(RestCallKind::BlockedUsers)),
    row("POST", "/tokens/revoke", End::Call(RestCallKind::RevokeTokens)),
    row("GET", "/tokens/revoked", End::Call(RestCallKind::RevokedTokens)),
    row("DELETE", "/rooms/:roomId/participants/:userId", End::Call(RestCallKind::RemoveUser)),
    row("PUT", "/rooms/:roomId/lock", End::Call(RestCallKind::Lock)),
    row("PUT", "/rooms/:roomId/bans/:userId", End::Call(RestCallKind::Ban)),
    row("DELETE", "/rooms/:roomId/bans/:userId", End::Call(RestCallKind::Unban)),
    row("GET", "/rooms/:roomId/bans", End::Call(RestCallKind::Bans)),
    row("POST", "/addresses/blocked", End::Call(RestCallKind::BlockAddress)),
    row("GET", "/addresses/blocked", End::Call(RestCallKind::BlockedAddresses)),
    row("DELETE", "/addresses/blocked/:address", End::Call(RestCallKind::UnblockAddress)),
    row("GET", "/healthz", End::Health),
    row("GET", "/readyz", End::Ready),
    row("GET", "/metrics", End::Metrics),
    row("GET", "/", End::Landing),
    row("GET", "/call", End::CallPage),
    row("GET", "/dashboard", End::Dashboard),
    row("GET", "/dashboard/:name", End::Dashboard),
    row("GET", "/websocket-client.html", End::TestFile),
    row("GET", "/websocket-client.js", End::TestFile),
    row("GET", "/testing-websocket.http", End::TestFile),
    row("GET", "/meeting/:roomId", End::MeetingLink),
    row("GET", "/assets/:name", End::Asset),
    row("GET", "/favicon.ico", End::File("favicon.ico")),
    row("GET", "/robots.txt", End::File("robots.txt")),
    row("GET", "/openapi.json", End::File("openapi.json")),
    row("GET", "/asyncapi.json", End::File("asyncapi.json")),
    row("GET", "/docs", End::File("docs.html")),
    row("GET", "/switchboard.js", End::File("switchboard.js")),
    row("GET", "/switchboard.mjs", End::File("switchboard.mjs")),
    row("GET", "/switchboard-fallback.mjs", End::File("switchboard-fallback.mjs")),
    row("GET", "/console", End::File("console.html")),
    row("GET", "/switchboard.d.ts", End::File("switchboard.d.ts")),
    row("GET", "/switchboard-react.mjs", End::File("switchboard-react.mjs")),
    row("GET", "/socket.io/:name", End::ClientBundle),
];

/// The route of `method` and `path` (without its query). `HEAD` has the routes of `GET`. The caller answers `OPTIONS`
/// from [`allowed`].
pub fn route<'a>(method: &str, path: &'a str) -> Result<RestRoute<'a>, RestRouteFault> {
    let method = if method == "HEAD" { "GET" } else { method };
    for row in TABLE.iter().filter(|row| row.method == method) {
        if let Some([parameter, second]) = parameters(row.path, path) {
            return Ok(match row.end {
                End::Call(kind) => RestRoute::Call(RestCallRoute { kind, parameter, second }),
                End::Health => RestRoute::Health,
                End::Ready => RestRoute::Ready,
                End::Metrics => RestRoute::Metrics,
                End::Landing => RestRoute::Landing,
                End::CallPage => RestRoute::CallPage,
                End::MeetingLink => RestRoute::MeetingLink(parameter),
                End::TestFile => RestRoute::TestFile,
                End::Asset => RestRoute::Asset(parameter),
                End::Dashboard if parameter.is_empty() => RestRoute::Dashboard(Cow::Borrowed("dashboard.html")),
                End::Dashboard => RestRoute::Dashboard(parameter),
                End::File(name) => RestRoute::Asset(Cow::Borrowed(name)),
                End::ClientBundle => RestRoute::ClientBundle(parameter),
            });
        }
    }
    Err(match allowed(path) {
        Some(allow) => RestRouteFault::MethodNotAllowed { allow },
        None => RestRouteFault::NotFound,
    })
}

/// The methods of `path`, as the header `Allow` lists them; `None` without a route.
pub fn allowed(path: &str) -> Option<String> {
    let mut methods = Vec::new();
    for row in TABLE.iter().filter(|row| parameters(row.path, path).is_some()) {
        methods.push(row.method);
        if row.method == "GET" {
            methods.push("HEAD");
        }
    }
    if methods.is_empty() {
        return None;
    }
    methods.push("OPTIONS");
    Some(methods.join(", "))
}

/// Matches `path` with `pattern`. Returns the parameters, empty where the pattern has none.
fn parameters<'a>(pattern: &str, path: &'a str) -> Option<[Cow<'a, str>; 2]> {
    let (mut found, mut count) = ([Cow::Borrowed(""), Cow::Borrowed("")], 0);
    let (mut expected, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return Some(found),
            (Some(expected), Some(given)) => {
                let given = decode_path_segment(given)?;
                if expected.starts_with(':') && is_name(&given) {
                    *found.get_mut(count)? = given;
                    count += 1;
                } else if expected != given {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    fn call(kind: RestCallKind, parameter: &str) -> RestRoute<'_> {
        of_two(kind, parameter, "")
    }

    fn of_two<'a>(kind: RestCallKind, parameter: &'a str, second: &'a str) -> RestRoute<'a> {
        RestRoute::Call(RestCallRoute { kind, parameter: parameter.into(), second: second.into() })
    }

    #[test]
    fn every_path_has_its_methods_and_no_others() {
        let table = [
            ("/api/rooms", "GET, HEAD, POST, OPTIONS"),
            ("/api/rooms/r", "GET, HEAD, DELETE, OPTIONS"),
            ("/rooms", "POST, OPTIONS"),
            ("/rooms/r", "GET, HEAD, PATCH, OPTIONS"),
            ("/rooms/r/join", "POST, OPTIONS"),
            ("/rooms/r/leave", "POST, OPTIONS"),
            ("/connections", "POST, OPTIONS"),
            ("/connections/u", "GET, HEAD, DELETE, OPTIONS"),
            ("/presence/u", "GET, HEAD, PUT, OPTIONS"),
            ("/broadcast", "POST, OPTIONS"),
            ("/websocket/message/user", "POST, OPTIONS"),
            ("/websocket/message/users", "POST, OPTIONS"),
            ("/websocket/message/broadcast", "POST, OPTIONS"),
            ("/websocket/notification", "POST, OPTIONS"),
            ("/api/v1/publish", "POST, OPTIONS"),
            ("/api/v1/batch", "POST, OPTIONS"),
            ("/api/v1/rooms/r/messages", "GET, HEAD, OPTIONS"),
            ("/api/v1/rooms/r/messages/m", "PATCH, DELETE, OPTIONS"),
            ("/api/v1/rooms", "POST, GET, HEAD, OPTIONS"),
            ("/api/v1/rooms/r", "PUT, PATCH, GET, HEAD, DELETE, OPTIONS"),
            ("/api/v1/rooms/r/members", "GET, HEAD, OPTIONS"),
            ("/api/v1/rooms/r/messages/m/receipts", "GET, HEAD, OPTIONS"),
            ("/api/v1/rooms/r/unread/u", "GET, HEAD, OPTIONS"),
            ("/api/v1/rooms/r/participants", "POST, OPTIONS"),
            ("/api/v1/rooms/r/participants/u", "DELETE, OPTIONS"),
            ("/api/v1/rooms/r/join", "POST, OPTIONS"),
            ("/api/v1/rooms/r/leave", "POST, OPTIONS"),
            ("/api/v1/keys", "POST, GET, HEAD, OPTIONS"),
            ("/api/v1/keys/k", "DELETE, OPTIONS"),
            ("/api/v1/keys/k/rotate", "POST, OPTIONS"),
            ("/api/v1/log-filters", "GET, HEAD, POST, OPTIONS"),
            ("/api/v1/log-filters/f", "DELETE, OPTIONS"),
            ("/api/v1/trace", "POST, OPTIONS"),
            ("/api/v1/settings", "GET, HEAD, OPTIONS"),
            ("/dev/token", "POST, OPTIONS"),
            ("/websocket/users/connected", "GET, HEAD, OPTIONS"),
            ("/websocket/users/u/status", "GET, HEAD, OPTIONS"),
            ("/websocket/me/status", "GET, HEAD, OPTIONS"),
            ("/websocket/users/u/disconnect", "DELETE, OPTIONS"),
            ("/healthz", "GET, HEAD, OPTIONS"),
            ("/readyz", "GET, HEAD, OPTIONS"),
            ("/metrics", "GET, HEAD, OPTIONS"),
            ("/", "GET, HEAD, OPTIONS"),
            ("/call", "GET, HEAD, OPTIONS"),
            ("/assets/call.js", "GET, HEAD, OPTIONS"),
            ("/favicon.ico", "GET, HEAD, OPTIONS"),
            ("/socket.io/socket.io.js", "GET, HEAD, OPTIONS"),
        ];
        for (path, allow) in table {
            assert_eq!(allowed(path).as_deref(), Some(allow), "{path}");
            for method in METHODS.into_iter().filter(|method| *method != "OPTIONS") {
                let fault = RestRouteFault::MethodNotAllowed { allow: allow.to_owned() };
                match route(method, path) {
                    Ok(_) => assert!(allow.split(", ").any(|known| known == method), "{method} {path}"),
                    Err(error) => {
                        assert!(allow.split(", ").all(|known| known != method), "{method} {path}");
                        assert_eq!(error, fault, "{method} {path}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_row_leads_to_its_end() {
        let table = [
            ("GET", "/api/rooms", call(RestCallKind::ListMeetings, "")),
            ("POST", "/api/rooms", call(RestCallKind::CreateMeeting, "")),
            ("GET", "/api/rooms/abc123", call(RestCallKind::Meeting, "abc123")),
            ("DELETE", "/api/rooms/abc123", call(RestCallKind::CloseMeeting, "abc123")),
            ("POST", "/rooms", call(RestCallKind::CreateRoom, "")),
            ("GET", "/rooms/abc123", call(RestCallKind::Room, "abc123")),
            ("PATCH", "/rooms/abc123", call(RestCallKind::UpdateRoom, "abc123")),
            ("POST", "/rooms/abc123/join", call(RestCallKind::Join, "abc123")),
            ("POST", "/rooms/abc123/leave", call(RestCallKind::Leave, "abc123")),
            ("POST", "/connections", call(RestCallKind::Register, "")),
            ("GET", "/connections/ann", call(RestCallKind::Connections, "ann")),
            ("DELETE", "/connections/c", call(RestCallKind::Disconnect, "c")),
            ("GET", "/presence/ann", call(RestCallKind::Presence, "ann")),
            ("PUT", "/presence/ann", call(RestCallKind::SetPresence, "ann")),
            ("POST", "/broadcast", call(RestCallKind::Broadcast, "")),
            ("POST", "/websocket/message/user", call(RestCallKind::PushToUser, "")),
            ("POST", "/websocket/message/users", call(RestCallKind::PushToUsers, "")),
            ("POST", "/websocket/message/broadcast", call(RestCallKind::PushToAll, "")),
            ("POST", "/websocket/notification", call(RestCallKind::Notify, "")),
            ("POST", "/api/v1/publish", call(RestCallKind::Publish, "")),
            ("POST", "/api/v1/batch", call(RestCallKind::Batch, "")),
            ("POST", "/api/v1/socketio/emit", call(RestCallKind::AppEmit, "")),
            ("POST", "/api/v1/socketio/join", call(RestCallKind::AppJoin, "")),
            ("POST", "/api/v1/socketio/leave", call(RestCallKind::AppLeave, "")),
            ("POST", "/api/v1/socketio/disconnect", call(RestCallKind::AppDisconnect, "")),
            ("GET", "/api/v1/rooms/abc123/messages", call(RestCallKind::Messages, "abc123")),
            ("POST", "/api/v1/rooms", call(RestCallKind::MakeRoom, "")),
            ("GET", "/api/v1/rooms", call(RestCallKind::SearchRooms, "")),
            ("PUT", "/api/v1/rooms/abc123", call(RestCallKind::PutRoom, "abc123")),
            ("PATCH", "/api/v1/rooms/abc123", call(RestCallKind::PatchRoom, "abc123")),
            ("GET", "/api/v1/rooms/abc123", call(RestCallKind::ShowRoom, "abc123")),
            ("DELETE", "/api/v1/rooms/abc123", call(RestCallKind::EndRoom, "abc123")),
            ("GET", "/api/v1/rooms/r/members", call(RestCallKind::Members, "r")),
            ("GET", "/api/v1/rooms/r/unread/u", of_two(RestCallKind::Unread, "r", "u")),
            ("PATCH", "/api/v1/rooms/r/messages/m", of_two(RestCallKind::EditMessage, "r", "m")),
            ("POST", "/api/v1/rooms/r/messages/m/append", of_two(RestCallKind::AppendMessage, "r", "m")),
            ("DELETE", "/api/v1/rooms/r/messages/m", of_two(RestCallKind::DeleteMessage, "r", "m")),
            ("GET", "/api/v1/rooms/r/messages/m/receipts", of_two(RestCallKind::Receipts, "r", "m")),
            ("POST", "/api/v1/rooms/r/participants", call(RestCallKind::AddParticipants, "r")),
            ("DELETE", "/api/v1/rooms/r/participants/u", of_two(RestCallKind::RemoveParticipant, "r", "u")),
            ("POST", "/api/v1/rooms/r/join", call(RestCallKind::JoinUser, "r")),
            ("POST", "/api/v1/rooms/r/leave", call(RestCallKind::LeaveUser, "r")),
            ("POST", "/api/v1/keys", call(RestCallKind::MakeKey, "")),
            ("GET", "/api/v1/keys", call(RestCallKind::Keys, "")),
            ("POST", "/api/v1/keys/k/rotate", call(RestCallKind::RotateKey, "k")),
            ("DELETE", "/api/v1/keys/k", call(RestCallKind::EndKey, "k")),
            ("POST", "/api/v1/trace", call(RestCallKind::Trace, "")),
            ("GET", "/api/v1/settings", call(RestCallKind::Settings, "")),
            ("POST", "/dev/token", call(RestCallKind::DevToken, "")),
            ("GET", "/api/v1/log-filters", call(RestCallKind::LogFilters, "")),
            ("POST", "/api/v1/log-filters", call(RestCallKind::SetLogFilter, "")),
            ("DELETE", "/api/v1/log-filters/abc123", call(RestCallKind::RemoveLogFilter, "abc123")),
            ("GET", "/api/v1/webhooks/dead-letters", call(RestCallKind::DeadLetters, "")),
            ("POST", "/api/v1/webhooks/app/replay", call(RestCallKind::ReplayWebhook, "app")),
            ("GET", "/websocket/users/connected", call(RestCallKind::ConnectedUsers, "")),
            ("GET", "/websocket/users/ann/status", call(RestCallKind::UserStatus, "ann")),
            ("GET", "/websocket/me/status", call(RestCallKind::OwnStatus, "")),
            ("DELETE", "/websocket/users/ann/disconnect", call(RestCallKind::DisconnectUser, "ann")),
            ("POST", "/users/ann/block", call(RestCallKind::BlockUser, "ann")),
            ("DELETE", "/users/ann/block", call(RestCallKind::UnblockUser, "ann")),
            ("GET", "/users/blocked", call(RestCallKind::BlockedUsers, "")),
            ("POST", "/tokens/revoke", call(RestCallKind::RevokeTokens, "")),
            ("GET", "/tokens/revoked", call(RestCallKind::RevokedTokens, "")),
            ("DELETE", "/rooms/r1/participants/ann", of_two(RestCallKind::RemoveUser, "r1", "ann")),
            ("PUT", "/rooms/r1/lock", call(RestCallKind::Lock, "r1")),
            ("PUT", "/rooms/r1/bans/ann", of_two(RestCallKind::Ban, "r1", "ann")),
            ("DELETE", "/rooms/r1/bans/ann", of_two(RestCallKind::Unban, "r1", "ann")),
            ("GET", "/rooms/r1/bans", call(RestCallKind::Bans, "r1")),
            ("POST", "/addresses/blocked", call(RestCallKind::BlockAddress, "")),
            ("GET", "/addresses/blocked", call(RestCallKind::BlockedAddresses, "")),
            ("DELETE", "/addresses/blocked/192.0.2.0%2F24", call(RestCallKind::UnblockAddress, "192.0.2.0/24")),
            ("GET", "/healthz", RestRoute::Health),
            ("GET", "/readyz", RestRoute::Ready),
            ("GET", "/metrics", RestRoute::Metrics),
            ("GET", "/", RestRoute::Landing),
            ("GET", "/call", RestRoute::CallPage),
            ("GET", "/dashboard", RestRoute::Dashboard("dashboard.html".into())),
            ("GET", "/dashboard/dashboard.js", RestRoute::Dashboard("dashboard.js".into())),
            ("GET", "/websocket-client.html", RestRoute::TestFile),
            ("GET", "/websocket-client.js", RestRoute::TestFile),
            ("GET", "/testing-websocket.http", RestRoute::TestFile),
            ("GET", "/meeting/abc%20123", RestRoute::MeetingLink("abc 123".into())),
            ("GET", "/assets/call.js", RestRoute::Asset("call.js".into())),
            ("GET", "/favicon.ico", RestRoute::Asset("favicon.ico".into())),
            ("GET", "/robots.txt", RestRoute::Asset("robots.txt".into())),
            ("GET", "/openapi.json", RestRoute::Asset("openapi.json".into())),
            ("GET", "/asyncapi.json", RestRoute::Asset("asyncapi.json".into())),
            ("GET", "/docs", RestRoute::Asset("docs.html".into())),
            ("GET", "/switchboard.js", RestRoute::Asset("switchboard.js".into())),
            ("GET", "/switchboard.mjs", RestRoute::Asset("switchboard.mjs".into())),
            ("GET", "/switchboard-fallback.mjs", RestRoute::Asset("switchboard-fallback.mjs".into())),
            ("GET", "/console", RestRoute::Asset("console.html".into())),
            ("GET", "/switchboard.d.ts", RestRoute::Asset("switchboard.d.ts".into())),
            ("GET", "/switchboard-react.mjs", RestRoute::Asset("switchboard-react.mjs".into())),
            ("GET", "/socket.io/socket.io.js", RestRoute::ClientBundle("socket.io.js".into())),
        ];
        assert_eq!(table.len(), TABLE.len());
        for (method, path, end) in table {
            if method == "GET" {
                assert_eq!(route("HEAD", path), Ok(end.clone()), "HEAD {path}");
            }
            assert_eq!(route(method, path), Ok(end), "{method} {path}");
        }
    }

    #[test]
    fn other_paths_lead_nowhere_whatever_the_method() {
        let long = format!("/rooms/{}", "r".repeat(129));
        let paths = [
            "",
            "*",
            "//",
            "/rooms/",
            "/rooms//join",
            "/rooms/r/",
            "/rooms/r/dance",
            "/rooms/r/join/",
            "/healthz/",
            "/call/",
            "/assets/",
            "/assets/a/b",
            "/socket.io/",
            "/socket.io/a/b",
            "/api",
            "/api/rooms/",
            "/api/rooms/r/join",
            "/Rooms",
            "rooms",
            "/ws",
            "/rooms/%",
            "/rooms/%4",
            "/rooms/%zz",
            "/rooms/%+1",
            "/rooms/%ff",
            "/rooms/%0a",
            "/rooms/a%00",
            &long,
        ];
        for path in paths {
            assert_eq!(allowed(path), None, "{path}");
            for method in METHODS {
                assert_eq!(route(method, path), Err(RestRouteFault::NotFound), "{method} {path}");
            }
        }
    }

    #[test]
    fn methods_are_told_by_their_case() {
        assert!(matches!(route("get", "/"), Err(RestRouteFault::MethodNotAllowed { .. })));
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        let room = |path| match route("GET", path) {
            Ok(RestRoute::Call(RestCallRoute { kind: RestCallKind::Room, parameter, .. })) => Some(parameter),
            _ => None,
        };
        assert_eq!(room("/rooms/a%2Fb%20c+d").as_deref(), Some("a/b c+d"));
        assert_eq!(room("/rooms/r%C3%a4ume").as_deref(), Some("räume"));
        assert_eq!(room("/r%6foms/..").as_deref(), Some(".."));
        assert!(matches!(room("/rooms/plain"), Some(Cow::Borrowed("plain"))));
        let longest = format!("/rooms/{}", "%72".repeat(128));
        assert_eq!(room(&longest).as_deref(), Some("r".repeat(128).as_str()));
    }

    proptest! {
        #[test]
        fn any_name_comes_through_escaped(name in "\\PC{1,32}") {
            prop_assume!(is_name(&name));
            let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let path = format!("/rooms/{escaped}/join");
            prop_assert_eq!(route("POST", &path), Ok(call(RestCallKind::Join, &name)));
        }

        #[test]
        fn no_path_is_too_strange(method in ".*", path in "(/(rooms|api|[%a-f0-9:]{0,6}|.{0,8})){0,4}") {
            let known = allowed(&path).is_some();
            prop_assert_eq!(known, route(&method, &path) != Err(RestRouteFault::NotFound));
        }
    }
}
