//! What this crate makes of records, beside what Debezium makes of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod golden;
mod keys;
mod records;
mod shared;
