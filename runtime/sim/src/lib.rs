//! The engine's ports in memory, for one thread, seeded, and faulty on purpose.
//!
//! Duty: a world in which the engine can be run through hours of faults in milliseconds, the same way
//! each time for the same seed; an outside system for its pipelines; and the conformance suite, which
//! every implementation of the ports passes.
//!
//! Invariants:
//! - the only chance is the seed's, and the only clock is tokio's, paused: whoever simulates uses a
//!   runtime of one thread with `start_paused(true)`, and biased selects;
//! - the world survives a crash: dropping every future and handle of a worker leaves the cluster and the
//!   outside systems as they are, except for what was on its way.
//!
//! Deliberately absent: real time, threads, and everything that is not a test.

mod admin;
mod cluster;
pub mod conformance;
mod consumer;
mod net;
pub mod outside;
mod producer;
mod table;
pub mod world;

pub use cluster::{EPOCH, SimCluster};
pub use net::Faults;
pub use world::World;
