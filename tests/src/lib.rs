//! Helpers of the end-to-end tests: see `tests/README.md`.
//!
//! Duty: start, kill and stop a real worker, speak to its REST API, and look at what arrived. Servers
//! are those of `tests/stack`.

pub mod bucket;
pub mod capture;
mod database;
pub mod dlq;
pub mod faults;
pub mod kafka;
pub mod kill;
pub mod permissions;
pub mod pipeline;
pub mod proxy;
pub mod stack;
pub mod toast;
pub mod worker;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// How long anything may take to come about: tests share few cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A variable of `tests/stack`'s env.
///
/// # Errors
/// If it is not set.
pub fn server(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| {
        format!(
            "{variable} is not set: start the servers with tests/stack/up and source its env \
             (tests/README.md)"
        )
    })
}

/// A name that no other run uses.
///
/// # Errors
/// If the clock is before 1970.
pub fn unique(prefix: &str) -> Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(format!("{prefix}-{:x}-{:x}", now.as_nanos(), std::process::id()))
}

/// `config`, and over it `more`.
pub(crate) fn with(mut config: Value, more: Value) -> Value {
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    config
}
