//! Says so when a broker is silent.
//!
//! Duty: a producer keeps trying for as long as it is told to, which is for ever by default; meanwhile
//! nothing fails and nothing moves. This is what makes a task say why (invariant 7 of the design).

use std::time::Duration;

use tokio::time::Instant;

use super::host::TaskHost;
use super::status::Wait;
use crate::ports::PortError;

/// How long an answer may take before the task is said to wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How often the reason is looked at while it does.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The reason of a task that is `doing` something and gets no answer; `trouble` is what its client
/// knows.
pub(crate) fn reason(doing: &str, trouble: Option<PortError>) -> String {
    match trouble {
        Some(error) => format!("{doing}: {error}"),
        None => format!(
            "{doing}: the broker has not acknowledged it for {} s or longer; see whether the topic has a \
             leader and as many replicas in sync as its min.insync.replicas asks for",
            PATIENCE.as_secs()
        ),
    }
}

/// Awaits `work`. While it takes long, the task waits on account of `wait` for what `reason` says.
pub(crate) async fn told<T>(
    host: &TaskHost,
    wait: Wait,
    reason: impl Fn() -> String,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    let mut look = Instant::now() + PATIENCE;
    let mut waits = false;
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                if waits {
                    host.status.resumed(&wait);
                }
                return done;
            }
            () = tokio::time::sleep_until(look) => {
                host.waits(wait.clone(), reason());
                waits = true;
                look = Instant::now() + LOOK;
            }
        }
    }
}
