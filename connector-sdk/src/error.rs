//! Errors with a retry class.
//!
//! Duty: one error type for all calls between the engine and a connector, and the one table which
//! says what the engine does about each kind ([`ErrorKind::action`]). A source error is kept, never
//! turned into a string.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The result of a connector's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as the engine must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The configuration is wrong; only another configuration helps.
    Config,
    /// The connector, or the outside system, can't do what was asked at all.
    Unsupported,
    /// The outside system does not answer or refuses connections.
    Unavailable,
    /// The outside system asks for less (HTTP 429, S3 `SlowDown`).
    Throttled,
    /// No answer in time. The operation may have been carried out: read back before cleaning up.
    Timeout,
    /// The credentials were refused.
    Unauthenticated,
    /// The credentials are good, but a permission is missing.
    Forbidden,
    /// The bucket, table, topic or file is not there.
    NotFound,
    /// No space is left, on the target, the spool or the log.
    OutOfSpace,
    /// One record can't be converted or is refused by the target for what it contains.
    Data,
    /// One record is larger than the target takes.
    TooLarge,
    /// A condition on the target did not hold (HTTP 409, 412).
    Conflict,
    /// A newer instance has taken over.
    Fenced,
    /// A defect, or something nobody foresaw.
    Internal,
}

/// What the engine does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Wait, with the reason shown, and try again for as long as it takes.
    Retry,
    /// Hand the one record to the error tolerance: dead letter queue, skip, or stop.
    Reject,
    /// Fail the task; it is restarted with backoff.
    Restart,
    /// Fail the task for good: a restart can't cure it.
    Fail,
}

impl ErrorKind {
    /// The one table from kinds to actions.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::Unavailable
            | Self::Throttled
            | Self::Timeout
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::OutOfSpace => Action::Retry,
            Self::Data | Self::TooLarge => Action::Reject,
            Self::Conflict | Self::Fenced | Self::Internal => Action::Restart,
            Self::Config | Self::Unsupported => Action::Fail,
        }
    }

    /// A short name for metrics and statuses, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::OutOfSpace => "out_of_space",
            Self::Data => "data",
            Self::TooLarge => "too_large",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Internal => "internal",
        }
    }
}

/// An error of a connector, converter or transform.
///
/// The text is lower case, without a full stop, reads after "failed to …", and hints the fix.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    text: String,
    class: Option<&'static str>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` which `text` explains.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            text: text.into(),
            class: None,
            retry_after: None,
            source: None,
        }))
    }

    /// A wrong configuration.
    pub fn config(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, text)
    }

    /// A record that can't be converted or is refused.
    pub fn data(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, text)
    }

    /// A defect.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, text)
    }

    /// Keeps the error below this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The Java exception that Kafka Connect would have thrown, for the headers of dead letters and the
    /// traces that its users' tools match on.
    #[must_use]
    pub fn with_class(mut self, class: &'static str) -> Self {
        self.0.class = Some(class);
        self
    }

    /// The outside system asked to come back no earlier than after `delay`.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Puts `text` in front: what was being done.
    #[must_use]
    pub fn context(mut self, text: impl fmt::Display) -> Self {
        self.0.text = format!("{text}: {}", self.0.text);
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the engine does about it.
    #[must_use]
    pub fn action(&self) -> Action {
        self.0.kind.action()
    }

    /// The Java exception's class name: the one that was set, or the usual one of the kind.
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.0.class.unwrap_or(match self.0.kind {
            ErrorKind::Data | ErrorKind::TooLarge => {
                "org.apache.kafka.connect.errors.DataException"
            }
            ErrorKind::Config => "org.apache.kafka.common.config.ConfigException",
            kind if matches!(kind.action(), Action::Retry) => {
                "org.apache.kafka.connect.errors.RetriableException"
            }
            _ => "org.apache.kafka.connect.errors.ConnectException",
        })
    }

    /// How long the outside system asked us to wait, if it did.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The text with all causes below it, each after a colon; for statuses and logs.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.0.text.clone();
        let mut below = StdError::source(self);
        while let Some(error) = below {
            let line = error.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            below = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

/// The kind that an I/O error of the operating system means.
#[must_use]
pub fn kind_of_io(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound | Io::NotADirectory => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Forbidden,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::OutOfSpace,
        Io::TimedOut => ErrorKind::Timeout,
        Io::ConnectionRefused
        | Io::ConnectionReset
        | Io::ConnectionAborted
        | Io::NotConnected
        | Io::BrokenPipe
        | Io::HostUnreachable
        | Io::NetworkUnreachable
        | Io::UnexpectedEof => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_each_cause_once() {
        let io = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = Error::new(kind_of_io(&io), "open the input").with_source(io).context("start");
        assert_eq!(error.chain(), "start: open the input: no such file");
        assert_eq!(error.action(), Action::Retry);
    }

    #[test]
    fn a_wrong_config_is_never_retried() {
        assert_eq!(Error::config("x").action(), Action::Fail);
        assert_eq!(Error::data("x").action(), Action::Reject);
        assert_eq!(Error::internal("x").action(), Action::Restart);
    }
}
