//! WebRTC signaling: relays offers, answers and ICE candidates to one peer, unread and unchanged.

use crate::domain::event::{Event, Signaled};
use crate::domain::op::{OpContext, RelaySignal, Reply};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

impl Room {
    /// Relays a signaling message. The sender and the addressed peer must be members.
    pub(super) fn relay(&mut self, signal: RelaySignal, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        let sender = self.identify(signal.connection, signal.from.as_deref(), "fromPeerId")?;
        let target = self.members.addressed(&signal.to).ok_or_else(Reject::peer_not_found)?;
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
