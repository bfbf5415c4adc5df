//! Why a request to the herder was refused.

use towpath_formats::messages;

/// Why a request was refused. REST maps each variant to one status code; the text is Connect's where
/// Connect has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HerderError {
    /// 404: there is no such connector, task or status.
    #[error("{0}")]
    NotFound(String),
    /// 409: a connector of that name is there already.
    #[error("{0}")]
    Exists(String),
    /// 400: the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// 403: the worker's settings forbid it.
    #[error("{0}")]
    Forbidden(String),
    /// 409: not now: the worker starts, is not the leader, or something else is going on.
    #[error("{0}")]
    Conflict(String),
    /// 412: the connector's config is not the version that the request expects.
    #[error(
        "connector {connector} has version {found} of its config, not {expected}; read it anew"
    )]
    Version {
        /// The connector.
        connector: String,
        /// Its version.
        found: u64,
        /// The version in the request.
        expected: u64,
    },
    /// 500: no answer in time. The text says at which stage; the change may still be made.
    #[error("{0}")]
    Timeout(String),
    /// 500: something failed that is not the request's fault.
    #[error("{0}")]
    Internal(String),
}

impl HerderError {
    pub(crate) fn not_found(connector: &str) -> Self {
        Self::NotFound(messages::connector_not_found(connector))
    }

    /// A request ran into its time limit while the herder was busy with `stage`.
    pub(crate) fn timeout(stage: &str) -> Self {
        Self::Timeout(format!(
            "Request timed out. The worker is currently {stage}. If the request was to change \
             something, the change may still be made"
        ))
    }
}
