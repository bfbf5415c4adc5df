//! Topics of the stack's Kafka, seen by a client that is not Towpath's own: what goes in, what came out.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, Timestamp, TopicPartitionList};

use crate::{PATIENCE, server};

/// A record, as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970, as the producer set it.
    pub timestamp: Option<i64>,
}

impl Message {
    /// A record of a value alone.
    pub fn of(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }
}

/// The stack's Kafka, by its plaintext listener.
pub struct Kafka {
    bootstrap: String,
    admin: AdminClient<DefaultClientContext>,
    producer: FutureProducer,
}

impl Kafka {
    /// A client.
    ///
    /// # Errors
    /// If the stack's env is not set.
    pub fn connect() -> Result<Self> {
        let bootstrap = server("TOWPATH_TEST_KAFKA")?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &bootstrap).set("message.max.bytes", "10000000");
        Ok(Self { admin: config.create()?, producer: config.create()?, bootstrap })
    }

    /// Creates `topic` with one partition.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create(&self, topic: &str, settings: &[(&str, &str)]) -> Result<()> {
        let mut new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        new.config.extend_from_slice(settings);
        let made = self.admin.create_topics([&new], &AdminOptions::new()).await?;
        for outcome in made {
            if let Err((topic, code)) = outcome {
                bail!("create {topic}: {code}");
            }
        }
        Ok(())
    }

    /// Deletes those of `topics` that are there, and waits until they are gone.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn delete(&self, topics: &[&str]) -> Result<()> {
        for outcome in self.admin.delete_topics(topics, &AdminOptions::new()).await? {
            match outcome {
                Ok(_) | Err((_, Code::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => bail!("delete {topic}: {code}"),
            }
        }
        let gone = |topic: &str| {
            let found = self.producer.client().fetch_metadata(Some(topic), Duration::from_secs(10));
            let unknown = i32::from(Code::UnknownTopicOrPartition as i16);
            found.is_ok_and(|found| {
                found.topics().iter().all(|t| t.error().is_some_and(|e| e as i32 == unknown))
            })
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !topics.iter().all(|topic| tokio::task::block_in_place(|| gone(topic))) {
            ensure!(tokio::time::Instant::now() < deadline, "{topics:?} are still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Deletes those of `groups` that are there.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn delete_groups(&self, groups: &[&str]) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let outcomes = self.admin.delete_groups(groups, &AdminOptions::new()).await?;
            let mut failed = outcomes.into_iter().filter_map(Result::err);
            match failed.find(|(_, code)| *code != Code::GroupIdNotFound) {
                None => return Ok(()),
                // Members of a worker that was killed leave with their sessions.
                Some((_, Code::NonEmptyGroup)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Some((group, code)) => bail!("delete group {group}: {code}"),
            }
        }
    }

    /// Sends `messages` to `topic` in order.
    ///
    /// # Errors
    /// If the broker does not take one.
    pub async fn send(&self, topic: &str, messages: &[Message]) -> Result<()> {
        let mut receipts = Vec::new();
        for message in messages {
            let headers =
                message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: value.as_ref() })
                });
            let record = FutureRecord {
                topic,
                partition: None,
                payload: message.value.as_ref(),
                key: message.key.as_ref(),
                timestamp: message.timestamp,
                headers: Some(headers),
            };
            receipts.push(self.producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for receipt in receipts {
            receipt.await?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Where the first partition of `topic` ends. Blocks.
    ///
    /// # Errors
    /// If the broker does not say.
    pub fn end(&self, topic: &str) -> Result<i64> {
        Ok(self.producer.client().fetch_watermarks(topic, 0, PATIENCE)?.1)
    }

    /// All that `topic` holds now and a reader of committed records may see, in order.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn read(&self, topic: &str) -> Result<Vec<Message>> {
        let push = |messages: &mut Vec<Message>, message| {
            messages.push(message);
            Ok(())
        };
        self.scan(topic, Vec::new(), push).await
    }

    /// The same, one at a time: what `each` has made of `state` in the end.
    ///
    /// # Errors
    /// If it can't be read, and those of `each`.
    pub async fn scan<T: Send + 'static>(
        &self,
        topic: &str,
        mut state: T,
        mut each: impl FnMut(&mut T, Message) -> Result<()> + Send + 'static,
    ) -> Result<T> {
        let (bootstrap, topic) = (self.bootstrap.clone(), topic.to_owned());
        let scanning = tokio::task::spawn_blocking(move || {
            scan(&bootstrap, &topic, |message| each(&mut state, message))?;
            Ok(state)
        });
        scanning.await?
    }
}

fn scan(bootstrap: &str, topic: &str, mut each: impl FnMut(Message) -> Result<()>) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "never-joined")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        // What is compressed well fills the queue with each answer: it is not waited for a second then.
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "262144")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().first().context("no metadata")?;
    ensure!(found.error().is_none(), "{topic} can't be read: {:?}", found.error());
    let mut assignment = TopicPartitionList::new();
    for partition in found.partitions() {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    let mut open = assignment.count();
    consumer.assign(&assignment)?;
    while open > 0 {
        match consumer.poll(PATIENCE) {
            None => bail!("{topic} was not read to its end in time"),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => each(Message {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message.headers().map_or_else(Vec::new, |headers| {
                    let owned =
                        |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
                    headers.iter().map(owned).collect()
                }),
                timestamp: match message.timestamp() {
                    Timestamp::CreateTime(at) => Some(at),
                    Timestamp::LogAppendTime(_) | Timestamp::NotAvailable => None,
                },
            })?,
        }
    }
    Ok(())
}
