//! The contract of owners (see `src/owner/mod.rs`): one set of cases for the embedded owner and for Redis, and random
//! sequences of operations whose replies and events are compared. The invariants of the embedded owner are checked after
//! each step.

mod cases;
mod ops;
mod owners;
mod rooms;
mod same;
