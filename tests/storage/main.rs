//! The embedded store against real files, real processes and real faults: what it acknowledged is there, whatever became
//! of the process or the disk.

mod child;
mod crash;
mod damage;
mod disk;
mod durability;
mod fixture;
mod keeping;
mod model;
mod pages;
mod retention;
mod schema;
