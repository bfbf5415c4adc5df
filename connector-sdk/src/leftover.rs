//! What a connector leaves in the outside system once it is deleted.
//!
//! Duty: name it, so that whoever deletes a connector learns of it, and say how it goes away.

use std::fmt;

/// Something in the outside system that is there for a connector's sake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is, for people to read: `replication slot`.
    pub kind: &'static str,
    /// Its name there.
    pub name: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of something once its connector is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays. For people to read: what it costs, and how to remove it.
    Stays(String),
    /// It is removed, as the configuration says
    /// ([`crate::source::SourceConnector::deleted`]).
    Removed,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, fate } = self;
        match fate {
            Fate::Stays(how) => write!(f, "{kind} {name} stays: {how}"),
            Fate::Removed => write!(f, "{kind} {name} is removed"),
        }
    }
}
