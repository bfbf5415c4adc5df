//! Instruments that connectors name themselves.
//!
//! Duty: keep them by name, task and labels, and write them out when Prometheus asks.
//!
//! Invariants: their number is bounded, since labels come from outside; what exceeds the bound counts
//! without being shown. A name has one kind: whoever asks for the other gets one that is not shown.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{self, Debug};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use towpath_sdk::instruments::{Counter, Gauge, Labels};

use super::TaskLabels;

/// Instruments of one task that are shown, at most.
const PER_TASK_MAX: usize = 4_096;

/// Names that the engine has taken.
const TAKEN: [&str; 1] = ["events"];

/// All of them. Clones share.
#[derive(Clone, Default)]
pub(super) struct OwnInstruments(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    families: BTreeMap<&'static str, Kind>,
    /// How many each task has.
    counts: BTreeMap<(String, u32), usize>,
}

type Key = (String, u32, Labels);

enum Kind {
    Counters(BTreeMap<Key, Counter>),
    Gauges(BTreeMap<Key, Gauge>),
}

impl OwnInstruments {
    pub(super) fn counter(&self, task: &TaskLabels, name: &'static str, labels: Labels) -> Counter {
        let State { families, counts } = &mut *self.0.lock();
        let family = families.entry(name).or_insert_with(|| Kind::Counters(BTreeMap::new()));
        match family {
            Kind::Counters(counters) => shown(counters, counts, task, name, labels),
            Kind::Gauges(_) => Counter::default(),
        }
    }

    pub(super) fn gauge(&self, task: &TaskLabels, name: &'static str, labels: Labels) -> Gauge {
        let State { families, counts } = &mut *self.0.lock();
        let family = families.entry(name).or_insert_with(|| Kind::Gauges(BTreeMap::new()));
        match family {
            Kind::Gauges(gauges) => shown(gauges, counts, task, name, labels),
            Kind::Counters(_) => Gauge::default(),
        }
    }

    pub(super) fn forget(&self, connector: &str, task: u32) {
        let State { families, counts } = &mut *self.0.lock();
        let other = |key: &Key| key.0 != connector || key.1 != task;
        families.retain(|_, family| match family {
            Kind::Counters(counters) => {
                counters.retain(|key, _| other(key));
                !counters.is_empty()
            }
            Kind::Gauges(gauges) => {
                gauges.retain(|key, _| other(key));
                !gauges.is_empty()
            }
        });
        counts.remove(&(connector.to_owned(), task));
    }
}

/// The instrument under `labels`, made if there is room.
fn shown<I: Clone + Default>(
    family: &mut BTreeMap<Key, I>,
    counts: &mut BTreeMap<(String, u32), usize>,
    task: &TaskLabels,
    name: &str,
    labels: Labels,
) -> I {
    let count = counts.entry((task.connector.clone(), task.task)).or_default();
    match family.entry((task.connector.clone(), task.task, labels)) {
        Entry::Occupied(instrument) => instrument.get().clone(),
        Entry::Vacant(_) if *count >= PER_TASK_MAX || TAKEN.contains(&name) => {
            tracing::warn!(name, connector = task.connector, "an instrument is not shown");
            I::default()
        }
        Entry::Vacant(place) => {
            *count += 1;
            place.insert(I::default()).clone()
        }
    }
}

impl Debug for OwnInstruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnInstruments")
    }
}

impl Collector for OwnInstruments {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for (name, family) in &self.0.lock().families {
            let (name, help) = (format!("connector_{name}"), "What a connector shows itself");
            let kind = match family {
                Kind::Counters(_) => MetricType::Counter,
                Kind::Gauges(_) => MetricType::Gauge,
            };
            let mut encoder = encoder.encode_descriptor(&name, help, None, kind)?;
            match family {
                Kind::Counters(counters) => {
                    for (key, counter) in counters {
                        let labels = with_task(key);
                        ConstCounter::new(counter.get()).encode(encoder.encode_family(&labels)?)?;
                    }
                }
                Kind::Gauges(gauges) => {
                    for (key, gauge) in gauges {
                        let labels = with_task(key);
                        ConstGauge::new(gauge.get()).encode(encoder.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn with_task((connector, task, labels): &Key) -> Vec<(&str, String)> {
    let mut all = vec![("connector", connector.clone()), ("task", task.to_string())];
    let own = labels.iter().filter(|(name, _)| !matches!(*name, "connector" | "task"));
    all.extend(own.map(|(name, value)| (name, value.to_owned())));
    all
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    use super::*;

    #[test]
    fn own_instruments_show_with_their_labels_and_go_with_the_task() {
        let metrics = Arc::new(Metrics::new());
        let task = metrics.task("c", 1);
        let labels = |table: &str| Labels::new(&[("table", table)]);
        task.own_counter("rows", labels("a")).add(3);
        task.own_counter("rows", labels("a")).add(4);
        task.own_counter("rows", labels("b")).add(1);
        task.own_gauge("retained_wal_bytes", Labels::default()).set(-5);
        let hidden = task.own_gauge("rows", labels("a"));
        hidden.set(9);
        let text = metrics.render().unwrap();
        for line in [
            r#"towpath_connector_rows_total{connector="c",task="1",table="a"} 7"#,
            r#"towpath_connector_rows_total{connector="c",task="1",table="b"} 1"#,
            r#"towpath_connector_retained_wal_bytes{connector="c",task="1"} -5"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
        assert!(!text.contains(" 9\n"), "{text}");
        metrics.forget("c", 1);
        assert!(!metrics.render().unwrap().contains("towpath_connector_rows"));
    }

    #[test]
    fn their_number_is_bounded() {
        let metrics = Arc::new(Metrics::new());
        let task = metrics.task("c", 0);
        for n in 0..PER_TASK_MAX + 10 {
            task.own_counter("keys", Labels::new(&[("key", &n.to_string())])).add(1);
        }
        let text = metrics.render().unwrap();
        let shown = text.lines().filter(|l| l.starts_with("towpath_connector_keys_total{")).count();
        assert_eq!(shown, PER_TASK_MAX);
    }
}
