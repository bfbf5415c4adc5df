//! The `towpath` binary: reads configuration, wires the engine, the ports and the HTTP API together,
//! and forwards signals. Nothing is decided here.

mod http;
mod logging;
mod planes;
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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let logging = logging::start();
    let outcome = match arguments.command {
        Command::Worker { file } => worker::main(file.as_deref(), logging),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
