//! Measurements, in Prometheus' terms.
//!
//! Duty: one set of instruments per task, made once and counted with atomics; families carry the
//! labels `connector` and `task`. The HTTP API renders the registry.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use towpath_sdk::instruments::Labels as SdkLabels;

mod own;

use own::OwnInstruments;

/// Labels of a task's instruments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TaskLabels {
    /// The connector's name.
    pub connector: String,
    /// The task's number.
    pub task: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    connector: String,
    task: u32,
    event: Cow<'static, str>,
}

#[derive(Clone)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.000_5, 2.0, 18))
    }
}

/// All instruments of a worker.
pub struct Metrics {
    registry: Mutex<Registry>,
    records: Family<TaskLabels, Counter>,
    bytes: Family<TaskLabels, Counter>,
    batches: Family<TaskLabels, Counter>,
    delivered: Family<TaskLabels, Counter>,
    failures: Family<TaskLabels, Counter>,
    skipped: Family<TaskLabels, Counter>,
    dead_letters: Family<TaskLabels, Counter>,
    dead_letter_failures: Family<TaskLabels, Counter>,
    commits: Family<TaskLabels, Counter>,
    commit_failures: Family<TaskLabels, Counter>,
    retries: Family<TaskLabels, Counter>,
    ends: Family<TaskLabels, Counter>,
    stalls: Family<TaskLabels, Counter>,
    lag: Family<TaskLabels, Gauge>,
    held: Family<TaskLabels, Gauge>,
    write_seconds: Family<TaskLabels, Histogram, Seconds>,
    commit_seconds: Family<TaskLabels, Histogram, Seconds>,
    events: Family<EventLabels, Counter>,
    /// The names of events that some connector has counted.
    event_names: Mutex<BTreeSet<&'static str>>,
    own: OwnInstruments,
}

/// The instruments of one task.
#[derive(Clone)]
pub struct TaskMetrics {
    labels: TaskLabels,
    all: Arc<Metrics>,
    /// Records taken from the source, or from Kafka for a sink.
    pub records: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Batches of them.
    pub batches: Counter,
    /// Records known to be durable at the other end.
    pub delivered: Counter,
    /// Records that failed at some stage.
    pub failures: Counter,
    /// Records left out because the user tolerates it.
    pub skipped: Counter,
    /// Records held by the dead letter queue.
    pub dead_letters: Counter,
    /// Tries to write to the dead letter queue that failed.
    pub dead_letter_failures: Counter,
    /// Progress stored.
    pub commits: Counter,
    /// Progress that could not be stored.
    pub commit_failures: Counter,
    /// Operations tried again because their error may heal.
    pub retries: Counter,
    /// Times that the task as a whole ended with an error.
    pub ends: Counter,
    /// Times that the connector's code did not give its thread back in time.
    pub stalls: Counter,
    /// Records between what is committed and the end of the log.
    pub lag: Gauge,
    /// Bytes that the task's pipeline holds.
    pub held: Gauge,
    /// Seconds that a batch took: in the sink's lane, or from poll to the broker's answer.
    pub write_seconds: Histogram,
    /// Seconds that storing progress took.
    pub commit_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("towpath");
        macro_rules! family {
            ($kind:ty, $name:literal, $help:literal) => {{
                let family = Family::<TaskLabels, $kind>::default();
                registry.register($name, $help, family.clone());
                family
            }};
        }
        let seconds = |registry: &mut Registry, name: &str, help: &str| {
            let family = Family::<TaskLabels, Histogram, Seconds>::new_with_constructor(Seconds);
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
            family
        };
        let write_seconds = seconds(
            &mut registry,
            "task_batch",
            "Time of a batch: in the sink's lane, or from poll to the broker's answer",
        );
        let commit_seconds =
            seconds(&mut registry, "task_commit", "Time that storing progress took");
        let events = Family::<EventLabels, Counter>::default();
        registry.register("connector_events", "What connectors count themselves", events.clone());
        let own = OwnInstruments::default();
        registry.register_collector(Box::new(own.clone()));
        Self {
            records: family!(Counter, "task_records", "Records taken in"),
            bytes: family!(Counter, "task_bytes", "Bytes of records taken in"),
            batches: family!(Counter, "task_batches", "Batches taken in"),
            delivered: family!(Counter, "task_delivered", "Records durable at the other end"),
            failures: family!(Counter, "task_record_failures", "Records that failed at some stage"),
            skipped: family!(
                Counter,
                "task_skipped",
                "Failed records left out by errors.tolerance"
            ),
            dead_letters: family!(
                Counter,
                "task_dead_letters",
                "Failed records held by the dead letter queue"
            ),
            dead_letter_failures: family!(
                Counter,
                "task_dead_letter_failures",
                "Failed writes to the dead letter queue"
            ),
            commits: family!(Counter, "task_commits", "Times that progress was stored"),
            commit_failures: family!(
                Counter,
                "task_commit_failures",
                "Times that progress could not be stored"
            ),
            retries: family!(
                Counter,
                "task_retries",
                "Operations tried again because their error may heal"
            ),
            ends: family!(Counter, "task_failures", "Times that the task ended with an error"),
            stalls: family!(
                Counter,
                "task_stalls",
                "Times that the connector's code held its thread for seconds"
            ),
            lag: family!(Gauge, "task_lag_records", "Records between the commit and the log's end"),
            held: family!(Gauge, "task_held_bytes", "Bytes that the task's pipeline holds"),
            write_seconds,
            commit_seconds,
            events,
            event_names: Mutex::default(),
            own,
            registry: Mutex::new(registry),
        }
    }

    /// The instruments of task `task` of `connector`.
    #[must_use]
    pub fn task(self: &Arc<Self>, connector: &str, task: u32) -> TaskMetrics {
        let labels = TaskLabels { connector: connector.to_owned(), task };
        TaskMetrics {
            records: self.records.get_or_create(&labels).clone(),
            bytes: self.bytes.get_or_create(&labels).clone(),
            batches: self.batches.get_or_create(&labels).clone(),
            delivered: self.delivered.get_or_create(&labels).clone(),
            failures: self.failures.get_or_create(&labels).clone(),
            skipped: self.skipped.get_or_create(&labels).clone(),
            dead_letters: self.dead_letters.get_or_create(&labels).clone(),
            dead_letter_failures: self.dead_letter_failures.get_or_create(&labels).clone(),
            commits: self.commits.get_or_create(&labels).clone(),
            commit_failures: self.commit_failures.get_or_create(&labels).clone(),
            retries: self.retries.get_or_create(&labels).clone(),
            ends: self.ends.get_or_create(&labels).clone(),
            stalls: self.stalls.get_or_create(&labels).clone(),
            lag: self.lag.get_or_create(&labels).clone(),
            held: self.held.get_or_create(&labels).clone(),
            write_seconds: self.write_seconds.get_or_create(&labels).clone(),
            commit_seconds: self.commit_seconds.get_or_create(&labels).clone(),
            labels,
            all: Arc::clone(self),
        }
    }

    /// Forgets the instruments of a task that is gone.
    pub fn forget(&self, connector: &str, task: u32) {
        let labels = TaskLabels { connector: connector.to_owned(), task };
        for family in [
            &self.records,
            &self.bytes,
            &self.batches,
            &self.delivered,
            &self.failures,
            &self.skipped,
            &self.dead_letters,
            &self.dead_letter_failures,
            &self.commits,
            &self.commit_failures,
            &self.retries,
            &self.ends,
            &self.stalls,
        ] {
            family.remove(&labels);
        }
        for event in self.event_names.lock().iter() {
            let TaskLabels { connector, task } = labels.clone();
            self.events.remove(&EventLabels { connector, task, event: Cow::Borrowed(event) });
        }
        self.lag.remove(&labels);
        self.held.remove(&labels);
        self.write_seconds.remove(&labels);
        self.commit_seconds.remove(&labels);
        self.own.forget(connector, task);
    }

    /// Adds instruments of another part of the worker.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock());
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// If an instrument can't be written as text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

impl TaskMetrics {
    /// Adds to a counter that the connector named.
    pub fn event(&self, event: &'static str, n: u64) {
        let labels = EventLabels {
            connector: self.labels.connector.clone(),
            task: self.labels.task,
            event: Cow::Borrowed(event),
        };
        self.all.event_names.lock().insert(event);
        self.all.events.get_or_create(&labels).inc_by(n);
    }

    /// A counter that the connector named.
    #[must_use]
    pub fn own_counter(
        &self,
        name: &'static str,
        labels: SdkLabels,
    ) -> towpath_sdk::instruments::Counter {
        self.all.own.counter(&self.labels, name, labels)
    }

    /// A gauge that the connector named.
    #[must_use]
    pub fn own_gauge(
        &self,
        name: &'static str,
        labels: SdkLabels,
    ) -> towpath_sdk::instruments::Gauge {
        self.all.own.gauge(&self.labels, name, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_shows_and_is_forgotten() {
        let metrics = Arc::new(Metrics::new());
        let task = metrics.task("c", 3);
        task.records.inc_by(7);
        task.event("uploads", 2);
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"towpath_task_records_total{connector="c",task="3"} 7"#), "{text}");
        assert!(text.contains(r#"event="uploads"} 2"#), "{text}");
        metrics.forget("c", 3);
        let text = metrics.render().unwrap();
        assert!(!text.contains(r#"connector="c""#), "{text}");
    }
}
