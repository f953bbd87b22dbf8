//! Layer 1: meaning without bytes. Requests of clients, the decisions of rooms and users, and the events they cause.
//!
//! A client's request is a [`command::Command`]. Its shard checks authorization ([`policy`]) and quotas, and sends an
//! [`op::Op`] to the owner of the room or user. The owner applies it: the requester receives one [`op::Reply`] (or
//! [`reject::Reject`]), the audience receives [`event::Event`]s, and state that must survive a restart becomes a
//! [`record::Record`].

pub mod about;
pub mod access;
pub mod api_key;
pub mod app;
pub mod call;
pub mod client_query;
pub mod command;
pub mod connection;
pub mod connection_mode;
pub mod decision;
pub mod event;
pub mod grants;
pub mod history;
pub mod hook;
pub mod log_filter;
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
pub mod revision;
pub mod revocation;
pub mod room;
pub mod roster;
pub mod signaling;
pub mod streams;
pub mod trace;
pub mod typing;
pub mod user;
