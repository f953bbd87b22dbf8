//! From replies to responses.
//!
//! Each shape is that of its source document, field for field and in order. A room has the same shape however it was
//! created: absent settings are filled in here, for display only.

mod admin;
mod users;

use super::refusal::refuse;
use super::{RestCall, apps, backend, manage};
use crate::base::limits;
use crate::base::time::{Now, rfc3339};
use crate::codec::json::{self, Object};
use crate::domain::event::PeerView;
use crate::domain::op::{Reply, RoomView, RoomsView};
use crate::domain::reject::{Code, Reject};

/// A response: always `application/json; charset=utf-8`, except 204, without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestAnswer {
    /// The HTTP status.
    pub status: u16,
    /// JSON, or empty.
    pub body: Vec<u8>,
}

/// Where users open the links in answers.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The address of the web client, if one is configured (`CLIENT_URL`).
    pub client_url: Option<&'a str>,
    /// The request's own origin, as `scheme://host[:port]`. It replaces the web client, because the server redirects
    /// `/meeting/:roomId` to its own call page.
    pub origin: &'a str,
}

/// The server as its admins see it. Its uptime is the present time.
#[derive(Clone, Copy, Debug)]
pub struct ServerStats<'a> {
    /// Clients connected, on all shards.
    pub connections: u64,
    /// The number of shards.
    pub shards: u64,
    /// The server's version.
    pub version: &'a str,
}

/// The answer to a granted call. `stats` is part of the list of rooms.
pub fn encode(
    call: &RestCall,
    reply: &Reply,
    site: &Site<'_>,
    stats: Option<&ServerStats<'_>>,
    now: Now,
) -> RestAnswer {
    let mut body = Vec::with_capacity(256);
    let out = &mut body;
    let status = match (call, reply) {
        (RestCall::CreateMeeting(_, secret), Reply::Room(view)) => {
            meeting_made(out, view, secret.as_deref(), site);
            201
        }
        (RestCall::ListMeetings, Reply::Rooms(view)) => {
            meetings(out, view, stats, now);
            200
        }
        (RestCall::Meeting { .. }, Reply::Room(view)) => {
            meeting(out, view, site);
            200
        }
        (RestCall::CloseMeeting { .. }, Reply::Done) => 204,
        (RestCall::CreateRoom(..), Reply::Room(view)) => {
            room(out, view);
            201
        }
        (RestCall::Room { .. } | RestCall::UpdateRoom { .. }, Reply::Room(view)) => {
            room(out, view);
            200
        }
        (RestCall::Join { is_connected, .. }, Reply::Done) => {
            message(out, if *is_connected { "Joined room" } else { NO_CONNECTION_JOINED });
            200
        }
        (RestCall::Leave { .. }, Reply::Done) => {
            message(out, "Left room");
            200
        }
        (RestCall::Manage(managed), reply) => match manage::encode(out, managed, reply) {
            Some(status) => status,
            None => return refuse(&Reject::new(Code::Internal, UNFIT)),
        },
        (call, reply) if backend::encode(out, call, reply) || apps::encode(out, call, reply) => 200,
        (call, reply) => match users::encode(out, call, reply).or_else(|| admin::encode(out, call, reply)) {
            Some(status) => status,
            None => return refuse(&Reject::new(Code::Internal, UNFIT)),
        },
    };
    debug_assert_eq!(status == 204, body.is_empty(), "invariant: only status 204 has no body");
    RestAnswer { status, body }
}

/// The reply to a call is of another kind than the call.
const UNFIT: &str = "The call was answered with something else";

/// The message for a caller without an open connection, who became a participant at most.
const NO_CONNECTION_JOINED: &str = "You may join the room, but no connection of yours is open to be put into it";

fn meeting_made(out: &mut Vec<u8>, view: &RoomView, secret: Option<&str>, site: &Site<'_>) {
    let mut object = Object::begin(out);
    object.string("roomId", &view.room);
    object.string("joinLink", &join_link(site, &view.room));
    terms(&mut object, view);
    if let Some(secret) = secret {
        object.string("hostSecret", secret);
    }
    object.end();
}

fn meeting(out: &mut Vec<u8>, view: &RoomView, site: &Site<'_>) {
    let mut object = Object::begin(out);
    object.string("roomId", &view.room);
    object.value("meetingInfo", |out| {
        let mut object = Object::begin(out);
        terms(&mut object, view);
        object.string("joinLink", &join_link(site, &view.room));
        object.string("name", name(view)).bool("isPrivate", view.profile.is_private).end();
    });
    object.string("connectionMode", view.mode.as_str()).number("participantCount", view.participant_count as u64);
    object.list("peers", &view.peers, peer).end();
}

fn meetings(out: &mut Vec<u8>, view: &RoomsView, stats: Option<&ServerStats<'_>>, now: Now) {
    let mut object = Object::begin(out);
    object.number("totalRooms", view.total_rooms as u64).number("totalPeers", view.total_peers as u64);
    object.list("rooms", view.rooms.iter().take(limits::ROOMS_LISTED), |out, view| {
        let mut object = Object::begin(out);
        object.string("roomId", &view.room).string("name", name(view)).bool("isPrivate", view.profile.is_private);
        object.string("host", &view.host).number("participantCount", view.participant_count as u64);
        terms(&mut object, view);
        object.string("lastActivity", &rfc3339(view.last_activity)).end();
    });
    object.value("serverStats", |out| {
        let mut object = Object::begin(out);
        object.number("uptimeSeconds", now.mono / 1000);
        if let Some(stats) = stats {
            object.number("connections", stats.connections).number("shards", stats.shards);
            object.string("version", stats.version);
        }
        object.end();
    });
    object.end();
}

fn room(out: &mut Vec<u8>, view: &RoomView) {
    let mut object = Object::begin(out);
    object.value("room", |out| {
        let mut object = Object::begin(out);
        room_fields(&mut object, view);
        object.end();
    });
    object.end();
}

/// A room as backends see it.
pub(super) fn managed_room(out: &mut Vec<u8>, view: &RoomView) {
    let mut object = Object::begin(out);
    object.value("room", |out| {
        let mut object = Object::begin(out);
        room_fields(&mut object, view);
        object.number("maxParticipants", view.profile.max_participants as u64).bool("locked", view.is_locked).end();
    });
    object.end();
}

/// The fields of a room in a list of backends: without its participants, of which there can be many.
pub(super) fn listed_fields(object: &mut Object<'_>, view: &RoomView) {
    labels(object, view);
    state(object, view);
    object.number("maxParticipants", view.profile.max_participants as u64).bool("locked", view.is_locked);
}

fn room_fields(object: &mut Object<'_>, view: &RoomView) {
    labels(object, view);
    object.list("participants", &view.profile.participants, |out, user| json::string(out, user));
    state(object, view);
}

fn labels(object: &mut Object<'_>, view: &RoomView) {
    object.string("roomId", &view.room).string("id", &view.room).string("name", name(view));
    object.string("type", view.profile.kind.as_deref().unwrap_or("group"));
    object.optional("description", view.profile.description.as_deref());
    object.optional_raw("metadata", view.profile.metadata.as_deref());
}

fn state(object: &mut Object<'_>, view: &RoomView) {
    object.bool("isPrivate", view.profile.is_private).string("host", &view.host);
    object.string("createdAt", &rfc3339(view.created_at)).string("lastActivity", &rfc3339(view.last_activity));
    // A room that has ended is not found, so each room shown is active.
    object.number("participantCount", view.participant_count as u64).bool("isActive", true);
}

pub(super) fn message(out: &mut Vec<u8>, text: &str) {
    Object::begin(out).string("message", text).end();
}

/// The settings of a meeting. The user id stands in for a host's absent peer id; 0 participants is unlimited.
fn terms(object: &mut Object<'_>, view: &RoomView) {
    let profile = &view.profile;
    object.string("hostPeerId", profile.host_peer.as_ref().unwrap_or(&view.host));
    object.number("maxParticipants", profile.max_participants as u64);
    object.string("encryption", profile.encryption.as_deref().unwrap_or("none"));
    object.string("createdAt", &rfc3339(view.created_at));
}

/// The room's name, or its id if it has none.
fn name(view: &RoomView) -> &str {
    view.profile.name.as_deref().unwrap_or(&view.room)
}

fn peer(out: &mut Vec<u8>, peer: &PeerView) {
    let mut object = Object::begin(out);
    peer.name.with(|name| {
        object.string("peerId", name);
    });
    object.string("displayName", peer.display_name());
    object.optional_raw("data", peer.about.data());
    object.value("mediaState", |out| {
        let media = peer.media;
        Object::begin(out).bool("audio", media.audio).bool("video", media.video).bool("screen", media.screen).end();
    });
    object.end();
}

/// `CLIENT_URL/meeting/roomId`.
fn join_link(site: &Site<'_>, room: &str) -> String {
    let client = site.client_url.unwrap_or(site.origin).trim_end_matches('/');
    format!("{client}/meeting/{}", escaped(room))
}

/// The path of the server's own page that calls into `room`.
pub fn call_page(room: &str) -> String {
    format!("/call?room={}", escaped(room))
}

/// A text with all but unreserved characters escaped (RFC 3986 §2.3), fit for a path segment and a query.
pub fn escaped(text: &str) -> String {
    let mut link = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            link.push(char::from(byte));
        } else {
            link.push_str(&format!("%{byte:02X}"));
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Name;
    use crate::base::ids::{ConnectionId, ConnectionPlace};
    use crate::domain::about::About;
    use crate::domain::access::{Identity, Roles};
    use crate::domain::command::MediaState;
    use crate::domain::connection_mode::ConnectionMode;
    use crate::domain::event::PeerName;
    use crate::domain::op::Profile;

    const NEW_YEAR_2024: u64 = 1_704_067_200_000;
    const SITE: Site<'_> = Site { client_url: Some("http://localhost:3000"), origin: "http://127.0.0.1:8090" };

    fn view(profile: Profile) -> RoomView {
        RoomView {
            is_made: true,
            is_locked: false,
            room: "abc123".into(),
            profile,
            host: "ann".into(),
            created_at: NEW_YEAR_2024,
            last_activity: NEW_YEAR_2024 + 1,
            mode: ConnectionMode::P2p,
            participant_count: 2,
            peers: Vec::new(),
        }
    }

    fn seed_meeting() -> Profile {
        let host_peer = Some("host-unique-id".into());
        Profile { host_peer, max_participants: 10, encryption: Some("none".into()), ..Profile::default() }
    }

    fn answer(call: &RestCall, reply: &Reply) -> (u16, String) {
        let stats = ServerStats { connections: 3, shards: 2, version: "0.1.0" };
        let answer = encode(call, reply, &SITE, Some(&stats), Now { mono: 61_999, wall: NEW_YEAR_2024 });
        (answer.status, String::from_utf8(answer.body).expect("it is text"))
    }

    /// A JSON text spread over several lines, as the encoder writes it.
    fn one_line(spread: &str) -> String {
        spread.lines().map(str::trim).collect()
    }

    fn room_reply(profile: Profile) -> Reply {
        Reply::Room(Box::new(view(profile)))
    }

    #[test]
    fn a_meeting_made_is_answered_to_the_letter() {
        let expected = one_line(
            r#"{
            "roomId":"abc123",
            "joinLink":"http://localhost:3000/meeting/abc123",
            "hostPeerId":"host-unique-id",
            "maxParticipants":10,
            "encryption":"none",
            "createdAt":"2024-01-01T00:00:00.000Z"
            }"#,
        );
        assert_eq!(
            answer(&RestCall::CreateMeeting(Box::default(), None), &room_reply(seed_meeting())),
            (201, expected)
        );
    }

    #[test]
    fn what_a_maker_left_unsaid_is_filled_in() {
        let (status, body) = answer(&RestCall::CreateMeeting(Box::default(), None), &room_reply(Profile::default()));
        assert_eq!(status, 201);
        assert!(body.contains(r#""hostPeerId":"ann","maxParticipants":0,"encryption":"none""#), "{body}");
        let (_, body) = answer(&RestCall::CreateRoom(Box::default()), &room_reply(Profile::default()));
        assert!(body.contains(r#""name":"abc123","type":"group","participants":[],"isPrivate":false"#), "{body}");
    }

    #[test]
    fn a_meeting_is_shown_to_the_letter() {
        let identity = Identity::new("jane", None, None, Roles::default());
        let connection = ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot: 1 }, [0; 12]);
        let peer = |name, display_name: Option<&str>| PeerView {
            name,
            about: About::new(display_name, None, false),
            identity: identity.clone(),
            media: MediaState { audio: true, video: true, ..MediaState::default() },
        };
        let mut view = view(seed_meeting());
        view.peers = vec![
            peer(PeerName::Chosen("other-peer-id".into()), Some("Jane Smith")),
            peer(PeerName::Own(connection), None),
        ];
        let own = one_line(&format!(
            r#"{{"roomId":"abc123",
            "meetingInfo":{{"hostPeerId":"host-unique-id","maxParticipants":10,"encryption":"none",
            "createdAt":"2024-01-01T00:00:00.000Z","joinLink":"http://localhost:3000/meeting/abc123",
            "name":"abc123","isPrivate":false}},
            "connectionMode":"p2p","participantCount":2,
            "peers":[{{"peerId":"other-peer-id","displayName":"Jane Smith",
            "mediaState":{{"audio":true,"video":true,"screen":false}}}},
            {{"peerId":"{connection}","displayName":"jane",
            "mediaState":{{"audio":true,"video":true,"screen":false}}}}]}}"#
        ));
        let call = RestCall::Meeting { room: "abc123".into() };
        assert_eq!(answer(&call, &Reply::Room(Box::new(view))), (200, own));
    }

    #[test]
    fn all_meetings_are_listed_to_the_letter() {
        let rooms = RoomsView { total_rooms: 5, total_peers: 12, connections: 9, rooms: vec![view(seed_meeting())] };
        let expected = one_line(
            r#"{"totalRooms":5,"totalPeers":12,
            "rooms":[{"roomId":"abc123","name":"abc123","isPrivate":false,"host":"ann","participantCount":2,
            "hostPeerId":"host-unique-id","maxParticipants":10,"encryption":"none",
            "createdAt":"2024-01-01T00:00:00.000Z","lastActivity":"2024-01-01T00:00:00.001Z"}],
            "serverStats":{"uptimeSeconds":61,"connections":3,"shards":2,"version":"0.1.0"}}"#,
        );
        assert_eq!(answer(&RestCall::ListMeetings, &Reply::Rooms(rooms)), (200, expected));
    }

    #[test]
    fn a_list_of_rooms_has_its_bound() {
        let rooms = vec![view(Profile::default()); limits::ROOMS_LISTED + 1];
        let rooms = RoomsView { total_rooms: rooms.len(), rooms, ..RoomsView::default() };
        let answer = encode(&RestCall::ListMeetings, &Reply::Rooms(rooms), &SITE, None, Now::default());
        let value: serde_json::Value = serde_json::from_slice(&answer.body).expect("it is JSON");
        assert_eq!(value["rooms"].as_array().map(Vec::len), Some(limits::ROOMS_LISTED));
        assert_eq!(value["totalRooms"], limits::ROOMS_LISTED + 1);
        assert_eq!(value["serverStats"], serde_json::json!({"uptimeSeconds": 0}));
    }

    #[test]
    fn a_room_is_answered_to_the_letter() {
        let profile = Profile {
            name: Some("Räume".into()),
            kind: Some("team".into()),
            is_private: true,
            participants: ["ann", "bob"].map(Name::from).to_vec(),
            ..Profile::default()
        };
        let expected = one_line(
            r#"{"room":{"roomId":"abc123","id":"abc123","name":"Räume","type":"team","participants":["ann","bob"],
            "isPrivate":true,"host":"ann","createdAt":"2024-01-01T00:00:00.000Z",
            "lastActivity":"2024-01-01T00:00:00.001Z","participantCount":2,"isActive":true}}"#,
        );
        let reply = room_reply(profile);
        assert_eq!(answer(&RestCall::CreateRoom(Box::default()), &reply), (201, expected.clone()));
        assert_eq!(answer(&RestCall::Room { room: "abc123".into() }, &reply), (200, expected));
    }

    #[test]
    fn what_is_done_is_said_in_few_words() {
        let room = Name::from("abc123");
        let join = RestCall::Join { room: room.clone(), connection: None, is_connected: true };
        let leave = RestCall::Leave { room: room.clone(), connection: None };
        assert_eq!(answer(&join, &Reply::Done), (200, r#"{"message":"Joined room"}"#.to_owned()));
        assert_eq!(answer(&leave, &Reply::Done), (200, r#"{"message":"Left room"}"#.to_owned()));
        assert_eq!(answer(&RestCall::CloseMeeting { room }, &Reply::Done), (204, String::new()));
    }

    #[test]
    fn an_answer_to_another_question_is_the_servers_fault() {
        let (status, body) = answer(&RestCall::ListMeetings, &Reply::Done);
        assert_eq!(status, 500);
        assert!(body.contains(r#""code":"INTERNAL""#), "{body}");
    }

    #[test]
    fn links_lead_to_the_client_or_else_to_this_server() {
        assert_eq!(join_link(&SITE, "a/b c?ä"), "http://localhost:3000/meeting/a%2Fb%20c%3F%C3%A4");
        let slashed = Site { client_url: Some("https://meet.example/app/"), ..SITE };
        assert_eq!(join_link(&slashed, "r"), "https://meet.example/app/meeting/r");
        assert_eq!(join_link(&Site { client_url: None, ..SITE }, "r"), "http://127.0.0.1:8090/meeting/r");
    }
}
