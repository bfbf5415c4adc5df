//! How the embedded log behaves.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When writes are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before each acknowledgement.
    Always,
    /// Every so often.
    Interval(Duration),
    /// When the operating system likes.
    Never,
}

impl Fsync {
    /// The interval where none is given.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
}

impl Default for Fsync {
    fn default() -> Self {
        Self::Interval(Self::DEFAULT_INTERVAL)
    }
}

/// A text that says nothing about fsync.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no value of fsync: give always, never, interval, or an interval in milliseconds")]
pub struct ParseFsyncError(String);

impl FromStr for Fsync {
    type Err = ParseFsyncError;

    fn from_str(text: &str) -> Result<Self, ParseFsyncError> {
        match text {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            "interval" => Ok(Self::default()),
            _ => match text.parse() {
                Ok(ms) if ms > 0 => Ok(Self::Interval(Duration::from_millis(ms))),
                _ => Err(ParseFsyncError(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Never => f.write_str("never"),
            Self::Interval(interval) => write!(f, "{}", interval.as_millis()),
        }
    }
}

/// Settings of the embedded log.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// When writes are forced to the disk.
    pub fsync: Fsync,
    /// Partitions of a topic whose creator does not say.
    pub default_partitions: i32,
    /// Bytes of a partition to keep where the topic does not say; `None` keeps all.
    pub retention_bytes: Option<u64>,
    /// How long to keep records where the topic does not say; `None` keeps them.
    pub retention: Option<Duration>,
    /// Bytes of records on disk, at most. The oldest that every reader has read make room; if there
    /// are none, writing waits with `OutOfSpace`. `None` is no bound.
    pub max_bytes: Option<u64>,
    /// Free bytes on the file system below which writing waits with `OutOfSpace`.
    pub min_free_bytes: u64,
    /// For how long a group that nobody is a member of holds back retention.
    pub absent_readers: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            fsync: Fsync::default(),
            default_partitions: 1,
            retention_bytes: None,
            retention: None,
            max_bytes: None,
            min_free_bytes: 256 << 20,
            absent_readers: Duration::from_secs(3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fsync_is_read_and_shown() {
        for (text, expect) in [
            ("always", Fsync::Always),
            ("never", Fsync::Never),
            ("1000", Fsync::Interval(Duration::from_secs(1))),
        ] {
            assert_eq!(text.parse(), Ok(expect));
            assert_eq!(expect.to_string(), text);
        }
        assert_eq!("interval".parse(), Ok(Fsync::default()));
        for bad in ["", "0", "-1", "sometimes"] {
            assert!(bad.parse::<Fsync>().is_err(), "{bad}");
        }
    }
}
