//! One shard as the server makes it, without the event loop and its sockets: clients are the bytes that they send, and
//! what is written to them is counted.

use std::hint::black_box;
use std::sync::Arc;

use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::codec::jwt::{NewToken, Verifier, sign_hs256};
use switchboard::config::{self, Flags, SettingSources, Settings};
use switchboard::shard::{Gone, Shard, Wire};

use super::frames;

/// When it begins.
const BEGINNING: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };

/// What tokens are signed with.
const SECRET: &str = "a secret that only the benches know";

/// A user's token, good for ten years.
pub(crate) fn token(user: &str) -> String {
    let issued_at = BEGINNING.unix_seconds();
    let expires_at = Some(issued_at + 10 * 365 * 86_400);
    sign_hs256(SECRET, &NewToken { user, issued_at, expires_at, ..NewToken::default() })
}

/// The server's default settings for one shard, but that rooms come to be by joining, nobody is told of presence, nothing
/// is kept on disk, clients say as much as they like, and `set`, each `key=value`.
pub(crate) fn settings(set: &[&str]) -> Settings {
    let secret = format!("auth.secret={SECRET}");
    let own = [
        secret.as_str(),
        "shards=1",
        "data_dir=",
        "rooms.create_on_join=always",
        "rooms.history=false",
        "presence.scope=none",
        "limits.messages_per_minute=0",
        "limits.typing_per_minute=0",
        "limits.signals_per_minute=0",
        "limits.connections_per_ip=0",
    ];
    let sources = SettingSources {
        file: None,
        environment: Vec::new(),
        flags: Flags { set: own.iter().chain(set).map(|&set| set.to_owned()).collect(), ..Flags::default() },
        dev: false,
        cores: 1,
        fresh_secret: Box::new(String::new),
    };
    config::load(sources).expect("good settings").settings
}

/// Takes everything that is written, and counts it.
#[derive(Default)]
pub(crate) struct Sink {
    /// Writes: one for each system call of the server.
    pub(crate) writes: u64,
    pub(crate) bytes: u64,
    /// Who was sent nothing but a ping, since this was last emptied.
    pub(crate) pinged: Vec<u32>,
}

impl Wire for Sink {
    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<usize, Gone> {
        self.writes += 1;
        self.bytes += black_box(bytes).len() as u64;
        if bytes == [0x89, 0] {
            self.pinged.push(slot);
        }
        Ok(bytes.len())
    }

    fn half_close(&mut self, _slot: u32) {}

    fn close(&mut self, _slot: u32) {}
}

/// A shard, the time, and what the shard writes.
pub(crate) struct Stage {
    pub(crate) shard: Shard,
    pub(crate) now: Now,
    pub(crate) sink: Sink,
    /// What a client's bytes are read into, as the event loop does it.
    buffer: Vec<u8>,
}

impl Stage {
    pub(crate) fn new(set: &[&str]) -> Self {
        let settings = settings(set);
        let verifier = Verifier::new(settings.verifier_options()).expect("a good secret");
        let mut options = settings.shard_options(usize::MAX);
        // What is kept has a bench of its own; here nothing is waited for.
        Arc::make_mut(&mut options.rules).has_store = false;
        let options = Arc::new(options);
        let shard = Shard::new(0, options, Arc::new(verifier), Rng::from_seed(1), BEGINNING);
        Self { shard, now: BEGINNING, sink: Sink::default(), buffer: vec![0; 64 * 1024] }
    }

    /// A connection that has said nothing yet.
    pub(crate) fn accept(&mut self) -> u32 {
        self.shard.accepted(self.now, ([192, 0, 2, 1], 50_000).into()).expect("there is room")
    }

    /// Bytes come from a client.
    pub(crate) fn receive(&mut self, slot: u32, bytes: &[u8]) {
        for bytes in bytes.chunks(self.buffer.len()) {
            let input = &mut self.buffer[..bytes.len()];
            input.copy_from_slice(bytes);
            self.shard.received(self.now, slot, input);
        }
    }

    /// What the event loop does once everything is read.
    pub(crate) fn turn(&mut self) {
        self.shard.run(self.now);
        self.shard.tick(self.now);
        self.shard.run(self.now);
        self.shard.flush(self.now, &mut self.sink);
    }

    /// A client's bytes come so many times, and that is all that happens in this turn. Profilers find it by its name.
    #[inline(never)]
    pub(crate) fn say(&mut self, slot: u32, bytes: &[u8], times: usize) {
        (0..times).for_each(|_| self.receive(slot, bytes));
        self.turn();
    }

    /// A guest's open WebSocket.
    pub(crate) fn guest(&mut self) -> u32 {
        let slot = self.accept();
        self.say(slot, &frames::upgrade(None), 1);
        slot
    }

    /// A guest in a room, under a peer id that says where it is: `peer-` and its slot.
    pub(crate) fn member(&mut self, room: &str) -> u32 {
        let slot = self.guest();
        self.say(slot, &frames::text_frame(&join(room, slot)), 1);
        slot
    }
}

/// A request to join, as [`Stage::member`] makes it.
pub(crate) fn join(room: &str, slot: u32) -> String {
    format!(r#"{{"type":"join-room","roomId":"{room}","peerId":"peer-{slot}"}}"#)
}
