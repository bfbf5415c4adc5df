//! The engine: herder, pipelines, offsets and the dead letter queue.
//!
//! Duty: every decision about records, offsets, tasks and configurations. The world is behind the
//! traits in [`ports`].
//!
//! Deliberately absent: sockets, files, rdkafka, HTTP.

pub mod budget;
pub mod ports;
