//! Users and sessions in Redis: a real one, and the nodes that ask it.

mod credit;
mod differential;
mod directs;
mod faults;
mod gaps;
mod ops;
mod sessions;
mod world;
