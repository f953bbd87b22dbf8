//! From a REST call to the questions it puts, and from their answers to its own.
//!
//! Most calls are one question to whoever keeps what they are about. Some go to every keeper, or to every connection or
//! user they name, and what these say is added up. Some have a second question that the first one's answer leads to.

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::{ConnectionId, random_room_id};
use crate::base::time::Now;
use crate::dialect::rest::RestCall;
use crate::domain::access::Identity;
use crate::domain::connection::{ConnectionOp, connection_not_found};
use crate::domain::event::{Content, Direct};
use crate::domain::op::{
    LogTerms, Op, PresenceView, PushResult, Reply, RoomOp, RoomsView, UserOp, UsersView, message_id,
};
use crate::domain::reject::{Code, Reject};
use crate::domain::user::user_not_found;
use crate::shard::Shard;
use crate::shard::requests::RestAsk;

/// Questions, one at least, and what their answers are added to, if they add up at all.
pub(super) type Questions = (Vec<Op>, Option<Reply>);

/// What the answers to a call's questions lead to.
pub(super) enum Next {
    /// The call's own answer.
    Answer(Reply),
    /// Further questions.
    Ask(Questions),
}

impl RestAsk {
    /// Takes one keeper's answer; the whole of it, when it was the last.
    pub(in crate::shard) fn take_part(&mut self, part: Result<Reply, Reject>) -> Option<Result<Reply, Reject>> {
        self.awaited -= 1;
        let whole = match (self.gathered.take(), part) {
            (None, part) => part,
            // Whoever is gone by now has nothing to add.
            (Some(gathered), Err(_)) => Ok(gathered),
            (Some(gathered), Ok(part)) => Ok(add(gathered, part, &self.call)),
        };
        if self.awaited > 0 {
            self.gathered = whole.ok();
            return None;
        }
        Some(whole)
    }
}

/// Adds a keeper's answer to those of others.
fn add(gathered: Reply, part: Reply, call: &RestCall) -> Reply {
    match (gathered, part) {
        (Reply::Rooms(mut all), Reply::Rooms(part)) => {
            all.add(part);
            Reply::Rooms(all)
        }
        (Reply::Users(mut all), Reply::Users(part)) => {
            if let RestCall::ConnectedUsers(page) = call {
                all.add(part, page.limit);
            }
            Reply::Users(all)
        }
        (Reply::Described(mut all), Reply::Described(mut part)) => {
            all.append(&mut part);
            Reply::Described(all)
        }
        (Reply::Closed(all), Reply::Closed(part)) => Reply::Closed(all + part),
        (Reply::Pushed(mut all), Reply::Pushed(mut part)) => {
            all.reached += part.reached;
            all.offline.append(&mut part.offline);
            Reply::Pushed(all)
        }
        (gathered, _) => gathered,
    }
}

impl Shard {
    /// The first questions of a call.
    ///
    /// # Errors
    /// The caller may not call it, or it names what cannot be.
    pub(super) fn questions(&mut self, now: Now, call: &mut RestCall, by: &Identity) -> Result<Questions, Reject> {
        if let Some(user) = call.concerns_only() {
            by.check_concerns(user)?;
        }
        let content_bytes = self.options.content_bytes;
        if call.content().is_some_and(|content| content.body.len() > content_bytes.saturating_add(2)) {
            return Err(Reject::new(Code::MessageTooLarge, format!("The data is larger than {content_bytes} bytes")));
        }
        let one = |op| Ok((vec![op], None));
        let look = |user: &Name| Op::User(user.clone(), UserOp::Describe { by: by.clone() });
        match call {
            RestCall::CreateMeeting(_) | RestCall::CreateRoom(..) => {
                let log = if let RestCall::CreateRoom(_, log) = call { *log } else { LogTerms::default() };
                let room: Name = random_room_id(&mut self.rng).into();
                let profile = call.take_profile(&by.user_name()).unwrap_or_default();
                one(Op::Room(room, RoomOp::Create { by: by.clone(), profile, log }))
            }
            RestCall::Meeting { room } | RestCall::Room { room } => {
                one(Op::Room(room.clone(), RoomOp::Describe { by: by.clone() }))
            }
            RestCall::CloseMeeting { room } => one(Op::Room(room.clone(), RoomOp::Close { by: by.clone() })),
            RestCall::Leave { room, connection } => {
                one(Op::Room(room.clone(), RoomOp::RemoveParticipant { by: by.clone(), connection: *connection }))
            }
            RestCall::ListMeetings => Ok((vec![Op::Rooms], Some(Reply::Rooms(RoomsView::default())))),
            // A room needs to know the caller's connections before it can take them in.
            RestCall::Join { .. } => one(Op::User(by.user_name(), UserOp::ListConnections)),
            RestCall::Connections { user } | RestCall::DisconnectUser { user } => {
                one(Op::User(user.clone(), UserOp::ListConnections))
            }
            RestCall::Register { user, socket, device } => Ok(self.register(user, socket, device)),
            RestCall::Disconnect { socket } => one(self.disconnect_op(socket, by)),
            RestCall::Presence { user } | RestCall::UserStatus { user } => one(look(user)),
            RestCall::OwnStatus => one(look(&by.user_name())),
            RestCall::SetPresence { user, status, last_seen } => {
                let op = UserOp::SetStatus { status: *status, last_seen: *last_seen, by: None };
                one(Op::User(user.clone(), op))
            }
            RestCall::Broadcast(content) | RestCall::PushToAll(content) => {
                let direct = self.direct(now, by, content);
                Ok((vec![Op::Broadcast(direct)], Some(Reply::Pushed(PushResult::default()))))
            }
            RestCall::PushToUser { user, content } | RestCall::Notify { user, content } => {
                let direct = self.direct(now, by, content);
                one(Op::User(user.clone(), UserOp::Push { direct }))
            }
            RestCall::PushToUsers { users, content } => {
                let direct = self.direct(now, by, content);
                let push = |user: &Name| Op::User(user.clone(), UserOp::Push { direct: direct.clone() });
                Ok((users.iter().map(push).collect(), Some(Reply::Pushed(PushResult::default()))))
            }
            RestCall::ConnectedUsers(page) => {
                Ok((vec![Op::Users(page.clone())], Some(Reply::Users(UsersView::default()))))
            }
        }
    }

    fn direct(&mut self, now: Now, by: &Identity, content: &Content) -> Arc<Direct> {
        let id = message_id(&mut self.rng, now);
        Arc::new(Direct { id, sender: by.clone(), content: content.clone(), at: now.wall })
    }

    /// A live connection may be named by its id; otherwise its user's keeper knows whether it has come.
    fn register(&self, user: &Name, socket: &Name, device: &Option<Box<str>>) -> Questions {
        let op = match self.connection_of(socket) {
            Some(connection) => Op::Connection(connection, equip(user, device)),
            None => Op::User(user.clone(), UserOp::RegisterSocket { socket: socket.clone(), device: device.clone() }),
        };
        (vec![op], None)
    }

    fn disconnect_op(&self, socket: &Name, by: &Identity) -> Op {
        match self.connection_of(socket) {
            Some(connection) => Op::Connection(connection, ConnectionOp::Close { by: by.clone() }),
            None => Op::User(by.user_name(), UserOp::UnregisterSocket { socket: socket.clone() }),
        }
    }

    /// The connection that has this id, if there may be one.
    fn connection_of(&self, id: &str) -> Option<ConnectionId> {
        ConnectionId::parse(id).filter(|id| self.may_be(*id))
    }

    /// What the whole answer to a call's questions leads to.
    ///
    /// # Errors
    /// The call is refused.
    pub(super) fn continue_call(&self, rest: &RestAsk, reply: Result<Reply, Reject>) -> Result<Next, Reject> {
        let reply = match (&rest.call, reply) {
            (RestCall::UserStatus { user }, Err(reject)) if reject.code == Code::UserNotFound => {
                Reply::Presence(nobody(user.clone()))
            }
            (RestCall::OwnStatus, Err(reject)) if reject.code == Code::UserNotFound => {
                Reply::Presence(nobody(rest.by.user_name()))
            }
            (RestCall::Register { user, socket, device }, Err(reject))
                if reject.code == Code::ConnectionNotFound && rest.rounds == 0 =>
            {
                // It has an id's form and is no live connection, or another user's, which is nobody else's business.
                let op = UserOp::RegisterSocket { socket: socket.clone(), device: device.clone() };
                return Ok(Next::Ask((vec![Op::User(user.clone(), op)], None)));
            }
            (_, reply) => reply?,
        };
        match (&rest.call, reply) {
            (RestCall::Join { room, connection }, Reply::Connections(mut connections)) => {
                if let Some(connection) = connection {
                    connections.retain(|known| known == connection);
                    if connections.is_empty() {
                        return Err(Reject::new(Code::ConnectionNotFound, "You have no connection of that id"));
                    }
                }
                let op = RoomOp::AddParticipant { by: rest.by.clone(), connections };
                Ok(Next::Ask((vec![Op::Room(room.clone(), op)], None)))
            }
            (RestCall::Connections { .. }, Reply::Connections(list)) => {
                Ok(each(&list, Reply::Described(Vec::new()), |_| ConnectionOp::Describe))
            }
            (RestCall::DisconnectUser { .. }, Reply::Connections(list)) if list.is_empty() => Err(user_not_found()),
            (RestCall::DisconnectUser { .. }, Reply::Connections(list)) => {
                Ok(each(&list, Reply::Closed(0), |_| ConnectionOp::Close { by: rest.by.clone() }))
            }
            // Its user's keeper knows the connection by the name it gave itself; its shard is yet to hear.
            (RestCall::Register { user, device, .. }, Reply::Connections(list)) => {
                let live = *list.first().ok_or_else(connection_not_found)?;
                Ok(Next::Ask((vec![Op::Connection(live, equip(user, device))], None)))
            }
            (_, Reply::Described(mut list)) => {
                list.sort_unstable_by_key(|view| (view.connected_at, view.connection));
                Ok(Next::Answer(Reply::Described(list)))
            }
            (_, reply) => Ok(Next::Answer(reply)),
        }
    }
}

/// A question about each of several connections, whose answers add up.
fn each(list: &[ConnectionId], none: Reply, op: impl Fn(&ConnectionId) -> ConnectionOp) -> Next {
    if list.is_empty() {
        return Next::Answer(none);
    }
    Next::Ask((list.iter().map(|connection| Op::Connection(*connection, op(connection))).collect(), Some(none)))
}

fn equip(user: &Name, device: &Option<Box<str>>) -> ConnectionOp {
    ConnectionOp::SetDevice { user: user.clone(), device: device.clone() }
}

/// Somebody of whom nothing is known.
fn nobody(user: Name) -> PresenceView {
    PresenceView::nobody(user)
}
