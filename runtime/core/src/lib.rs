//! The engine: herder, pipelines, offsets and the dead letter queue.
//!
//! Duty: every decision about records, offsets, tasks and configurations. The world is behind the
//! traits in [`ports`].
//!
//! Deliberately absent: sockets, files, rdkafka, HTTP.

pub mod budget;
pub mod build;
pub mod chain;
pub mod dead_letters;
pub mod describe;
pub mod framework;
pub mod herder;
pub mod home;
pub mod launch;
pub mod metrics;
pub mod offsets;
pub mod ports;
pub mod secrets;
pub mod settings;
pub mod sink;
pub mod source;
pub mod task;
pub mod topics;
