//! The simulation's rooms: [`network`] has the shards and what lies between them and the clients, [`peer`] and
//! [`caller`] are the clients, [`book`] keeps what they were told and holds it against what was promised, [`workload`]
//! has them do things, [`run`] is one life of a server from its seed.

mod book;
mod caller;
mod frames;
mod history;
mod life;
mod network;
mod peer;
mod setting;
mod tally;
mod workload;

pub(crate) use life::run;
pub(crate) use tally::Tally;
