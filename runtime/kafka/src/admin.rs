//! Administration.
//!
//! Duty: the engine's requests about topics and groups, on one client that lives as long as its
//! handle. The calls block, so they run where blocking is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use towpath_core::ports::{
    Admin, GroupMember, GroupOffset, NewTopic, PortError, PortErrorKind, PortResult,
    TopicDescription,
};
use towpath_sdk::record::TopicPartition;

use crate::error;
use crate::native::{self, AdminError, Alive, PartitionReply, TopicHandle, Which};
use crate::options::{ClientKind, KafkaOptions};
use crate::producer::{Client, Running};
use crate::transaction::{blocking, init};

/// Transactional ids fenced at the same time: each takes a client with its threads.
const FENCE_AT_ONCE: usize = 8;

/// How soon a broker is asked again that does not know a partition's leader, or a group, yet.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Administration of a cluster.
pub(crate) struct KafkaAdmin {
    running: Running,
    options: Arc<KafkaOptions>,
    timeout: Duration,
}

impl KafkaAdmin {
    pub(crate) fn new(running: Running, options: Arc<KafkaOptions>) -> Self {
        let timeout = options.request_timeout;
        Self { running, options, timeout }
    }

    /// Runs a blocking request, again while a broker can't answer it yet.
    pub(crate) async fn ask<T: Answer + Send + 'static>(
        &self,
        what: String,
        request: impl Fn(&Client, Duration) -> Result<T, AdminError> + Send + 'static,
    ) -> PortResult<T> {
        let (client, timeout) = (Arc::clone(&self.running.client), self.timeout);
        blocking(move || {
            settled(timeout, |left| request(&client, left)).map_err(|e| {
                client
                    .context()
                    .explain(in_use(error::with_text(e.code, &e.text), e.code))
                    .context(what)
            })
        })
        .await?
    }

    /// The cluster's id.
    pub(crate) async fn cluster_id(&self) -> PortResult<String> {
        let (client, timeout) = (Arc::clone(&self.running.client), self.timeout);
        blocking(move || {
            // librdkafka's call may miss that the id is there and wait to the end: it is asked when
            // the answer that brings the id has come.
            native::probe(&*client.native, timeout)
                .map_err(|code| client.context().explain(error::from_code(code)))?;
            client
                .native
                .client()
                .fetch_cluster_id(ASK_AGAIN)
                .ok_or_else(|| client.context().unreachable())
        })
        .await?
    }

    /// Partitions and replicas of a topic; `None` if it is not there.
    pub(crate) async fn describe(&self, name: &str) -> PortResult<Option<TopicDescription>> {
        let topic = name.to_owned();
        let what = format!("failed to describe topic {name}");
        self.ask(what, move |client, timeout| describe(client, &topic, timeout)).await
    }

    /// Creates a topic. `false`: it was there.
    pub(crate) async fn create(&self, topic: NewTopic) -> PortResult<bool> {
        let what = format!("failed to create topic {}", topic.name);
        let made = self.ask(what, move |client, timeout| {
            native::create_topic(&*client.native, &topic, timeout)
        });
        match made.await {
            Ok(()) => Ok(true),
            Err(e) if e.kind == PortErrorKind::Exists => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn fence_one(&self, id: String) -> PortResult<()> {
        let none = towpath_core::ports::ClientOverrides::new();
        let forced = [("transactional.id", id.as_str())];
        let settings =
            self.options.client(ClientKind::Producer, "towpath-fence", &none, &forced)?;
        let settings = settings.without_delivery_timeout();
        let fencing = Running::start(&settings, self.options.brokers())?;
        init(Arc::clone(&fencing.client), self.timeout)
            .await
            .map_err(|e| e.context(format!("failed to fence the transactional id {id}")))
    }
}

fn describe(
    client: &Client,
    name: &str,
    timeout: Duration,
) -> Result<Option<TopicDescription>, AdminError> {
    let failed = |code| AdminError { code, text: native::describe_code(code) };
    let handle = TopicHandle::new(Arc::clone(&client.native) as _, name).map_err(failed)?;
    let topics =
        native::metadata(&*client.native, &Which::Topic(&handle), timeout).map_err(failed)?;
    let Some(topic) = topics.iter().find(|t| t.name == name) else { return Ok(None) };
    if MISSING.iter().any(|&code| code as i32 == topic.code) {
        return Ok(None);
    }
    if topic.code != 0 {
        return Err(failed(topic.code));
    }
    let Some(&replicas) = topic.replicas.iter().min() else { return Ok(None) };
    Ok(Some(TopicDescription {
        partitions: i32::try_from(topic.replicas.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
    }))
}

/// What says that a topic is not there.
const MISSING: &[Code] = &[Code::UnknownTopicOrPartition, Code::UnknownTopic];

/// What a request brings: it may hold answers that are not yet answers.
pub(crate) trait Answer {
    /// Whether a part of it says that its broker can't answer yet.
    fn unsettled(&self) -> bool {
        false
    }
}

impl Answer for () {}
impl<T> Answer for Option<T> {}
impl<K, V> Answer for BTreeMap<K, V> {}
impl Answer for Vec<GroupMember> {}

impl Answer for Vec<PartitionReply> {
    fn unsettled(&self) -> bool {
        self.iter().any(|reply| passes(reply.code))
    }
}

impl<A: Answer, B: Answer> Answer for (A, B) {
    fn unsettled(&self) -> bool {
        self.0.unsettled() || self.1.unsettled()
    }
}

/// Whether `code` says that nothing was done, and that it passes: a leader is just being made known, a
/// coordinator loads its groups. Missing brokers are waited for by whoever asks, with the reason shown.
fn passes(code: i32) -> bool {
    code != 0
        && code != Code::InvalidReplicationFactor as i32
        && error::kind(code) == PortErrorKind::Degraded
}

/// Asks until the answer is settled or the time is over, and then takes what there is. Blocks.
fn settled<T: Answer>(
    timeout: Duration,
    mut ask: impl FnMut(Duration) -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    let deadline = Instant::now() + timeout;
    loop {
        let answer = ask(deadline.saturating_duration_since(Instant::now()));
        let again = match &answer {
            Ok(answer) => answer.unsettled(),
            Err(error) => passes(error.code),
        };
        if !again || Instant::now() + ASK_AGAIN > deadline {
            return answer;
        }
        std::thread::sleep(ASK_AGAIN);
    }
}

/// First or end offsets of partitions. Blocks.
pub(crate) fn list_offsets(
    client: &dyn Alive,
    places: &[TopicPartition],
    ends: bool,
    timeout: Duration,
) -> Result<Vec<PartitionReply>, AdminError> {
    settled(timeout, |left| native::list_offsets(client, places, ends, left))
}

/// The first partition's error, in words.
fn first_failure(replies: &[PartitionReply], what: &str) -> PortResult<()> {
    match replies.iter().find(|reply| reply.code != 0) {
        None => Ok(()),
        Some(reply) => Err(in_use(error::from_code(reply.code), reply.code)
            .context(format!("{what}, partition {}-{}", reply.topic, reply.partition))),
    }
}

/// What a broker answers where a group that must be empty is not.
fn in_use(error: PortError, code: i32) -> PortError {
    let codes = [Code::UnknownMemberId, Code::NonEmptyGroup, Code::GroupSubscribedToTopic];
    if codes.iter().any(|&c| c as i32 == code) {
        let text = "the group still has members; stop the connector first";
        return PortError::new(PortErrorKind::Occupied, text);
    }
    error
}

impl Admin for KafkaAdmin {
    fn group_members(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupMember>>> {
        let group = group.to_owned();
        let what = format!("failed to look at group {group}");
        Box::pin(self.ask(what, move |client, timeout| {
            native::describe_group(&*client.native, &group, timeout)
        }))
    }

    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(self.create(topic))
    }

    fn describe_topic(&self, name: &str) -> BoxFuture<'_, PortResult<Option<TopicDescription>>> {
        let name = name.to_owned();
        Box::pin(async move { self.describe(&name).await })
    }

    fn group_offsets(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupOffset>>> {
        let group = group.to_owned();
        Box::pin(async move {
            let what = format!("failed to read the offsets of group {group}");
            let asked = group.clone();
            let replies = self
                .ask(what.clone(), move |client, timeout| {
                    match native::group_offsets(&*client.native, &asked, timeout) {
                        Err(e) if e.code == Code::GroupIdNotFound as i32 => Ok(Vec::new()),
                        other => other,
                    }
                })
                .await?;
            first_failure(&replies, &what)?;
            Ok(replies
                .into_iter()
                .filter(|reply| reply.offset >= 0)
                .map(|reply| GroupOffset {
                    partition: TopicPartition::new(reply.topic, reply.partition),
                    offset: reply.offset,
                })
                .collect())
        })
    }

    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'_, PortResult<()>> {
        let group = group.to_owned();
        Box::pin(async move {
            let what = format!("failed to change the offsets of group {group}");
            let (mut set, mut forgotten) = (Vec::new(), Vec::new());
            for (place, offset) in offsets {
                match offset {
                    Some(offset) => set.push((place, offset)),
                    None => forgotten.push(place),
                }
            }
            if !set.is_empty() {
                let asked = group.clone();
                let replies = self.ask(what.clone(), move |client, timeout| {
                    native::alter_group_offsets(&*client.native, &asked, &set, timeout)
                });
                first_failure(&replies.await?, &what)?;
            }
            if !forgotten.is_empty() {
                let asked = group.clone();
                let replies =
                    self.ask(
                        what.clone(),
                        move |client, timeout| match native::delete_group_offsets(
                            &*client.native,
                            &asked,
                            &forgotten,
                            timeout,
                        ) {
                            Err(e) if e.code == Code::GroupIdNotFound as i32 => Ok(Vec::new()),
                            other => other,
                        },
                    );
                first_failure(&replies.await?, &what)?;
            }
            Ok(())
        })
    }

    fn delete_group(&self, group: &str) -> BoxFuture<'_, PortResult<()>> {
        let group = group.to_owned();
        Box::pin(async move {
            let what = format!("failed to delete group {group}");
            self.ask(what, move |client, timeout| {
                match native::delete_group(&*client.native, &group, timeout) {
                    Err(e) if e.code == Code::GroupIdNotFound as i32 => Ok(()),
                    other => other,
                }
            })
            .await
        })
    }

    fn fence(&self, transactional_ids: Vec<String>) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(async move {
            stream::iter(transactional_ids)
                .map(|id| self.fence_one(id))
                .buffer_unordered(FENCE_AT_ONCE)
                .try_collect::<()>()
                .await
        })
    }

    fn topic_ends(&self, name: &str) -> BoxFuture<'_, PortResult<Vec<(i32, i64, i64)>>> {
        let name = name.to_owned();
        Box::pin(async move {
            let what = format!("failed to read the offsets of topic {name}");
            let Some(topic) = self.describe(&name).await? else {
                let text = format!("topic {name} is not there");
                return Err(PortError::new(PortErrorKind::NotFound, text));
            };
            let places: Vec<TopicPartition> =
                (0..topic.partitions).map(|p| TopicPartition::new(name.as_str(), p)).collect();
            let (first, end) = self
                .ask(what.clone(), move |client, timeout| {
                    let list = |ends| native::list_offsets(&*client.native, &places, ends, timeout);
                    Ok((list(false)?, list(true)?))
                })
                .await?;
            first_failure(&first, &what)?;
            first_failure(&end, &what)?;
            let mut ends: Vec<(i32, i64, i64)> = first
                .iter()
                .filter_map(|low| {
                    let high = end.iter().find(|high| high.partition == low.partition)?;
                    Some((low.partition, low.offset, high.offset))
                })
                .collect();
            ends.sort_unstable();
            Ok(ends)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOADING: i32 = Code::CoordinatorLoadInProgress as i32;

    fn reply(code: i32) -> Vec<PartitionReply> {
        vec![PartitionReply { topic: "t".into(), partition: 0, offset: 1, code }]
    }

    #[test]
    fn a_loading_coordinator_is_asked_again() {
        let mut answers = vec![
            Ok(reply(0)),
            Ok(reply(LOADING)),
            Err(AdminError { code: LOADING, text: "loading".into() }),
        ];
        let answer = settled(Duration::from_secs(60), |_| answers.pop().unwrap());
        assert_eq!(answer.unwrap()[0].code, 0);
        assert!(answers.is_empty());
    }

    #[test]
    fn a_refusal_and_the_end_of_the_time_are_answers() {
        let mut asked = 0;
        let refused = settled(Duration::from_secs(60), |_| -> Result<(), _> {
            asked += 1;
            Err(AdminError { code: Code::GroupAuthorizationFailed as i32, text: String::new() })
        });
        assert!(refused.is_err());
        let late = settled(Duration::ZERO, |_| {
            asked += 1;
            Ok(reply(LOADING))
        });
        assert_eq!(late.unwrap()[0].code, LOADING);
        assert_eq!(asked, 2);
    }
}
