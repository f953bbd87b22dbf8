//! The load test as a process: each scenario against the real server, and against servers with known faults, which it
//! must report exactly.

mod harness;

mod churn;
mod echo;
mod fanout;
mod floor;
mod idle;
mod report;
mod signal;
mod slow;
mod socketio;
mod socketio_load;
mod storm;
mod workers;
