//! The suite for sources.

mod checks;
mod run;
#[cfg(test)]
mod twins;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use towpath_sdk::config::Properties;
use towpath_sdk::java_text::java_text;
use towpath_sdk::record::Record;
use towpath_sdk::source::SourceConnector;

use crate::item::Item;
use crate::suite::{Failure, Suite};

/// What the suite must know to try a source on its outside system. The author of the source writes
/// one.
pub trait SourceDriver: Send {
    /// The source.
    type Connector: SourceConnector<Config: Debug>;

    /// An empty place in the outside system, and the configuration with which the source reads it.
    fn fresh(&mut self) -> impl Future<Output = Properties> + Send;

    /// Puts `count` new records there, and says which. Several lanes may get some.
    fn put(&mut self, count: usize) -> impl Future<Output = Vec<Item>> + Send;

    /// Which record this is. If not overridden, all are of one lane and the value's text tells them
    /// apart.
    fn identify(&self, record: &Record) -> Item {
        Item::new("", java_text(&record.value).into_owned())
    }

    /// Whether records come that nobody put there, without end.
    fn is_endless(&self) -> bool {
        false
    }

    /// A part of the names of all files that the source opens, to see whether it closes them.
    fn descriptor_mark(&self) -> Option<String> {
        None
    }

    /// How long the source may take for anything.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// How long a poll that finds nothing is watched.
    fn quiet(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// Checks that make no sense for this source, each with the reason.
    fn skips(&self) -> Vec<(SourceCheck, &'static str)> {
        Vec::new()
    }
}

/// A check of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceCheck {
    /// The plug-in is named, every key is documented, and the defaults are accepted.
    Definition,
    /// All that is wrong with a configuration is said at once.
    WrongConfig,
    /// No secret shows in `Debug` or in an error.
    Secrets,
    /// A good configuration passes the source's own check of the outside system.
    Reaches,
    /// Every record comes once, in the order of its lane, covered by marks that make sense.
    Delivers,
    /// A poll returns no more than there is room for.
    Budget,
    /// A poll that is dropped at any point loses nothing and repeats nothing.
    CancelSafe,
    /// From any mark on, a new task gives what follows, once and in order.
    Resumes,
    /// After a rewind to any mark, the task gives what follows, once and in order.
    Rewinds,
    /// A poll waits while there is nothing, and ends when there is something.
    Waits,
    /// A plan has no more shares than asked for, and together they give every record once.
    Plans,
    /// The source accepts the offsets that it made itself, where a person sets them.
    OwnOffsets,
    /// After `stop` nothing runs and no file is open.
    Releases,
}

impl SourceCheck {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 13] = [
        Self::Definition,
        Self::WrongConfig,
        Self::Secrets,
        Self::Reaches,
        Self::Delivers,
        Self::Budget,
        Self::CancelSafe,
        Self::Resumes,
        Self::Rewinds,
        Self::Waits,
        Self::Plans,
        Self::OwnOffsets,
        Self::Releases,
    ];
}

/// Runs all checks on a source.
pub struct SourceSuite<D>(Suite<D>);

impl<D: SourceDriver> SourceSuite<D> {
    /// The suite for the source that `driver` drives.
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
        let failures = self.failures(&SourceCheck::ALL);
        crate::suite::report("source", &failures);
    }

    /// What fails of `checks`.
    pub(crate) fn failures(mut self, checks: &[SourceCheck]) -> Vec<Failure> {
        let skips: Vec<SourceCheck> =
            self.0.driver.skips().into_iter().map(|(check, _)| check).collect();
        let checks = checks.iter().filter(|check| !skips.contains(check));
        checks
            .filter_map(|check| self.0.check(check, |d, seed| checks::check(d, *check, seed)))
            .collect()
    }
}
