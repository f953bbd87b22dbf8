//! Who of a room's users is online, where its members are told that.
//!
//! The room's script knows who they are, and only once that it is news; the users' scripts know how they are. So the node
//! that finds the news looks them up and has the room told. Whoever appears offline is neither named nor counted.

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::Status;
use crate::domain::op::{Op, PresenceView, Scope, UsersView};
use crate::domain::query::Query;
use crate::message::redis::Bytes;
use crate::message::{BRIDGE, Outgoing, Requester};
use crate::owner::redis::rooms::Purpose;
use crate::owner::redis::wire::json;
use crate::owner::redis::{RedisOwner, scripts};

/// What the room's script says: who its users are, if that is news.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    us: Vec<Name>,
}

/// A user who is online: id, name, status, when last active, since when here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Present(Name, Box<str>, Box<str>, u64, Option<u64>);

impl Present {
    fn of(view: &PresenceView) -> Self {
        let (name, status) = (view.username().into(), view.status.as_str().into());
        Self(view.user.clone(), name, status, view.last_seen.unwrap_or_default(), view.connected_at)
    }

    /// As it is shown.
    pub(super) fn view(self) -> PresenceView {
        let Self(user, name, status, last_seen, connected_at) = self;
        let identity = Identity::new(&user, Some(&name), None, Roles::default());
        let status = Status::parse(&status).unwrap_or(Status::Online);
        let nobody = PresenceView::nobody(user);
        PresenceView { status, last_seen: Some(last_seen), identity: Some(identity), connected_at, ..nobody }
    }
}

impl RedisOwner {
    /// Finds out how many users a room has, or who of them is online, if that is news.
    pub(super) fn count_online(&mut self, now: Now, room: Name) {
        let what = if self.rules.presence_scope == Scope::None { "w" } else { "n" };
        self.call_room(now, room, &scripts::COUNT, Purpose::Online, vec![what.as_bytes().into()], None);
    }

    /// The room's script has said who its users are.
    pub(super) fn look_online(&mut self, now: Now, room: &Name, text: &[u8], out: &mut Vec<Outgoing>) {
        let Ok(Answer { us }) = serde_json::from_slice(text) else { return };
        if !us.is_empty() {
            let ask = self.nodes.look_for(room.clone());
            let op = Op::Query(Query::UsersNamed(us.into()));
            // They are looked up in Redis; what comes of that is mail.
            let _ = self.ask_nodes(now, Requester { shard: BRIDGE, ask }, op, out);
        }
    }

    /// How a room's users are has been found: it is told who of them is online.
    pub(super) fn tell_online(&mut self, now: Now, room: Name, view: &UsersView) {
        let listed: Vec<Present> = view.users.iter().take(limits::ONLINE_LISTED).map(Present::of).collect();
        let fact = json(&(view.users.len(), listed));
        let mut body = format!(r#"{{"n":0,"o":"","t":{},"f":[["*",{{"present":"#, now.wall).into_bytes();
        body.extend_from_slice(&fact);
        body.extend_from_slice(b"}]]}");
        self.call_room(now, room, &scripts::ANNOUNCE, Purpose::Done, vec![Bytes::from(body)], None);
    }
}
