//! What a connector promises about delivery, and why.

use std::borrow::Cow;
use std::fmt;

/// How often a record may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// Every record arrives; after a failure some arrive again.
    AtLeastOnce,
    /// Every record arrives and has its effect once.
    ExactlyOnce,
}

/// A promise with its reason, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarantee {
    /// The promise.
    pub delivery: Delivery,
    /// Why it is this and not more or less.
    pub because: Cow<'static, str>,
}

impl Guarantee {
    /// Every record at least once.
    pub fn at_least_once(because: impl Into<Cow<'static, str>>) -> Self {
        Self { delivery: Delivery::AtLeastOnce, because: because.into() }
    }

    /// Every record exactly once.
    pub fn exactly_once(because: impl Into<Cow<'static, str>>) -> Self {
        Self { delivery: Delivery::ExactlyOnce, because: because.into() }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        })
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, because {}", self.delivery, self.because)
    }
}
