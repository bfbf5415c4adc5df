//! What people are told of snapshots.
//!
//! Duty: notifications in Debezium's form, as records of a topic and as lines of the log.

use std::sync::Arc;
use std::sync::LazyLock;

use towpath_sdk::Result;
use towpath_sdk::clock::Clock;
use towpath_sdk::record::{Record, Topic};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::{Datum, Struct, Value};

use crate::config::Config;

static KEY: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = [("id", Arc::new(Schema::new(Kind::String)))];
    let named = Schema::structure(fields).named("io.debezium.connector.common.NotificationKey");
    Arc::new(named.versioned(1))
});

static VALUE: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = || Arc::new(Schema::new(Kind::String));
    let fields = [
        ("id", text()),
        ("type", text()),
        ("aggregate_type", text()),
        ("additional_data", Arc::new(Schema::new(Kind::Map(text(), text())).optional())),
        ("timestamp", Arc::new(Schema::new(Kind::Int64))),
    ];
    let named = Schema::structure(fields).named("io.debezium.connector.common.Notification");
    Arc::new(named.versioned(1))
});

/// Which snapshot it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregate {
    /// The one before the stream.
    Initial,
    /// One beside it.
    Incremental,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    /// The signal that it comes of; without one, an id of its own is made.
    pub(crate) id: String,
    /// About what.
    pub(crate) aggregate: Aggregate,
    /// Debezium's word for it: `STARTED`, `COMPLETED`, …
    pub(crate) kind: &'static str,
    /// The particulars.
    pub(crate) data: Vec<(&'static str, String)>,
}

/// Where people are told.
pub(crate) struct Notifier {
    connector: String,
    topic: Option<Topic>,
    is_logged: bool,
    clock: Arc<dyn Clock>,
    made: std::sync::atomic::AtomicU64,
}

impl Aggregate {
    const fn text(self) -> &'static str {
        match self {
            Self::Initial => "Initial Snapshot",
            Self::Incremental => "Incremental Snapshot",
        }
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into().into())
}

impl Notifier {
    /// As the configuration says.
    #[must_use]
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let signals = &config.signals;
        let has =
            |name| signals.notification_enabled_channels.iter().any(|channel| channel == name);
        let topic = signals.notification_sink_topic_name.as_deref();
        Self {
            connector: config.topic_prefix.clone(),
            topic: topic.filter(|_| has("sink")).map(Into::into),
            is_logged: has("log"),
            clock,
            made: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Whether anybody is told anything.
    #[must_use]
    pub(crate) const fn is_on(&self) -> bool {
        self.topic.is_some() || self.is_logged
    }

    /// Tells it; the record, if there are such.
    ///
    /// # Errors
    /// None that can happen: the structs are this module's.
    pub(crate) fn tell(&self, notification: Notification) -> Result<Option<Record>> {
        let Notification { mut id, aggregate, kind, mut data } = notification;
        data.push(("connector_name", self.connector.clone()));
        let now = self.clock.now().millis();
        if id.is_empty() {
            let count = self.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            id = format!("{now:x}-{count}");
        }
        if self.is_logged {
            let data: Vec<_> = data.iter().map(|(key, value)| format!("{key}={value}")).collect();
            tracing::info!(
                id,
                aggregate_type = aggregate.text(),
                r#type = kind,
                data = data.join(", "),
                "notification"
            );
        }
        let Some(topic) = &self.topic else { return Ok(None) };
        let entries = data.into_iter().map(|(key, value)| (text(key), text(value))).collect();
        let values = vec![
            text(id.as_str()),
            text(kind),
            text(aggregate.text()),
            Value::Map(entries),
            Value::Int64(now),
        ];
        let datum = |schema: &SchemaRef, values| {
            let value = Struct::new(Arc::clone(schema), values)?;
            Ok::<_, towpath_sdk::Error>(Datum::new(Arc::clone(schema), Value::Struct(value)))
        };
        let key = datum(&KEY, vec![text(id)])?;
        Ok(Some(Record::new(Arc::clone(topic), datum(&VALUE, values)?).with_key(key)))
    }
}
