//! Sessions of lost connections, on whichever node their clients come back.

use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::MediaState;
use switchboard::domain::op::{Op, Reply};
use switchboard::domain::record::{Position, Session, TokenHash};
use switchboard::domain::recovery::SessionOp;

use crate::world::{World, id, rules};

const TOKEN: TokenHash = TokenHash([0xab; 32]);
const OTHER: TokenHash = TokenHash([1; 32]);

fn session(expires_at: Option<u64>, seq: u64) -> Session {
    Session {
        dialect: 0,
        token: TOKEN,
        user: "ann \"a\"/b".into(),
        connection: id(0, 1),
        connected_at: 5,
        active_at: 6,
        expires_at,
        rooms: vec![Position {
            since: None,
            room: "r".into(),
            epoch: "e".into(),
            seq,
            peer: Some("p".into()),
            about: About::default(),
            media: MediaState { audio: true, video: false, screen: true, sfu: true },
        }],
    }
}

fn keep(world: &mut World, session: Session) {
    let kept = world.ask(0, Op::Session(id(0, 1), Box::new(SessionOp::Save(Box::new(session)))));
    assert!(matches!(kept, Ok(Reply::Done)), "{kept:?}");
}

fn take(world: &mut World, at: usize, token: TokenHash) -> Option<Session> {
    take_by(world, at, token, &Identity::new("ann \"a\"/b", None, None, Roles::default()))
}

fn take_by(world: &mut World, at: usize, token: TokenHash, by: &Identity) -> Option<Session> {
    match world.ask(at, Op::Session(id(0, 1), Box::new(SessionOp::Take { token, by: by.clone() }))) {
        Ok(Reply::Session(session)) => session.map(|session| *session),
        other => panic!("{other:?}"),
    }
}

#[test]
fn session_is_taken_once_with_its_token() {
    let mut world = World::new(3, rules());
    assert_eq!(take(&mut world, 0, OTHER), None);
    keep(&mut world, session(None, 1));
    keep(&mut world, session(None, u64::MAX));
    assert_eq!(take(&mut world, 1, OTHER), None);
    assert_eq!(take(&mut world, 2, TOKEN), Some(session(None, u64::MAX)));
    assert_eq!(take(&mut world, 0, TOKEN), None);
    keep(&mut world, session(None, 9));
    assert_eq!(take(&mut world, 0, TOKEN), None, "what its connection still had noted does not open it again");
}

#[test]
fn session_tried_by_another_user_stays_the_owners() {
    let mut world = World::new(2, rules());
    let (eve, guest) = (Identity::new("eve", None, None, Roles::default()), Identity::guest("word"));
    // Before its connection has stored it, and afterwards.
    for by in [&eve, &guest] {
        assert_eq!(take_by(&mut world, 1, TOKEN, by), None);
    }
    keep(&mut world, session(None, 1));
    for by in [&guest, &eve, &eve] {
        assert_eq!(take_by(&mut world, 1, TOKEN, by), None);
    }
    assert_eq!(take(&mut world, 0, TOKEN), Some(session(None, 1)));
    assert_eq!(take_by(&mut world, 1, TOKEN, &eve), None);
    keep(&mut world, session(None, 2));
    assert_eq!(take(&mut world, 0, TOKEN), None, "it was used");
    // A guest has no name but the token.
    let mut world = World::new(2, rules());
    let of_guest = Session { user: "guest:other".into(), ..session(None, 1) };
    keep(&mut world, of_guest.clone());
    assert_eq!(take_by(&mut world, 1, TOKEN, &eve), None);
    assert_eq!(take_by(&mut world, 1, TOKEN, &guest), Some(of_guest));
}

#[test]
fn session_expires() {
    let mut world = World::new(2, rules());
    let ends = world.now.wall + 60_000;
    keep(&mut world, session(Some(ends), 1));
    world.pass(59_999);
    assert_eq!(take(&mut world, 1, TOKEN), Some(session(Some(ends), 1)));
    let mut world = World::new(2, rules());
    keep(&mut world, session(Some(ends), 1));
    world.pass(60_000);
    assert_eq!(take(&mut world, 1, TOKEN), None);
}

#[test]
fn deleted_session_cannot_be_taken() {
    let mut world = World::new(2, rules());
    keep(&mut world, session(None, 1));
    let dropped = world.ask(1, Op::Session(id(0, 1), Box::new(SessionOp::Delete { token: TOKEN })));
    assert!(matches!(dropped, Ok(Reply::Done)));
    keep(&mut world, session(None, 1));
    assert_eq!(take(&mut world, 1, TOKEN), None);
}
