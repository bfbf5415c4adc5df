//! A client of librdkafka with this crate's defaults, left to the end of the process.

use std::ffi::CString;

use rdkafka_sys as sys;

/// As in this crate's defaults for consumers.
pub(crate) const CONSUMER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.max.bytes", "3145728"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "10"),
    ("queued.min.messages", "30000"),
];
/// And for producers.
pub(crate) const PRODUCER: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("linger.ms", "5"),
    ("queue.buffering.max.kbytes", "32768"),
    ("queue.buffering.max.messages", "100000"),
];

/// A client and a handle of `topic`.
pub(crate) struct Client {
    pub(crate) client: *mut sys::rd_kafka_t,
    pub(crate) topic: *mut sys::rd_kafka_topic_t,
}

impl Client {
    pub(crate) fn new(
        kind: sys::rd_kafka_type_t,
        work: &super::Work<'_>,
        defaults: &[(&str, &str)],
    ) -> Self {
        let own = [("bootstrap.servers", work.brokers)];
        let settings: Vec<(String, String)> = defaults
            .iter()
            .chain(&own)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .chain(super::overrides())
            .collect();
        let topic = CString::new(work.topic).unwrap();
        let mut text = [0; 256];
        // SAFETY: every handle is made, used and left to the end of the process.
        unsafe {
            let conf = sys::rd_kafka_conf_new();
            for (key, value) in settings {
                let (key, value) = (CString::new(key).unwrap(), CString::new(value).unwrap());
                let set = sys::rd_kafka_conf_set(
                    conf,
                    key.as_ptr(),
                    value.as_ptr(),
                    text.as_mut_ptr(),
                    text.len(),
                );
                assert!(set == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK, "{key:?} is refused");
            }
            let client = sys::rd_kafka_new(kind, conf, text.as_mut_ptr(), text.len());
            assert!(!client.is_null(), "no client");
            let topic = sys::rd_kafka_topic_new(client, topic.as_ptr(), std::ptr::null_mut());
            Self { client, topic }
        }
    }

    /// How many partitions the topic has.
    pub(crate) fn partitions(&self) -> i32 {
        let mut metadata = std::ptr::null();
        // SAFETY: both handles live; the answer is read while it lives.
        unsafe {
            let code =
                sys::rd_kafka_metadata(self.client, 0, self.topic, &raw mut metadata, 10_000);
            assert_eq!(code as i32, 0, "no broker answers");
            let count = (*(*metadata).topics).partition_cnt;
            sys::rd_kafka_metadata_destroy(metadata);
            count
        }
    }
}
