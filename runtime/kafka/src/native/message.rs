//! Consumed messages, grouped by partition.

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

use rdkafka_sys as sys;
use towpath_sdk::record::TimestampType;

use super::Alive;

/// What came out of a data queue.
pub(crate) enum Fetched {
    /// Consecutive records of one partition.
    Records(Records),
    /// The end of a partition was reached: the next record will have this offset or a later one.
    End { topic: String, partition: i32, offset: i64 },
    /// Fetching from a partition fails.
    Error { topic: String, partition: i32, code: i32, text: String },
}

/// Consecutive messages of one partition, not copied yet.
pub(crate) struct Records {
    messages: Vec<Message>,
    /// Messages before this one were destroyed.
    next: usize,
    _owner: Arc<dyn Alive>,
}

// SAFETY: messages are plain memory of librdkafka, which may be read and destroyed by any thread.
unsafe impl Send for Records {}

/// A message with its headers, which are looked for once: librdkafka allocates to see that there are
/// none.
struct Message {
    ptr: *mut sys::rd_kafka_message_t,
    /// Null: there are none. They belong to the message.
    headers: *mut sys::rd_kafka_headers_t,
}

/// One consumed message.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    message: &'a sys::rd_kafka_message_t,
    headers: *mut sys::rd_kafka_headers_t,
}

impl Records {
    /// Takes `messages`, which belong to one partition, carry no error and were not destroyed.
    ///
    /// # Safety
    /// Each is valid, came from `owner`'s client and is destroyed by nobody else.
    unsafe fn new(messages: Vec<Message>, owner: Arc<dyn Alive>) -> Self {
        Self { messages, next: 0, _owner: owner }
    }

    /// Records left.
    pub(crate) fn len(&self) -> usize {
        self.messages.len() - self.next
    }

    /// The topic and partition of what is left; `None` if nothing is.
    pub(crate) fn place(&self) -> Option<(&str, i32)> {
        let first = self.iter().next()?;
        // SAFETY: the message holds its topic; a topic's name is valid UTF-8 (ASCII by Kafka's rules,
        // checked here all the same).
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(first.message.rkt)) };
        Some((name.to_str().unwrap_or(""), first.message.partition))
    }

    /// The records left, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        // SAFETY: messages from `next` on are valid until they are destroyed, which needs `&mut self`.
        let record = |m: &Message| Record { message: unsafe { &*m.ptr }, headers: m.headers };
        self.messages[self.next..].iter().map(record)
    }

    /// Gives the first `count` records back to librdkafka.
    pub(crate) fn advance(&mut self, count: usize) {
        let end = (self.next + count).min(self.messages.len());
        for message in &self.messages[self.next..end] {
            // SAFETY: destroyed once, since `next` moves behind it; no `Record` borrows `self` now.
            unsafe { sys::rd_kafka_message_destroy(message.ptr) }
        }
        self.next = end;
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.advance(usize::MAX - self.next);
    }
}

impl<'a> Record<'a> {
    /// The offset.
    pub(crate) fn offset(self) -> i64 {
        self.message.offset
    }

    /// Milliseconds since the epoch, and how they came about.
    pub(crate) fn timestamp(self) -> (Option<i64>, TimestampType) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.message, &raw mut kind) };
        match kind {
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
                (Some(millis), TimestampType::LogAppendTime)
            }
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => {
                ((millis >= 0).then_some(millis), TimestampType::CreateTime)
            }
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => {
                (None, TimestampType::CreateTime)
            }
        }
    }

    /// The key.
    pub(crate) fn key(self) -> Option<&'a [u8]> {
        // SAFETY: `key_len` bytes at `key` live as long as the message.
        unsafe { slice(self.message.key, self.message.key_len) }
    }

    /// The value.
    pub(crate) fn value(self) -> Option<&'a [u8]> {
        // SAFETY: `len` bytes at `payload` live as long as the message.
        unsafe { slice(self.message.payload, self.message.len) }
    }

    /// The headers in order: name and value.
    pub(crate) fn headers(self) -> Headers<'a> {
        Headers { list: self.headers, index: 0, _of: self }
    }

    /// Bytes of key, value and headers.
    pub(crate) fn size(self) -> usize {
        let headers: usize =
            self.headers().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
        headers + self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len)
    }
}

/// The headers of a message.
pub(crate) struct Headers<'a> {
    list: *mut sys::rd_kafka_headers_t,
    index: usize,
    _of: Record<'a>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.list.is_null() {
            return None;
        }
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to the message; name and value point into it.
        unsafe {
            let code = sys::rd_kafka_header_get_all(
                self.list,
                self.index,
                &raw mut name,
                &raw mut value,
                &raw mut len,
            );
            if code as i32 != 0 {
                return None;
            }
            self.index += 1;
            Some((CStr::from_ptr(name).to_bytes(), slice(value, len)))
        }
    }
}

/// `len` bytes at `start`; null stays null, and is not the same as empty.
///
/// # Safety
/// `start` is null, or `len` bytes there are valid for `'a`.
unsafe fn slice<'a>(start: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// Sorts what a batch call returned: runs of records of one partition, ends, errors.
///
/// # Safety
/// Each message is valid, came from `owner`'s client, and is destroyed by nobody else.
pub(super) unsafe fn group(
    messages: &mut Vec<*mut sys::rd_kafka_message_t>,
    owner: &Arc<dyn Alive>,
    out: &mut Vec<Fetched>,
) {
    let mut run: Vec<Message> = Vec::new();
    for message in messages.drain(..) {
        // SAFETY: valid, as the caller says; the code is read as a number, since a broker may send
        // one that the enum has no name for. Messages of a run hold their topic, so that an equal
        // pointer means the same topic.
        unsafe {
            let code = (&raw const (*message).err).cast::<i32>().read();
            let same = run.last().is_none_or(|last| {
                (*last.ptr).rkt == (*message).rkt && (*last.ptr).partition == (*message).partition
            });
            if (code != 0 || !same) && !run.is_empty() {
                out.push(Fetched::Records(Records::new(std::mem::take(&mut run), owner.clone())));
            }
            if code == 0 {
                run.push(Message { ptr: message, headers: headers_of(message) });
            } else {
                out.push(failure(message, code));
                sys::rd_kafka_message_destroy(message);
            }
        }
    }
    if !run.is_empty() {
        // SAFETY: as above.
        out.push(Fetched::Records(unsafe { Records::new(run, owner.clone()) }));
    }
}

/// The headers of a message; null if there are none. librdkafka parses them once and keeps them with
/// the message.
///
/// # Safety
/// `message` is valid.
unsafe fn headers_of(message: *mut sys::rd_kafka_message_t) -> *mut sys::rd_kafka_headers_t {
    let mut list = ptr::null_mut();
    // SAFETY: as the caller says.
    let code = unsafe { sys::rd_kafka_message_headers(message, &raw mut list) } as i32;
    if code == 0 { list } else { ptr::null_mut() }
}

/// # Safety
/// `message` is valid and carries the error `code`.
unsafe fn failure(message: *mut sys::rd_kafka_message_t, code: i32) -> Fetched {
    // SAFETY: as the caller says; an error message's topic may be null, its payload is its text.
    unsafe {
        let topic = if (*message).rkt.is_null() {
            String::new()
        } else {
            CStr::from_ptr(sys::rd_kafka_topic_name((*message).rkt)).to_string_lossy().into_owned()
        };
        let partition = (*message).partition;
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32 {
            return Fetched::End { topic, partition, offset: (*message).offset };
        }
        let text = slice((*message).payload, (*message).len)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default();
        Fetched::Error { topic, partition, code, text }
    }
}
