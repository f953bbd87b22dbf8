//! Each op on users, with its refusals.

use std::sync::Arc;

use switchboard::base::limits;
use switchboard::domain::command::Status;
use switchboard::domain::event::Direct;
use switchboard::domain::op::{PresenceView, Reply, RoomRules, Scope, UserOp};
use switchboard::domain::presence::DisconnectKind;
use switchboard::domain::reject::{Code, Reject};
use uuid::Uuid;

use crate::world::{GRACE_MS, Heard, World, content, id, rules, who};
use support::redis::RedisServer;

fn done(reply: Result<Reply, Reject>) {
    assert!(matches!(reply, Ok(Reply::Done)), "{reply:?}");
}

fn code(reply: Result<Reply, Reject>) -> Code {
    reply.expect_err("it is refused").code
}

fn look(world: &mut World, at: usize, user: &str, by: &str) -> PresenceView {
    match world.user(at, user, UserOp::Describe { by: who(by) }) {
        Ok(Reply::Presence(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn connections(world: &mut World, user: &str) -> Vec<switchboard::base::ids::ConnectionId> {
    match world.user(0, user, UserOp::ListConnections) {
        Ok(Reply::Connections(connections)) => connections,
        other => panic!("{other:?}"),
    }
}

/// What every node hears.
fn news(world: &World, status: &'static str, except: Option<(u16, u32)>) -> Vec<Heard> {
    let except = except.map(|(node, number)| id(node, number));
    vec![Heard::PresenceUpdate("ann".into(), status, world.now.wall, except, "Everyone".into())]
}

#[test]
fn user_is_online_from_first_to_last_connection() {
    let mut world = World::new(3, rules());
    done(world.attach(0, "ann", 1));
    let online = news(&world, "online", Some((0, 1)));
    assert_eq!(world.take_heard(), vec![online; 3]);
    let since = world.now.wall;
    world.pass(1_000);
    done(world.attach(1, "ann", 2));
    let view = look(&mut world, 2, "ann", "bob");
    assert_eq!((view.connections, view.connected_at, view.newest), (2, Some(since), Some(id(1, 2))));
    assert_eq!((view.status, view.last_seen, view.identity), (Status::Online, Some(world.now.wall), Some(who("ann"))));
    assert_eq!(connections(&mut world, "ann"), [id(0, 1), id(1, 2)]);

    done(world.detach(0, "ann", 1, DisconnectKind::Clean));
    done(world.detach(1, "ann", 2, DisconnectKind::Lost));
    world.pass(GRACE_MS - 1);
    done(world.attach(2, "ann", 3));
    world.pass(GRACE_MS);
    assert_eq!(world.take_heard().concat(), [], "they were back in time");

    done(world.detach(2, "ann", 3, DisconnectKind::Lost));
    let seen = world.now.wall;
    world.pass(GRACE_MS);
    let offline = vec![Heard::PresenceUpdate("ann".into(), "offline", seen, None, "Everyone".into())];
    assert_eq!(world.take_heard(), vec![offline; 3]);
    world.pass(60_000);
    assert_eq!(world.take_heard().concat(), []);
    let view = look(&mut world, 0, "ann", "bob");
    assert_eq!((view.status, view.last_seen, view.connections), (Status::Offline, Some(seen), 0));

    done(world.attach(1, "ann", 4));
    world.take_heard();
    done(world.detach(1, "ann", 4, DisconnectKind::Clean));
    let offline = news(&world, "offline", None);
    assert_eq!(world.take_heard(), vec![offline; 3], "who says goodbye goes at once");
}

#[test]
fn detach_of_an_unknown_connection_has_no_effect() {
    let mut world = World::new(2, rules());
    assert_eq!(code(world.detach(0, "ann", 1, DisconnectKind::Lost)), Code::UserNotFound);
    done(world.attach(0, "ann", 1));
    world.take_heard();
    done(world.detach(0, "ann", 2, DisconnectKind::Clean));
    done(world.detach(1, "ann", 1, DisconnectKind::Clean));
    assert_eq!(world.take_heard().concat(), []);
    assert_eq!(connections(&mut world, "ann"), [id(0, 1)]);
}

#[test]
fn connections_per_user_are_bounded_on_all_nodes_together() {
    let mut world = World::new(2, rules());
    for (node, number) in [(0, 1), (1, 2), (0, 3)] {
        done(world.attach(node, "ann", number));
    }
    let refused = world.attach(1, "ann", 4).expect_err("it is one too many");
    assert_eq!((refused.code, &*refused.text), (Code::RateLimited, "Too many connections of this user"));
    assert_eq!(connections(&mut world, "ann").len(), 3);
    done(world.detach(0, "ann", 1, DisconnectKind::Clean));
    done(world.attach(1, "ann", 4));
    let mut world = World::new(1, RoomRules { connections_per_user: 0, ..rules() });
    for number in 0..50 {
        done(world.attach(0, "ann", number));
    }
}

#[test]
fn changed_status_is_published() {
    let mut world = World::new(2, rules());
    let set = |status, last_seen, by| UserOp::SetStatus { status, last_seen, by };
    // A backend may set when an absent user was last seen; a client may not.
    done(world.user(0, "ann", set(Status::Away, None, None)));
    done(world.attach(0, "ann", 1));
    world.take_heard();
    done(world.user(1, "ann", set(Status::Away, None, Some(id(0, 1)))));
    let away = news(&world, "away", Some((0, 1)));
    assert_eq!(world.take_heard(), vec![away; 2]);
    let at = world.now.wall;
    world.pass(5_000);
    done(world.user(0, "ann", set(Status::Away, None, None)));
    assert_eq!(world.take_heard().concat(), [], "that is known");
    assert_eq!(look(&mut world, 1, "ann", "bob").last_seen, Some(at));
    done(world.user(0, "ann", set(Status::Busy, Some(at - 10), None)));
    let busy = vec![Heard::PresenceUpdate("ann".into(), "busy", at - 10, None, "Everyone".into())];
    assert_eq!(world.take_heard(), vec![busy; 2]);
    done(world.user(0, "ann", set(Status::Busy, Some(u64::MAX), None)));
    assert_eq!(look(&mut world, 1, "ann", "bob").last_seen, Some(world.now.wall), "not in the time to come");

    done(world.user(0, "ann", set(Status::Offline, None, None)));
    let view = look(&mut world, 1, "ann", "bob");
    assert_eq!((view.connections, view.connected_at, view.newest), (0, None, None), "they do not wish to be seen");
    for by in ["ann", "root"] {
        assert_eq!(look(&mut world, 1, "ann", by).newest, Some(id(0, 1)));
    }
    world.take_heard();
    done(world.detach(0, "ann", 1, DisconnectKind::Clean));
    assert_eq!(world.take_heard().concat(), [], "they seemed offline before");
}

#[test]
fn presence_is_not_published_with_scope_none() {
    let mut world = World::new(2, RoomRules { presence_scope: Scope::None, ..rules() });
    done(world.attach(0, "ann", 1));
    done(world.detach(0, "ann", 1, DisconnectKind::Clean));
    assert_eq!(world.take_heard().concat(), []);
}

#[test]
fn presence_reaches_members_of_common_rooms_on_all_nodes() {
    let mut world = World::new(3, RoomRules { presence_scope: Scope::Rooms, ..rules() });
    for (node, user, number) in [(0, "ann", 1), (1, "bob", 2), (2, "cid", 3)] {
        done(world.attach(node, user, number));
    }
    world.join(1, "bob", 2, "r");
    world.join(2, "cid", 3, "s");
    world.take_heard();
    world.join(0, "ann", 1, "r");
    let heard = |status, at, except| Heard::PresenceUpdate("ann".into(), status, at, except, "Members(\"r\")".into());
    let online = vec![heard("online", world.now.wall, Some(id(0, 1)))];
    assert_eq!(world.take_heard(), [online.clone(), online, vec![]]);

    let away = UserOp::SetStatus { status: Status::Away, last_seen: None, by: Some(id(0, 1)) };
    done(world.user(2, "ann", away));
    let told = vec![heard("away", world.now.wall, Some(id(0, 1)))];
    let around =
        Heard::PresenceUpdate("ann".into(), "away", world.now.wall, Some(id(0, 1)), format!("Around({:?})", id(0, 1)));
    assert_eq!(world.take_heard(), [[vec![around], told.clone()].concat(), told, vec![]]);

    let seen = world.now.wall;
    let detach = UserOp::Detach { connection: id(0, 1), parting: DisconnectKind::Lost, rooms: vec!["r".into()] };
    done(world.user(0, "ann", detach));
    world.pass(GRACE_MS);
    let offline = vec![heard("offline", seen, None)];
    assert_eq!(world.take_heard(), [offline.clone(), offline, vec![]]);
}

#[test]
fn return_to_a_room_in_time_is_not_published() {
    let mut world = World::new(2, RoomRules { presence_scope: Scope::Rooms, ..rules() });
    done(world.attach(0, "ann", 1));
    done(world.attach(1, "bob", 2));
    world.join(1, "bob", 2, "r");
    world.join(0, "ann", 1, "r");
    world.take_heard();
    let detach = UserOp::Detach { connection: id(0, 1), parting: DisconnectKind::Lost, rooms: vec!["r".into()] };
    done(world.user(0, "ann", detach));
    done(world.attach(1, "ann", 3));
    done(world.user(1, "ann", UserOp::AnnounceIn { connection: id(1, 3), room: "r".into() }));
    world.pass(GRACE_MS);
    assert_eq!(world.take_heard().concat(), []);
    done(world.user(1, "ann", UserOp::AnnounceIn { connection: id(1, 3), room: "r".into() }));
    assert_eq!(world.take_heard()[1].len(), 1, "and is news there when they come once more");
    let op = UserOp::AnnounceIn { connection: id(1, 3), room: "r".into() };
    assert_eq!(code(world.user(1, "nobody", op)), Code::UserNotFound);
}

#[test]
fn push_reaches_connected_users() {
    let mut world = World::new(2, rules());
    let direct = Arc::new(Direct {
        is_pushed: true,
        except: None,
        id: Uuid::from_u128(5),
        sender: who("bob"),
        content: content("x"),
        at: 3,
    });
    let push = || UserOp::Push { direct: direct.clone(), keep: false };
    let reached = |reply: Result<Reply, Reject>| match reply {
        Ok(Reply::Pushed(pushed)) => (pushed.reached, pushed.offline.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(reached(world.user(0, "ann", push())), (0, 1));
    done(world.attach(0, "ann", 1));
    done(world.attach(1, "ann", 2));
    world.take_heard();
    assert_eq!(reached(world.user(1, "ann", push())), (2, 0));
    let told = |node, number| vec![Heard::Tell(id(node, number), "\"x\"".into())];
    assert_eq!(world.take_heard(), [told(0, 1), told(1, 2)]);
    done(world.detach(0, "ann", 1, DisconnectKind::Clean));
    done(world.detach(1, "ann", 2, DisconnectKind::Lost));
    assert_eq!(reached(world.user(1, "ann", push())), (0, 1));
}

#[test]
fn registered_name_matches_an_earlier_or_later_connection() {
    let mut world = World::new(2, rules());
    let register = |name: &str, said: &str| UserOp::RegisterSocket { socket: name.into(), device: Some(said.into()) };
    let attach =
        |number, name: &str| UserOp::Attach { connection: id(1, number), by: who("ann"), socket: Some(name.into()) };
    assert!(matches!(world.user(0, "ann", register("tab", "{\"a\":\"/\"}")), Ok(Reply::Registered(None))));
    match world.user(1, "ann", attach(1, "tab")) {
        Ok(Reply::Claimed(device)) => assert_eq!(&*device, "{\"a\":\"/\"}"),
        other => panic!("{other:?}"),
    }
    match world.user(0, "ann", register("tab", "2")) {
        Ok(Reply::Connections(live)) => assert_eq!(live, [id(1, 1)]),
        other => panic!("{other:?}"),
    }
    let withdraw = |name: &str| UserOp::UnregisterSocket { socket: name.into() };
    assert_eq!(code(world.user(0, "ann", withdraw("tab"))), Code::ConnectionNotFound, "it is there");
    assert!(matches!(world.user(0, "ann", register("phone", "3")), Ok(Reply::Registered(None))));
    done(world.user(1, "ann", withdraw("phone")));
    assert_eq!(code(world.user(1, "ann", withdraw("phone"))), Code::ConnectionNotFound);
    assert!(matches!(world.user(0, "ann", register("late", "4")), Ok(Reply::Registered(None))));
    world.pass(limits::PENDING_MS);
    done(world.user(1, "ann", attach(2, "late")));

    done(world.detach(1, "ann", 1, DisconnectKind::Clean));
    assert!(matches!(world.user(0, "ann", register("tab", "5")), Ok(Reply::Registered(None))), "it is free again");
    for number in 0..limits::REGISTRATIONS_PER_USER - 2 {
        assert!(matches!(world.user(0, "ann", register(&number.to_string(), "")), Ok(Reply::Registered(None))));
    }
    let refused = world.user(1, "ann", register("one more", "")).expect_err("it is too much");
    assert_eq!((refused.code, &*refused.text), (Code::RateLimited, "Too many registered connections of this user"));
    done(world.user(1, "ann", attach(3, "one more")));
}

#[test]
fn rest_requests_are_counted_on_all_nodes_together() {
    let mut world = World::new(2, rules());
    for request in 0..4 {
        done(world.user(request % 2, "ann", UserOp::SpendRestQuota { per_minute: 4 }));
    }
    world.pass(1_500);
    let refused = world.user(1, "ann", UserOp::SpendRestQuota { per_minute: 4 }).expect_err("it is one too many");
    assert_eq!((refused.code, refused.retry_after_s), (Code::RateLimited, Some(59)));
    done(world.user(1, "bob", UserOp::SpendRestQuota { per_minute: 4 }));
    world.pass(58_500);
    done(world.user(1, "ann", UserOp::SpendRestQuota { per_minute: 4 }));
}

#[test]
fn presence_is_not_published_in_large_rooms() {
    let rules = RoomRules { presence_scope: Scope::Rooms, announce_limit: 2, ..rules() };
    let mut world = World::new(3, rules);
    for (node, user, number) in [(0, "ann", 1), (1, "bob", 2), (2, "cid", 3)] {
        done(world.attach(node, user, number));
        world.join(node, user, number, "r");
    }
    world.take_heard();
    let away = UserOp::SetStatus { status: Status::Away, last_seen: None, by: None };
    done(world.user(2, "ann", away));
    let around = Heard::PresenceUpdate("ann".into(), "away", world.now.wall, None, format!("Around({:?})", id(0, 1)));
    assert_eq!(world.take_heard().concat(), [around]);
}

/// A server of a cluster, with channels that belong to it, lets scripts do what they do: it keeps all keys here.
#[test]
fn scripts_run_on_a_cluster_server() {
    let server = Arc::new(RedisServer::start_cluster());
    let mut world = World::beside(server, 2, RoomRules { presence_scope: Scope::Rooms, ..rules() }, "sharded");
    done(world.attach(0, "ann", 1));
    done(world.attach(1, "bob", 2));
    world.join(1, "bob", 2, "r");
    world.take_heard();
    world.join(0, "ann", 1, "r");
    let told = Heard::PresenceUpdate("ann".into(), "online", world.now.wall, Some(id(0, 1)), "Members(\"r\")".into());
    assert_eq!(world.take_heard(), [vec![told.clone()], vec![told]]);
    let sent = world.send(0, "bob", "x");
    assert!(matches!(sent, Ok(Reply::Sent(_))), "{sent:?}");
    assert_eq!(world.take_heard()[1], [Heard::Hand(id(1, 2), "bob".into(), "\"x\"".into())]);
    done(world.user(0, "ann", UserOp::SpendRestQuota { per_minute: 4 }));
}

#[test]
fn presence_scope_auto_reaches_everyone_up_to_a_limit() {
    let mut world = World::new(1, RoomRules { presence_scope: Scope::Auto, ..rules() });
    let is_told_to_all = |world: &World| world.nodes[0].authority.presence_reaches_all();
    world.server.command(&["ZADD", "test:nodes:{all}", "4000000000000", "7"]);
    world.server.command(&["HSET", "test:nodes:{all}:names", "7", "seven"]);
    world.server.command(&["HSET", "test:nodes:{all}:users", "7", "5000", "8", "1000"]);
    world.pass(6_000);
    assert!(is_told_to_all(&world), "and those of a node that is no more do not count");
    done(world.attach(0, "ann", 1));
    assert!(!is_told_to_all(&world));
    world.server.command(&["HSET", "test:nodes:{all}:users", "7", "4999"]);
    world.pass(6_000);
    assert!(is_told_to_all(&world));
}
