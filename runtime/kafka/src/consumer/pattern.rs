//! Subscribing by a pattern.
//!
//! Duty: match the cluster's topics by Java's regular expressions, as a whole name, since librdkafka's
//! own patterns are of another dialect. Internal topics never match, as in Java's consumer.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::{Command, Shared};
use crate::context::Scope;
use crate::error;
use crate::native::{Which, metadata};
use crate::options::Matcher;
use crate::transaction::blocking;

/// Kafka's own topics.
const INTERNAL: &[&str] = &["__consumer_offsets", "__transaction_state", "__share_group_state"];
/// How soon a failed look at the cluster's topics is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// Looks at the cluster's topics at once and then every `interval`, and subscribes to those that
/// match, whenever that changes.
pub(super) async fn follow(
    shared: Arc<Shared>,
    matcher: Matcher,
    interval: Duration,
    timeout: Duration,
) {
    let mut subscribed: Option<Vec<String>> = None;
    loop {
        let native = Arc::clone(&shared.native);
        let seen = blocking(move || {
            let topics = metadata(&*native, &Which::All, timeout).map_err(|code| {
                native.context().explain(error::from_code(code)).context("failed to list topics")
            })?;
            Ok(topics.into_iter().map(|t| t.name).collect::<Vec<_>>())
        });
        match seen.await.and_then(|seen| seen) {
            Ok(names) => {
                let matching = matching(names, &matcher);
                if subscribed.as_ref() != Some(&matching) {
                    tracing::info!(topics = ?matching, "topics that match the pattern");
                    shared.command(Command::Subscribe(matching.clone()));
                    subscribed = Some(matching);
                }
                tokio::time::sleep(interval).await;
            }
            Err(error) => {
                shared.native.context().troubled(error, Scope::Brokers);
                shared.bell.ring();
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn matching(names: Vec<String>, matcher: &Matcher) -> Vec<String> {
    let mut names: Vec<String> = names
        .into_iter()
        .filter(|name| !INTERNAL.contains(&name.as_str()) && matcher(name))
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_topics_never_match() {
        let all: Matcher = Arc::new(|_| true);
        let names = ["b", "__consumer_offsets", "a", "__transaction_state"];
        assert_eq!(matching(names.map(str::to_owned).to_vec(), &all), ["a", "b"]);
        let some: Matcher = Arc::new(|name| name == "b");
        assert_eq!(matching(names.map(str::to_owned).to_vec(), &some), ["b"]);
    }
}
