//! A source that makes records up.
//!
//! Duty: [`Datagen`] generates JSON records from field expressions or a preset, as many a second as
//! asked or as fast as it can.
//!
//! Invariants: a record depends on the seed and its number among all of the connector, and on nothing
//! else (but for times, unless `time.start` is set); so a task resumes exactly where its stored offset
//! says, and the numbers of a run are without gaps whatever `tasks.max` is.
//!
//! Deliberately absent: binary formats and schemas; the converter and the transforms are for that.

mod config;
mod connector;
mod expression;
mod presets;
mod progress;
mod random;
mod task;
mod time;

pub use config::{DatagenConfig, Preset, ValueFormat};
pub use connector::Datagen;
pub use task::DatagenTask;
