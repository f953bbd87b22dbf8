//! Who is online, as newcomers that speak `colon` are told: what a crowd of them costs, and what comes after what.

use super::*;
use crate::codec::jwt::{NewToken, sign_hs256};
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::Status;
use crate::domain::op::{Op, Reply, UsersView};
use crate::domain::query::{PartialResult, Query};
use crate::message::{OwnerMessage, PresenceUpdate, Requester, ShardMessage, ThreadMessage, UpdateReach};

const OPEN: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A shard of so many, where everybody is told how users are.
fn desk_of(shards: usize) -> Harness {
    let rules = RoomRules { presence_scope: Scope::All, ..(*options().rules).clone() };
    Harness::with(Options { shards, rules: Arc::new(rules), ..options() })
}

impl Harness {
    /// Somebody wants to enter `/chat`.
    fn enter(&mut self, user: &str) -> ConnSlot {
        let slot = self.connect();
        self.receive(slot, OPEN.as_bytes());
        let token = NewToken { user, expires_at: Some(2_000_000_000), ..NewToken::default() };
        let connect = format!(r#"40/chat,{{"token":"{}"}}"#, sign_hs256("any", &token));
        self.long_frame(slot, connect.as_bytes());
        slot
    }

    /// The questions for all users that have been put to shard 1 since the last time.
    fn asked(&mut self) -> Vec<Requester> {
        let is_asked = |mail: &ThreadMessage| match mail {
            ThreadMessage::Owner(OwnerMessage::Request { from, op: Op::Query(Query::Users(_)) }) => Some(*from),
            _ => None,
        };
        self.shard
            .core
            .channels
            .outgoing
            .drain(..)
            .filter_map(|(to, mail)| is_asked(&mail).filter(|_| to == 1))
            .collect()
    }
}

fn users_in(told: &str) -> Option<u64> {
    let list = &told[told.find(r#"42/chat,["users:online","#)?..];
    let total = list.split(r#""total":"#).nth(1)?;
    total.split('}').next()?.parse().ok()
}

#[test]
fn a_crowd_is_told_from_one_list_for_each_tick() {
    let mut harness = desk_of(1);
    let first = harness.enter("first");
    harness.turn();
    assert_eq!(users_in(&harness.paper.take(first)), Some(1), "it is alone and need not wait");
    let crowd: Vec<ConnSlot> = (0..50).map(|number| harness.enter(&format!("user-{number}"))).collect();
    harness.turn();
    for slot in &crowd {
        let told = harness.paper.take(*slot);
        assert!(told.contains(r#"40/chat,{"sid":"#) && !told.contains("users:online"), "{told}");
    }
    assert_eq!(harness.shard.next_due(), Some(NOW.mono + 100));
    harness.tick();
    for slot in &crowd {
        let told = harness.paper.take(*slot);
        assert_eq!((users_in(&told), told.matches("users:online").count()), (Some(51), 1));
    }
    assert_eq!(harness.shard.stats().asks, 0);
}

#[test]
fn news_come_after_the_list_that_they_change() {
    let mut harness = desk_of(2);
    let user =
        (0..).map(|number| format!("user-{number}")).find(|user| harness.shard.core.channels.placement.of(user) == 0);
    let slot = harness.enter(&user.expect("some live here"));
    harness.turn();
    harness.paper.take(slot);
    let asked = harness.asked();
    assert_eq!(asked.len(), 1);
    // The other shard says that somebody has gone before it says who is there.
    let by = Identity::new("gone", None, None, Roles::default());
    let event = Event::Presence { by, status: Status::Offline, last_seen: NOW.wall };
    let packed = EncodedEvent::new(&event, NOW, &mut Vec::new()).and_for_peers(&event, NOW);
    let news = Arc::new(PresenceUpdate { user: "gone".into(), number: 1, except: None, packed });
    harness.shard.handle_message(
        NOW,
        ThreadMessage::Shard(ShardMessage::PresenceUpdate { reach: UpdateReach::Everyone, update: news }),
    );
    harness.tick();
    assert_eq!(harness.paper.take(slot), "");
    let reply = Reply::PartialResult(PartialResult::Users(UsersView { total: 7, ..UsersView::default() }));
    harness.shard.handle_message(NOW, ThreadMessage::Reply { ask: asked[0].ask, reply: Ok(reply) });
    harness.tick();
    let told = harness.paper.take(slot);
    let (list, news) = (told.find("users:online"), told.find("user:offline"));
    assert_eq!(users_in(&told), Some(8), "{told}");
    assert!(list < news && list.is_some(), "{told}");
}

#[test]
fn who_leaves_while_it_is_asked_for_leaves_nothing_behind() {
    let mut harness = desk_of(2);
    let user =
        (0..).map(|number| format!("user-{number}")).find(|user| harness.shard.core.channels.placement.of(user) == 0);
    let slot = harness.enter(&user.expect("some live here"));
    harness.turn();
    let asked = harness.asked();
    harness.shard.ended(NOW, slot);
    harness.turn();
    let reply = Reply::PartialResult(PartialResult::Users(UsersView::default()));
    harness.shard.handle_message(NOW, ThreadMessage::Reply { ask: asked[0].ask, reply: Ok(reply) });
    harness.tick();
    let stats = harness.shard.stats();
    assert_eq!((stats.sessions, stats.peers, stats.connections, stats.asks), (0, 0, 0, 0));
}
