//! What stands between a server and its Redis, against a real one that is restarted, paused, emptied and cut off.

mod calls;
mod channels;
mod cluster;
mod costs;
mod forks;
mod half_done;
mod leftovers;
mod nodes;
mod partition;
mod questions;
mod redis_client;
mod resting_rooms;
mod secure;
mod sentinels;
mod users;
