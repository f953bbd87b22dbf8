//! The call in a room: its callers, and the operations that change its connection mode.
//!
//! A caller is a member that sends media, has sent a signal, or has said that it can use a media server. Members that only write
//! are none.

use crate::base::ids::ConnectionId;
use crate::domain::command::MediaState;
use crate::domain::connection_mode::{CAPABLE_MIN, Call, Callers, ConnectionMode, ModeChange, SFU, WantedMode};
use crate::domain::event::Event;
use crate::domain::membership::{Member, Members};
use crate::domain::op::{HostClaim, OpContext, Reply};
use crate::domain::reject::{Code, Reject};
use crate::domain::room::Room;

/// Whether a member takes part in the room's call.
pub(super) fn is_caller(member: &Member) -> bool {
    member.media != MediaState::default() || member.has_signaled
}

impl Members {
    /// The callers. Where fewer than two can use a media server, which is usual, nothing is counted.
    fn callers(&self) -> Callers {
        let all = if self.capable() < CAPABLE_MIN { 0 } else { self.iter().filter(|member| is_caller(member)).count() };
        Callers { all: u32::try_from(all).unwrap_or(u32::MAX), capable: self.capable() }
    }
}

impl Room {
    /// A member changes the media that it sends.
    pub(super) fn set_media(
        &mut self,
        connection: ConnectionId,
        peer: Option<&str>,
        (media, sfu): (MediaState, Option<bool>),
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let member = self.identify(connection, peer, "peerId")?.check_sends()?;
        let (name, media) = (member.peer_name(), MediaState { sfu: sfu.unwrap_or(member.media.sfu), ..media });
        let at = self.members.position(connection).expect("members: an identified member is found");
        self.members.set_media(at, media);
        context.tell_members(Some(connection), Event::Media { room: self.id.clone(), peer: name, media });
        Ok(Reply::Done)
    }
}

/// The way that media take between the callers of a room.
pub(super) fn mode(room: &Room) -> ConnectionMode {
    room.momentary.get().map_or_else(ConnectionMode::default, |state| state.call.mode)
}

/// After an operation that may have changed the callers: adapts the mode.
pub(super) fn settle(room: &mut Room, context: &mut OpContext<'_>) {
    let rules = context.rules.mode;
    let is_quiet = room.momentary.get().is_none_or(|state| state.call.is_idle());
    if !rules.is_on || is_quiet && room.members.capable() < CAPABLE_MIN {
        return;
    }
    if room.members.is_empty() {
        room.momentary.change(|state| state.call = Call::default());
        return;
    }
    let (now_ms, callers) = (context.now.mono, room.members.callers());
    let change = room.momentary.change(|state| state.call.update(now_ms, callers, &rules));
    tell_mode(room, change, context);
}

/// Goes back to peer to peer connections if that is due.
pub(crate) fn return_to_p2p(room: &mut Room, context: &mut OpContext<'_>) {
    let now_ms = context.now.mono;
    let change = room.momentary.get().is_some().then(|| room.momentary.change(|state| state.call.pass(now_ms)));
    tell_mode(room, change.flatten(), context);
}

/// When the owner has to call [`return_to_p2p`], in monotonic milliseconds, if it does not know yet.
pub(crate) fn due(room: &mut Room) -> Option<u64> {
    room.momentary.get_mut().and_then(|state| state.call.take_due())
}

fn tell_mode(room: &Room, change: Option<ModeChange>, context: &mut OpContext<'_>) {
    if let Some(change) = change {
        context.tell_members(None, Event::Mode { room: room.id.clone(), change });
    }
}

/// Tells a Socket.IO member that has arrived of the mode, unless it is the default: its dialects have no place for it in the
/// answer to a join.
pub(super) fn tell_to(room: &Room, connection: ConnectionId, context: &mut OpContext<'_>) {
    let call = room.momentary.get().map(|state| &state.call);
    if let Some(call) = call.filter(|call| call.mode != ConnectionMode::default() && connection.is_peer()) {
        let change = ModeChange { mode: call.mode, previous: call.mode.other(), reason: call.reason };
        context.tell(connection, Event::Mode { room: room.id.clone(), change });
    }
}

/// Admits a member to the media server.
pub(super) fn admit(room: &Room, connection: ConnectionId, from: Option<&str>) -> Result<Reply, Reject> {
    let own = room.identify(connection, from, "fromPeerId")?;
    if mode(room) != ConnectionMode::Sfu {
        return Err(Reject::new(Code::MediaStale, "The connection mode of this room is p2p"));
    }
    if !own.media.sfu {
        return Err(Reject::new(Code::MediaRefused, "This member has not said that it can use the media server (sfu)"));
    }
    Ok(Reply::MediaAdmitted(own.peer_name()))
}

/// A member reports that it cannot connect to another one, or to the media server. In the latter case it counts as one that
/// cannot use it, so that the others connect to it from peer to peer.
pub(super) fn report_failure(
    room: &mut Room,
    connection: ConnectionId,
    peer: &str,
    context: &mut OpContext<'_>,
) -> Result<Reply, Reject> {
    let own = room.identify(connection, None, "peerId")?.check_sends()?;
    if peer == SFU {
        let (is_capable, media) = (own.media.sfu, own.media);
        return match is_capable {
            true => room.set_media(connection, None, (MediaState { sfu: false, ..media }, Some(false)), context),
            false => Ok(Reply::Done),
        };
    }
    let other = room.members.reachable(peer)?;
    if context.rules.mode.is_on && own.media.sfu && other.media.sfu && own.connection != other.connection {
        let callers = room.members.callers();
        room.momentary.change(|state| state.call.failed_among = Some(callers.all));
    }
    Ok(Reply::Done)
}

/// The host asks for a mode.
pub(super) fn set_mode(
    room: &mut Room,
    by: &HostClaim,
    wanted: WantedMode,
    context: &OpContext<'_>,
) -> Result<Reply, Reject> {
    room.check_host(by, Reject::host_only)?;
    if context.rules.mode.is_on && !room.members.is_empty() {
        room.momentary.change(|state| state.call.wanted = wanted);
    }
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests;
