//! Grants of tokens on a shard: each command of a peer and each call is checked against them, whatever dialect it came in,
//! and a membership ends when its grant does.

use crate::base::Name;
use crate::base::handle::{PeerKey, PeerSlot};
use crate::base::ids::is_name;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::jwt::{Claims, GrantClaim};
use crate::dialect::rest::{PublishTarget, RestCall, RoomAct};
use crate::domain::access::Identity;
use crate::domain::client_query::ClientQuery;
use crate::domain::command::{Command, MessageTarget};
use crate::domain::grants::{Grant, GrantAction, GrantActions};
use crate::domain::op::{ChangeRights, HostClaim, Op, RoomOp};
use crate::domain::policy::Action;
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::Revoked;
use crate::shard::audit::RefusalCause;
use crate::shard::core::Core;
use crate::shard::key_waits::KeyWaiting;

/// The room that a command acts in, and what has to be granted. A join is checked when its own token has been read.
fn need_of<'a>(command: &'a Command<'_>) -> Option<(&'a str, GrantAction)> {
    Some(match command {
        Command::Host { room, .. } => (room, GrantAction::Moderate),
        Command::Signal(signal) => (&signal.room, GrantAction::Signal),
        Command::Media { room, .. } | Command::ReportFailure { room, .. } => (room, GrantAction::Signal),
        Command::Send { target: MessageTarget::Room(room) | MessageTarget::Peer { room, .. }, .. }
        | Command::Typing { room, .. }
        | Command::Revise { room, .. } => (room, GrantAction::Publish),
        Command::Append(append) => (&append.room, GrantAction::Publish),
        Command::History { room, .. }
        | Command::Sync { room, .. }
        | Command::Receipts { room, .. }
        | Command::Unread { room, .. } => (room, GrantAction::History),
        Command::Ask(ClientQuery::Room { room } | ClientQuery::Members { room, .. } | ClientQuery::Typing { room }) => {
            (room, GrantAction::Presence)
        }
        // A member may leave, and mark what it has received.
        Command::Join(_)
        | Command::Leave { .. }
        | Command::Receipt { .. }
        | Command::Send { target: MessageTarget::User(_), .. }
        | Command::SetStatus(_)
        | Command::Resume { .. }
        | Command::Authenticate { .. }
        | Command::Ping
        | Command::Echo(_)
        | Command::MakeRecoveryToken
        | Command::Ask(_) => return None,
    })
}

/// What a call needs.
enum CallNeed<'a> {
    /// Nothing: it concerns the caller.
    Nothing,
    /// An action in each of these rooms. A room that gets a random id is named by no text, which only `*` grants.
    InRooms(GrantAction, Vec<&'a Name>),
    /// More than rooms can be granted.
    Everything,
}

fn need_of_call<'a>(call: &'a RestCall, unnamed: &'a Name) -> CallNeed<'a> {
    let named = |action| match call.rooms() {
        rooms if rooms.is_empty() => CallNeed::InRooms(action, vec![unnamed]),
        rooms => CallNeed::InRooms(action, rooms),
    };
    match call {
        RestCall::Publish(publish) if !matches!(publish.target, PublishTarget::Rooms(_)) => CallNeed::Everything,
        RestCall::Batch(batch) if batch.messages.iter().any(|it| it.target.rooms().is_none()) => CallNeed::Everything,
        RestCall::Publish(_) | RestCall::Batch(_) => named(GrantAction::Publish),
        RestCall::Messages { .. } => named(GrantAction::History),
        RestCall::Meeting { .. } | RestCall::Room { .. } => named(GrantAction::Presence),
        RestCall::Manage(managed) => match &managed.act {
            RoomAct::Show | RoomAct::Members(_) => named(GrantAction::Presence),
            RoomAct::Receipts(_) | RoomAct::Unread(_) => named(GrantAction::History),
            RoomAct::Append { .. } => named(GrantAction::Publish),
            _ => named(GrantAction::Moderate),
        },
        RestCall::CreateMeeting(..)
        | RestCall::CreateRoom(_)
        | RestCall::CloseMeeting { .. }
        | RestCall::UpdateRoom { .. }
        | RestCall::RemoveUser { .. }
        | RestCall::Lock { .. } => named(GrantAction::Moderate),
        RestCall::Join { room, .. } => CallNeed::InRooms(GrantAction::Join, vec![room]),
        RestCall::Revoke(revocation) => match &revocation.subject {
            Revoked::Member { room, .. } => CallNeed::InRooms(GrantAction::Moderate, vec![room]),
            _ => CallNeed::Everything,
        },
        RestCall::Unrevoke(subject) => match &**subject {
            Revoked::Member { room, .. } => CallNeed::InRooms(GrantAction::Moderate, vec![room]),
            _ => CallNeed::Everything,
        },
        call if call.kind().action() == Action::UseServer => CallNeed::Nothing,
        _ => CallNeed::Everything,
    }
}

/// The grants that claims make, and whether they limit their bearer.
fn granted(claims: &Claims) -> Result<Option<Vec<Grant<'_>>>, Reject> {
    let Some(list) = &claims.grants else {
        // A token for one room that is used to connect is good for that room.
        return claims.subscription.as_ref().map(|it| Ok(vec![subscribed(it, 0)?])).transpose();
    };
    if list.len() > limits::GRANTS {
        return Err(Reject::new(Code::Unauthenticated, format!("A token has at most {} grants", limits::GRANTS)));
    }
    let grants = list.iter().map(|claim| {
        let actions = GrantActions::parse(claim.can.iter().flatten().map(String::as_str))?;
        Ok(Grant { rooms: checked(claim)?, is_pattern: true, actions, until: 0 })
    });
    grants.collect::<Result<Vec<_>, _>>().map(Some)
}

fn subscribed(claim: &GrantClaim, until: u64) -> Result<Grant<'_>, Reject> {
    let actions = match &claim.can {
        Some(can) => GrantActions::parse(can.iter().map(String::as_str))?,
        None => GrantActions::usual(),
    };
    Ok(Grant { rooms: checked(claim)?, is_pattern: false, actions, until })
}

fn checked(claim: &GrantClaim) -> Result<&str, Reject> {
    let text = "A room in a token's grants must have 1 to 128 bytes and no control characters";
    is_name(&claim.rooms).then_some(&*claim.rooms).ok_or_else(|| Reject::new(Code::Unauthenticated, text))
}

/// An identity with the grants of its token.
///
/// # Errors
/// A grant is not good, or there are too many.
pub(super) fn limited(identity: Identity, claims: &Claims) -> Result<Identity, Reject> {
    Ok(match granted(claims)? {
        Some(grants) => identity.with_grants(grants, true),
        None => identity,
    })
}

/// Checks and ends what is granted.
pub(super) struct Granting<'a> {
    core: &'a mut Core,
}

impl<'a> Granting<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Checks a command of a peer.
    ///
    /// # Errors
    /// It is not granted.
    pub(super) fn check(&self, now: Now, peer: PeerKey, command: &Command<'_>) -> Result<(), Reject> {
        match (need_of(command), self.core.net.identity_of(peer)) {
            (Some((room, action)), Some(by)) => {
                let outcome = self.core.check_grant(now, by, room, action);
                // Moderators change the messages of others, and end streams.
                let is_change = matches!(command, Command::Revise { .. } | Command::Append(_));
                let may_moderate = || by.has_grant(room, GrantAction::Moderate, now.unix_seconds());
                if outcome.is_err() && is_change && may_moderate() { Ok(()) } else { outcome }
            }
            _ => Ok(()),
        }
    }

    /// Takes the token for one room that came with a join.
    ///
    /// # Errors
    /// It is not valid, of another user, or for another room.
    pub(super) fn subscribe(&mut self, now: Now, peer: PeerKey, room: &str, token: &str) -> Result<(), Reject> {
        let by = self.core.net.identity(peer)?;
        let address = self.core.net.address_of(peer);
        // A join does not wait for the keys of an issuer; the next one finds them.
        KeyWaiting::on(self.core).ask_for_key(token);
        let claims = self.core.claims(token, address, now).inspect_err(|reject| {
            self.core.count_refusal(now, address, reject, RefusalCause::of(reject));
        })?;
        if claims.user != by.user() {
            return Err(Reject::new(Code::Forbidden, "The token for the room is another user's"));
        }
        let subscription = claims.subscription.as_ref().filter(|claim| claim.rooms == room);
        let claim =
            subscription.ok_or_else(|| Reject::new(Code::Forbidden, "The token is not for this room (room)"))?;
        // Clocks may differ, as for other tokens. One without an end is good as long as the connection.
        let until = claims.expires_at.map_or(u64::MAX, |at| at.saturating_add(limits::TOKEN_LEEWAY_S));
        let until = until.min(u64::from(u32::MAX));
        let by = by.with_subscription(subscribed(claim, until)?, now.unix_seconds())?;
        self.set_identity(now, peer, by);
        Ok(())
    }

    /// Gives a peer the identity of its renewed token. Its memberships that the former one granted, and this one does not,
    /// end.
    pub(super) fn renew(&mut self, now: Now, peer: PeerKey, former: &Identity, renewed: Identity) {
        self.set_identity(now, peer, renewed.with_subscriptions_of(former, now.unix_seconds()));
        let granted = |core: &Core, room: &Name| core.check_grant(now, former, room, GrantAction::Join).is_ok();
        let rooms = self.core.rooms_of(peer).into_iter().filter(|room| granted(self.core, room)).collect();
        self.end_ungranted(now, peer, rooms);
    }

    /// Ends the memberships of a peer whose grants have expired. One that a backend has begun needs no grant.
    pub(super) fn end_expired(&mut self, now: Now, peer: PeerKey) {
        let Some(by) = self.core.net.identity_of(peer) else {
            // The peer is gone, and with it the memberships.
            return;
        };
        let outcome = |room: &Name| self.core.check_grant(now, by, room, GrantAction::Join);
        let is_expired = |room: &Name| outcome(room).is_err_and(|reject| reject.code == Code::TokenExpired);
        let rooms = self.core.rooms_of(peer).into_iter().filter(is_expired).collect();
        self.end_ungranted(now, peer, rooms);
    }

    /// Ends a membership that has begun although its grant ended while it was requested.
    pub(super) fn check_joined(&mut self, now: Now, peer: PeerKey, room: &Name) {
        self.end_ungranted(now, peer, vec![room.clone()]);
    }

    fn set_identity(&mut self, now: Now, peer: PeerKey, by: Identity) {
        let net = &mut self.core.net;
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                net.conns[slot].identity = Some(by);
                net.rearm(now, slot);
            }
            PeerSlot::SocketIo(slot) => {
                net.sessions.peers[slot].identity = Some(by);
                if let Some(at) = net.session_of(slot) {
                    net.sessions.touch(at);
                }
            }
        }
    }

    fn end_ungranted(&mut self, now: Now, peer: PeerKey, mut rooms: Vec<Name>) {
        let Some(by) = self.core.net.identity_of(peer).cloned() else {
            // The peer is gone, and with it the memberships.
            return;
        };
        let connection = self.core.net.id_of(peer);
        rooms.retain(|room| self.core.check_grant(now, &by, room, GrantAction::Join).is_err());
        for room in rooms {
            let op = RoomOp::RemoveParticipant { by: by.clone(), connection: Some(connection) };
            self.core.send_detached(Op::Room(room, op));
        }
    }
}

impl Core {
    /// Checks that a user may do something in a room.
    ///
    /// # Errors
    /// It is not granted.
    pub(super) fn check_grant(&self, now: Now, by: &Identity, room: &str, action: GrantAction) -> Result<(), Reject> {
        by.check_grant(room, action, self.options.requires_grant, now.unix_seconds())
    }

    /// Checks what a call needs of the caller's grants.
    ///
    /// # Errors
    /// It is not granted.
    pub(super) fn check_call_grants(&self, now: Now, by: &Identity, call: &RestCall) -> Result<(), Reject> {
        // Backends need no grants for the calls that are for them.
        let is_backend = by.roles().push
            && matches!(call.kind().action(), Action::Publish | Action::ManageRooms | Action::ReadRooms);
        let is_required = self.options.requires_grant && !is_backend;
        if !by.is_limited() && !is_required {
            return Ok(());
        }
        let unnamed = Name::default();
        match need_of_call(call, &unnamed) {
            CallNeed::Nothing => Ok(()),
            CallNeed::Everything => by.check_unlimited(),
            CallNeed::InRooms(action, rooms) => {
                let now_s = now.unix_seconds();
                rooms.into_iter().try_for_each(|room| by.check_grant(room, action, is_required, now_s))
            }
        }
    }

    /// Whose messages a peer's user may change in a room, by the grants of its token.
    pub(super) fn change_rights(&self, now: Now, peer: PeerKey, room: &str) -> ChangeRights {
        let Some(by) = self.net.identity_of(peer) else { return ChangeRights::Own };
        match self.check_grant(now, by, room, GrantAction::Moderate) {
            Ok(()) if by.has_grant(room, GrantAction::Moderate, now.unix_seconds()) => ChangeRights::Any,
            Ok(()) => ChangeRights::Usual,
            Err(_) => ChangeRights::Own,
        }
    }

    /// The claim of a user to what the room's host may do: with a grant to moderate, as an admin.
    pub(super) fn moderating(&self, now: Now, claim: HostClaim, room: &str) -> HostClaim {
        match claim.by.has_grant(room, GrantAction::Moderate, now.unix_seconds()) {
            true => HostClaim { by: claim.by.as_moderator(), key: claim.key },
            // A host whose token does not grant it may not act as one either. No guest has an empty name.
            false if self.check_grant(now, &claim.by, room, GrantAction::Moderate).is_err() => {
                HostClaim::from(Identity::guest(""))
            }
            false => claim,
        }
    }
}
