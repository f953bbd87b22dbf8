//! WebRTC signaling: offers, answers and ICE candidates go to the one peer they are for, unread and unchanged.

use crate::domain::event::{Event, Signaled};
use crate::domain::op::{OpContext, RelaySignal, Reply};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

impl Room {
    /// Passes a signaling message on to the peer it names; both must be members.
    pub(super) fn relay(&mut self, signal: RelaySignal, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        let sender = self.member(signal.connection, signal.from.as_deref(), "fromPeerId")?;
        let target = self.members.named(&signal.to).ok_or_else(Reject::peer_not_found)?;
        let event = Event::Signal(Box::new(Signaled {
            room: self.id.clone(),
            from: sender.peer_name(),
            to: target.peer_name(),
            signal: signal.signal,
            body: signal.body,
        }));
        context.tell(target.connection, event);
        Ok(Reply::Done)
    }
}
