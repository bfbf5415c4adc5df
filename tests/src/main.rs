//! End-to-end runs that need the built binary and the whole stack: `tests/e2e/*.sh` call it.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use towpath_tests::{capture, dlq, faults, kill, toast};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.context("start threads").and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint(&format!("{error:?}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["kill", rounds, seed] => {
            let (rounds, seed): (u64, u64) = (rounds.parse()?, seed.parse()?);
            for round in 0..rounds {
                eprint(&format!("kill round {} of {rounds}, seed {}", round + 1, seed + round));
                kill::round(seed + round).await?;
            }
            Ok(())
        }
        ["capture", rounds, seed] => {
            let (rounds, seed): (u64, u64) = (rounds.parse()?, seed.parse()?);
            for round in 0..rounds {
                eprint(&format!("capture round {} of {rounds}, seed {}", round + 1, seed + round));
                capture::round(seed + round).await?;
            }
            Ok(())
        }
        ["toast", rows, bytes, updates, seed, ref packed @ ..] if packed.len() < 2 => {
            let (rows, bytes, updates) = (rows.parse()?, bytes.parse()?, updates.parse()?);
            let is_packed = match packed {
                [] => false,
                ["packed"] => true,
                _ => bail!("{packed:?} is neither packed nor nothing"),
            };
            let size = toast::Size { rows, bytes, updates, is_packed };
            eprint(&format!("{size:?}, seed {seed}"));
            eprint(&toast::run(size, seed.parse()?).await?);
            Ok(())
        }
        ["dlq"] => dlq::replay().await,
        ["faults"] => faults::run("", eprint).await,
        ["faults", filter] => faults::run(filter, eprint).await,
        _ => bail!(
            "usage: towpath-tests kill ROUNDS SEED | capture ROUNDS SEED | toast ROWS BYTES UPDATES SEED \
             [packed] | dlq | faults [NAME]"
        ),
    }
}

#[expect(clippy::print_stderr, reason = "this is a command")]
fn eprint(text: &str) {
    eprintln!("{text}");
}
