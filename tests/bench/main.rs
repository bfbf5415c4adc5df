//! Benchmarks: what a worker costs, beside the physical limit and beside genuine Kafka Connect, or
//! genuine Debezium on it.
//!
//! `tests/bench/run` builds, starts the servers and calls this. Subjects of a path run one after the
//! other within a round, so that a machine whose speed drifts treats them alike; figures are medians
//! of rounds. What arrived is counted in the target, not believed.

mod capture;
mod data;
mod latencies;
mod memory;
mod path;
mod process;
mod report;
mod startup;
mod subject;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use towpath_tests::kafka::Kafka;

use crate::capture::Outcome;
use crate::path::Bench;
use crate::report::Report;

/// What was asked for.
struct Options {
    rounds: usize,
    short: bool,
    connect: bool,
    only: Vec<String>,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options =
            Self { rounds: 3, short: false, connect: true, only: Vec::new(), json: None };
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--json" => options.json = Some(value()?.into()),
                "--no-connect" => options.connect = false,
                "--short" => {
                    (options.short, options.connect, options.rounds) = (true, false, 1);
                }
                _ => bail!(
                    "unknown argument {argument} (known: --rounds N --only PATH,… --json FILE \
                     --no-connect --short)"
                ),
            }
        }
        ensure!(options.rounds > 0, "--rounds must be at least 1");
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "upload") {
        return finish(on_runtime(data::upload(arguments.skip(1).collect())));
    }
    finish(Options::parse(arguments).and_then(|options| on_runtime(run(options))))
}

fn on_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(work)
}

fn finish(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:?}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<()> {
    let dir = std::env::temp_dir().join(towpath_tests::unique("towpath-bench")?);
    std::fs::create_dir_all(&dir)?;
    let mut report = Report::new(options.rounds)?;
    if options.wants("start") {
        report.startup = Some(startup::measure(&dir, options.rounds).await?);
    }
    let bench = Bench::new(&dir, options.short, options.connect)?;
    for path in path::ALL.iter().filter(|path| options.wants(path.name())) {
        report.paths.push(bench.measure(*path, options.rounds).await?);
    }
    let kafka = Kafka::connect()?;
    let bench = capture::Bench {
        dir: &dir,
        short: options.short,
        debezium: options.connect,
        rounds: options.rounds,
        kafka: &kafka,
    };
    for capture in capture::ALL.iter().filter(|capture| options.wants(capture.name())) {
        match bench.measure(*capture).await? {
            Outcome::Path(path) => report.paths.push(path),
            Outcome::Latencies(latencies) => report.latencies.extend(latencies),
        }
    }
    std::fs::remove_dir_all(&dir)?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report.to_json())?)?;
    }
    print(&report.to_string());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "this is a command")]
fn say(text: &str) {
    eprintln!("bench: {text}");
}
