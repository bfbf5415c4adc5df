//! Producing by topic handle: no look-up of the topic by name for each record.

use std::ffi::CString;
use std::os::raw::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t::{
    RD_KAFKA_RESP_ERR__BAD_MSG, RD_KAFKA_RESP_ERR__INVALID_ARG, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
};
use towpath_core::ports::OutRecord;
use towpath_sdk::Text;

use super::Alive;

/// A topic that a producer writes to.
pub(crate) struct TopicHandle {
    ptr: NonNull<sys::rd_kafka_topic_t>,
    owner: Arc<dyn Alive>,
}

// SAFETY: topic handles are thread-safe; destruction happens once, in `Drop`.
unsafe impl Send for TopicHandle {}
// SAFETY: as above.
unsafe impl Sync for TopicHandle {}

impl TopicHandle {
    /// The topic `name` of `owner`.
    pub(crate) fn new(owner: Arc<dyn Alive>, name: &str) -> Result<Self, i32> {
        let name = CString::new(name).map_err(|_| RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC as i32)?;
        // SAFETY: the client is alive, the name outlives the call, null is the default configuration.
        let topic = unsafe { sys::rd_kafka_topic_new(owner.rk(), name.as_ptr(), ptr::null_mut()) };
        // SAFETY: reads the error of the call before, on the same thread.
        let topic =
            NonNull::new(topic).ok_or_else(|| unsafe { sys::rd_kafka_last_error() } as i32)?;
        Ok(Self { ptr: topic, owner })
    }

    /// The handle itself.
    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_topic_t {
        self.ptr.as_ptr()
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once, while `owner` keeps the client.
        unsafe { sys::rd_kafka_topic_destroy(self.ptr.as_ptr()) }
    }
}

/// Enqueues a record, of `now` if it says no other time (0: when it is enqueued), with its headers, which are
/// librdkafka's after that. Its key and headers are copied, its value is not. `opaque` comes back with its
/// delivery report; after an error there will be none.
///
/// # Safety
/// The bytes of the record's value must stay where they are until its delivery report, or, after an error,
/// for this call.
pub(super) unsafe fn produce(
    topic: &TopicHandle,
    record: &OutRecord,
    headers: &mut Headers,
    now: i64,
    opaque: usize,
) -> Result<(), i32> {
    headers.check()?;
    let (key, key_len) = parts(record.key.as_ref());
    let (value, value_len) = parts(record.value.as_ref());
    // SAFETY: the arguments are pairs of a tag and values of the types which librdkafka reads for that
    // tag, closed by the end tag. The key outlives the call and is copied by it, the value lives as long as
    // the caller promises. Headers become librdkafka's if, and only if, the call succeeds.
    let code = unsafe {
        sys::rd_kafka_producev(
            topic.owner.rk(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
            topic.ptr(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            record.partition.unwrap_or(rdkafka::producer::PARTITION_UA),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
            key,
            key_len,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            value,
            value_len,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
            record.timestamp.unwrap_or(now),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            headers.list,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
            opaque as *mut c_void,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        )
    } as i32;
    if code == 0 {
        headers.list = ptr::null_mut();
        Ok(())
    } else {
        Err(code)
    }
}

fn parts(bytes: Option<&Bytes>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |b| (b.as_ptr().cast_mut().cast(), b.len()))
}

/// A record's headers on their way to librdkafka.
pub(super) struct Headers {
    /// Null where there are none, and once they are librdkafka's.
    list: *mut sys::rd_kafka_headers_t,
    /// Why they can't be sent; 0 if they can.
    error: i32,
}

// SAFETY: a list belongs to who has its pointer, on whatever thread that is.
unsafe impl Send for Headers {}

impl Headers {
    pub(super) fn new(headers: &[(Text, Option<Bytes>)]) -> Self {
        let mut made = Self { list: ptr::null_mut(), error: 0 };
        if headers.is_empty() {
            return made;
        }
        // SAFETY: a fresh list, destroyed by `Drop` unless it was handed over.
        made.list = unsafe { sys::rd_kafka_headers_new(headers.len()) };
        let error = headers.iter().find_map(|(name, value)| made.add(name, value.as_ref()).err());
        made.error = error.unwrap_or(0);
        made
    }

    fn add(&mut self, name: &Text, value: Option<&Bytes>) -> Result<(), i32> {
        let long = |_| RD_KAFKA_RESP_ERR__INVALID_ARG as i32;
        let name_len = isize::try_from(name.len()).map_err(long)?;
        if name.contains('\0') {
            // librdkafka hands names out as C strings: the rest would be lost.
            return Err(RD_KAFKA_RESP_ERR__BAD_MSG as i32);
        }
        let (value, value_len) = parts(value);
        let value_len = isize::try_from(value_len).map_err(long)?;
        // SAFETY: name and value outlive the call, which copies them.
        let code = unsafe {
            sys::rd_kafka_header_add(self.list, name.as_ptr().cast(), name_len, value, value_len)
        } as i32;
        if code == 0 { Ok(()) } else { Err(code) }
    }

    const fn check(&self) -> Result<(), i32> {
        if self.error == 0 { Ok(()) } else { Err(self.error) }
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        if !self.list.is_null() {
            // SAFETY: still ours.
            unsafe { sys::rd_kafka_headers_destroy(self.list) }
        }
    }
}
