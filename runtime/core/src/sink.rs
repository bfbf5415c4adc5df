//! The sink pipeline: consume → lanes → durable or rejected → commit.
//!
//! Duty: move records from Kafka into a sink's lanes and commit what is durable. [`ledger`] is the
//! pure part: it alone decides which offset may be committed. [`lane`] runs one partition's lane.
//! [`driver`] does the I/O: consumer events, lanes, dead letters, commits, pause and stop.
//!
//! Invariants:
//! - a commit never passes a record that is neither durable, nor held by the dead letter queue with
//!   its ack received, nor skipped because the user said so;
//! - nothing of a revoked assignment is dispatched or committed afterwards: batches and lanes carry
//!   their epoch;
//! - memory is bounded by the consumer's budget: a batch's bytes are charged until the last record
//!   that slices them is dropped, so lanes that are slow stop consumption and nothing else.

mod driver;
mod lane;
mod lanes;
mod ledger;
mod rejects;

pub(crate) use driver::is_consumer_of;
pub use driver::{SinkSpec, run};
pub use ledger::{Ledger, Ticket};
