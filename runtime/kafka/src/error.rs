//! From librdkafka's codes to the engine's kinds, with texts that a person can act on.
//!
//! Invariant: a code that leaves open whether a request was carried out is
//! [`PortErrorKind::Unknown`].

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use towpath_core::ports::{PortError, PortErrorKind};

use crate::native::describe_code;

/// What `code` means to the engine.
pub(crate) fn kind(code: i32) -> PortErrorKind {
    use PortErrorKind as Kind;
    match code {
        _ if one_of(code, UNREACHABLE) => Kind::Unreachable,
        _ if one_of(code, UNKNOWN) => Kind::Unknown,
        _ if one_of(code, UNAUTHENTICATED) => Kind::Unauthenticated,
        _ if one_of(code, FORBIDDEN) => Kind::Forbidden,
        _ if one_of(code, NOT_FOUND) => Kind::NotFound,
        _ if one_of(code, EXISTS) => Kind::Exists,
        _ if one_of(code, FENCED) => Kind::Fenced,
        _ if one_of(code, TOO_LARGE) => Kind::TooLarge,
        _ if one_of(code, DEGRADED) => Kind::Degraded,
        _ if one_of(code, INVALID) => Kind::Invalid,
        _ => Kind::Internal,
    }
}

fn one_of(code: i32, list: &[Code]) -> bool {
    list.iter().any(|&c| c as i32 == code)
}

const UNREACHABLE: &[Code] = &[
    Code::AllBrokersDown,
    Code::BrokerTransportFailure,
    Code::Resolve,
    Code::SSL,
    Code::WaitingForCoordinator,
    Code::NodeUpdate,
];
const UNKNOWN: &[Code] = &[
    Code::OperationTimedOut,
    Code::RequestTimedOut,
    Code::MessageTimedOut,
    Code::TimedOutQueue,
    Code::PurgeInflight,
    Code::PurgeQueue,
    Code::BrokerDestroy,
    Code::NetworkException,
    Code::NotEnoughReplicasAfterAppend,
];
const UNAUTHENTICATED: &[Code] = &[
    Code::Authentication,
    Code::SaslAuthenticationFailed,
    Code::UnsupportedSASLMechanism,
    Code::IllegalSASLState,
];
const FORBIDDEN: &[Code] = &[
    Code::TopicAuthorizationFailed,
    Code::GroupAuthorizationFailed,
    Code::ClusterAuthorizationFailed,
    Code::TransactionalIdAuthorizationFailed,
    Code::DelegationTokenAuthorizationFailed,
];
const NOT_FOUND: &[Code] = &[
    Code::UnknownTopic,
    Code::UnknownTopicOrPartition,
    Code::UnknownPartition,
    Code::UnknownGroup,
    Code::GroupIdNotFound,
    Code::UnknownTopicId,
];
const EXISTS: &[Code] = &[Code::TopicAlreadyExists];
const FENCED: &[Code] = &[
    Code::Fenced,
    Code::InvalidProducerEpoch,
    Code::ProducerFenced,
    Code::FencedInstanceId,
    Code::TransactionCoordinatorFenced,
    Code::IllegalGeneration,
    Code::UnknownMemberId,
    Code::RebalanceInProgress,
    Code::AssignmentLost,
    Code::FencedMemberEpoch,
    Code::StaleMemberEpoch,
];
const TOO_LARGE: &[Code] =
    &[Code::MessageSizeTooLarge, Code::InvalidMessageSize, Code::MessageBatchTooLarge];
const DEGRADED: &[Code] = &[
    Code::NotEnoughReplicas,
    Code::LeaderNotAvailable,
    Code::NotLeaderForPartition,
    Code::ReplicaNotAvailable,
    Code::BrokerNotAvailable,
    Code::CoordinatorNotAvailable,
    Code::CoordinatorLoadInProgress,
    Code::NotCoordinator,
    Code::KafkaStorageError,
    Code::ThrottlingQuotaExceeded,
    Code::ConcurrentTransactions,
    // Brokers may come back.
    Code::InvalidReplicationFactor,
];
const INVALID: &[Code] = &[
    Code::InvalidConfig,
    Code::InvalidPartitions,
    Code::InvalidReplicaAssignment,
    Code::InvalidTopic,
    Code::PolicyViolation,
    Code::InvalidArgument,
    Code::InvalidTimestamp,
    Code::InvalidRecord,
    Code::InvalidTransactionTimeout,
    Code::InvalidSessionTimeout,
    Code::InconsistentGroupProtocol,
    Code::InvalidGroupId,
    Code::NonEmptyGroup,
    Code::UnsupportedFeature,
    Code::UnsupportedVersion,
    Code::UnsupportedForMessageFormat,
    Code::UnsupportedCompressionType,
    Code::AutoOffsetReset,
    Code::OffsetOutOfRange,
    Code::NoOffset,
];

/// The error `code` with librdkafka's own text for it.
pub(crate) fn from_code(code: i32) -> PortError {
    with_text(code, &describe_code(code))
}

/// The error `code` which `text` explains.
pub(crate) fn with_text(code: i32, text: &str) -> PortError {
    let kind = kind(code);
    let text = plain(text);
    match hint(code) {
        Some(hint) => PortError::new(kind, format!("{text}: {hint}")),
        None => PortError::new(kind, text),
    }
}

/// An error of the safe crate.
pub(crate) fn from_kafka(error: &KafkaError) -> PortError {
    match error {
        KafkaError::Transaction(inner) => with_text(inner.code() as i32, &inner.string()),
        KafkaError::ClientConfig(_, text, key, _) => {
            // The value is left out: it may be a secret.
            PortError::new(
                PortErrorKind::Invalid,
                format!("client property {key}: {}", plain(text)),
            )
        }
        KafkaError::ClientCreation(text) => PortError::new(
            PortErrorKind::Invalid,
            format!("the client's properties do not go together: {}", plain(text)),
        ),
        KafkaError::AdminOp(code) => from_code(*code as i32),
        other => match other.rdkafka_error_code() {
            Some(code) => from_code(code as i32),
            None => PortError::new(PortErrorKind::Internal, plain(&other.to_string())),
        },
    }
}

/// librdkafka's text as the end of a sentence: no `Local:` in front, no full stop.
fn plain(text: &str) -> String {
    let text = text.trim();
    let text =
        text.strip_prefix("Local: ").or_else(|| text.strip_prefix("Broker: ")).unwrap_or(text);
    text.trim_end_matches('.').to_owned()
}

/// What a person can do about `code`.
fn hint(code: i32) -> Option<&'static str> {
    const HINTS: &[(Code, &str)] = &[
        (Code::TopicAuthorizationFailed, "grant this principal Read, Write or Create on the topic"),
        (Code::GroupAuthorizationFailed, "grant this principal Read on the group"),
        (
            Code::ClusterAuthorizationFailed,
            "grant this principal Write on the topics that it writes, and Create on those that are not \
             there",
        ),
        (
            Code::TransactionalIdAuthorizationFailed,
            "grant this principal Write and Describe on the transactional id",
        ),
        (
            Code::MessageSizeTooLarge,
            "raise max.message.bytes of the topic and max.request.size of the producer",
        ),
        (Code::SaslAuthenticationFailed, "check sasl.mechanism and sasl.jaas.config"),
        (Code::Authentication, "check sasl.mechanism and sasl.jaas.config"),
        (
            Code::NotEnoughReplicas,
            "fewer replicas are in sync than min.insync.replicas asks for; bring brokers back",
        ),
        (
            Code::InvalidReplicationFactor,
            "fewer brokers are up than replicas are asked for; lower the replication factor, or start brokers",
        ),
        (Code::NonEmptyGroup, "the group still has members; stop them first"),
    ];
    HINTS.iter().find(|(c, _)| *c as i32 == code).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_kinds_that_the_engine_acts_on() {
        let check = |code: Code, expect: PortErrorKind| assert_eq!(kind(code as i32), expect);
        check(Code::MessageSizeTooLarge, PortErrorKind::TooLarge);
        check(Code::MessageTimedOut, PortErrorKind::Unknown);
        check(Code::OperationTimedOut, PortErrorKind::Unknown);
        check(Code::ProducerFenced, PortErrorKind::Fenced);
        check(Code::Fenced, PortErrorKind::Fenced);
        check(Code::FencedInstanceId, PortErrorKind::Fenced);
        check(Code::IllegalGeneration, PortErrorKind::Fenced);
        check(Code::TopicAuthorizationFailed, PortErrorKind::Forbidden);
        check(Code::UnknownTopic, PortErrorKind::NotFound);
        check(Code::UnknownTopicOrPartition, PortErrorKind::NotFound);
        check(Code::AllBrokersDown, PortErrorKind::Unreachable);
        check(Code::SaslAuthenticationFailed, PortErrorKind::Unauthenticated);
        check(Code::NotEnoughReplicas, PortErrorKind::Degraded);
        check(Code::InvalidReplicationFactor, PortErrorKind::Degraded);
        check(Code::TopicAlreadyExists, PortErrorKind::Exists);
        assert_eq!(kind(31_999), PortErrorKind::Internal);
    }

    #[test]
    fn a_code_without_a_name_is_described_by_its_number() {
        assert_eq!(from_code(31_999).text, "error code 31999");
    }

    #[test]
    fn a_refused_property_does_not_show_its_value() {
        let error = rdkafka::ClientConfig::new()
            .set("sasl.mechanism", "PLAIN")
            .set("linger.ms", "hunter2")
            .create::<rdkafka::producer::BaseProducer>()
            .err()
            .unwrap();
        let error = from_kafka(&error);
        assert_eq!(error.kind, PortErrorKind::Invalid);
        assert!(error.text.contains("linger.ms"), "{error}");
        assert!(!error.text.contains("hunter2"), "{error}");
    }
}
