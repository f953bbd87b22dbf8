//! What every authority owes its callers, and that both of them give the same: one set of cases for the authority of a
//! single process and for the one on Redis, and sequences of acts chosen at random, whose every answer and fact is
//! compared.

mod cases;
mod keepers;
mod ops;
mod rooms;
mod same;
#[path = "../support/mod.rs"]
mod support;
