//! What was measured: a table for people and JSON for the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::latencies::Latencies;
use crate::subject::Subject;

/// One run of one subject.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Records counted in the target.
    pub(crate) arrived: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_mib: f64,
}

impl Sample {
    fn rate(&self) -> f64 {
        self.arrived as f64 / self.seconds
    }

    /// Microseconds of CPU a record.
    fn cost(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.arrived as f64
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} records/s, {:.3} µs CPU a record, peak {:.0} MiB, {} arrived",
            self.rate(),
            self.cost(),
            self.peak_rss_mib,
            self.arrived
        )
    }
}

/// One path, all rounds.
pub(crate) struct PathReport {
    name: &'static str,
    definition: &'static str,
    records: u64,
    samples: BTreeMap<Subject, Vec<Sample>>,
}

impl PathReport {
    pub(crate) fn new(name: &'static str, definition: &'static str, records: u64) -> Self {
        Self { name, definition, records, samples: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, subject: Subject, sample: Sample) {
        self.samples.entry(subject).or_default().push(sample);
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    fn median(&self, subject: Subject, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.get(&subject)?.iter().map(figure).collect())
    }

    fn to_json(&self) -> Value {
        let subjects: serde_json::Map<String, Value> = self
            .samples
            .iter()
            .map(|(subject, samples)| {
                let runs: Vec<Value> = samples
                    .iter()
                    .map(|s| {
                        json!({
                            "arrived": s.arrived,
                            "seconds": s.seconds,
                            "cpu_seconds": s.cpu_seconds,
                            "peak_rss_mib": s.peak_rss_mib,
                        })
                    })
                    .collect();
                (subject.name().to_owned(), runs.into())
            })
            .collect();
        json!({
            "name": self.name,
            "definition": self.definition,
            "records": self.records,
            "subjects": subjects,
        })
    }
}

impl fmt::Display for PathReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}: {} records\n\n{}.\n", self.name, self.records, self.definition)?;
        writeln!(f, "| who | records/s | CPU µs a record | peak MiB | arrived |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for (&subject, samples) in &self.samples {
            let figure = |figure: fn(&Sample) -> f64| self.median(subject, figure).unwrap_or(0.0);
            let arrived: Vec<String> = samples.iter().map(|s| s.arrived.to_string()).collect();
            writeln!(
                f,
                "| {} | {:.0} | {:.2} | {:.0} | {} |",
                subject.name(),
                figure(Sample::rate),
                figure(Sample::cost),
                figure(|s| s.peak_rss_mib),
                arrived.join(", ")
            )?;
        }
        let ratio = |of: Subject, to: Subject, figure: fn(&Sample) -> f64| {
            Some(self.median(of, figure)? / self.median(to, figure)?)
        };
        writeln!(f)?;
        if let (Some(rate), Some(cost)) = (
            ratio(Subject::Towpath, Subject::Limit, Sample::rate),
            ratio(Subject::Towpath, Subject::Limit, Sample::cost),
        ) {
            writeln!(f, "Towpath / limit: {rate:.2} of its rate, {cost:.2} of its CPU a record.")?;
        }
        if let (Some(rate), Some(cost)) = (
            ratio(Subject::Towpath, Subject::Connect, Sample::rate),
            ratio(Subject::Connect, Subject::Towpath, Sample::cost),
        ) {
            writeln!(
                f,
                "Towpath / Kafka Connect: {rate:.1} times its rate, {cost:.1} times its records per CPU second."
            )?;
        }
        Ok(())
    }
}

/// Times and weights of an idle worker, one a start.
#[derive(Default)]
pub(crate) struct Startup {
    pub(crate) answer_ms: Vec<f64>,
    pub(crate) healthy_ms: Vec<f64>,
    pub(crate) list_ms: Vec<f64>,
    pub(crate) idle_mib: Vec<f64>,
}

/// All of it.
pub(crate) struct Report {
    rounds: usize,
    machine: String,
    pub(crate) startup: Option<Startup>,
    pub(crate) paths: Vec<PathReport>,
    pub(crate) latencies: Vec<Latencies>,
}

impl Report {
    pub(crate) fn new(rounds: usize) -> Result<Self> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
        let cores = std::thread::available_parallelism()?;
        let kernel = Command::new("uname").arg("-sr").output()?.stdout;
        let machine = format!(
            "{cores} cores ({}), {}",
            model.trim_start_matches([' ', '\t', ':']),
            String::from_utf8_lossy(&kernel).trim()
        );
        Ok(Self { rounds, machine, startup: None, paths: Vec::new(), latencies: Vec::new() })
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "machine": self.machine,
            "rounds": self.rounds,
            "startup": self.startup.as_ref().map(|s| json!({
                "answer_ms": s.answer_ms,
                "healthy_ms": s.healthy_ms,
                "list_ms": s.list_ms,
                "idle_rss_mib": s.idle_mib,
            })),
            "paths": self.paths.iter().map(PathReport::to_json).collect::<Vec<_>>(),
            "latencies": self.latencies.iter().map(Latencies::to_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Servers and workers share {}. Medians of {} rounds; the subjects of a round run one after \
             the other.\n",
            self.machine, self.rounds
        )?;
        if let Some(startup) = &self.startup {
            let figure = |values: &[f64]| median(values.to_vec()).unwrap_or(0.0);
            writeln!(f, "### start: a worker without connectors, its topics there already\n")?;
            writeln!(
                f,
                "`/health` answers {:.0} ms after exec and says healthy after {:.0} ms; the list of \
                 connectors is there after {:.0} ms; idle it holds {:.1} MiB.\n",
                figure(&startup.answer_ms),
                figure(&startup.healthy_ms),
                figure(&startup.list_ms),
                figure(&startup.idle_mib)
            )?;
        }
        self.paths.iter().try_for_each(|path| writeln!(f, "{path}"))?;
        self.latencies.iter().try_for_each(|latencies| writeln!(f, "{latencies}"))
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_report_shows_ratios_to_both() {
        let sample = |seconds, cpu_seconds| Sample {
            arrived: 1_000_000,
            seconds,
            cpu_seconds,
            peak_rss_mib: 10.0,
        };
        let mut path = PathReport::new("p", "how", 1_000_000);
        path.add(Subject::Limit, sample(1.0, 1.0));
        path.add(Subject::Towpath, sample(2.0, 2.0));
        path.add(Subject::Connect, sample(4.0, 8.0));
        let text = path.to_string();
        assert!(text.contains("Towpath / limit: 0.50 of its rate, 2.00 of its CPU"), "{text}");
        assert!(text.contains("2.0 times its rate, 4.0 times its records per CPU"), "{text}");
    }
}
