//! Acts on namespaces of the application that other programs publish in the same Redis. Every node gets each of them and does it on
//! its own sockets, in the order in which Redis publishes it with the acts of nodes.
//!
//! An event of an emitter has no position of its own. The nodes give it one that follows from all such events before it: its
//! *chain*. Nodes that have got the same events in the same order have the same chain, so a client can return to any of them; one
//! that has missed an event has another chain and does not recover the client. A node that subscribes begins a chain for all.

use std::collections::BTreeMap;

use crate::base::Name;
use crate::dialect::emitter;
use crate::domain::app::{AppAct, AppOffset, AppOrder};
use crate::message::redis::Bytes;

/// The target of log lines about emitters.
pub(super) const EMITTER_LOG: &str = "switchboard::emitter";

/// Largest publication, in bytes.
const PUBLICATION_BYTES: usize = 4 << 20;

/// The channels of other programs.
#[derive(Clone, Debug, Default)]
pub struct EmitterChannels {
    /// Prefix of the channels of `@socket.io/redis-emitter`; empty: none.
    pub key: Box<str>,
    /// Channel of python-socketio; empty: none.
    pub python: Box<str>,
    /// The namespaces of the application.
    pub namespaces: Vec<Name>,
}

/// The channels with what has come by them.
pub(in crate::owner::redis) struct Emitters {
    channels: EmitterChannels,
    /// The chain that the last node to subscribe has begun.
    begin: u64,
    chains: BTreeMap<Name, u64>,
}

/// An act that was published, or the reason why it is none.
pub(super) type Emitted = Result<Option<AppOrder>, String>;

impl Emitters {
    pub(in crate::owner::redis) fn new(channels: EmitterChannels) -> Self {
        Self { channels, begin: 0, chains: BTreeMap::new() }
    }

    /// Whether there are any.
    pub(in crate::owner::redis) fn are_there(&self) -> bool {
        let EmitterChannels { key, python, namespaces } = &self.channels;
        !(namespaces.is_empty() || key.is_empty() && python.is_empty())
    }

    /// Channels, and patterns of channels, to subscribe to.
    pub(in crate::owner::redis) fn subscriptions(&self) -> Vec<Bytes> {
        let EmitterChannels { key, python, namespaces } = &self.channels;
        if !self.are_there() {
            return Vec::new();
        }
        let of_npm = namespaces.iter().filter(|_| !key.is_empty());
        let of_npm =
            of_npm.flat_map(|space| [format!("{key}#{}#*", escaped(space)), format!("{key}-request#{space}#")]);
        let of_python = Some(python.to_string()).filter(|python| !python.is_empty());
        of_npm.chain(of_python).map(|channel| channel.into_bytes().into()).collect()
    }

    /// The act that was published by a channel; `None` if the channel is not one of emitters.
    pub(super) fn read(&self, channel: &[u8], body: &[u8]) -> Option<Emitted> {
        let EmitterChannels { key, python, namespaces } = &self.channels;
        let is_python = !python.is_empty() && channel == python.as_bytes();
        let of_npm = channel.strip_prefix(key.as_bytes()).filter(|_| !key.is_empty() && !namespaces.is_empty());
        let event = of_npm.and_then(|rest| self.namespace_in(rest.strip_prefix(b"#")?));
        let request = of_npm.and_then(|rest| self.namespace_in(rest.strip_prefix(b"-request#")?));
        if (is_python || event.is_some() || request.is_some()) && body.len() > PUBLICATION_BYTES {
            return Some(Err(format!("it has more than {PUBLICATION_BYTES} bytes")));
        }
        match (event, request) {
            _ if is_python => {
                Some(emitter::python_call(body).map(|order| order.filter(|it| self.knows(&it.namespace))))
            }
            (Some(namespace), _) => Some(emitter::npm_event(namespace, body)),
            (None, Some(namespace)) => Some(emitter::npm_request(namespace, body)),
            (None, None) => None,
        }
    }

    /// Gives an act that has come its place among those of its namespace.
    pub(super) fn place(&mut self, order: &mut AppOrder, body: &[u8]) {
        let AppAct::Emit { offset, is_volatile: false, .. } = &mut order.act else { return };
        let chain = self.chains.entry(order.namespace.clone()).or_insert(self.begin);
        *chain = chained(*chain, body);
        *offset = Some(AppOffset { node: u16::MAX, shard: u8::MAX, start: 0, number: 0, chain: *chain });
    }

    /// Completes the position of an event of a node.
    pub(super) fn complete(&self, order: &mut AppOrder) {
        if let AppAct::Emit { offset: Some(offset), .. } = &mut order.act {
            offset.chain = self.chains.get(&order.namespace).copied().unwrap_or(self.begin);
        }
    }

    /// A node has begun a chain.
    pub(super) fn begin(&mut self, chain: u64) {
        (self.begin, self.chains) = (chain, BTreeMap::new());
    }

    fn knows(&self, namespace: &Name) -> bool {
        self.channels.namespaces.contains(namespace)
    }

    /// The namespace that the rest of a channel begins with. What follows are names of rooms, which the body has as well.
    fn namespace_in(&self, rest: &[u8]) -> Option<&Name> {
        let is_it = |space: &&Name| rest.strip_prefix(space.as_bytes()).is_some_and(|rest| rest.starts_with(b"#"));
        self.channels.namespaces.iter().find(is_it)
    }
}

/// The next link of a chain: FNV-1a, 64 bits. It is the same in all processes, and never 0.
fn chained(chain: u64, body: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let start = chain ^ 0xcbf2_9ce4_8422_2325;
    let link =
        chain.to_le_bytes().iter().chain(body).fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME));
    link.max(1)
}

/// A text in a pattern of Redis that stands for itself.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|letter| "*?[]^\\".contains(letter).then_some('\\').into_iter().chain([letter])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitters(key: &str, python: &str) -> Emitters {
        let namespaces = vec!["/g".into(), "/g*".into()];
        Emitters::new(EmitterChannels { key: key.into(), python: python.into(), namespaces })
    }

    #[test]
    fn channels_are_those_of_the_namespaces() {
        let texts = |emitters: &Emitters| {
            let texts =
                emitters.subscriptions().into_iter().map(|channel| String::from_utf8_lossy(&channel).into_owned());
            texts.collect::<Vec<_>>()
        };
        let expected = ["k#/g#*", "k-request#/g#", "k#/g\\*#*", "k-request#/g*#", "socketio"];
        assert_eq!(texts(&emitters("k", "socketio")), expected);
        assert!(texts(&emitters("", "")).is_empty());
        assert!(texts(&Emitters::new(EmitterChannels { key: "k".into(), ..Default::default() })).is_empty());
        let emitters = emitters("k", "socketio");
        let call = br#"{"method":"emit","event":"e","data":[],"namespace":"/other"}"#;
        assert_eq!(emitters.read(b"socketio", call), Some(Ok(None)));
        assert!(emitters.read(b"k#/g#room#", b"").is_some_and(|it| it.is_err()));
        assert!(emitters.read(b"k-request#/g#", br#"{"type":2,"rooms":["a"]}"#).is_some_and(|it| it.is_ok()));
        for other in [&b"k#/h#"[..], b"k#/g", b"k-response#/g#", b"switchboard:everyone"] {
            assert_eq!(emitters.read(other, b"{}"), None);
        }
    }

    #[test]
    fn nodes_with_the_same_events_have_the_same_chain() {
        let call = |data: u32| format!(r#"{{"method":"emit","event":"e","data":[{data}],"namespace":"/g"}}"#);
        let offsets = |sent: &[u32]| {
            let mut emitters = emitters("k", "s");
            emitters.begin(7);
            let offset = |data: &u32| {
                let body = call(*data);
                let mut order = emitters.read(b"s", body.as_bytes())?.ok()??;
                emitters.place(&mut order, body.as_bytes());
                let AppAct::Emit { offset, .. } = order.act else { return None };
                offset
            };
            sent.iter().map(offset).collect::<Vec<_>>()
        };
        let all = offsets(&[1, 1, 2]);
        assert_eq!(all, offsets(&[1, 1, 2]));
        assert_ne!(all[0], all[1], "the same event twice has two positions");
        assert_ne!(all[2], offsets(&[1, 2])[1], "an event was missed");
        assert!(all.iter().all(|offset| offset.is_some_and(|offset| offset.chain != 0)));
    }
}
