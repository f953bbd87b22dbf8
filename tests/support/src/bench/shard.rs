//! One shard as the server makes it, without the event loop and its sockets: clients are the bytes that they send;
//! output is counted and dropped.

use std::hint::black_box;
use std::sync::Arc;

use serde_json::json;
use switchboard::base::handle::{ConnSlot, Slot};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::codec::jwt::Verifier;
use switchboard::shard::{Gone, Shard, Wire};

use super::requests::upgrade;
use crate::frame::text_frame;
use crate::settings;
use crate::token::sign;

/// The time at the start.
const BEGINNING: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };

/// A user's token, valid for ten years.
pub fn token(user: &str) -> String {
    let issued_at = BEGINNING.unix_seconds();
    sign(&json!({ "sub": user, "iat": issued_at, "exp": issued_at + 10 * 365 * 86_400 }))
}

/// Accepts and counts all output.
#[derive(Default)]
pub struct Sink {
    /// Writes: one for each system call of the server.
    pub writes: u64,
    pub bytes: u64,
    /// Connections whose whole write was a ping, since this was last emptied.
    pub pinged: Vec<ConnSlot>,
}

impl Wire for Sink {
    fn write(&mut self, slot: ConnSlot, bytes: &[u8]) -> Result<usize, Gone> {
        self.writes += 1;
        self.bytes += black_box(bytes).len() as u64;
        if bytes == [0x89, 0] {
            self.pinged.push(slot);
        }
        Ok(bytes.len())
    }

    fn half_close(&mut self, _slot: ConnSlot) {}

    fn has_input(&mut self, _slot: ConnSlot) -> bool {
        false
    }

    fn close(&mut self, _slot: ConnSlot) {}
}

/// A shard, its clock, and its output.
pub struct ShardHarness {
    pub shard: Shard,
    pub now: Now,
    pub sink: Sink,
    /// What a client's bytes are read into, as the event loop does it.
    buffer: Vec<u8>,
}

impl ShardHarness {
    pub fn new(set: &[&str]) -> Self {
        let settings = settings::load(set);
        let verifier = Verifier::new(settings.verifier_options()).expect("a good secret");
        let mut options = settings.shard_options(usize::MAX);
        // What is kept has a bench of its own; here nothing is waited for.
        Arc::make_mut(&mut options.rules).has_store = false;
        let options = Arc::new(options);
        let shard = Shard::new(0, options, Arc::new(verifier), Rng::from_seed(1), BEGINNING);
        Self { shard, now: BEGINNING, sink: Sink::default(), buffer: vec![0; 64 * 1024] }
    }

    /// A connection that has said nothing yet.
    pub fn accept(&mut self) -> ConnSlot {
        self.shard.accepted(self.now, ([192, 0, 2, 1], 50_000).into()).expect("there is room")
    }

    /// Bytes come from a client.
    pub fn receive(&mut self, slot: ConnSlot, bytes: &[u8]) {
        for bytes in bytes.chunks(self.buffer.len()) {
            let input = &mut self.buffer[..bytes.len()];
            input.copy_from_slice(bytes);
            self.shard.received(self.now, slot, input);
        }
    }

    /// What the event loop does once everything is read.
    pub fn turn(&mut self) {
        self.shard.run(self.now);
        self.shard.tick(self.now);
        self.shard.run(self.now);
        self.shard.flush(self.now, &mut self.sink);
    }

    /// A client's bytes come so many times, and that is all that happens in this turn. Profilers find it by its name.
    #[inline(never)]
    pub fn feed(&mut self, slot: ConnSlot, bytes: &[u8], times: usize) {
        (0..times).for_each(|_| self.receive(slot, bytes));
        self.turn();
    }

    /// A guest's open WebSocket.
    pub fn guest(&mut self) -> ConnSlot {
        let slot = self.accept();
        self.feed(slot, &upgrade(None), 1);
        slot
    }

    /// A guest in a room, under a peer id that says where it is: `peer-` and its slot.
    pub fn member(&mut self, room: &str) -> ConnSlot {
        let slot = self.guest();
        self.feed(slot, &text_frame(&join(room, slot)), 1);
        slot
    }
}

/// A request to join, as [`ShardHarness::member`] makes it.
pub fn join(room: &str, slot: ConnSlot) -> String {
    format!(r#"{{"type":"join-room","roomId":"{room}","peerId":"peer-{}"}}"#, slot.raw())
}
