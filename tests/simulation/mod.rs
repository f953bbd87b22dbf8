//! The simulation's rooms: [`network`] has the shards and what lies between them and the clients, [`peer`] and
//! [`caller`] are the clients, [`book`] keeps what they were told and holds it against what was promised, [`workload`]
//! has them do things, [`run`] is one life of a server from its seed.
//!
//! Servers that keep things have a part of their own: [`storage`] is the store, [`contents`] what it holds, [`device`] a
//! client that comes back, [`returning`] how it does, [`testimony`] what all of them were told, [`trial`] one life with
//! failures and crashes.
//!
//! So have clients of all dialects in the same rooms: [`talker`] is one, [`engine`] what carries it, [`ledger`] what all of
//! them were told, [`mingled`] one life with them.

mod book;
mod caller;
mod contents;
mod device;
mod engine;
mod frames;
mod history;
mod ledger;
mod life;
mod mingled;
#[path = "../storage/model.rs"]
mod model;
mod network;
mod peer;
mod returning;
mod setting;
mod storage;
mod talker;
mod tally;
mod testimony;
mod trial;
mod workload;

pub(crate) use life::{Outcome, run};
pub(crate) use mingled::run as mingle;
pub(crate) use tally::{Tally, WANTED, WANTED_OF_MINGLED, WANTED_OF_STORE};
pub(crate) use trial::run as try_store;
