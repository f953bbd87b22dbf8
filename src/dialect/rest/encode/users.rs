//! Answers to the calls about users: connections, presence and messages.

use super::{Object, Reply, RestCall, json, message, rfc3339};
use crate::domain::connection::ConnectionView;
use crate::domain::op::{PresenceView, PushResult, UsersView};

/// Writes the answer to a call about users. Returns its status, or `None` for all other calls.
pub(super) fn encode(out: &mut Vec<u8>, call: &RestCall, reply: &Reply) -> Option<u16> {
    match (call, reply) {
        (RestCall::Register { socket, .. }, Reply::Registered(connection)) => {
            match connection {
                Some(connection) => registered(out, connection.text().as_str(), "connected"),
                None => registered(out, socket, "pending"),
            }
            return Some(201);
        }
        (RestCall::Disconnect { .. }, Reply::Closed(_) | Reply::Done) => message(out, "Connection closed"),
        (RestCall::Connections { .. }, Reply::Described(list)) => connections(out, list),
        (RestCall::Presence { .. }, Reply::Presence(view)) => presence(out, view),
        (RestCall::SetPresence { user, status, .. }, Reply::Done) => {
            Object::begin(out).string("userId", user).plain("status", status.as_str()).end();
        }
        (RestCall::Broadcast(_), Reply::Pushed(_)) => message(out, "Broadcast sent"),
        (RestCall::PushToUser { .. }, Reply::Pushed(to)) => pushed(out, "Message sent to user", to),
        (RestCall::PushToUsers { .. }, Reply::Pushed(to)) => pushed(out, "Message sent to users", to),
        (RestCall::PushToAll(_), Reply::Pushed(to)) => pushed(out, "Message broadcast to all users", to),
        (RestCall::Notify { .. }, Reply::Pushed(to)) => pushed(out, "Notification sent", to),
        (RestCall::ConnectedUsers(_), Reply::Users(view)) => connected_users(out, view),
        (RestCall::UserStatus { .. } | RestCall::OwnStatus, Reply::Presence(view)) => status(out, view),
        (RestCall::DisconnectUser { .. }, Reply::Closed(count)) => {
            let mut object = Object::begin(out);
            object.bool("success", true).string("message", "User disconnected");
            object.number("disconnected", *count as u64).end();
        }
        _ => return None,
    }
    Some(200)
}

fn registered(out: &mut Vec<u8>, connection: &str, status: &str) {
    Object::begin(out).string("connectionId", connection).plain("status", status).end();
}

fn connections(out: &mut Vec<u8>, list: &[ConnectionView]) {
    let mut object = Object::begin(out);
    object.list("connections", list, |out, view| {
        let mut object = Object::begin(out);
        object.plain("connectionId", view.shown.text().as_str());
        object.plain("transport", view.transport).plain("dialect", view.dialect);
        object.string("connectedAt", &rfc3339(view.connected_at)).string("lastSeen", &rfc3339(view.last_seen));
        object.list("rooms", &view.rooms, |out, room| json::string(out, room));
        object.raw("deviceInfo", view.device.as_deref().unwrap_or("null"));
        object.string("ipAddress", &view.address.to_string());
        match &view.agent {
            Some(agent) => object.string("userAgent", agent),
            None => object.raw("userAgent", "null"),
        };
        object.end();
    });
    object.end();
}

fn presence(out: &mut Vec<u8>, view: &PresenceView) {
    let mut object = Object::begin(out);
    object.string("userId", &view.user).plain("status", view.status.as_str());
    last_seen(&mut object, view);
    object.number("connections", view.connections as u64).end();
}

fn pushed(out: &mut Vec<u8>, text: &str, to: &PushResult) {
    let mut object = Object::begin(out);
    object.bool("success", true).string("message", text).number("delivered", to.reached as u64);
    object.list("offline", &to.offline, |out, user| json::string(out, user)).end();
}

fn connected_users(out: &mut Vec<u8>, view: &UsersView) {
    let mut object = Object::begin(out);
    object.bool("success", true);
    object.list("users", &view.users, |out, view| {
        let mut object = Object::begin(out);
        object.string("userId", &view.user).plain("status", view.status.as_str());
        object.number("connections", view.connections as u64).end();
    });
    object.number("total", view.total as u64);
    // Where the next page begins.
    if let Some(last) = view.users.last().filter(|_| view.is_more) {
        object.string("next", &last.user);
    }
    object.end();
}

fn status(out: &mut Vec<u8>, view: &PresenceView) {
    let mut object = Object::begin(out);
    object.bool("success", true).string("userId", &view.user);
    object.bool("connected", view.connections > 0).plain("status", view.status.as_str());
    object.number("connections", view.connections as u64);
    last_seen(&mut object, view);
    object.end();
}

fn last_seen(object: &mut Object<'_>, view: &PresenceView) {
    match view.last_seen {
        Some(at) => object.string("lastSeen", &rfc3339(at)),
        None => object.raw("lastSeen", "null"),
    };
}

#[cfg(test)]
mod tests {
    use super::super::super::encode::{Site, encode};
    use super::*;
    use crate::base::Name;
    use crate::base::ids::{ConnectionId, ConnectionPlace};
    use crate::base::time::Now;
    use crate::domain::command::Status;
    use crate::domain::event::Content;
    use crate::domain::op::UsersPage;

    const NEW_YEAR_2024: u64 = 1_704_067_200_000;

    fn answer(call: &RestCall, reply: &Reply) -> (u16, String) {
        let site = Site { client_url: None, origin: "http://127.0.0.1:8090" };
        let answer = encode(call, reply, &site, None, Now::default());
        (answer.status, String::from_utf8(answer.body).expect("it is text"))
    }

    fn id() -> ConnectionId {
        ConnectionId::new(ConnectionPlace { node: 0, shard: 1, slot: 2 }, [7; 12])
    }

    fn ann() -> Name {
        "ann".into()
    }

    fn content() -> Content {
        Content { body: "1".into(), event: None, kind: None, reply_to: None, attachment: None, metadata: None }
    }

    fn view(status: Status, last_seen: Option<u64>, connections: usize) -> PresenceView {
        PresenceView { status, last_seen, connections, ..PresenceView::nobody(ann()) }
    }

    #[test]
    fn connections_are_answered_to_the_letter() {
        let register = RestCall::Register { user: ann(), socket: "tab \"1\"".into(), device: None };
        let live = format!(r#"{{"connectionId":"{}","status":"connected"}}"#, id());
        assert_eq!(answer(&register, &Reply::Registered(Some(id()))), (201, live));
        let pending = r#"{"connectionId":"tab \"1\"","status":"pending"}"#.to_owned();
        assert_eq!(answer(&register, &Reply::Registered(None)), (201, pending));
        let closed = (200, r#"{"message":"Connection closed"}"#.to_owned());
        assert_eq!(answer(&RestCall::Disconnect { socket: "s".into() }, &Reply::Closed(1)), closed);
        let call = RestCall::Connections { user: ann() };
        let one = ConnectionView {
            connection: id(),
            shown: id(),
            transport: "websocket",
            dialect: "raw",
            connected_at: NEW_YEAR_2024,
            last_seen: NEW_YEAR_2024 + 1,
            rooms: vec!["a".into(), "b\"".into()],
            device: Some(r#"{"os":"x"}"#.into()),
            address: "2001:db8::1".parse().expect("an address"),
            agent: Some("curl/8".into()),
        };
        let other = ConnectionView { rooms: Vec::new(), device: None, agent: None, ..one.clone() };
        let expected = format!(
            concat!(
                r#"{{"connections":[{{"connectionId":"{id}","transport":"websocket","dialect":"raw","#,
                r#""connectedAt":"2024-01-01T00:00:00.000Z","lastSeen":"2024-01-01T00:00:00.001Z","#,
                r#""rooms":["a","b\""],"deviceInfo":{{"os":"x"}},"ipAddress":"2001:db8::1","userAgent":"curl/8"}},"#,
                r#"{{"connectionId":"{id}","transport":"websocket","dialect":"raw","#,
                r#""connectedAt":"2024-01-01T00:00:00.000Z","lastSeen":"2024-01-01T00:00:00.001Z","#,
                r#""rooms":[],"deviceInfo":null,"ipAddress":"2001:db8::1","userAgent":null}}]}}"#
            ),
            id = id()
        );
        assert_eq!(answer(&call, &Reply::Described(vec![one, other])), (200, expected));
        assert_eq!(answer(&call, &Reply::Described(Vec::new())), (200, r#"{"connections":[]}"#.to_owned()));
    }

    #[test]
    fn presence_is_answered_to_the_letter() {
        let call = RestCall::Presence { user: ann() };
        let expected = r#"{"userId":"ann","status":"away","lastSeen":"2024-01-01T00:00:00.000Z","connections":2}"#;
        let reply = Reply::Presence(Box::new(view(Status::Away, Some(NEW_YEAR_2024), 2)));
        assert_eq!(answer(&call, &reply), (200, expected.to_owned()));
        let call = RestCall::SetPresence { user: ann(), status: Status::Busy, last_seen: None };
        assert_eq!(answer(&call, &Reply::Done), (200, r#"{"userId":"ann","status":"busy"}"#.to_owned()));
    }

    #[test]
    fn pushes_say_whom_they_reached() {
        let reply = Reply::Pushed(PushResult { reached: 3, offline: vec!["bob".into(), "e\"e".into()] });
        let expected = |text: &str| {
            (200, format!(r#"{{"success":true,"message":"{text}","delivered":3,"offline":["bob","e\"e"]}}"#))
        };
        let table = [
            (RestCall::PushToUser { user: ann(), content: content() }, "Message sent to user"),
            (RestCall::PushToUsers { users: vec![ann()], content: content() }, "Message sent to users"),
            (RestCall::PushToAll(content()), "Message broadcast to all users"),
            (RestCall::Notify { user: ann(), content: content() }, "Notification sent"),
        ];
        for (call, text) in table {
            assert_eq!(answer(&call, &reply), expected(text));
        }
        let expected = (200, r#"{"message":"Broadcast sent"}"#.to_owned());
        assert_eq!(answer(&RestCall::Broadcast(content()), &reply), expected);
    }

    #[test]
    fn users_are_shown_with_their_connections() {
        let call = RestCall::ConnectedUsers(UsersPage { after: None, limit: 1 });
        let users = vec![view(Status::Online, None, 2)];
        let mut page = UsersView { total: 3, users, is_more: true };
        let user = r#"{"userId":"ann","status":"online","connections":2}"#;
        let expected = format!(r#"{{"success":true,"users":[{user}],"total":3,"next":"ann"}}"#);
        assert_eq!(answer(&call, &Reply::Users(page.clone())), (200, expected));
        page.is_more = false;
        let expected = format!(r#"{{"success":true,"users":[{user}],"total":3}}"#);
        assert_eq!(answer(&call, &Reply::Users(page)), (200, expected));
        let shown = answer(
            &RestCall::UserStatus { user: ann() },
            &Reply::Presence(Box::new(view(Status::Busy, Some(NEW_YEAR_2024), 1))),
        );
        let expected = concat!(
            r#"{"success":true,"userId":"ann","connected":true,"status":"busy","connections":1,"#,
            r#""lastSeen":"2024-01-01T00:00:00.000Z"}"#
        );
        assert_eq!(shown, (200, expected.to_owned()));
        let shown = answer(&RestCall::OwnStatus, &Reply::Presence(Box::new(view(Status::Offline, None, 0))));
        let expected =
            r#"{"success":true,"userId":"ann","connected":false,"status":"offline","connections":0,"lastSeen":null}"#;
        assert_eq!(shown, (200, expected.to_owned()));
        let shown = answer(&RestCall::DisconnectUser { user: ann() }, &Reply::Closed(2));
        assert_eq!(shown, (200, r#"{"success":true,"message":"User disconnected","disconnected":2}"#.to_owned()));
    }
}
