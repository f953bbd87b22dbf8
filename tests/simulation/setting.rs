//! Settings of one run, its users and their tokens, drawn from the seed.

use std::sync::{Arc, OnceLock};

use serde_json::json;
use support::settings;
use support::token::{SECRET, sign};
use switchboard::base::rng::Rng;
use switchboard::codec::jwt::{Verifier, VerifierOptions};
use switchboard::connection::websocket::{Heartbeat, SignalRate};
use switchboard::domain::op::{RoomRules, Scope};
use switchboard::runtime::storage::Durability;
use switchboard::shard::{BulkWrites, Options, SocketIo};

use super::faulty_store::StoreTraits;

/// When every run begins, in milliseconds since 1970.
pub(crate) const BEGINNING: u64 = 1_750_000_000_000;

/// The people with tokens. The first is an admin, and so is the last, who only looks after the others.
pub(crate) const USERS: [&str; 7] = ["ada", "bob", "cyd", "dan", "eve", "fay", "inspector"];

/// The last of the users.
pub(crate) const INSPECTOR: usize = USERS.len() - 1;

/// How long short tokens hold, in milliseconds.
pub(crate) const SHORT_TOKEN_MS: u64 = 20_000;

/// Content longer than this is refused, in bytes.
pub(crate) const CONTENT_BYTES: usize = 1024;

/// How long a drain may take, in milliseconds.
pub(crate) const DRAIN_MS: u64 = 2_000;

/// How many people there are with one client each.
pub(crate) const PEOPLE_MAX: usize = 64;

/// The tokens of everybody, made once for all runs: they are the same in each.
pub(crate) struct Tokens {
    /// Good for longer than any run.
    pub(crate) long: Vec<String>,
    /// Good for the first seconds of a run.
    pub(crate) short: Vec<String>,
}

pub(crate) fn tokens() -> &'static Tokens {
    static TOKENS: OnceLock<Tokens> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let issued_at = BEGINNING / 1000;
        let token = |at: usize, expires_at: u64| {
            let mut claims = json!({ "sub": USERS[at], "iat": issued_at, "exp": expires_at });
            if at == 0 || at == INSPECTOR {
                claims["role"] = json!("admin");
            }
            sign(&claims)
        };
        let all = |expires_at: u64| (0..USERS.len()).map(|at| token(at, expires_at)).collect();
        Tokens { long: all(issued_at + 10 * 365 * 86_400), short: all(issued_at + SHORT_TOKEN_MS / 1000) }
    })
}

/// People of whom each has one client only, and their tokens.
pub(crate) fn people() -> &'static [(String, String)] {
    static PEOPLE: OnceLock<Vec<(String, String)>> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        let issued_at = BEGINNING / 1000;
        let person = |number: usize| {
            let user = format!("person {number}");
            let token = sign(&json!({ "sub": &user, "iat": issued_at, "exp": issued_at + 86_400 }));
            (user, token)
        };
        (0..PEOPLE_MAX).map(person).collect()
    })
}

pub(crate) fn verifier() -> Arc<Verifier> {
    static VERIFIER: OnceLock<Arc<Verifier>> = OnceLock::new();
    let new = || Verifier::new(VerifierOptions { secret: Some(SECRET.into()), ..VerifierOptions::default() });
    VERIFIER.get_or_init(|| Arc::new(new().expect("a good key"))).clone()
}

/// What one run goes by.
pub(crate) struct Setting {
    pub(crate) options: Arc<Options>,
    /// Whether members hear of everyone who joins or leaves, however many there are.
    pub(crate) announces_all: bool,
    /// Whether backlogs are so short that clients are dropped for them.
    pub(crate) is_slow: bool,
}

impl Setting {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut one_in = |n: u64| rng.below(n) == 0;
        let announces_all = !one_in(5);
        let is_slow = one_in(4);
        let create_on_join = !one_in(5);
        let connections_per_user = if one_in(4) { 2 } else { 0 };
        let rooms_per_connection = if one_in(5) { 2 } else { 0 };
        let (per_minute, burst) = if one_in(5) { (60, 3) } else { (0, 0) };
        let connections = if one_in(10) { 4 } else { 0 };
        let presence_scope = if one_in(4) { Scope::Rooms } else { Scope::Auto };
        let shards = 2 + rng.below(3) as usize;
        let has_store = rng.below(3) == 0;
        let interval_ms = 4_000 + rng.below(4) * 3_000;
        let bulk = draw_bulk(rng);
        let rules = RoomRules {
            announce_limit: if announces_all { 500 } else { 2 },
            has_store,
            outlives_process: has_store,
            presence_scope,
            connections_per_user,
            ..settings::rules()
        };
        let options = Options {
            shards,
            content_bytes: CONTENT_BYTES,
            outbound_bytes: if is_slow { 12 * 1024 } else { 1 << 20 },
            bulk,
            rooms_per_connection,
            connections,
            signals: SignalRate { per_minute, burst },
            heartbeat: Heartbeat { interval_ms, timeout_ms: 4_000 },
            create_on_join,
            create_on_join_in_camel: create_on_join,
            requires_grant: false,
            rules: Arc::new(rules),
            ..settings::options()
        };
        Self { options: Arc::new(options), announces_all, is_slow }
    }

    /// A server that keeps things, and the store it keeps them in. Nothing is limited that is not of interest here.
    pub(crate) fn draw_stored(rng: &mut Rng) -> (Self, StoreTraits) {
        let mut plain = Self::draw(&mut Rng::from_seed(0));
        let durability = [Durability::Process, Durability::Power, Durability::None][rng.below(5) as usize % 3];
        let recovery_window_ms = 20_000 + rng.below(3) * 40_000;
        let keep_messages = if rng.below(3) == 0 { 3 + rng.below(20) } else { 0 };
        let keep_ms = if rng.below(5) == 0 { 20_000 + rng.below(60_000) } else { 0 };
        let leisure = 1 + rng.below(12);
        let overflows = rng.below(8) == 0;
        let rules = RoomRules {
            announce_limit: 500,
            joined_have_host: true,
            has_store: true,
            outlives_process: true,
            keep_ms,
            presence_grace_ms: if rng.below(4) == 0 { 0 } else { 3_000 },
            presence_scope: if rng.below(4) == 0 { Scope::Rooms } else { Scope::Auto },
            connections_per_user: 0,
            ..(*plain.options.rules).clone()
        };
        plain.options = Arc::new(Options {
            shards: 1 + rng.below(3) as usize,
            bulk: draw_bulk(rng),
            outbound_bytes: 1 << 20,
            rooms_per_connection: 0,
            connections: 0,
            signals: SignalRate { per_minute: 0, burst: 0 },
            recovery_window_ms,
            create_on_join: true,
            create_on_join_in_camel: true,
            requires_grant: false,
            rules: Arc::new(rules),
            ..(*plain.options).clone()
        });
        let nature = StoreTraits { durability, recovery_window_ms, keep_messages, keep_ms, leisure, overflows };
        (Self { announces_all: true, is_slow: false, ..plain }, nature)
    }

    /// A server for clients of all dialects. Nothing is limited, so that whoever is cut off is so for a reason.
    pub(crate) fn draw_mingled(rng: &mut Rng) -> Self {
        let plain = Self::draw(&mut Rng::from_seed(0));
        let heartbeat = Heartbeat { interval_ms: 4_000 + rng.below(4) * 3_000, timeout_ms: 4_000 };
        let rules = RoomRules {
            announce_limit: 500,
            joined_have_host: true,
            has_store: false,
            presence_grace_ms: if rng.below(4) == 0 { 0 } else { 3_000 },
            presence_scope: if rng.below(4) == 0 { Scope::Rooms } else { Scope::Auto },
            connections_per_user: 0,
            ..(*plain.options.rules).clone()
        };
        let mut socket_io = SocketIo::default();
        socket_io.sessions.heartbeat = heartbeat;
        let options = Options {
            shards: 2 + rng.below(3) as usize,
            bulk: draw_bulk(rng),
            outbound_bytes: 1 << 20,
            rooms_per_connection: 0,
            connections: 0,
            signals: SignalRate { per_minute: 0, burst: 0 },
            heartbeat,
            create_on_join: true,
            create_on_join_in_camel: true,
            requires_grant: false,
            rules: Arc::new(rules),
            socket_io,
            ..(*plain.options).clone()
        };
        Self { options: Arc::new(options), announces_all: true, is_slow: false }
    }

    pub(crate) fn shards(&self) -> usize {
        self.options.shards
    }
}

/// Each write to a room of two or more in a turn of its own, or all in one.
fn draw_bulk(rng: &mut Rng) -> BulkWrites {
    match rng.below(2) {
        0 => BulkWrites { members: 2, turn_bytes: 1 },
        _ => BulkWrites::default(),
    }
}
