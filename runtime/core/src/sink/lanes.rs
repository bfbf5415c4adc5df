//! The lanes of a task.
//!
//! Duty: which of them run, which rest after a failure, and how one has ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use towpath_sdk::context::Backoff;
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::record::TopicPartition;

use super::lane::LaneCell;

/// Lanes that run, and partitions whose lane failed and comes again.
#[derive(Default)]
pub(super) struct Lanes {
    pub(super) running: BTreeMap<TopicPartition, RunningLane>,
    pub(super) by_task: HashMap<Id, TopicPartition>,
    pub(super) set: JoinSet<Result<()>>,
    pub(super) resting: BTreeMap<TopicPartition, Rest>,
    pub(super) backoff: BTreeMap<TopicPartition, Backoff>,
}

pub(super) struct RunningLane {
    pub(super) cell: Arc<LaneCell>,
    pub(super) abort: AbortHandle,
}

pub(super) struct Rest {
    pub(super) until: Instant,
}

/// Which lane has ended, and how: a panic is a defect, being cut off is as wished.
pub(super) fn flatten(ended: std::result::Result<(Id, Result<()>), JoinError>) -> (Id, Result<()>) {
    match ended {
        Ok((id, outcome)) => (id, outcome),
        Err(error) if error.is_panic() => {
            let id = error.id();
            let text = crate::task::panic_text(error.into_panic());
            (id, Err(Error::new(ErrorKind::Internal, format!("the lane panicked: {text}"))))
        }
        Err(error) => (error.id(), Ok(())),
    }
}
