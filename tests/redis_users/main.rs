//! Users and sessions in Redis: a real one, and the nodes that ask it.

#[path = "../support/mod.rs"]
mod support;

mod credit;
mod differential;
mod directs;
mod faults;
mod gaps;
mod ops;
mod sessions;
mod world;
