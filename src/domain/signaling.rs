//! WebRTC signaling: relays offers, answers and ICE candidates to one peer, unread and unchanged.

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::call;
use crate::domain::connection_mode::SFU;
use crate::domain::event::{Event, Signaled};
use crate::domain::op::{OpContext, RelaySignal, Reply};
use crate::domain::reject::{Code, Reject};
use crate::domain::room::Room;

impl Room {
    /// Relays a signaling message. The sender and the addressed peer must be members. One to the media server is only admitted;
    /// the sender's shard has its body.
    pub(super) fn relay(&mut self, signal: RelaySignal, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        if *signal.to == *SFU {
            return call::admit(self, signal.connection, signal.from.as_deref());
        }
        let sender = self.identify(signal.connection, signal.from.as_deref(), "fromPeerId")?.check_sends()?;
        let is_first = context.rules.mode.is_on && !sender.has_signaled;
        let target = self.members.reachable(&signal.to)?;
        let event = Event::Signal(Box::new(Signaled {
            room: self.id.clone(),
            from: sender.peer_name(),
            to: target.peer_name(),
            signal: signal.signal,
            body: signal.body,
        }));
        context.tell(target.connection, event);
        if is_first {
            self.members.note_signal(signal.connection);
        }
        Ok(Reply::Done)
    }
}

/// The signaling messages that members have been relayed lately. A member takes so many bytes at once, and again after
/// [`limits::SIGNALS_MS`]: several senders together must not make it a slow reader, which is disconnected.
pub(crate) struct SignalLoads {
    /// When a connection takes the whole again, in monotonic milliseconds.
    until: Map<ConnectionId, u64>,
    /// When connections are forgotten that take the whole again.
    next_sweep: u64,
}

impl SignalLoads {
    pub(crate) fn new(seed: u64) -> Self {
        Self { until: map(seed), next_sweep: 0 }
    }

    /// Counts a message to a connection, of which `most` bytes (0: any number) may be relayed at once.
    ///
    /// # Errors
    /// The connection has been relayed too much. The refusal says when to try again.
    pub(crate) fn spend(&mut self, now: Now, to: ConnectionId, bytes: usize, most: usize) -> Result<(), Reject> {
        if most == 0 {
            return Ok(());
        }
        if now.mono >= self.next_sweep {
            self.next_sweep = now.mono + limits::SIGNALS_MS;
            self.until.retain(|_, until| *until > now.mono);
        }
        let until = self.until.entry(to).or_insert(now.mono);
        let level = until.saturating_sub(now.mono) + load_ms(bytes, most);
        if level > limits::SIGNALS_MS {
            return Err(signals_full(level - limits::SIGNALS_MS));
        }
        *until = now.mono + level;
        Ok(())
    }
}

/// Time after which a member takes as much again. A larger message than may be relayed at once counts as all of that.
pub(crate) fn load_ms(bytes: usize, most: usize) -> u64 {
    (bytes.min(most) as u64 * limits::SIGNALS_MS).div_ceil(most as u64)
}

/// The refusal of a signaling message to a member that has been relayed too much.
pub(crate) fn signals_full(wait_ms: u64) -> Reject {
    let wait_s = wait_ms.div_ceil(1_000).max(1);
    let text = format!("All members together may send this peer no more signals at once; go on in {wait_s} s");
    Reject { retry_after_s: Some(wait_s), ..Reject::new(Code::RateLimited, text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;

    const START: Now = Now { mono: 1_000, wall: 0 };

    #[test]
    fn member_takes_signals_of_all_senders_up_to_the_bound_and_more_as_time_passes() {
        let mut loads = SignalLoads::new(1);
        let id = |slot| ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot }, [7; 12]);
        let wait = |loads: &mut SignalLoads, ms, slot, bytes| {
            loads.spend(START.plus(ms), id(slot), bytes, 1_000).err().and_then(|reject| reject.retry_after_s)
        };
        assert_eq!((0..5).map(|_| wait(&mut loads, 0, 1, 250)).collect::<Vec<_>>(), [None, None, None, None, Some(1)]);
        assert_eq!(wait(&mut loads, 0, 1, 1_000), Some(3));
        assert_eq!(wait(&mut loads, 0, 2, 1_000), None, "each member has its own bound");
        assert_eq!((wait(&mut loads, 749, 1, 250), wait(&mut loads, 750, 1, 250)), (Some(1), None));
        // Larger ones than may be relayed at once pass when the member takes the whole again.
        assert_eq!((wait(&mut loads, 3_000, 1, 9_999), wait(&mut loads, 3_750, 1, 9_999)), (Some(1), None));
        assert_eq!(loads.spend(START, id(1), usize::MAX, 0), Ok(()), "0: any number");
        for slot in 0..100 {
            wait(&mut loads, 3_750, slot, 1);
        }
        wait(&mut loads, 20_000, 1, 1);
        assert_eq!(loads.until.len(), 1, "members that take the whole again are forgotten");
    }
}
