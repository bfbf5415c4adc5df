//! The simulation's own tests.

mod conformance;
mod seeds;
mod twins;
