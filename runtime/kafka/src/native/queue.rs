//! Queues of a client.

use std::ffi::CString;
use std::os::raw::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::TopicPartitionList;
use rdkafka_sys as sys;

use super::message::group;
use super::{Alive, Fetched, PartitionReply, TopicHandle, read_list};
use crate::bell::Bell;

/// A queue of a client: its events, records of partitions, or replies to commits.
pub(crate) struct Queue {
    ptr: NonNull<sys::rd_kafka_queue_t>,
    bell: Option<Arc<Bell>>,
    owner: Arc<dyn Alive>,
    scratch: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: queues are thread-safe; `scratch` is empty between calls.
unsafe impl Send for Queue {}

/// How a commit ended.
#[derive(Debug)]
pub(crate) struct CommitReply {
    /// What was given to [`Queue::commit`].
    pub(crate) id: usize,
    /// The error of the whole request; 0 is none.
    pub(crate) code: i32,
    /// Each partition with its own error.
    pub(crate) partitions: Vec<PartitionReply>,
}

impl Queue {
    /// A new queue of `owner`.
    pub(crate) fn new(owner: Arc<dyn Alive>) -> Option<Self> {
        // SAFETY: the client is alive.
        let ptr = unsafe { sys::rd_kafka_queue_new(owner.rk()) };
        Self::from_ptr(ptr, owner)
    }

    /// The queue of a client's own events.
    pub(crate) fn main(owner: Arc<dyn Alive>) -> Option<Self> {
        // SAFETY: the client is alive; the call adds a reference, which `Drop` gives back.
        let ptr = unsafe { sys::rd_kafka_queue_get_main(owner.rk()) };
        Self::from_ptr(ptr, owner)
    }

    /// The queue of a group member's events.
    pub(crate) fn consumer(owner: Arc<dyn Alive>) -> Option<Self> {
        // SAFETY: as for `main`.
        let ptr = unsafe { sys::rd_kafka_queue_get_consumer(owner.rk()) };
        Self::from_ptr(ptr, owner)
    }

    fn from_ptr(ptr: *mut sys::rd_kafka_queue_t, owner: Arc<dyn Alive>) -> Option<Self> {
        Some(Self { ptr: NonNull::new(ptr)?, bell: None, owner, scratch: Vec::new() })
    }

    /// What waits in the queue.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_length(self.ptr.as_ptr()) }
    }

    /// Rings `bell` whenever the empty queue gets something.
    pub(crate) fn ring(&mut self, bell: Arc<Bell>) {
        // SAFETY: the bell lives until `Drop` has disabled the callback, or until this is called
        // again, which replaces the callback before the former bell goes. The callback runs under the
        // queue's lock, which disabling takes too.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(
                self.ptr.as_ptr(),
                Some(ring),
                Arc::as_ptr(&bell).cast_mut().cast(),
            );
        }
        self.bell = Some(bell);
    }

    /// Directs what is fetched from a partition here. To be called before the partition is assigned:
    /// stopping a partition ends it.
    pub(crate) fn take_partition(&self, topic: &str, partition: i32) -> bool {
        let Ok(topic) = CString::new(topic) else { return false };
        // SAFETY: client and queues are alive; the partition's queue handle is given back here.
        unsafe {
            let queue =
                sys::rd_kafka_queue_get_partition(self.owner.rk(), topic.as_ptr(), partition);
            if queue.is_null() {
                return false;
            }
            sys::rd_kafka_queue_forward(queue, self.ptr.as_ptr());
            sys::rd_kafka_queue_destroy(queue);
        }
        true
    }

    /// Starts to fetch a partition without any group, into this queue.
    pub(crate) fn start(
        &self,
        topic: &TopicHandle,
        partition: i32,
        offset: i64,
    ) -> Result<(), i32> {
        // SAFETY: topic and queue belong to the same live client.
        unsafe {
            let code = sys::rd_kafka_consume_start_queue(
                topic.ptr(),
                partition,
                offset,
                self.ptr.as_ptr(),
            );
            if code == 0 { Ok(()) } else { Err(sys::rd_kafka_last_error() as i32) }
        }
    }

    /// Ends what [`Queue::start`] started.
    pub(crate) fn stop(&self, topic: &TopicHandle, partition: i32) {
        // SAFETY: topic and queue belong to the same live client.
        unsafe { sys::rd_kafka_consume_stop(topic.ptr(), partition) };
    }

    /// Takes up to `max` messages that are there, without waiting, and appends them to `out`. Returns
    /// how many there were.
    pub(crate) fn fetch(&mut self, max: usize, out: &mut Vec<Fetched>) -> usize {
        self.scratch.clear();
        self.scratch.reserve(max);
        // SAFETY: `scratch` has room for `max` pointers; the call fills in as many as it returns, and
        // those are ours to destroy, which `group` sees to.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(
                self.ptr.as_ptr(),
                0,
                self.scratch.as_mut_ptr(),
                max,
            );
            let count = usize::try_from(count).unwrap_or(0);
            self.scratch.set_len(count);
            group(&mut self.scratch, &self.owner, out);
            count
        }
    }

    /// Commits offsets; the reply comes to this queue with `id`.
    pub(crate) fn commit(&self, offsets: &TopicPartitionList, id: usize) -> Result<(), i32> {
        // SAFETY: client, list and queue are alive; the list is copied. Without a callback the reply
        // is an event that carries the opaque value back untouched.
        let code = unsafe {
            sys::rd_kafka_commit_queue(
                self.owner.rk(),
                offsets.ptr(),
                self.ptr.as_ptr(),
                None,
                id as *mut c_void,
            )
        } as i32;
        if code == 0 { Ok(()) } else { Err(code) }
    }

    /// The next reply to a commit, without waiting.
    pub(crate) fn commit_reply(&self) -> Option<CommitReply> {
        loop {
            // SAFETY: the event is ours and destroyed below; what is read of it is copied before.
            unsafe {
                let event = sys::rd_kafka_queue_poll(self.ptr.as_ptr(), 0);
                if event.is_null() {
                    return None;
                }
                let reply = (sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_OFFSET_COMMIT)
                    .then(|| CommitReply {
                        id: sys::rd_kafka_event_opaque(event) as usize,
                        code: sys::rd_kafka_event_error(event) as i32,
                        partitions: read_list(sys::rd_kafka_event_topic_partition_list(event)),
                    });
                sys::rd_kafka_event_destroy(event);
                if reply.is_some() {
                    return reply;
                }
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the callback is disabled before its bell goes; the handle is given back once, while
        // `owner` keeps the client.
        unsafe {
            if self.bell.is_some() {
                sys::rd_kafka_queue_cb_event_enable(self.ptr.as_ptr(), None, ptr::null_mut());
            }
            sys::rd_kafka_queue_destroy(self.ptr.as_ptr());
        }
    }
}

/// # Safety
/// `opaque` is what [`Queue::ring`] registered.
unsafe extern "C" fn ring(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: the bell lives until the callback was disabled.
    let bell = unsafe { &*opaque.cast_const().cast::<Bell>() };
    bell.ring();
}
