//! The herder: decides which connectors and tasks run here, and keeps them running.
//!
//! Duty: the control plane. [`launcher`] is its view of the data plane.
//!
//! Deliberately absent: pipelines, sockets, HTTP.

pub mod launcher;
