//! The values of acks: one object each.

use crate::base::time::Now;
use crate::codec::json::Object;
use crate::dialect::events::{instant, object_of};
use crate::domain::history::{History, Unread};
use crate::domain::op::Sent;

pub use crate::dialect::events::{granted, refused, renewed};

/// `joinRoom` and `leaveRoom`.
pub fn room(out: &mut Vec<u8>, room: &str) {
    success(out, |object| {
        object.string("roomId", room);
    });
}

/// `sendMessage`.
pub fn sent(out: &mut Vec<u8>, sent: &Sent) {
    success(out, |object| super::encode::receipt(object, sent));
}

/// `syncMessages`.
pub fn synced(out: &mut Vec<u8>, history: &History) {
    success(out, |object| super::encode::synced(object, history));
}

/// `unreadCount`.
pub fn unread(out: &mut Vec<u8>, unread: &Unread) {
    success(out, |object| super::encode::unread(object, unread));
}

/// `heartbeat`.
pub fn heartbeat(out: &mut Vec<u8>, now: Now) {
    success(out, |object| instant(object, "timestamp", now.wall));
}

fn success(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    object_of(out, |object| {
        object.bool("success", true);
        write(object);
    });
}
