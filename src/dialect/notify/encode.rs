//! From events to text.

use crate::base::time::Now;
use crate::codec::json::Object;
use crate::dialect::events::{self, emit_object, instant, object_of};
use crate::domain::command::Opaque;
use crate::domain::event::Event;

pub use crate::dialect::events::{error, granted, heartbeat, refused, renewed};

/// Appends an event. Returns false if the dialect has no equivalent: it has only messages to users and signaling.
pub fn encode(out: &mut Vec<u8>, event: &Event, now: Now) -> bool {
    match event {
        Event::Direct(direct) => events::direct(out, direct),
        Event::Signal(signaled) => events::signal(out, signaled, now),
        Event::Mode { room, change } => events::mode_changed(out, room, *change, now),
        Event::Joined(_)
        | Event::Left { .. }
        | Event::PeerJoined { .. }
        | Event::PeerLeft { .. }
        | Event::Stats { .. }
        | Event::Media { .. }
        | Event::Message(_)
        | Event::Typing { .. }
        | Event::Receipt { .. }
        | Event::StreamCancelled { .. }
        | Event::Marked { .. }
        | Event::Online { .. }
        | Event::Info(_)
        | Event::Updated(_)
        | Event::Presence { .. }
        | Event::Closed { .. } => return false,
    }
    true
}

/// `authenticated`: the first event of a connection, and the answer to a token renewal.
pub fn authenticated(out: &mut Vec<u8>, user: &str, socket: &str) {
    emit_object(out, "authenticated", |object| {
        object.string("userId", user).string("socketId", socket);
    });
}

/// `pong`: the answer to a ping, with its value.
pub fn pong(out: &mut Vec<u8>, data: Option<Opaque<'_>>, now: Now) {
    emit_object(out, "pong", |object| answer(object, data, now));
}

/// The ack of a ping.
pub fn ponged(out: &mut Vec<u8>, data: Option<Opaque<'_>>, now: Now) {
    object_of(out, |object| answer(object, data, now));
}

fn answer(object: &mut Object<'_>, data: Option<Opaque<'_>>, now: Now) {
    instant(object, "timestamp", now.wall);
    object.optional_raw("data", data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::events::samples::{self, NOW, written};
    use crate::domain::reject::Reject;

    fn told(event: &Event) -> Option<String> {
        samples::told(encode, event)
    }

    #[test]
    fn messages_look_as_they_were_pushed() {
        let notification = r#"{"title":"New Message","body":"You have received a new message"}"#;
        let expected = format!(
            r#"["message",{{"type":"notification","data":{notification},"timestamp":"2025-01-09T21:30:00.000Z"}}]"#
        );
        assert_eq!(told(&samples::direct(Some("notification"), notification)), Some(expected));
        let expected = r#"["message",{"type":"text","data":"hi","timestamp":"2025-01-09T21:30:00.000Z"}]"#;
        assert_eq!(told(&samples::direct(None, r#""hi""#)).as_deref(), Some(expected));
    }

    #[test]
    fn of_rooms_only_signaling_is_told() {
        let offer = r#"["offer",{"type":"offer","roomId":"chat-uuid","fromPeerId":"a","toPeerId":"b","offer":{ },"timestamp":1736458200000}]"#;
        for event in samples::all() {
            match event {
                Event::Signal(_) => assert_eq!(told(&event).as_deref(), Some(offer)),
                Event::Mode { .. } => assert_eq!(told(&event).as_deref(), Some(samples::MODE_CHANGED)),
                Event::Direct(_) => {}
                other => assert_eq!(told(&other), None, "{other:?}"),
            }
        }
    }

    #[test]
    fn the_rest_is_said_to_the_letter() {
        let socket = samples::connection().to_string();
        assert_eq!(
            written(|out| authenticated(out, "user123", &socket)),
            format!(r#"["authenticated",{{"userId":"user123","socketId":"{socket}"}}]"#)
        );
        assert_eq!(written(|out| pong(out, None, NOW)), r#"["pong",{"timestamp":"2025-01-09T21:30:00.000Z"}]"#);
        assert_eq!(
            written(|out| pong(out, Some("[1]"), NOW)),
            r#"["pong",{"timestamp":"2025-01-09T21:30:00.000Z","data":[1]}]"#
        );
        assert_eq!(written(|out| ponged(out, Some("1"), NOW)), r#"{"timestamp":"2025-01-09T21:30:00.000Z","data":1}"#);
        assert_eq!(
            written(|out| error(out, &Reject::not_in_room())),
            r#"["error",{"code":"NOT_IN_ROOM","message":"You are not in this room"}]"#
        );
        assert_eq!(
            written(|out| refused(out, &Reject::not_in_room())),
            r#"{"success":false,"message":"You are not in this room","code":"NOT_IN_ROOM"}"#
        );
    }
}
