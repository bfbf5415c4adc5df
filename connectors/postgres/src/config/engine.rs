//! Batches, and what is held in memory.

use std::path::PathBuf;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig};

/// The bytes of `max.queue.size.in.bytes=0`.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Bounds.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Engine")]
pub struct Engine {
    /// The most records in a batch.
    #[config(default = 2048, range(min = 1))]
    pub max_batch_size: u32,
    /// The most bytes of records that are held between reading and handing over. 0 is 16 MiB: there is
    /// always a bound.
    #[config(default = 0)]
    pub max_queue_size_in_bytes: u64,
    /// The directory for transactions that are too big for memory before they are committed; it must
    /// exist. Empty is the system's directory for temporary files.
    #[config(default = "", none = "")]
    pub spill_dir: Option<PathBuf>,
    /// The most bytes that such transactions take there. Beyond that the server keeps them itself until
    /// they are committed.
    #[config(default = "4294967296")]
    pub spill_max_bytes: u64,
    /// How often a broken connection is made anew without anything read in between, before the task
    /// fails; -1 is for ever.
    #[config(default = -1, importance = low, range(min = -1))]
    pub errors_max_retries: i32,
    /// The most tables that may match the filters; 0 is any number.
    #[config(default = 0, importance = low)]
    pub guardrail_collections_max: u32,
    /// What happens if there are more.
    #[config(default = "warn", importance = low)]
    pub guardrail_collections_limit_action: LimitAction,
}

/// What happens if there are too many tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum LimitAction {
    /// It is logged.
    Warn,
    /// The task fails.
    Fail,
}

impl Engine {
    /// Where transactions go that are too big for memory.
    #[must_use]
    pub fn spill_dir(&self) -> PathBuf {
        self.spill_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// The bound on what is held between reading and handing over.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        match self.max_queue_size_in_bytes {
            0 => QUEUE_BYTES,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }
}
