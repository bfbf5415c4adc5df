//! The suite for sinks.

mod checks;
mod run;
mod target;
#[cfg(test)]
mod twins;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use towpath_sdk::config::Properties;
use towpath_sdk::sink::SinkConnector;
use towpath_sdk::value::{Datum, Json, Value};

use crate::suite::{Failure, Suite, report};

/// What the suite must know to try a sink on its outside system. The author of the sink writes one.
pub trait SinkDriver: Send {
    /// The sink.
    type Connector: SinkConnector<Config: Debug>;

    /// An empty place in the outside system, and the configuration with which the sink writes to it.
    fn fresh(&mut self) -> impl Future<Output = Properties> + Send;

    /// The record called `id`, which [`SinkDriver::read`] must find again: its key and value. If not
    /// overridden, it has no key, and `{"id":"…"}` for a value.
    fn record(&self, id: &str) -> (Datum, Datum) {
        let json = Json::new(Bytes::from(format!("{{\"id\":\"{id}\"}}")));
        (Datum::null(), Datum::schemaless(json.map_or(Value::Null, Value::Json)))
    }

    /// The ids of all records that the outside system shows, those of one partition in its order,
    /// repeated where they are there more than once.
    fn read(&mut self) -> impl Future<Output = Vec<String>> + Send;

    /// A record that the outside system refuses, if there is one.
    fn poison(&self) -> Option<(Datum, Datum)> {
        None
    }

    /// Whether the sink throws records away, so that nothing can be read back; its reports are held to
    /// the same rules.
    fn is_void(&self) -> bool {
        false
    }

    /// After how many records of a partition the sink makes them durable by itself (a rotation, a
    /// flush). The suite writes multiples of it, and moves the clock to whenever a lane wants to be
    /// woken.
    fn unit(&self) -> usize {
        1
    }

    /// A part of the names of all files that the sink opens, to see whether it closes them.
    fn descriptor_mark(&self) -> Option<String> {
        None
    }

    /// How long the sink may take for anything.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Checks that make no sense for this sink, each with the reason.
    fn skips(&self) -> Vec<(SinkCheck, &'static str)> {
        Vec::new()
    }
}

/// A check of the suite.
///
/// In each of them a sink must hold to its promise: what it reports durable can be read back, reports
/// never go back and never beyond what was handed over, a partition's records stand in order, and,
/// if the guarantee is exactly-once, none stands there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SinkCheck {
    /// The plug-in is named, every key is documented, and the defaults are accepted.
    Definition,
    /// All that is wrong with a configuration is said at once.
    WrongConfig,
    /// No secret shows in `Debug` or in an error.
    Secrets,
    /// A good configuration passes the sink's own check of the outside system.
    Reaches,
    /// All records of several partitions arrive, with gaps between offsets, and are reported.
    Delivers,
    /// Crashes at any point, and redelivery from what was durable, lose nothing and keep order.
    Crashes,
    /// Partitions that are taken away and come back lose nothing.
    Reassigned,
    /// A record that the outside system refuses is rejected alone.
    Poison,
    /// A batch without records moves the durable end.
    EmptyBatch,
    /// A lane that was woken does not want to be woken at once again.
    Wakes,
    /// A lane drains in time, also with records that it can't make durable.
    Drains,
    /// After `stop` nothing runs and no file is open.
    Releases,
}

impl SinkCheck {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 12] = [
        Self::Definition,
        Self::WrongConfig,
        Self::Secrets,
        Self::Reaches,
        Self::Delivers,
        Self::Crashes,
        Self::Reassigned,
        Self::Poison,
        Self::EmptyBatch,
        Self::Wakes,
        Self::Drains,
        Self::Releases,
    ];
}

/// Runs all checks on a sink.
pub struct SinkSuite<D>(Suite<D>);

impl<D: SinkDriver> SinkSuite<D> {
    /// The suite for the sink that `driver` drives.
    pub fn new(driver: D) -> Self {
        Self(Suite::new(driver))
    }

    /// Sets the seed, which is otherwise that of the environment ([`crate::SEED_VARIABLE`]) or 1.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self(self.0.seed(seed))
    }

    /// Sets how many times each check is made, each with a seed of its own; 3 if not set.
    #[must_use]
    pub fn rounds(self, rounds: u64) -> Self {
        Self(self.0.rounds(rounds))
    }

    /// Makes all checks that the driver does not skip.
    ///
    /// # Panics
    /// If one fails, with what was wrong and the seeds to repeat it.
    #[track_caller]
    pub fn run(self) {
        report("sink", &self.failures(&SinkCheck::ALL));
    }

    /// What fails of `checks`.
    pub(crate) fn failures(mut self, checks: &[SinkCheck]) -> Vec<Failure> {
        let skips: Vec<SinkCheck> =
            self.0.driver.skips().into_iter().map(|(check, _)| check).collect();
        let checks = checks.iter().filter(|check| !skips.contains(check));
        let make = |check: &SinkCheck| {
            self.0.check(check, |driver, seed| checks::check(driver, *check, seed))
        };
        checks.filter_map(make).collect()
    }
}
