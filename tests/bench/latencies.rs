//! How late records are.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::report::median;
use crate::subject::Subject;

/// One run of one subject.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    /// Records that the figures are of.
    pub(crate) counted: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// What the worker used for all records, those that are not counted among them.
    pub(crate) cpu_seconds: f64,
    pub(crate) records: u64,
    pub(crate) peak_rss_mib: f64,
}

impl Latency {
    fn cost(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.records as f64
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, max {:.1} ms of {}; {:.1} µs CPU a record, peak {:.0} MiB",
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.counted,
            self.cost(),
            self.peak_rss_mib
        )
    }
}

/// One load, all rounds.
pub(crate) struct Latencies {
    name: &'static str,
    definition: String,
    samples: BTreeMap<Subject, Vec<Latency>>,
}

impl Latencies {
    pub(crate) fn new(name: &'static str, definition: String) -> Self {
        Self { name, definition, samples: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, subject: Subject, sample: Latency) {
        self.samples.entry(subject).or_default().push(sample);
    }

    pub(crate) fn to_json(&self) -> Value {
        let runs = |samples: &Vec<Latency>| -> Vec<Value> {
            let run = |s: &Latency| {
                json!({
                    "counted": s.counted,
                    "p50_ms": s.p50_ms,
                    "p99_ms": s.p99_ms,
                    "max_ms": s.max_ms,
                    "cpu_seconds": s.cpu_seconds,
                    "records": s.records,
                    "peak_rss_mib": s.peak_rss_mib,
                })
            };
            samples.iter().map(run).collect()
        };
        let subjects: serde_json::Map<String, Value> = self
            .samples
            .iter()
            .map(|(subject, samples)| (subject.name().to_owned(), runs(samples).into()))
            .collect();
        json!({ "name": self.name, "definition": self.definition, "subjects": subjects })
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n\n{}.\n", self.name, self.definition)?;
        writeln!(f, "| who | p50 ms | p99 ms | max ms | CPU µs a record | peak MiB |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (&subject, samples) in &self.samples {
            let figure = |figure: fn(&Latency) -> f64| {
                median(samples.iter().map(figure).collect()).unwrap_or(0.0)
            };
            writeln!(
                f,
                "| {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} |",
                subject.name(),
                figure(|s| s.p50_ms),
                figure(|s| s.p99_ms),
                figure(|s| s.max_ms),
                figure(Latency::cost),
                figure(|s| s.peak_rss_mib)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_stand_in_the_table() {
        let mut report = Latencies::new("l", "how".to_owned());
        for p50_ms in [3.0, 1.0, 2.0] {
            report.add(
                Subject::Towpath,
                Latency {
                    counted: 1,
                    p50_ms,
                    p99_ms: 4.0,
                    max_ms: 5.0,
                    cpu_seconds: 1.0,
                    records: 100_000,
                    peak_rss_mib: 6.0,
                },
            );
        }
        let text = report.to_string();
        assert!(text.contains("| Towpath | 2.00 | 4.00 | 5.0 | 10.0 | 6 |"), "{text}");
    }
}
