//! Messages about namespaces of the application between nodes. Every node gets all of them, in the one order in which Redis
//! publishes them, this node's own included; so the hubs of all nodes have the same events at the same positions. A message is
//! published once, at most: what a node misses is not sent again, and its hubs then forget what came before.

use crate::domain::app::{AppAckPart, AppAct, AppMessage, AppOrder};
use crate::message::{AppShare, OwnerMessage, Placement, ShardMessage};
use crate::owner::redis::cluster::app_message::WireApp;
use crate::owner::redis::cluster::emitters::EMITTER_LOG;
use crate::owner::redis::cluster::node_message::NodeMessage;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::json;

/// Has all nodes, or the one that waits for it, get a message of this node.
pub(in crate::owner::redis) fn publish(turn: &mut OwnerTurn<'_>, message: &AppMessage) {
    let channel = match message {
        AppMessage::Acked(asker, _) if asker.node == turn.own_node() => return accept(turn, message.clone()),
        AppMessage::Acked(asker, _) => turn.node.keys.node(asker.node),
        _ => turn.node.keys.everyone(),
    };
    if let AppMessage::Order(AppOrder { act: AppAct::Emit { ack: Some(asker), .. }, .. }) = message {
        let nodes = turn.node.reachable_nodes().len();
        accept(turn, AppMessage::Acked(*asker, AppAckPart::Nodes(nodes)));
    }
    if let Some(wire) = WireApp::of(message) {
        turn.publish(channel, json(&NodeMessage::App(wire)));
    }
}

/// A message of this or another node has come.
pub(super) fn published(turn: &mut OwnerTurn<'_>, wire: WireApp) {
    match wire.message() {
        Some(AppMessage::Order(mut order)) => {
            turn.node.emitters.complete(&mut order);
            accept(turn, AppMessage::Order(order));
        }
        Some(message) => accept(turn, message),
        None => tracing::warn!("another node says of a namespace what is not understood"),
    }
}

/// Another program may have published an act. Returns whether the channel is one of those for that.
pub(in crate::owner::redis) fn emitted(turn: &mut OwnerTurn<'_>, channel: &[u8], body: &[u8]) -> bool {
    match turn.node.emitters.read(channel, body) {
        None => return false,
        Some(Ok(None)) => {}
        Some(Ok(Some(mut order))) => {
            turn.node.emitters.place(&mut order, body);
            accept(turn, AppMessage::Order(order));
        }
        Some(Err(reason)) => {
            let channel = String::from_utf8_lossy(channel);
            tracing::warn!(target: EMITTER_LOG, %channel, reason, "a publication of an emitter was refused");
        }
    }
    true
}

/// This node gets the messages to all nodes from now on: what it does not know of emitters counts for no node any more.
pub(in crate::owner::redis) fn begin_chain(turn: &mut OwnerTurn<'_>) {
    if turn.node.emitters.are_there() {
        let chain = turn.node.rng.next_u64().max(1);
        turn.publish(turn.node.keys.everyone(), json(&NodeMessage::Chain(chain)));
    }
}

/// Messages of other nodes may have been missed.
pub(in crate::owner::redis) fn missed(turn: &mut OwnerTurn<'_>) {
    if !turn.node.has_apps {
        // The hubs of this node have had no message.
        return;
    }
    for shard in turn.shards() {
        turn.send(shard, ShardMessage::App(Box::new(AppShare::Gap)));
    }
}

/// Hands a message to the shard of this node that it is for.
fn accept(turn: &mut OwnerTurn<'_>, message: AppMessage) {
    turn.node.has_apps = true;
    let shards = turn.node.settings.shards;
    match (&message, message.namespace().cloned()) {
        (_, Some(namespace)) => {
            let hub = Placement::Cluster { shards }.local(&namespace);
            turn.send(hub, OwnerMessage::App(message.into()));
        }
        (AppMessage::Acked(asker, _), None) if usize::from(asker.shard) < shards => {
            let shard = asker.shard;
            turn.send(shard, ShardMessage::App(Box::new(AppShare::Apply(message.into()))));
        }
        _ => tracing::warn!("another node answers a shard that this node does not have"),
    }
}
