//! Sink to S3 and stores that speak its protocol.

pub mod buffer;
pub mod chain;
pub mod format;
pub mod joda;
pub mod name;
pub mod partitioner;
pub mod rotation;
pub mod spool;
pub mod timestamp;
