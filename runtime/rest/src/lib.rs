//! The HTTP API: Kafka Connect's endpoints, and ours under `/towpath/v1/`.
//!
//! Duty: speak Connect's dialect so that its clients, command lines and consoles work unmodified:
//! paths, codes, JSON shapes, whatever content type or trailing slash they send. Connect's endpoints
//! carry only Connect's states and fields; reasons, guarantees and lag are ours and live under
//! `/towpath/v1/`.
//!
//! Invariants: bodies, concurrent requests, connections and slow clients are bounded; a panic answers
//! 500 and nothing of its text; a reply never holds a resolved secret.
//!
//! Deliberately absent: deciding anything (the herder does), authentication (a later concern; the
//! default listener is loopback).

mod body;
mod error;
pub mod logging;
mod openapi;
mod patience;
mod routes;
mod server;
mod tls;

pub use routes::{ClusterId, Scope, Shared, router};
pub use server::{Bound, Limits, ListenOptions, ServeOptions, TlsFiles, bind};
