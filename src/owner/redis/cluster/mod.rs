//! The cluster: which nodes are alive ([`membership`]), the rooms and users of each node ([`registry`], [`enrolment`]), and
//! queries that other nodes have to answer ([`queries`], [`online`]). Nodes talk to each other by their channels ([`node_message`]).

mod app_message;
pub(super) mod apps;
pub(super) mod emitters;
pub(super) mod enrolment;
pub(super) mod membership;
mod merge;
mod node_message;
mod online;
pub(super) mod queries;
pub(super) mod registry;

use std::collections::BTreeSet;

use crate::base::Name;

/// The operation that a call on the set of nodes does.
pub(super) enum ClusterCall {
    /// An operation without a result.
    Done,
    /// Renewal of this node's lease.
    Renew,
    /// Update of this node's places.
    Record,
    /// Update of the room list, with the rooms that were made on purpose.
    Enlist(BTreeSet<Name>),
    /// The room list, or the number of known users, for the query of this number.
    ListRooms(u32),
    /// Claim of the cleanup of this dead node.
    ClaimCleanup(u16),
    /// Places of this dead node.
    ListPlaces(u16),
}
