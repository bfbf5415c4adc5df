//! The simulation's own tests, and the engine's pipelines in simulation.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod mutants;
mod pipelines;
mod seeds;
mod twins;
mod worker;
