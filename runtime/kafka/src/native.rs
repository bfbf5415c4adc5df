//! The calls of librdkafka that the safe crate lacks.
//!
//! Duty: queues (batch consume, forwarding, wake-ups, commits with a reply of their own), producing
//! by topic handle, a few admin requests. Everything that leaves this module is safe to use.
//!
//! Invariants, which each `unsafe` block leans on:
//! - a client handle is reached only through an [`Alive`] owner, and whatever came out of a client
//!   (queue, topic, message) holds that owner, so that it is given back before the client is
//!   destroyed;
//! - librdkafka's calls used here are thread-safe, as its documentation says of all but destruction;
//! - the value of a record that is enqueued stays where it is until its report ([`Deliveries`]);
//! - a callback handed to librdkafka only rings a [`Bell`], which outlives it: it is disabled before
//!   the bell goes;
//! - slices made of librdkafka's pointers borrow from what owns the memory.
//!
//! Deliberately absent: policy. What errors mean, when to retry and what to deliver is decided
//! outside.
#![expect(unsafe_code, reason = "librdkafka's calls that the safe crate lacks")]

mod admin;
mod delivery;
mod message;
mod produce;
mod queue;

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::BaseProducer;
use rdkafka_sys as sys;

pub(crate) use admin::{
    AdminError, alter_group_offsets, create_topic, delete_group, delete_group_offsets,
    describe_group, group_offsets, list_offsets, topic_settings,
};
pub(crate) use delivery::{Deliveries, Enqueuing, failures};
pub(crate) use message::{Fetched, Record, Records};
pub(crate) use produce::TopicHandle;
pub(crate) use queue::{CommitReply, Queue};

use crate::context::Context;

/// A client of librdkafka that lives as long as the value.
///
/// # Safety
/// `rk` returns the same valid pointer for as long as `self` is not dropped.
pub(crate) unsafe trait Alive: Send + Sync {
    /// The client.
    fn rk(&self) -> *mut sys::rd_kafka_t;
}

// SAFETY: a consumer destroys its client in its `Drop`.
unsafe impl Alive for BaseConsumer<Context> {
    fn rk(&self) -> *mut sys::rd_kafka_t {
        rdkafka::consumer::Consumer::client(self).native_ptr()
    }
}

// SAFETY: a producer destroys its client in its `Drop`.
unsafe impl Alive for BaseProducer<Context> {
    fn rk(&self) -> *mut sys::rd_kafka_t {
        rdkafka::producer::Producer::client(self).native_ptr()
    }
}

/// A partition with an offset and an error, as librdkafka answers.
#[derive(Debug, Clone)]
pub(crate) struct PartitionReply {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) code: i32,
}

/// What librdkafka says of a code; the number itself where it does not know it.
pub(crate) fn describe_code(code: i32) -> String {
    static TEXTS: LazyLock<HashMap<i32, String>> = LazyLock::new(|| {
        let mut descriptions: *const sys::rd_kafka_err_desc = std::ptr::null();
        let mut count = 0;
        // SAFETY: the call fills in a static table and its length.
        unsafe {
            sys::rd_kafka_get_err_descs(&raw mut descriptions, &raw mut count);
            (0..count)
                .filter_map(|i| {
                    let entry = descriptions.add(i);
                    let code = (&raw const (*entry).code).cast::<i32>().read();
                    let text = (*entry).desc;
                    (!text.is_null())
                        .then(|| (code, CStr::from_ptr(text).to_string_lossy().into_owned()))
                })
                .collect()
        }
    });
    match TEXTS.get(&code) {
        Some(text) => text.trim_start_matches("Local: ").trim_start_matches("Broker: ").to_owned(),
        None => format!("error code {code}"),
    }
}

/// Which topics to ask for.
pub(crate) enum Which<'a> {
    /// All of the cluster.
    All,
    /// One.
    Topic(&'a TopicHandle),
    /// Those that the client uses; asked for to see whether a broker answers.
    Used,
}

/// What a broker says of a topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicMetadata {
    pub(crate) name: String,
    /// Its error; 0 is none.
    pub(crate) code: i32,
    /// The number of replicas of each partition.
    pub(crate) replicas: Vec<i32>,
}

/// Asks a broker about topics. Blocks. (The safe crate's call for one topic lets go of the topic's
/// handle before it uses it.)
pub(crate) fn metadata(
    client: &dyn Alive,
    which: &Which<'_>,
    timeout: Duration,
) -> Result<Vec<TopicMetadata>, i32> {
    let (all, topic) = match which {
        Which::All => (1, std::ptr::null_mut()),
        Which::Topic(handle) => (0, handle.ptr()),
        Which::Used => (0, std::ptr::null_mut()),
    };
    let mut answer: *const sys::rd_kafka_metadata = std::ptr::null();
    // SAFETY: the client is alive, and so is the topic while `which` is borrowed. The answer is read
    // by its own counts, copied, and destroyed once; codes are read as numbers.
    unsafe {
        let code = sys::rd_kafka_metadata(client.rk(), all, topic, &raw mut answer, millis(timeout))
            as i32;
        if code != 0 || answer.is_null() {
            return Err(code);
        }
        let count = usize::try_from((*answer).topic_cnt).unwrap_or(0);
        let topics = (0..count)
            .map(|i| {
                let topic = (*answer).topics.add(i);
                let count = usize::try_from((*topic).partition_cnt).unwrap_or(0);
                TopicMetadata {
                    name: CStr::from_ptr((*topic).topic).to_string_lossy().into_owned(),
                    code: (&raw const (*topic).err).cast::<i32>().read(),
                    replicas: (0..count)
                        .map(|p| (*(*topic).partitions.add(p)).replica_cnt)
                        .collect(),
                }
            })
            .collect();
        sys::rd_kafka_metadata_destroy(answer);
        Ok(topics)
    }
}

/// Says whether a broker answers. Blocks.
pub(crate) fn probe(client: &dyn Alive, timeout: Duration) -> Result<(), i32> {
    metadata(client, &Which::Used, timeout).map(drop)
}

/// First and end offset of a partition as the client last heard of them, without asking a broker.
pub(crate) fn known_watermarks(
    client: &dyn Alive,
    topic: &str,
    partition: i32,
) -> Option<(i64, i64)> {
    let topic = std::ffi::CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive and the string outlives the call.
    let code = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            client.rk(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        ) as i32
    };
    (code == 0 && high >= 0).then_some((low, high))
}

/// The generation of a group member; -1 outside of a group.
pub(crate) fn generation(consumer: &Arc<BaseConsumer<Context>>) -> i32 {
    // SAFETY: the client is alive; the metadata is destroyed once and not used after.
    unsafe {
        let metadata = sys::rd_kafka_consumer_group_metadata(consumer.rk());
        if metadata.is_null() {
            return -1;
        }
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    }
}

/// librdkafka's milliseconds.
fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// Copies a list which librdkafka owns.
///
/// # Safety
/// `list` is null or valid.
unsafe fn read_list(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<PartitionReply> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: `elems` has `cnt` valid elements. The code is read as a number: a broker may send one
    // that the enum has no name for.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        (0..count)
            .map(|i| {
                let element = (*list).elems.add(i);
                PartitionReply {
                    topic: CStr::from_ptr((*element).topic).to_string_lossy().into_owned(),
                    partition: (*element).partition,
                    offset: (*element).offset,
                    code: (&raw const (*element).err).cast::<i32>().read(),
                }
            })
            .collect()
    }
}
