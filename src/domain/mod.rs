//! Layer 1: meaning without bytes. What people ask for, what rooms and users decide, what everyone concerned learns.
//!
//! A peer's wish is a [`command::Command`]. What only the peer's side can check is checked there; what only a room or a
//! user can decide becomes an [`op::Op`], which its keeper applies: one [`op::Reply`] (or [`reject::Reject`]) to the
//! asker, and [`event::Event`]s to everyone concerned. What a restart must not lose, it leaves behind as a
//! [`record::Record`].

pub mod access;
pub mod client_query;
pub mod command;
pub mod connection;
pub mod event;
pub mod history;
pub mod membership;
pub mod messages;
pub mod monitoring;
pub mod op;
pub mod people;
pub mod policy;
pub mod presence;
pub mod query;
pub mod query_result;
pub mod quota;
pub mod receipt_counts;
pub mod record;
pub mod recovery;
pub mod registration;
pub mod reject;
pub mod room;
pub mod roster;
pub mod signaling;
pub mod typing;
pub mod user;
