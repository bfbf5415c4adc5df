//! What this crate makes of values, beside what Kafka Connect makes of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dead_letters;
mod golden;
mod keys;
