//! The engine on the simulated cluster.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod herder;
mod own_offsets;
mod side_topic;
