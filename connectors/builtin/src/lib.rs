//! Converters, transforms, predicates and configuration providers that ship with Towpath, under the
//! class names, keys and defaults of Kafka Connect's own.
//!
//! Invariants:
//! - the same bytes and values come out as from Kafka Connect 4.3, and the same error texts, so that
//!   dead letters read the same; where that is not so, the module says why;
//! - what can pass through as a slice is never copied;
//! - no input panics, and none takes memory out of proportion to its size.
//!
//! Deliberately absent: Avro, Protobuf, JSON Schema (they need a registry), and all transforms but
//! `ExtractField`.

pub mod cache;
pub mod converters;
mod java;
pub mod pattern;
pub mod predicates;
pub mod providers;
pub mod transforms;

use towpath_sdk::plugin::Registry;

/// Adds everything in this crate to `registry`.
pub fn register(registry: &mut Registry) {
    converters::register(registry);
    transforms::register(registry);
    predicates::register(registry);
    providers::register(registry);
}
