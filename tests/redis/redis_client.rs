//! A [`RedisClient`] in the hands of a test.

use std::collections::BTreeMap;
use std::time::Duration;

use smallvec::smallvec;
use switchboard::message::redis::{Bytes, CallError, RedisCommand, RedisEvent, RedisState, Script, ScriptCall};
use switchboard::runtime::bridge::{RedisAddress, RedisClient};
use tokio::time::{Instant, timeout_at};

use support::client::PATIENCE;

/// Adds its argument to a list.
pub(crate) static APPEND: Script =
    Script { name: "append", source: "redis.call('RPUSH', KEYS[1], ARGV[1]) return ARGV[1]" };

/// The same by another script.
pub(crate) static ADD: Script =
    Script { name: "add", source: "return tostring(redis.call('RPUSH', KEYS[1], ARGV[1]) and ARGV[1])" };

/// Does what is no command.
pub(crate) static WRONG: Script = Script { name: "wrong", source: "return redis.call('NONSENSE')" };

/// See the module.
pub(crate) struct TestClient {
    client: RedisClient,
    next: u32,
    pub(crate) answers: BTreeMap<u32, Result<Bytes, CallError>>,
    pub(crate) published: Vec<(String, String)>,
    /// How often each channel was listened to from then on.
    pub(crate) following: BTreeMap<String, usize>,
    pub(crate) states: Vec<RedisState>,
}

/// Runs a test that speaks with Redis at this address.
pub(crate) fn with_client(url: &str, test: impl AsyncFnOnce(TestClient)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let address = RedisAddress::parse(url).expect("an address");
        let client = RedisClient::start(&address, vec![&APPEND, &ADD, &WRONG], (*b"probe").into(), [1, 2]);
        let (answers, following) = (BTreeMap::new(), BTreeMap::new());
        let mut client = TestClient { client, next: 0, answers, published: Vec::new(), following, states: Vec::new() };
        client.until("a connection", |client| client.is_good()).await;
        test(client).await;
    });
}

impl TestClient {
    pub(crate) fn is_good(&self) -> bool {
        self.states.last() == Some(&RedisState::Ready)
    }

    /// Calls a script; the call's ticket.
    pub(crate) fn call(&mut self, script: &'static Script, key: &str, argument: &str) -> u32 {
        self.next += 1;
        let keys = smallvec![key.as_bytes().into()];
        let arguments = vec![argument.as_bytes().into()];
        self.client.send(RedisCommand::ScriptCall(ScriptCall { ticket: self.next, script, keys, arguments }));
        self.next
    }

    pub(crate) fn follow(&self, channel: &str) {
        self.client.send(RedisCommand::Subscribe(channel.as_bytes().into()));
    }

    pub(crate) fn leave(&self, channel: &str) {
        self.client.send(RedisCommand::Unsubscribe(channel.as_bytes().into()));
    }

    pub(crate) fn publish(&self, channel: &str, body: &str) {
        let (channel, body) = (channel.as_bytes().into(), body.as_bytes().into());
        self.client.send(RedisCommand::Publish { channel, body });
    }

    /// Waits until `is_so`, and says `what` when that does not come about.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            let mut heard = Vec::new();
            if timeout_at(until, self.client.events.recv_many(&mut heard, 1_000)).await.is_err() {
                panic!("{what}: not within {PATIENCE:?}");
            }
            heard.into_iter().for_each(|heard| self.hear(heard));
        }
    }

    /// Waits for the answer to the call of this ticket; whether it was done.
    pub(crate) async fn is_done(&mut self, ticket: u32) -> bool {
        self.until("an answer", |client| client.answers.contains_key(&ticket)).await;
        self.answers[&ticket].is_ok()
    }

    /// Calls again and again until it is done; how long the slowest answer took.
    pub(crate) async fn insist(&mut self, key: &str, argument: &str) -> Duration {
        let mut slowest = Duration::ZERO;
        loop {
            let since = Instant::now();
            let ticket = self.call(&APPEND, key, argument);
            let is_done = self.is_done(ticket).await;
            slowest = slowest.max(since.elapsed());
            if is_done {
                return slowest;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn hear(&mut self, heard: RedisEvent) {
        let text = |text: Bytes| String::from_utf8(text.into_vec()).expect("text");
        match heard {
            RedisEvent::Reply { ticket, outcome } => {
                assert!(self.answers.insert(ticket, outcome).is_none(), "one answer to each call");
            }
            RedisEvent::Published { channel, body } => self.published.push((text(channel), text(body))),
            RedisEvent::Subscribed(channel) => *self.following.entry(text(channel)).or_default() += 1,
            RedisEvent::State(state) => self.states.push(state),
        }
    }
}
