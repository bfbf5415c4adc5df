//! What the sink is told to do, in one form for both dialects.
//!
//! Duty: [`Plan`], which all other modules work from, and the two vocabularies that are read into it:
//! [`confluent`] (also our own name's) and [`aiven`]. Whatever a key asks for that can't be done is
//! refused with the reason; nothing is read and dropped.

pub mod aiven;
pub mod confluent;

use std::path::PathBuf;
use std::sync::Arc;

use towpath_sdk::config::FieldError;
use towpath_sdk::guarantee::Guarantee;

use crate::buffer::Compression;
use crate::client::{Connection, ObjectOptions};
use crate::format::Format;
use crate::name::OffsetStyle;
use crate::partitioner::{By, Partitioner};
use crate::rotation::{Clocked, Settings};

/// All that a task works from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How to reach the store.
    pub connection: Connection,
    /// What every object gets.
    pub objects: ObjectOptions,
    /// Tags for every object, written once it is complete.
    pub tagging: Option<Tagging>,
    /// Bytes of a part; objects up to this size are written in one request.
    pub part_size: usize,
    /// Which path a record belongs to.
    pub partitioner: Arc<Partitioner>,
    /// How offsets are written into names.
    pub offsets: OffsetStyle,
    /// When the open files are completed.
    pub rotation: Settings,
    /// What objects contain.
    pub format: Format,
    /// How they are compressed.
    pub compression: Compression,
    /// What to do with a record without a value.
    pub nulls: Nulls,
    /// Whether objects are completed on the condition that their name is free.
    pub conditional: bool,
    /// How many taken names are stepped over before that counts as a failure.
    pub max_steps: u32,
    /// Whether to refuse to run where records could arrive twice.
    pub exactly_once: ExactlyOnce,
    /// The bounds of what is held.
    pub bounds: Bounds,
}

/// Bounds of what a task holds.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Memory for open and unsent objects, in bytes.
    pub memory: usize,
    /// Where the spool goes.
    pub spool_dir: PathBuf,
    /// Its size, in bytes.
    pub spool: u64,
}

/// Confluent's tags of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagging {
    /// Further tags.
    pub extra: Vec<(String, String)>,
    /// Whether an object without its tags is a failure.
    pub required: bool,
}

/// What to do with a record without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Write it as the format can.
    Write,
    /// Leave it out.
    Ignore,
    /// It is an error of the record.
    Reject,
    /// It is an error of the task.
    Fail,
}

/// Whether exactly-once is insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, towpath_sdk::config::ConfigEnum)]
pub enum ExactlyOnce {
    /// Give it where the other settings and the store allow it; the status tells.
    Preferred,
    /// Refuse settings and stores that do not allow it.
    Required,
}

impl Plan {
    /// What is promised, as far as the configuration decides it.
    #[must_use]
    pub fn guarantee(&self) -> Guarantee {
        if self.partitioner.by_clock() {
            let key = match self.partitioner.by {
                By::Directory { .. } => "timestamp.extractor=Wallclock",
                By::Template { .. } => "file.name.timestamp.source=wallclock",
            };
            return Guarantee::at_least_once(format!(
                "{key} puts the clock into the objects' names: a record that is read again may get \
                 another one"
            ));
        }
        if let Some(clocked) = self.rotation.clock() {
            let key = match clocked {
                Clocked::Schedule => "rotate.schedule.interval.ms",
                Clocked::Age => "file.flush.interval.ms",
                Clocked::Interval => "rotate.interval.ms with timestamp.extractor=Wallclock",
            };
            return Guarantee::at_least_once(format!(
                "{key} depends on the clock: records that are read again may be cut into other objects"
            ));
        }
        if !self.conditional {
            return Guarantee::at_least_once(UNCONDITIONAL);
        }
        Guarantee::exactly_once(
            "objects are named by offset, completed only if their name is free, and found again after \
             a restart",
        )
    }
}

/// Why a store or a configuration without conditional writes promises less.
pub const UNCONDITIONAL: &str = "objects are not completed on the condition that their name is free, \
                                 so an earlier instance of the task could write beside this one";

/// The part of the refusals that both dialects share: exactly-once was required and can't be given.
pub(crate) fn check_guarantee(plan: &Plan, errors: &mut Vec<FieldError>) {
    let guarantee = plan.guarantee();
    let weaker = guarantee.delivery < towpath_sdk::guarantee::Delivery::ExactlyOnce;
    if plan.exactly_once == ExactlyOnce::Required && weaker {
        let reason = format!("can't be had: {}", guarantee.because);
        errors.push(FieldError::invalid("exactly.once", Some("required"), reason));
    }
}

/// The part of a class name that people write.
pub(crate) fn simple_name(class: &str) -> &str {
    class.rsplit(['.', '$']).next().unwrap_or(class)
}
