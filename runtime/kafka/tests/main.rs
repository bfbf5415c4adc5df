//! The ports against a real Kafka of the test stack.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod admin;
mod conformance;
mod consume;
mod faults;
mod membership;
mod produce;
mod support;
mod tables;
