//! Acknowledgements that calls of the application's backend wait for.

use std::collections::BTreeMap;

use crate::base::Name;
use crate::base::limits;
use crate::domain::app::{AppAckPart, AppAcks};
use crate::message::Requester;

/// The questions whose acknowledgements have not all come.
#[derive(Default)]
pub(super) struct AckCalls {
    last: u32,
    open: BTreeMap<u32, AckCall>,
}

/// A call that waits.
struct AckCall {
    to: Requester,
    /// When it is answered at the latest, in monotonic milliseconds.
    due: u64,
    /// Nodes that the question has gone to, once that is known.
    nodes: Option<usize>,
    /// The shards of each node that have sent the event, and how many there are.
    parts: BTreeMap<u16, (usize, usize)>,
    gathered: AppAcks,
    bytes: usize,
}

impl AckCall {
    fn is_complete(&self) -> bool {
        self.nodes.is_some_and(|nodes| self.parts.len() >= nodes)
            && self.parts.values().all(|(sent, shards)| sent >= shards)
            && self.gathered.acks.len() >= self.gathered.reached
    }
}

/// The answer to a call, and whether acknowledgements are missing.
pub(super) type AckOutcome = (Requester, AppAcks, bool);

impl AckCalls {
    /// Waits for the acknowledgements of an event. Returns the number of the question.
    pub(super) fn open(&mut self, to: Requester, due: u64) -> u32 {
        self.last = self.last.wrapping_add(1);
        let call = AckCall { to, due, nodes: None, parts: BTreeMap::new(), gathered: AppAcks::default(), bytes: 0 };
        self.open.insert(self.last, call);
        self.last
    }

    /// Whether another call may wait.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= limits::ACK_CALLS
    }

    /// Takes a part. Returns the answer if it was the last one.
    pub(super) fn take(&mut self, number: u32, part: AppAckPart) -> Option<AckOutcome> {
        // A part may come after the answer.
        let call = self.open.get_mut(&number)?;
        match part {
            AppAckPart::Nodes(nodes) => call.nodes = Some(nodes),
            AppAckPart::Reached { node, shards, sockets } => {
                let (sent, of) = call.parts.entry(node).or_default();
                (*sent, *of) = (*sent + 1, shards);
                call.gathered.reached += sockets;
            }
            AppAckPart::Ack(id, values) => {
                call.bytes += id.len() + values.len();
                if call.bytes <= limits::ACKS_BYTES && !is_known(&call.gathered, &id) {
                    call.gathered.acks.push((id, values));
                }
            }
        }
        call.is_complete().then(|| self.close(number, false)).flatten()
    }

    /// Takes a call whose time is over.
    pub(super) fn take_due(&mut self, mono: u64) -> Option<AckOutcome> {
        let number = self.open.iter().find(|(_, call)| call.due <= mono).map(|(number, _)| *number)?;
        self.close(number, true)
    }

    /// When the first of them is over, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.open.values().map(|call| call.due).min()
    }

    /// Forgets a call that was refused.
    pub(super) fn drop_call(&mut self, number: u32) {
        self.open.remove(&number);
    }

    fn close(&mut self, number: u32, is_late: bool) -> Option<AckOutcome> {
        let call = self.open.remove(&number)?;
        Some((call.to, call.gathered, is_late))
    }
}

fn is_known(gathered: &AppAcks, id: &Name) -> bool {
    gathered.acks.iter().any(|(known, _)| known == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(node: u16, shards: usize, sockets: usize) -> AppAckPart {
        AppAckPart::Reached { node, shards, sockets }
    }

    #[test]
    fn call_is_answered_when_every_socket_of_every_node_has_acknowledged() {
        let mut calls = AckCalls::default();
        let to = Requester { shard: 3, ask: 7 };
        let number = calls.open(to, 100);
        assert_eq!(calls.take(number, reached(1, 2, 1)), None);
        assert_eq!(calls.take(number, AppAckPart::Ack("a".into(), "[1]".into())), None);
        assert_eq!(calls.take(number, reached(1, 2, 0)), None);
        assert_eq!(calls.take(number, AppAckPart::Nodes(2)), None);
        assert_eq!(calls.take(number, reached(2, 1, 1)), None);
        assert_eq!(calls.take(number, AppAckPart::Ack("a".into(), "[3]".into())), None, "once for each socket");
        let (answered, acks, is_late) = calls.take(number, AppAckPart::Ack("b".into(), "[]".into())).expect("whole");
        assert_eq!((answered, acks.reached, acks.acks.len(), is_late), (to, 2, 2, false));
        assert_eq!((calls.take(number, AppAckPart::Nodes(1)), calls.next_due()), (None, None));
    }

    #[test]
    fn call_whose_time_is_over_is_answered_with_what_has_come() {
        let mut calls = AckCalls::default();
        let number = calls.open(Requester { shard: 0, ask: 0 }, 100);
        calls.take(number, AppAckPart::Nodes(1));
        calls.take(number, reached(0, 1, 2));
        calls.take(number, AppAckPart::Ack("a".into(), "[1]".into()));
        assert_eq!((calls.next_due(), calls.take_due(99)), (Some(100), None));
        let (_, acks, is_late) = calls.take_due(100).expect("it is over");
        assert_eq!((acks.reached, acks.acks.len(), is_late), (2, 1, true));
    }
}
