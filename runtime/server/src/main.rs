//! The `towpath` binary: reads configuration, wires the engine, the ports and the HTTP API together,
//! and forwards signals. Nothing is decided here.

mod http;
mod logging;
mod memory;
mod planes;
mod quickstart;
mod reference;
mod registry;
mod signals;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A connector runtime for Apache Kafka.
#[derive(Debug, Parser)]
#[command(name = "towpath", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a worker from a Kafka Connect worker properties file.
    Worker {
        /// The properties file. `CONNECT_*` environment variables are read too, and win.
        file: Option<PathBuf>,
    },
    /// Try it: an embedded log, a worker and pipelines to look at, without any server.
    Quickstart {
        /// Where the log, the input and the output are.
        #[arg(long, default_value = "towpath-quickstart")]
        dir: PathBuf,
        /// The port of the REST API.
        #[arg(long, default_value_t = 8083)]
        port: u16,
    },
    /// Write the reference of all connectors, converters, transforms and metrics as Markdown.
    Reference {
        /// The folder of the documentation.
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    use_small_pages();
    let arguments = Arguments::parse();
    // The quick start tells what it does in its own words.
    let talkative = matches!(arguments.command, Command::Worker { .. });
    let logging = logging::start(if talkative { "info" } else { "warn" });
    let outcome = match arguments.command {
        Command::Worker { file } => worker::main(file.as_deref(), logging),
        Command::Quickstart { dir, port } => quickstart::main(&dir, port, logging),
        Command::Reference { dir } => reference::main(&dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The allocator asks for huge pages, of which a worker that does little fills a corner each: that is
/// two thirds of what it holds when idle, and no record gets through faster for it.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        // Nothing but memory depends on it.
        tracing::debug!(%error, "huge pages stay in use");
    }
}
