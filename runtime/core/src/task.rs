//! Tasks: what runs a pipeline and says how it is.
//!
//! Duty: identity ([`TaskId`]), the wish of the herder ([`Wanted`]), the visible condition
//! ([`status`]), and the engine's end of the connectors' contexts ([`host`]).

pub mod host;
mod side_topic;
pub(crate) mod silence;
pub mod status;

use std::fmt;
use std::sync::Arc;

/// Names a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The connector.
    pub connector: Arc<str>,
    /// The task's number, from 0.
    pub task: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.connector, self.task)
    }
}

/// What a running task is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Move records.
    Running,
    /// Keep the place, move nothing.
    Paused,
    /// Drain and end.
    Stopped,
}

/// Resolves at `instant`; never without one.
pub(crate) async fn at(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&'static str>()
            .map_or_else(|_| "a panic without a message".to_owned(), |text| (*text).to_owned()),
    }
}
