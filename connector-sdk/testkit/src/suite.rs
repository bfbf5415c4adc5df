//! What the suites have in common: rounds, seeds, the report.

use std::fmt::{self, Debug};

use crate::seed::{SEED_VARIABLE, from_environment};
use crate::stage::Problem;

/// A driver and how often to try it.
pub(crate) struct Suite<D> {
    pub(crate) driver: D,
    seed: u64,
    rounds: u64,
}

impl<D> Suite<D> {
    pub(crate) fn new(driver: D) -> Self {
        Self { driver, seed: from_environment(), rounds: 3 }
    }

    pub(crate) fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    pub(crate) fn rounds(self, rounds: u64) -> Self {
        Self { rounds, ..self }
    }

    /// Makes a check in every round until it fails.
    pub(crate) fn check<C: Debug>(
        &mut self,
        check: &C,
        make: impl Fn(&mut D, u64) -> Result<(), Problem>,
    ) -> Option<Failure> {
        (0..self.rounds).map(|round| self.seed.wrapping_add(round)).find_map(|seed| {
            let problem = make(&mut self.driver, seed).err()?;
            Some(Failure { check: format!("{check:?}"), seed, problem })
        })
    }
}

/// A check that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) check: String,
    pub(crate) seed: u64,
    pub(crate) problem: Problem,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (to repeat: {SEED_VARIABLE}={})", self.check, self.problem, self.seed)
    }
}

#[track_caller]
pub(crate) fn report(what: &str, failures: &[Failure]) {
    let lines: Vec<String> = failures.iter().map(Failure::to_string).collect();
    assert!(lines.is_empty(), "the {what} fails {} checks:\n{}", lines.len(), lines.join("\n"));
}
