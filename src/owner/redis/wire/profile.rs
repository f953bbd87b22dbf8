//! The profile of a room, its changes, and a room as observers and members see it.

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::domain::event::RoomInfo;
use crate::domain::op::{Profile, ProfileChange, RoomView};
use crate::message::redis::Bytes;
use crate::owner::redis::mode::mode;
use crate::owner::redis::wire::{WireMember, json};

/// The profile of a room that was made on purpose.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WireProfile {
    #[serde(rename = "n")]
    name: Option<Box<str>>,
    #[serde(rename = "k")]
    kind: Option<Box<str>>,
    #[serde(rename = "v")]
    is_private: bool,
    #[serde(rename = "h")]
    host_peer: Option<Box<str>>,
    #[serde(rename = "x")]
    max_participants: usize,
    #[serde(rename = "y")]
    encryption: Option<Box<str>>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    description: Option<Box<str>>,
    /// JSON as a text, which scripts do not change.
    #[serde(rename = "md", default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<str>>,
}

/// The new parts of a profile.
#[derive(Serialize)]
struct WireProfileChange<'a> {
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(rename = "v", skip_serializing_if = "Option::is_none")]
    is_private: Option<bool>,
    #[serde(rename = "x", skip_serializing_if = "Option::is_none")]
    max_participants: Option<usize>,
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(rename = "md", skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
}

/// A changed room, as it is announced.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::owner::redis) struct WireRoomInfo {
    #[serde(rename = "pf")]
    profile: WireProfile,
    #[serde(rename = "k")]
    participant_count: usize,
    #[serde(rename = "o")]
    online_count: usize,
    #[serde(rename = "a")]
    last_activity: u64,
    /// 1 if it is locked.
    #[serde(rename = "lk", default)]
    locked: u8,
}

impl WireRoomInfo {
    pub(in crate::owner::redis) fn into_info(self, room: Name) -> RoomInfo {
        let Self { profile, participant_count, online_count, last_activity, locked } = self;
        let WireProfile { name, description, metadata, is_private, max_participants, .. } = profile;
        RoomInfo {
            room,
            name,
            description,
            metadata,
            is_private,
            max_participants,
            is_locked: locked == 1,
            participant_count,
            online_count,
            last_activity,
        }
    }
}

/// A profile as JSON, without its participants, which have a key of their own, and without the host key, which only scripts see.
pub(in crate::owner::redis) fn profile(profile: &Profile) -> Bytes {
    let Profile { name, kind, description, metadata, is_private, host_peer, max_participants, encryption, .. } =
        profile.clone();
    let host_peer = host_peer.map(|peer| (*peer).into());
    json(&WireProfile { name, kind, is_private, host_peer, max_participants, encryption, description, metadata })
}

/// The new parts of a profile as JSON, without its participants.
pub(in crate::owner::redis) fn profile_change(change: &ProfileChange) -> Bytes {
    let ProfileChange { is_private, max_participants, .. } = *change;
    json(&WireProfileChange {
        name: change.name.as_deref(),
        kind: change.kind.as_deref(),
        is_private,
        max_participants,
        description: change.description.as_deref(),
        metadata: change.metadata.as_deref(),
    })
}

/// A room as an observer sees it.
#[derive(Deserialize)]
pub(in crate::owner::redis) struct WireRoomView {
    #[serde(rename = "h")]
    host: Box<str>,
    #[serde(rename = "c")]
    created_at: u64,
    #[serde(rename = "a")]
    last_activity: u64,
    #[serde(rename = "pf")]
    profile: Option<WireProfile>,
    #[serde(rename = "k")]
    member_count: usize,
    /// 1 if it is locked.
    #[serde(rename = "lk", default)]
    locked: u8,
    /// 1 if media go through a media server.
    #[serde(rename = "cm", default)]
    is_sfu: u8,
    #[serde(rename = "pa")]
    participants: Vec<Box<str>>,
    #[serde(rename = "l")]
    members: Vec<WireMember>,
}

impl WireRoomView {
    /// The view, with at most this many members.
    pub(in crate::owner::redis) fn into_view(self, room: &Name, most: usize) -> RoomView {
        let participants = self.participants.iter().map(|user| (**user).into()).collect();
        let is_made = self.profile.is_some();
        let profile = self.profile.map(|profile| Profile {
            name: profile.name,
            kind: profile.kind,
            description: profile.description,
            metadata: profile.metadata,
            is_private: profile.is_private,
            participants,
            host_peer: profile.host_peer.map(|peer| (*peer).into()),
            max_participants: profile.max_participants,
            encryption: profile.encryption,
            host_key: None,
        });
        RoomView {
            room: room.clone(),
            is_made,
            profile: profile.unwrap_or_default(),
            is_locked: self.locked == 1,
            host: (*self.host).into(),
            created_at: self.created_at,
            last_activity: self.last_activity,
            participant_count: self.member_count,
            mode: mode(self.is_sfu == 1),
            peers: WireMember::into_peers(self.members, most),
        }
    }
}
