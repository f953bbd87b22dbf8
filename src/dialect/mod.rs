//! Layer 2: translators between the wires and the domain. Stateless: text in, commands out; events in, text out.
//!
//! The set of dialects is closed, so they are modules with the same verbs (`decode`, `encode`), not implementers of a
//! trait.

pub mod camel;
pub mod colon;
pub mod decision;
pub mod emitter;
pub mod encoded_event;
mod events;
pub mod exposition;
mod fields;
pub mod notify;
pub mod offset;
pub mod raw;
pub mod rest;
pub mod socketio;
mod stream;
pub mod webhook;
