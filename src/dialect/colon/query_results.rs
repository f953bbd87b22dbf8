//! Results of queries, as acks.

use super::ack;
use super::views::{OnlineUserView, PrivateUserView, SessionView, TypistView, UserStatusView};
use crate::domain::access::Identity;
use crate::domain::connection::ConnectionView;
use crate::domain::op::PresenceView;
use crate::domain::query_result::{QueryResult, UserList};

/// Appends the ack with a query's result.
pub fn query_result(out: &mut Vec<u8>, result: &QueryResult) {
    match result {
        QueryResult::Room { view, online } => ack::room(out, view, *online),
        QueryResult::Rooms(rooms) => ack::rooms(out, rooms),
        QueryResult::Members(UserList { users, next }) => {
            ack::room_online(out, users.iter().map(OnlineUserView::of), next.as_deref())
        }
        QueryResult::Typing(room, typists) => {
            let typists = typists.iter().map(|typist| TypistView {
                user: typist.identity.user(),
                username: typist.identity.username(),
                started_at: typist.started_at,
            });
            ack::typing_users(out, room, typists);
        }
        QueryResult::Message(marks) => ack::delivery_status(out, marks.message, &marks.delivered, &marks.read),
        QueryResult::MessageStats(stats) => ack::message_stats(out, stats),
        QueryResult::Users(UserList { users, next }) => {
            ack::online_users(out, users.iter().map(OnlineUserView::of), next.as_deref())
        }
        QueryResult::Presence { view, private } => {
            let private = private.as_ref().map(|connection| of_user(view, connection.as_deref()));
            ack::presence(out, &UserStatusView { here: OnlineUserView::of(view), private });
        }
        QueryResult::PresenceStats(stats) => ack::presence_stats(out, stats),
        QueryResult::Session(identity, connection, token) => {
            ack::session(out, &session(identity, connection, token.as_deref()));
        }
        QueryResult::SessionStats(stats) => ack::session_stats(out, stats),
        QueryResult::Connections(metrics) => ack::metrics(out, metrics),
        QueryResult::Events(incidents) => ack::incidents(out, incidents),
        QueryResult::Monitoring(overview) => ack::overview(out, overview),
        QueryResult::Health(health) => ack::health(out, health),
    }
}

fn of_user<'a>(view: &'a PresenceView, connection: Option<&'a ConnectionView>) -> PrivateUserView<'a> {
    PrivateUserView {
        email: view.identity.as_ref().and_then(Identity::email),
        socket: connection.map(|connection| connection.shown),
        user_agent: connection.and_then(|connection| connection.agent.as_deref()),
        address: connection.map(|connection| connection.address),
    }
}

fn session<'a>(identity: &'a Identity, connection: &'a ConnectionView, token: Option<&'a str>) -> SessionView<'a> {
    SessionView {
        user: identity.user(),
        socket: connection.shown,
        connected_at: connection.connected_at,
        last_activity: connection.last_seen,
        rooms: &connection.rooms,
        recovery_token: token,
        queued: &[],
    }
}
