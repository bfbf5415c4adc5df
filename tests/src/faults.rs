//! The fault suite: what a person sees when something around a worker is wrong, that it goes on by
//! itself when the cause is gone, and that every record arrived.
//!
//! Each scenario has a worker, names and a folder of its own and asserts the state and the reason that
//! `/towpath/v1` shows beside the state that Connect's endpoints show. They run beside each other.

mod access;
mod config;
mod data;
mod disk;
mod fleet;
mod kafka;
mod replicas;
mod rig;
mod slots;
mod store;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use futures::future::LocalBoxFuture;
use futures::{FutureExt as _, StreamExt as _};

/// How many run at the same time: each has a worker or two.
const AT_ONCE: usize = 5;

type Scenario = (&'static str, fn() -> LocalBoxFuture<'static, Result<()>>);

/// The longest first.
const SCENARIOS: &[Scenario] = &[
    ("kafka-midway", || Box::pin(kafka::midway())),
    ("access", || Box::pin(access::missing_permissions())),
    ("second-worker", || Box::pin(fleet::second_worker())),
    ("store", || Box::pin(store::troubles())),
    ("store-hangs-at-stop", || Box::pin(store::hangs_at_stop())),
    ("replicas", || Box::pin(replicas::too_few())),
    ("credentials", || Box::pin(access::wrong_password())),
    ("kafka-at-start", || Box::pin(kafka::at_start())),
    ("disk-full", || Box::pin(disk::full())),
    ("bad-records", || Box::pin(data::bad_records())),
    ("lost-slot", || Box::pin(slots::lost())),
    ("wrong-config", || Box::pin(config::wrong())),
];

/// Runs those whose name contains `filter`.
///
/// # Errors
/// All that fail, each with its reason.
pub async fn run(filter: &str, say: fn(&str)) -> Result<()> {
    let chosen = SCENARIOS.iter().filter(|(name, _)| name.contains(filter));
    let started = chosen.map(|(name, scenario)| async move {
        let began = Instant::now();
        let outcome = AssertUnwindSafe(scenario()).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("it panicked")));
        let outcome = outcome.map_err(|error| format!("{error:?}"));
        let took = began.elapsed().as_secs();
        match &outcome {
            Ok(()) => say(&format!("ok      {took:>4}s  {name}")),
            Err(error) => say(&format!("FAILED  {took:>4}s  {name}: {error}")),
        }
        outcome.is_ok()
    });
    let outcomes: Vec<bool> =
        futures::stream::iter(started).buffer_unordered(AT_ONCE).collect().await;
    match (outcomes.len(), outcomes.iter().filter(|ok| !**ok).count()) {
        (0, _) => bail!("no scenario is named {filter}"),
        (_, 0) => Ok(()),
        (all, failed) => bail!("{failed} of {all} scenarios failed"),
    }
}
