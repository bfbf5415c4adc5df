//! The herder: decides which connectors and tasks run here, and keeps them running.
//!
//! Duty: the control plane. The decisions are a pure state machine ([`step`](step::step)): what
//! happens goes in, what is to be done comes out. A driver does the I/O; [`launcher`] is its view of the
//! data plane.
//!
//! Invariants:
//! - a task or planner has at most one run at a time on this worker;
//! - task configs count only as a whole; adding or changing one connector restarts no other's tasks;
//! - each request gets exactly one answer, in bounded time;
//! - config values stay unresolved (`${…}`) here.
//!
//! Deliberately absent: pipelines, sockets, HTTP.

pub mod launcher;

mod configs;
mod detail;
mod driver;
mod error;
mod event;
mod follow;
mod handle;
mod jobs;
mod options;
mod placement;
mod reconcile;
mod requests;
mod service;
mod state;
mod statuses;
mod step;
mod stored_offsets;
mod unit;
mod view;

#[cfg(test)]
mod tests;

pub use detail::{ConfigDetail, ConnectorDetail, GuaranteeDetail, TaskDetail, UnitDetail};
pub use error::HerderError;
pub use handle::{Changed, Herder};
pub use options::{HerderOptions, LoggerHook, RestartPolicy};
pub use service::HerderService;
