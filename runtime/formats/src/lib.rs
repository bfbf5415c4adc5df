//! Kafka Connect's formats as pure data.
//!
//! Duty: read and write, byte for byte, what Kafka Connect and its tools read and write: the records
//! of its three internal topics ([`config_topic`], [`status_topic`], [`offset_topic`]), the bodies
//! and error texts of its REST API ([`rest`], [`messages`]), the headers of its dead letter queue
//! ([`dlq`]) and the partition that Java's producer picks for a key ([`partitioner`]).
//!
//! Invariants: every function here is pure and total. Bytes from outside may give an error, never a
//! panic. What was read can be written again without losing a byte that identifies something (an
//! offset's key). Unknown members of a record are tolerated, since a newer or an older worker may
//! have written it.
//!
//! Deliberately absent: sockets, files, clocks, threads, Kafka clients, and the connectors' own
//! configs.

mod client_role;
mod java_json;
mod map;
mod nearest;
mod secret;

pub mod client_properties;
pub mod config_topic;
pub mod dlq;
pub mod environment;
pub mod java_regex;
pub mod messages;
pub mod offset_topic;
pub mod override_policy;
pub mod partitioner;
pub mod plugin_version;
pub mod properties_file;
pub mod rest;
pub mod status_topic;
pub mod tls;
pub mod topic_creation;
pub mod worker_config;

mod error;
mod fields;
mod finding;

pub use client_role::ClientRole;
pub use error::{Error, Kind};
pub use finding::{FieldError, Warning};
pub use java_json::to_java_json;
pub use map::{PatchMap, Properties};
pub use secret::Secret;
