//! Each answer, field by field and in the seed's order, with the seed's values.

use super::*;
use crate::domain::connection_mode::ConnectionMode;
use crate::domain::monitoring::{
    HealthReport, Incident, Level, MessageStats, Metrics, Overview, PresenceStats, SessionStats,
};
use crate::domain::op::{Profile, RoomView};
use crate::domain::reject::{Code, Reject};

const MESSAGE_TEXTS: [(RequestName, &str); 5] = [
    (RequestName::LeaveChat, "Left chat successfully"),
    (RequestName::MessageTyping, "Typing status updated"),
    (RequestName::MessageDelivered, "Delivery confirmed"),
    (RequestName::MessageRead, "Read confirmation recorded"),
    (RequestName::PresenceUpdateStatus, "Status updated successfully"),
];

fn view() -> RoomView {
    let profile = Profile { name: Some("Chat Room Name".into()), ..Profile::default() };
    RoomView {
        is_made: true,
        room: samples::room(),
        profile: Profile { participants: vec!["u".into(); 5], ..profile },
        is_locked: false,
        host: "user-uuid".into(),
        created_at: 0,
        last_activity: NOW.wall,
        mode: ConnectionMode::P2p,
        participant_count: 3,
        peers: Vec::new(),
    }
}

fn metrics() -> Metrics {
    Metrics {
        total: 100,
        active: 25,
        failed: 5,
        average_ms: 30_000,
        peak: 50,
        per_minute: 10,
        since: NOW.wall - 1_800_000,
        error_rate: 0.05,
    }
}

const METRICS: &str = concat!(
    r#"{"totalConnections":100,"activeConnections":25,"failedConnections":5,"averageConnectionDuration":30000,"#,
    r#""peakConnections":50,"connectionsPerMinute":10,"lastReset":"2025-01-09T21:00:00.000Z"}"#
);

fn incident() -> Incident {
    Incident {
        kind: IncidentKind::Connect,
        connection: Some(samples::connection()),
        user: Some("user-uuid".into()),
        address: [192, 168, 1, 1].into(),
        user_agent: Some("Mozilla/5.0...".into()),
        at: NOW.wall,
        reason: None,
    }
}

fn incident_text() -> String {
    let socket = samples::connection();
    format!(
        r#"{{"type":"connect","socketId":"{socket}","userId":"user-uuid","ipAddress":"192.168.1.1","userAgent":"Mozilla/5.0...","timestamp":{AT},"details":{{}}}}"#
    )
}

#[test]
fn what_is_merely_granted() {
    for (request, message) in MESSAGE_TEXTS {
        let expected = format!(r#"{{"success":true,"message":"{message}"}}"#);
        assert_eq!(written(|out| ack::granted(out, request)), expected);
    }
    assert_eq!(written(|out| ack::granted(out, RequestName::Offer)), r#"{"success":true}"#);
}

#[test]
fn rooms() {
    assert_eq!(
        written(|out| ack::joined(out, &samples::joined(), NOW)),
        format!(
            r#"{{"success":true,"message":"Joined chat successfully","roomInfo":{{"chatId":"chat-uuid","participantCount":5,"isActive":true,"lastActivity":{AT}}}}}"#
        )
    );
    assert_eq!(
        written(|out| ack::room(out, &view(), 3)),
        format!(
            r#"{{"success":true,"roomInfo":{{"chatId":"chat-uuid","name":"Chat Room Name","description":"","participantCount":3,"onlineCount":3,"isActive":true,"lastActivity":{AT}}}}}"#
        )
    );
    assert_eq!(
        written(|out| ack::rooms(out, [&view()])),
        format!(
            r#"{{"success":true,"rooms":[{{"chatId":"chat-uuid","name":"Chat Room Name","participantCount":3,"lastActivity":{AT}}}]}}"#
        )
    );
    let unnamed = RoomView { profile: Profile::default(), ..view() };
    assert!(
        written(|out| ack::room(out, &unnamed, 3))
            .contains(r#""name":"chat-uuid","description":"","participantCount":3"#)
    );
}

#[test]
fn people() {
    let user = format!(
        r#"{{"userId":"user-uuid","username":"username","status":"online","lastSeen":{AT},"connectedAt":"2025-01-09T21:25:00.000Z"}}"#
    );
    assert_eq!(
        written(|out| ack::room_online(out, [here()], None)),
        format!(r#"{{"success":true,"onlineUsers":[{user}]}}"#)
    );
    assert_eq!(
        written(|out| ack::online_users(out, [here()], Some("user-uuid"))),
        format!(r#"{{"success":true,"users":[{user}],"next":"user-uuid"}}"#)
    );
    let typist = TypistView { user: "user-uuid", username: "username", started_at: NOW.wall };
    assert_eq!(
        written(|out| ack::typing_users(out, "chat-uuid", [typist])),
        format!(
            r#"{{"success":true,"typingUsers":[{{"userId":"user-uuid","username":"username","chatId":"chat-uuid","startedAt":{AT}}}]}}"#
        )
    );
    assert_eq!(
        written(|out| ack::presence(out, &UserStatusView { here: here(), private: None })),
        format!(r#"{{"success":true,"presence":{user}}}"#)
    );
    let socket = samples::connection();
    let private = PrivateUserView {
        email: Some("user@example.com"),
        socket: Some(socket),
        user_agent: Some("Mozilla/5.0..."),
        address: Some([192, 168, 1, 1].into()),
    };
    assert_eq!(
        written(|out| ack::presence(out, &UserStatusView { here: here(), private: Some(private) })),
        format!(
            r#"{{"success":true,"presence":{{"userId":"user-uuid","username":"username","email":"user@example.com","status":"online","lastSeen":{AT},"connectedAt":"2025-01-09T21:25:00.000Z","socketId":"{socket}","userAgent":"Mozilla/5.0...","ipAddress":"192.168.1.1"}}}}"#
        )
    );
    let gone = OnlineUserView { status: Status::Offline, connected_at: None, ..here() };
    assert!(written(|out| ack::online_users(out, [gone], None)).ends_with(r#""connectedAt":null}]}"#));
}

#[test]
fn messages() {
    let sent = Sent { id: MESSAGE, seq: Some(8), at: NOW.wall };
    assert_eq!(
        written(|out| ack::sent(out, &sent, "chat-uuid", &samples::user(), &samples::hello())),
        format!(
            r#"{{"success":true,"message":"Message sent successfully","sentMessage":{{"id":"{MESSAGE_ID}","content":"Hello, world!","type":"text","chatId":"chat-uuid","userId":"user-uuid","createdAt":{AT},"user":{{"id":"user-uuid","username":"username"}},"seq":8}}}}"#
        )
    );
    let delivered = [("user-uuid-1".into(), NOW.wall + 1_000), ("user-uuid-2".into(), NOW.wall + 60_000)];
    let read = [("user-uuid-1".into(), NOW.wall + 2_000)];
    assert_eq!(
        written(|out| ack::delivery_status(out, MESSAGE, &delivered, &read)),
        format!(
            r#"{{"success":true,"status":{{"messageId":"{MESSAGE_ID}","deliveredTo":["user-uuid-1","user-uuid-2"],"readBy":["user-uuid-1"],"sentAt":{AT},"lastUpdate":"2025-01-09T21:31:00.000Z"}}}}"#
        )
    );
}

#[test]
fn sessions() {
    let (rooms, socket) = (["chat-uuid-1".into(), "chat-uuid-2".into()], samples::connection());
    let session = SessionView {
        user: "user-uuid",
        socket,
        connected_at: NOW.wall - 300_000,
        last_activity: NOW.wall,
        rooms: &rooms,
        recovery_token: Some("recovery-token-string"),
        queued: &[],
    };
    let text = format!(
        r#""userId":"user-uuid","socketId":"{socket}","connectedAt":"2025-01-09T21:25:00.000Z","lastActivity":{AT},"rooms":["chat-uuid-1","chat-uuid-2"],"messageQueue":[],"recoveryToken":"recovery-token-string""#
    );
    assert_eq!(
        written(|out| ack::session_made(out, "recovery-token-string")),
        r#"{"success":true,"recoveryToken":"recovery-token-string"}"#
    );
    assert_eq!(
        written(|out| ack::recovered(out, &session)),
        format!(r#"{{"success":true,"message":"Connection recovered successfully","session":{{{text}}}}}"#)
    );
    assert_eq!(written(|out| ack::session(out, &session)), format!(r#"{{"success":true,"sessionInfo":{{{text}}}}}"#));
    assert_eq!(
        written(|out| recovered(out, &session, [])),
        format!(r#"["connection:recovered",{{{text},"recovered":true}}]"#)
    );
    assert_eq!(
        written(|out| recovered(out, &session, ["chat-uuid-2"])),
        format!(r#"["connection:recovered",{{{text},"recovered":false,"unrecoveredRooms":["chat-uuid-2"]}}]"#)
    );
    let unnamed = SessionView { recovery_token: None, ..session };
    assert!(written(|out| ack::session(out, &unnamed)).ends_with(r#""recoveryToken":null}}"#));
}

#[test]
fn stats() {
    let messages = MessageStats { typing: 2, tracked: 150, delivered: 145, read: 140 };
    assert_eq!(
        written(|out| ack::message_stats(out, &messages)),
        r#"{"success":true,"stats":{"activeTypingUsers":2,"trackedMessages":150,"totalDelivered":145,"totalRead":140}}"#
    );
    let users = PresenceStats { online: 15, away: 5, busy: 2, offline: 28, ..PresenceStats::default() };
    assert_eq!(
        written(|out| ack::presence_stats(out, &users)),
        r#"{"success":true,"stats":{"totalUsers":50,"onlineUsers":15,"awayUsers":5,"busyUsers":2,"offlineUsers":28}}"#
    );
    let sessions = SessionStats { sessions: 25, tokens: 25, queued: 5, age_ms: 25 * 15 * 60_000, waiting: Vec::new() };
    assert_eq!(
        written(|out| ack::session_stats(out, &sessions)),
        r#"{"success":true,"stats":{"activeSessions":25,"recoveryTokens":25,"queuedMessages":5,"averageSessionAge":15}}"#
    );
}

#[test]
fn monitoring() {
    assert_eq!(written(|out| ack::metrics(out, &metrics())), format!(r#"{{"success":true,"metrics":{METRICS}}}"#));
    let text = incident_text();
    assert_eq!(written(|out| ack::incidents(out, [&incident()])), format!(r#"{{"success":true,"events":[{text}]}}"#));
    let overview = Overview {
        metrics: metrics(),
        recent: vec![incident()],
        addresses: vec![([192, 168, 1, 1].into(), 25), ([192, 168, 1, 2].into(), 20)],
        user_agents: vec![("Mozilla/5.0...".into(), 30), ("Chrome/91.0...".into(), 25)],
    };
    assert_eq!(
        written(|out| ack::overview(out, &overview)),
        format!(
            r#"{{"success":true,"stats":{{"metrics":{METRICS},"recentEvents":[{text}],"topIPs":[{{"ip":"192.168.1.1","count":25}},{{"ip":"192.168.1.2","count":20}}],"topUserAgents":[{{"userAgent":"Mozilla/5.0...","count":30}},{{"userAgent":"Chrome/91.0...","count":25}}],"errorRate":0.05}}}}"#
        )
    );
    let stranger = Incident {
        connection: None,
        user: None,
        user_agent: None,
        kind: IncidentKind::AuthFailure,
        reason: Some("token expired".into()),
        ..incident()
    };
    assert_eq!(
        written(|out| ack::incidents(out, [&stranger])),
        format!(
            r#"{{"success":true,"events":[{{"type":"auth_failure","socketId":null,"userId":null,"ipAddress":"192.168.1.1","userAgent":null,"timestamp":{AT},"details":{{"reason":"token expired"}}}}]}}"#
        )
    );
    let health = HealthReport { level: Level::Healthy, issues: Vec::new(), recommendations: Vec::new() };
    assert_eq!(
        written(|out| ack::health(out, &health)),
        r#"{"success":true,"health":{"status":"healthy","issues":[],"recommendations":[]}}"#
    );
    let health = HealthReport { level: Level::Critical, issues: vec!["a".into()], recommendations: vec!["b".into()] };
    assert_eq!(
        written(|out| ack::health(out, &health)),
        r#"{"success":true,"health":{"status":"critical","issues":["a"],"recommendations":["b"]}}"#
    );
}

#[test]
fn refusals_are_in_the_seeds_own_words() {
    let refused = |request, reject: &Reject| written(|out| ack::refused(out, request, reject));
    let expect = |message: &str, code: &str, detail: &str| {
        format!(r#"{{"success":false,"message":"{message}","code":"{code}","detail":"{detail}"}}"#)
    };
    let join = Some(RequestName::JoinChat);
    let gone = "Chat not found or access denied";
    assert_eq!(refused(join, &Reject::room_not_found()), expect(gone, "ROOM_NOT_FOUND", "Room not found"));
    assert_eq!(
        refused(join, &Reject::new(Code::Forbidden, "private")),
        expect(gone, "ROOM_NOT_FOUND", "Room not found")
    );
    let send = Some(RequestName::MessageSend);
    assert_eq!(refused(send, &Reject::not_in_room()), expect(gone, "NOT_IN_ROOM", "You are not in this room"));
    let slow = "Message rate limit exceeded. Please slow down.";
    let often = Reject::new(Code::RateLimited, "often");
    assert_eq!(refused(send, &often), expect(slow, "RATE_LIMITED", "often"));
    let plain = |message: &str, code: &str| format!(r#"{{"success":false,"message":"{message}","code":"{code}"}}"#);
    assert_eq!(refused(join, &often), plain("often", "RATE_LIMITED"));
    let invalid = Reject::invalid("chatId is missing");
    assert_eq!(refused(join, &invalid), expect("Invalid request data", "INVALID_MESSAGE", "chatId is missing"));
    let stranger = Reject::new(Code::TokenExpired, "expired");
    assert_eq!(refused(None, &stranger), expect("User not authenticated", "TOKEN_EXPIRED", "expired"));
    let admins = Reject::new(Code::Forbidden, "Only admins may see this");
    let expected = plain("Only admins may see this", "FORBIDDEN");
    assert_eq!(refused(Some(RequestName::MonitoringStats), &admins), expected);
    assert_eq!(refused(None, &Reject::overloaded()), plain("The server is overloaded, try again later", "OVERLOADED"));
}
