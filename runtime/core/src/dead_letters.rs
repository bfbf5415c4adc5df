//! The dead letter queue.
//!
//! Duty: make dead letters as Kafka Connect does (the record's own bytes and headers, then
//! `__connect.errors.*`), write them, and say for each when the broker holds it. Unlike Connect's, a
//! write is awaited before any offset passes the record, and sources have one too.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_formats::dlq::{self, ErrorContext, Exception};
use towpath_sdk::context::Backoff;
use towpath_sdk::record::Origin;
use towpath_sdk::{Error, Text};

use crate::chain::Fault;
use crate::ports::{Admin, NewTopic, OutBatch, OutRecord, PortError, PortErrorKind, Producer};
use crate::settings::DeadLetterSettings;
use crate::task::TaskId;

/// Writes one task's dead letters.
pub struct DeadLetters {
    producer: Arc<dyn Producer>,
    settings: DeadLetterSettings,
    topic: Arc<str>,
    id: TaskId,
}

impl DeadLetters {
    /// A writer for task `id`; creates the topic with one partition if it is not there.
    ///
    /// # Errors
    /// If the topic can't be created.
    pub async fn open(
        settings: DeadLetterSettings,
        id: TaskId,
        producer: Arc<dyn Producer>,
        admin: &dyn Admin,
    ) -> Result<Self, PortError> {
        let topic = NewTopic {
            name: settings.topic.clone(),
            partitions: Some(1),
            replication_factor: settings.replication_factor,
            config: std::collections::BTreeMap::new(),
        };
        if admin.describe_topic(&settings.topic).await?.is_none() {
            let created = admin.create_topic(topic).await;
            created.map_err(|e| {
                e.context(format!("create the dead letter topic '{}'", settings.topic))
            })?;
        }
        Ok(Self { producer, topic: settings.topic.as_str().into(), settings, id })
    }

    /// The dead letter of a consumed record.
    #[must_use]
    pub fn letter(&self, origin: &Origin, fault: &Fault) -> OutRecord {
        let at = origin.topic_partition();
        let mut headers: Vec<(Text, Option<Bytes>)> =
            origin.headers().map(|(name, value)| (name.into(), value)).collect();
        if self.settings.headers {
            let at = dlq::Origin {
                topic: &at.topic,
                partition: at.partition,
                offset: origin.row().offset,
            };
            headers.extend(self.error_headers(Some(at), fault));
        }
        OutRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: origin.key(),
            value: origin.value(),
            timestamp: origin.row().timestamp,
            headers: headers.into(),
        }
    }

    /// The dead letter of a source's record that was never in Kafka: its bytes as far as they could be
    /// made.
    #[must_use]
    pub fn source_letter(&self, mut record: OutRecord, fault: &Fault) -> OutRecord {
        if self.settings.headers {
            let own = record.headers.iter().cloned();
            record.headers = own.chain(self.error_headers(None, fault)).collect();
        }
        record.topic = Arc::clone(&self.topic);
        record.partition = None;
        record
    }

    fn error_headers(
        &self,
        origin: Option<dlq::Origin<'_>>,
        fault: &Fault,
    ) -> impl Iterator<Item = (Text, Option<Bytes>)> + use<> {
        let exception = JavaLike::of(&fault.error);
        let context = ErrorContext {
            origin,
            connector: &self.id.connector,
            task: self.id.task,
            stage: fault.stage,
            class_name: &fault.class,
            exception: Some(Exception {
                class_name: exception.class,
                message: Some(&exception.message),
                stacktrace: &exception.trace,
            }),
        };
        context.headers().into_iter().map(|(name, value)| (name.into(), value.map(Bytes::from)))
    }

    /// What [`DeadLetters::write`] does, for reasons.
    pub(crate) fn doing(&self) -> String {
        doing(&self.topic)
    }

    /// What is wrong with the way to the broker now.
    pub(crate) fn trouble(&self) -> Option<PortError> {
        self.producer.trouble()
    }

    /// Writes `letters`, again and again while the broker may still take them. Resolves when it holds
    /// all of them.
    ///
    /// # Errors
    /// The first that no retry can cure.
    pub fn write(&self, letters: Vec<OutRecord>) -> BoxFuture<'static, Result<(), PortError>> {
        let producer = Arc::clone(&self.producer);
        let topic = Arc::clone(&self.topic);
        async move {
            let mut left: OutBatch = letters.into();
            let mut backoff = Backoff::default();
            loop {
                let receipt = producer.send(Arc::clone(&left)).await?;
                let failures = receipt.await;
                let Some(first) = failures.first() else { return Ok(()) };
                if !may_heal(first.error.kind) {
                    return Err(first.error.clone().context(doing(&topic)));
                }
                let failed: VecDeque<usize> = failures.iter().map(|f| f.index).collect();
                left = pick(&left, failed).into();
                tokio::time::sleep(backoff.next(None)).await;
            }
        }
        .boxed()
    }
}

fn doing(topic: &str) -> String {
    format!("write to the dead letter topic '{topic}'")
}

fn may_heal(kind: PortErrorKind) -> bool {
    !matches!(
        kind,
        PortErrorKind::TooLarge
            | PortErrorKind::Fenced
            | PortErrorKind::Invalid
            | PortErrorKind::Internal
            | PortErrorKind::Forbidden
            | PortErrorKind::Unauthenticated
    )
}

fn pick(records: &[OutRecord], mut indices: VecDeque<usize>) -> Vec<OutRecord> {
    let mut picked = Vec::with_capacity(indices.len());
    for (index, record) in records.iter().enumerate() {
        if indices.front() == Some(&index) {
            indices.pop_front();
            picked.push(record.clone());
        }
    }
    picked
}

/// An error in the form that Connect's users and tools know: exception class, message, trace.
pub struct JavaLike {
    /// The exception's class name.
    pub class: &'static str,
    /// The message.
    pub message: String,
    /// Class, message and causes.
    pub trace: String,
}

impl JavaLike {
    /// The form of `error`.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let class = error.class();
        let message = error.to_string();
        let mut trace = format!("{class}: {message}");
        let mut below = std::error::Error::source(error);
        while let Some(cause) = below {
            trace.push_str("\nCaused by: ");
            trace.push_str(&cause.to_string());
            below = cause.source();
        }
        trace.push('\n');
        Self { class, message, trace }
    }
}
