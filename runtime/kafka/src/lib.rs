//! The engine's ports on a Kafka cluster.
//!
//! Duty: implement [`towpath_core::ports::Cluster`] and all that it makes on librdkafka, by way of
//! the crate `rdkafka` and, where that lacks a call, one module of `unsafe` code (`native`).
//!
//! Invariants:
//! - nothing of librdkafka shows in the public interface;
//! - one thread per client serves it and alone destroys it; nobody who drops a handle waits;
//! - threads sleep until there is something to do: a client's queues, commands, budgets and replies
//!   all ring the same bell;
//! - what is queued is bounded (see [`KafkaOptions`]), and the engine's budget is charged before
//!   bytes are copied;
//! - secrets never reach a log or a `Debug`.
//!
//! Deliberately absent: what to do about an error, offsets of sources, record formats.

mod admin;
mod bell;
mod cluster;
mod consumer;
mod context;
mod error;
mod membership;
mod native;
mod options;
mod producer;
mod table;
mod transaction;
mod wave;

pub use cluster::KafkaCluster;
pub use options::{
    ClientKind, CompilePattern, FETCH_BYTES, KafkaOptions, Matcher, PREFETCH_KIB, PRODUCER_KIB,
    Properties, Translate,
};
