//! What librdkafka tells a client by the way: logs, errors, rebalances, delivery reports.
//!
//! Duty: sort it, and keep it until the client's thread, or whoever asks, takes it. librdkafka's log
//! lines go to `tracing` with target `librdkafka`.
//!
//! Invariant: nothing here blocks or calls back into librdkafka, except that a client which is closing
//! gives its partitions up by itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use towpath_core::ports::{PortError, PortErrorKind};
use towpath_sdk::record::TopicPartition;

use crate::error;
use crate::native::Deliveries;

/// What a group member is told of its partitions.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// These were added.
    Assign(Vec<TopicPartition>),
    /// These are to be given up.
    Revoke(Vec<TopicPartition>),
}

/// What a trouble is about, hence what shows that it is over. The first one that is there is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Brokers can't be reached or refuse the client: over when one answers.
    Brokers,
    /// A topic is not there or not allowed: over when it is.
    Topics,
    /// A partition can't be fetched: over when it is.
    Data,
    /// The group or anything else: over when partitions are assigned.
    Group,
}

/// The state that a client's callbacks leave behind.
pub(crate) struct Context {
    client_id: String,
    brokers: String,
    trouble: Mutex<TroubleState>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    fatal: Mutex<Option<PortError>>,
    closing: AtomicBool,
    /// Delivery reports of a producer.
    pub(crate) deliveries: Deliveries,
}

#[derive(Default)]
struct TroubleState {
    now: BTreeMap<Scope, (PortError, Instant)>,
    changed: bool,
    /// All connections are down, which may be for want of use: to be looked into before it is told.
    suspected: bool,
    /// What a broker's connection last failed with: the reason behind "all brokers are down".
    connection: Option<String>,
}

impl TroubleState {
    fn first(&self) -> Option<PortError> {
        self.now.values().next().map(|(error, _)| error.clone())
    }

    fn note_change(&mut self, before: Option<PortError>) {
        let telling = |e: &Option<PortError>| e.as_ref().map(|e| (e.kind, e.text.clone()));
        self.changed |= telling(&before) != telling(&self.first());
    }
}

impl Context {
    /// The context of the client `client_id`, which connects to `brokers`.
    pub(crate) fn new(client_id: &str, brokers: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            brokers: brokers.to_owned(),
            trouble: Mutex::default(),
            rebalances: Mutex::default(),
            fatal: Mutex::default(),
            closing: AtomicBool::new(false),
            deliveries: Deliveries::default(),
        }
    }

    /// What is wrong now.
    pub(crate) fn trouble(&self) -> Option<PortError> {
        self.trouble.lock().first()
    }

    /// What the trouble of now, or one that is suspected, is about.
    pub(crate) fn trouble_scope(&self) -> Option<Scope> {
        let state = self.trouble.lock();
        // What else is wrong can't be looked into while no broker answers.
        let suspected = state.suspected.then_some(Scope::Brokers);
        suspected.or_else(|| state.now.keys().next().copied())
    }

    /// Notes whether a broker answered when asked.
    pub(crate) fn probed(&self, outcome: Result<(), i32>) {
        let suspected = std::mem::take(&mut self.trouble.lock().suspected);
        match outcome {
            Ok(()) => self.healed(Scope::Brokers),
            Err(_) if suspected => self.troubled(self.unreachable(), Scope::Brokers),
            Err(_) => {}
        }
    }

    /// What is wrong now, if that changed since the last call.
    pub(crate) fn trouble_change(&self) -> Option<Option<PortError>> {
        let mut state = self.trouble.lock();
        std::mem::take(&mut state.changed).then(|| state.first())
    }

    /// Notes that something is wrong.
    pub(crate) fn troubled(&self, error: PortError, scope: Scope) {
        let mut state = self.trouble.lock();
        let before = state.first();
        state.now.insert(scope, (error, Instant::now()));
        state.note_change(before);
    }

    /// Notes that trouble of `scope` is over.
    pub(crate) fn healed(&self, scope: Scope) {
        self.healed_after(scope, Duration::ZERO);
    }

    /// Notes that trouble of `scope` is over unless it came up again in the last `quiet`.
    pub(crate) fn healed_after(&self, scope: Scope, quiet: Duration) {
        let mut state = self.trouble.lock();
        if state.now.get(&scope).is_none_or(|(_, since)| since.elapsed() < quiet) {
            return;
        }
        let before = state.first();
        state.now.remove(&scope);
        if scope == Scope::Brokers {
            state.connection = None;
        }
        state.note_change(before);
    }

    /// What ended the client for good.
    pub(crate) fn fatal(&self) -> Option<PortError> {
        self.fatal.lock().clone()
    }

    /// The next rebalance to carry out.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().pop_front()
    }

    /// From now on partitions are given up without asking.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// The error of a call that found no broker: with the reason that the connections failed with.
    pub(crate) fn unreachable(&self) -> PortError {
        let state = self.trouble.lock();
        match state.now.get(&Scope::Brokers) {
            Some((error, _)) => error.clone(),
            None => unreachable_text(&self.brokers, state.connection.as_deref()),
        }
    }

    /// `error` of a request that may be repeated, with what is known of the connections: a time-out
    /// while no broker can be reached is just that.
    pub(crate) fn explain(&self, error: PortError) -> PortError {
        let broken = self.trouble.lock().now.contains_key(&Scope::Brokers);
        match error.kind {
            PortErrorKind::Unreachable => self.unreachable(),
            PortErrorKind::Unknown if broken => self.unreachable(),
            _ => error,
        }
    }

    /// `error` of a request that may have been carried out: it stays unknown, whatever the reason.
    pub(crate) fn explain_unknown(&self, error: PortError) -> PortError {
        match (error.kind, self.trouble()) {
            (PortErrorKind::Unknown | PortErrorKind::Unreachable, Some(trouble)) => {
                PortError { kind: PortErrorKind::Unknown, ..error.context(trouble.text) }
            }
            _ => error,
        }
    }

    fn global_error(&self, code: Code, reason: &str) {
        tracing::debug!(target: "librdkafka", client = %self.client_id, ?code, "{reason}");
        match code {
            Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
                self.connection_failed(connection_reason(reason));
            }
            Code::SSL => {
                self.trouble.lock().connection = Some(connection_reason(reason));
                let text = unreachable_text(&self.brokers, Some(&connection_reason(reason))).text;
                let hint = "check security.protocol and the trust store";
                let error = PortError::new(PortErrorKind::Unreachable, format!("{text} ({hint})"));
                self.troubled(error, Scope::Brokers);
            }
            Code::Authentication | Code::SaslAuthenticationFailed => {
                let error = error::with_text(
                    code as i32,
                    &format!(
                        "{} refused the credentials: {}",
                        self.brokers,
                        connection_reason(reason)
                    ),
                );
                self.troubled(error, Scope::Brokers);
            }
            Code::AllBrokersDown => {
                let mut state = self.trouble.lock();
                // What is known already, a refusal above all, says more.
                state.suspected |= !state.now.contains_key(&Scope::Brokers);
            }
            Code::PollExceeded => {
                tracing::warn!(client = %self.client_id, "{reason}");
            }
            Code::Fatal => self.set_fatal(error::with_text(code as i32, reason)),
            _ => {
                let error = error::with_text(code as i32, reason);
                let scope = match code {
                    Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::InvalidTopic
                    | Code::TopicAuthorizationFailed => Scope::Topics,
                    _ => match error.kind {
                        PortErrorKind::Unauthenticated | PortErrorKind::Unreachable => {
                            Scope::Brokers
                        }
                        _ => Scope::Group,
                    },
                };
                self.troubled(error, scope);
            }
        }
    }

    /// A connection has failed. If nobody knew why no broker answers, this is told.
    fn connection_failed(&self, reason: String) {
        let mut state = self.trouble.lock();
        let unexplained = state.connection.replace(reason).is_none();
        let before = state.first();
        let reason = state.connection.clone();
        if let Some((error, _)) = state.now.get_mut(&Scope::Brokers)
            && unexplained
            && error.kind == PortErrorKind::Unreachable
        {
            *error = unreachable_text(&self.brokers, reason.as_deref());
            state.note_change(before);
        }
    }

    fn set_fatal(&self, error: PortError) {
        self.fatal.lock().get_or_insert(error);
    }

    /// Notes a fatal error which a poll returned.
    pub(crate) fn failed_for_good(&self, code: Code) {
        let text = self.trouble().map(|t| t.text);
        let mut error = error::from_code(code as i32);
        if let (PortErrorKind::Internal, Some(text)) = (error.kind, text) {
            error = error.context(text);
        }
        *self.fatal.lock() = Some(error);
    }
}

fn unreachable_text(brokers: &str, reason: Option<&str>) -> PortError {
    let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
    PortError::new(
        PortErrorKind::Unreachable,
        format!(
            "no broker answers at {brokers}{reason}; check that Kafka runs there and that \
             bootstrap.servers is right"
        ),
    )
}

/// `host:port/bootstrap: Connect to ipv4#… failed: Connection refused (after 0ms in state CONNECT, …)`
/// without what changes from one attempt to the next.
fn connection_reason(reason: &str) -> String {
    let reason = match reason.rfind(" (after ") {
        Some(at) => &reason[..at],
        None => reason,
    };
    reason.trim().trim_end_matches('.').replace("/bootstrap", "")
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = &self.client_id;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", client, facility, "{message}");
            }
            // Said once, and it means that records are skipped or come again.
            RDKafkaLogLevel::Info if facility == "OFFSET" && message.contains("offset reset") => {
                tracing::warn!(target: "librdkafka", client, "{message}");
            }
            // Connection attempts that fail come here, over and over: the trouble of the client says
            // it once, with the reason.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", client, facility, "{message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", client, facility, "{message}");
            }
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(code) => self.global_error(code, reason),
            None => tracing::warn!(client = %self.client_id, %error, "{reason}"),
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            let done = match (assigned, consumer.rebalance_protocol()) {
                (true, RebalanceProtocol::Cooperative) => {
                    consumer.incremental_assign(&TopicPartitionList::new())
                }
                (true, _) => consumer.assign(&TopicPartitionList::new()),
                // What was never assigned can't be taken away one by one.
                (false, _) => consumer.unassign(),
            };
            if let Err(error) = done {
                tracing::debug!(client = %self.client_id, %error, "closing");
            }
            return;
        }
        let places = partitions
            .elements()
            .iter()
            .map(|e| TopicPartition::new(e.topic(), e.partition()))
            .collect();
        self.rebalances.lock().push_back(if assigned {
            Rebalance::Assign(places)
        } else {
            Rebalance::Revoke(places)
        });
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match result {
            Ok(message) => {
                let place = || (message.topic().as_ptr() as usize, message.partition());
                self.deliveries.went_to(opaque, place);
                self.deliveries.delivered(opaque, None);
            }
            Err((error, message)) => {
                let error = error::from_kafka(error).context(format!("topic {}", message.topic()));
                self.deliveries.delivered(opaque, Some(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_names_the_brokers_and_the_reason_and_is_told_once() {
        let context = Context::new("c", "k1:9092,k2:9092");
        let refused = "k1:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused \
                       (after 0ms in state CONNECT)";
        context.global_error(Code::BrokerTransportFailure, refused);
        assert!(context.trouble_change().is_none(), "one broker may be down");
        context.global_error(Code::AllBrokersDown, "2/2 brokers are down");
        assert!(context.trouble_change().is_none(), "connections may be closed for want of use");
        assert_eq!(context.trouble_scope(), Some(Scope::Brokers), "but it is looked into");
        let topic = PortError::new(PortErrorKind::NotFound, "no such topic");
        context.troubled(topic, Scope::Topics);
        assert_eq!(context.trouble_scope(), Some(Scope::Brokers), "before anything else");
        context.healed(Scope::Topics);
        context.trouble_change();
        context.probed(Err(-195));
        let text = context.trouble_change().unwrap().unwrap().text;
        assert!(text.contains("k1:9092,k2:9092"), "{text}");
        assert!(text.contains("Connection refused"), "{text}");
        assert!(!text.contains("after 0ms"), "{text}");
        context.global_error(Code::AllBrokersDown, "2/2 brokers are down");
        context.probed(Err(-195));
        assert!(context.trouble_change().is_none(), "told already");
        context.healed(Scope::Group);
        assert!(context.trouble().is_some(), "an assignment does not show that brokers answer");
        context.probed(Ok(()));
        assert!(context.trouble_change().unwrap().is_none());
    }

    #[test]
    fn a_reason_that_comes_late_is_told() {
        let context = Context::new("c", "k1:9092");
        context.global_error(Code::AllBrokersDown, "1/1 brokers are down");
        context.probed(Err(-195));
        let text = context.trouble_change().unwrap().unwrap().text;
        assert!(!text.contains("refused"), "{text}");
        let refused =
            |attempt| format!("k1:9092: Connection refused (after {attempt}ms in state CONNECT)");
        context.global_error(Code::BrokerTransportFailure, &refused(1));
        let text = context.trouble_change().unwrap().unwrap().text;
        assert!(text.contains("Connection refused"), "{text}");
        context.global_error(Code::BrokerTransportFailure, &refused(2));
        assert!(context.trouble_change().is_none(), "told already");
    }

    #[test]
    fn refused_credentials_are_not_hidden_by_the_silence_that_follows() {
        let context = Context::new("c", "k1:9092");
        context.global_error(
            Code::Authentication,
            "sasl_plaintext://k1:9092/bootstrap: SASL authentication error: Authentication failed \
             (after 300ms in state AUTH_REQ)",
        );
        context.global_error(Code::AllBrokersDown, "1/1 brokers are down");
        context.probed(Err(-195));
        let trouble = context.trouble().unwrap();
        assert_eq!(trouble.kind, PortErrorKind::Unauthenticated);
        assert!(trouble.text.contains("sasl.jaas.config"), "{trouble}");
    }
}
