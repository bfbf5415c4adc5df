//! The properties that are neither login nor TLS.
//!
//! Invariant: a value that Java would refuse is an error; one that only librdkafka refuses is brought
//! into its range, with a warning.

use std::collections::BTreeMap;

use super::Setting;
use super::oauth::Oidc;
use super::table::{Row, Rule, Value};
use crate::finding::{FieldError, Warning};
use crate::{ClientRole, Properties};

/// A translation in the making.
pub(super) struct Draft<'a> {
    pub(super) role: ClientRole,
    pub(super) java: &'a Properties,
    pub(super) librdkafka: BTreeMap<String, Setting>,
    pub(super) oidc: Option<Oidc>,
    pub(super) warnings: Vec<Warning>,
    pub(super) errors: Vec<FieldError>,
}

impl Draft<'_> {
    pub(super) fn plain(&mut self, name: &str, value: impl ToString) {
        self.librdkafka.insert(name.to_owned(), Setting::Plain(value.to_string()));
    }

    pub(super) fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.warnings.push(Warning::new(key, text));
    }

    pub(super) fn refuse(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.push(FieldError::new(key, problem));
    }

    /// Applies a row to its value; rows of [`Rule::Security`] are somebody else's.
    pub(super) fn apply(&mut self, row: &'static Row, value: &str) {
        let value = value.trim();
        match &row.rule {
            Rule::Passed(name, kind) => {
                if let Some(value) = self.checked(row.key, kind, value) {
                    self.plain(name, value);
                }
            }
            Rule::By(special) => special(self, row.key, value),
            Rule::Security => {}
            Rule::NoEffect(harmless, reason) => {
                if !harmless.is_some_and(|harmless| harmless.eq_ignore_ascii_case(value)) {
                    self.warn(row.key, format!("has no effect: {reason}"));
                }
            }
            Rule::Refused(harmless, reason) => {
                if !harmless.is_some_and(|harmless| harmless.eq_ignore_ascii_case(value)) {
                    self.refuse(row.key, format!("can't be used: {reason}"));
                }
            }
        }
    }

    fn checked(&mut self, key: &'static str, kind: &Value, value: &str) -> Option<String> {
        match kind {
            Value::Text if value.is_empty() => None,
            Value::Text => Some(value.to_owned()),
            Value::List => {
                let items: Vec<_> =
                    value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
                (!items.is_empty()).then(|| items.join(","))
            }
            Value::Bool => self.boolean(key, value).map(|b| b.to_string()),
            Value::Int { java, librdkafka } => {
                let number = self.number(key, value, *java)?;
                Some(self.within(key, number, *librdkafka).to_string())
            }
            Value::Choice(choices) => {
                let found = choices.iter().find(|(java, _)| java.eq_ignore_ascii_case(value));
                if found.is_none() {
                    let names: Vec<_> = choices.iter().map(|(java, _)| *java).collect();
                    self.refuse(key, format!("must be one of {}, not {value:?}", names.join(", ")));
                }
                found.map(|(_, name)| (*name).to_owned())
            }
        }
    }

    fn boolean(&mut self, key: &str, value: &str) -> Option<bool> {
        if value.eq_ignore_ascii_case("true") {
            return Some(true);
        }
        if value.eq_ignore_ascii_case("false") {
            return Some(false);
        }
        self.refuse(key, format!("must be true or false, not {value:?}"));
        None
    }

    fn number(&mut self, key: &str, value: &str, (least, most): (i64, i64)) -> Option<i64> {
        let number = value.parse().ok().filter(|n| (least..=most).contains(n));
        if number.is_none() {
            self.refuse(
                key,
                format!("must be a whole number from {least} to {most}, not {value:?}"),
            );
        }
        number
    }

    fn within(&mut self, key: &str, number: i64, (least, most): (i64, i64)) -> i64 {
        let near = number.clamp(least, most);
        if near != number {
            self.warn(
                key,
                format!("{near} is used instead of {number}: librdkafka takes {least} to {most}"),
            );
        }
        near
    }
}

const INT: i64 = i32::MAX as i64;

/// −1 leaves the size to the system, which is 0 in librdkafka.
fn buffer(draft: &mut Draft<'_>, key: &'static str, name: &str, value: &str) {
    if let Some(bytes) = draft.number(key, value, (-1, INT)) {
        let bytes = draft.within(key, bytes.max(0), (0, 100_000_000));
        draft.plain(name, bytes);
    }
}

pub(super) fn send_buffer(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    buffer(draft, key, "socket.send.buffer.bytes", value);
}

pub(super) fn receive_buffer(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    buffer(draft, key, "socket.receive.buffer.bytes", value);
}

/// A negative time keeps idle connections, which is 0 in librdkafka.
pub(super) fn connections_max_idle(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    if let Some(ms) = draft.number(key, value, (i64::MIN, i64::MAX)) {
        let ms = draft.within(key, ms.max(0), (0, INT));
        draft.plain(key, ms);
    }
}

/// For produce requests librdkafka has a time of its own; all others go by the socket's.
pub(super) fn request_timeout(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    let Some(ms) = draft.number(key, value, (0, INT)) else { return };
    if draft.role == ClientRole::Producer {
        let ms = draft.within(key, ms, (1, 900_000));
        draft.plain("request.timeout.ms", ms);
        draft.plain("socket.timeout.ms", ms.clamp(10, 300_000));
        return;
    }
    let ms = draft.within(key, ms, (10, 300_000));
    if draft.role == ClientRole::Consumer {
        let wait = draft
            .java
            .text("fetch.max.wait.ms")
            .and_then(|wait| wait.trim().parse().ok())
            .unwrap_or(500);
        if ms < wait + 1_000 {
            let least = wait + 1_000;
            draft.refuse(
                key,
                format!("must be at least {least}, which is fetch.max.wait.ms and a second"),
            );
            return;
        }
    }
    draft.plain("socket.timeout.ms", ms);
}

pub(super) fn acks(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    match value.to_ascii_lowercase().as_str() {
        "all" | "-1" => draft.plain(key, "all"),
        acks @ ("0" | "1") => {
            draft.warn(
                key,
                format!("with {acks} a record may be lost when a broker fails; all is safe"),
            );
            draft.plain(key, acks);
        }
        _ => draft.refuse(key, format!("must be all, 1 or 0, not {value:?}")),
    }
}

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

pub(super) fn compression(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    match CODECS.iter().find(|codec| codec.eq_ignore_ascii_case(value)) {
        Some(codec) => draft.plain(key, codec),
        None => draft.refuse(key, format!("must be one of {}, not {value:?}", CODECS.join(", "))),
    }
}

/// Java has a level for each codec; librdkafka has one, so that of the codec in use counts.
pub(super) fn compression_level(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    let (codec, java, librdkafka) = match key {
        "compression.gzip.level" => ("gzip", (-1, 9), (-1, 9)),
        "compression.lz4.level" => ("lz4", (1, 17), (0, 12)),
        _ => ("zstd", (-131_072, 22), (-1, 12)),
    };
    let Some(level) = draft.number(key, value, java) else { return };
    let in_use = draft.java.text("compression.type").unwrap_or("none").trim();
    if codec.eq_ignore_ascii_case(in_use) {
        let level = draft.within(key, level, librdkafka);
        draft.plain("compression.level", level);
    } else {
        draft.warn(key, format!("has no effect: compression.type is {in_use}, not {codec}"));
    }
}

pub(super) fn buffer_memory(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    if let Some(bytes) = draft.number(key, value, (0, i64::MAX)) {
        let kbytes = bytes / 1024 + i64::from(bytes % 1024 != 0);
        draft.plain("queue.buffering.max.kbytes", kbytes.clamp(1, INT));
    }
}

/// Java's partitioners by their librdkafka names; Towpath's default is `murmur2_random`.
pub(super) fn partitioner_class(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    const PACKAGE: &str = "org.apache.kafka.clients.producer.";
    match value.strip_prefix(PACKAGE).unwrap_or(value) {
        "" => {}
        "internals.DefaultPartitioner" => draft.plain("partitioner", "murmur2_random"),
        "UniformStickyPartitioner" => draft.plain("partitioner", "random"),
        "RoundRobinPartitioner" => {
            draft.warn(key, "records go to random partitions, not to one after the other");
            draft.plain("partitioner", "random");
        }
        _ => draft.refuse(
            key,
            "can't be used: it names a Java class, and no Java runs here; remove it, or set the key by a transform",
        ),
    }
}

pub(super) fn partitioner_ignore_keys(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    if draft.boolean(key, value) == Some(true) {
        draft.plain("partitioner", "random");
    }
}

pub(super) fn assignment_strategy(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    const PACKAGE: &str = "org.apache.kafka.clients.consumer.";
    let mut eager = Vec::new();
    let mut cooperative = false;
    for class in value.split(',').map(str::trim).filter(|class| !class.is_empty()) {
        match class.strip_prefix(PACKAGE).unwrap_or(class) {
            "RangeAssignor" => eager.push("range"),
            "RoundRobinAssignor" => eager.push("roundrobin"),
            "CooperativeStickyAssignor" => cooperative = true,
            "StickyAssignor" => {
                draft
                    .refuse(key, "librdkafka has no StickyAssignor; use CooperativeStickyAssignor");
                return;
            }
            _ => {
                draft.refuse(
                    key,
                    "can't be used: only RangeAssignor, RoundRobinAssignor and CooperativeStickyAssignor are known here",
                );
                return;
            }
        }
    }
    if cooperative && !eager.is_empty() {
        let text = format!(
            "{} is used, as Java would choose while both kinds are listed: librdkafka does not take them together",
            eager.join(",")
        );
        draft.warn(key, text);
    }
    match (eager.is_empty(), cooperative) {
        (false, _) => draft.plain(key, eager.join(",")),
        (true, true) => draft.plain(key, "cooperative-sticky"),
        (true, false) => {}
    }
}

pub(super) fn auto_offset_reset(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    match value.to_ascii_lowercase().as_str() {
        place @ ("earliest" | "latest") => draft.plain(key, place),
        "none" => draft.plain(key, "error"),
        by if by.starts_with("by_duration:") => {
            let remedy = "use earliest, or set the connector's offsets through the REST API";
            draft.refuse(key, format!("can't be used: librdkafka has no by_duration; {remedy}"));
        }
        _ => draft.refuse(key, format!("must be earliest, latest or none, not {value:?}")),
    }
}

/// librdkafka also bounds a whole response, which must have room for a fetch.
pub(super) fn fetch_max_bytes(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    const ROOM: i64 = 512;
    // A fetch may not be smaller than the largest message, for which librdkafka has these bounds.
    const LEAST: i64 = 1_000;
    const DEFAULT_MESSAGE: i64 = 1_000_000;
    const DEFAULT_RESPONSE: i64 = 100_000_000;
    let Some(bytes) = draft.number(key, value, (0, INT)) else { return };
    let bytes = draft.within(key, bytes, (LEAST, INT - ROOM));
    draft.plain(key, bytes);
    if bytes < DEFAULT_MESSAGE {
        draft.plain("message.max.bytes", bytes);
    }
    if bytes + ROOM > DEFAULT_RESPONSE {
        draft.plain("receive.message.max.bytes", bytes + ROOM);
    }
}

/// A reconnect's first and longest wait. Java takes the first for both where only that is set;
/// librdkafka refuses a first that is longer than the longest.
pub(super) fn reconnect_backoff(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    const FIRST: &str = "reconnect.backoff.ms";
    const LONGEST: &str = "reconnect.backoff.max.ms";
    const DEFAULT_FIRST: i64 = 50;
    let Some(ms) = draft.number(key, value, (0, i64::MAX)) else { return };
    let ms = draft.within(key, ms, (0, 3_600_000));
    let other = |name: &str| draft.java.text(name).and_then(|text| text.trim().parse::<i64>().ok());
    if key == LONGEST {
        let first = other(FIRST);
        draft.plain(LONGEST, ms);
        if first.is_none() {
            draft.plain(FIRST, ms.min(DEFAULT_FIRST));
        }
        return;
    }
    match other(LONGEST) {
        None => {
            draft.plain(FIRST, ms);
            draft.plain(LONGEST, ms);
        }
        Some(longest) if longest < ms => {
            draft.warn(key, format!("{longest} is used instead of {ms}: {LONGEST} is no longer"));
            draft.plain(FIRST, longest);
        }
        Some(_) => draft.plain(FIRST, ms),
    }
}

/// librdkafka wants at least the session's time here; so much is used where less is asked for.
pub(super) fn max_poll_interval(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    if let Some(ms) = draft.number(key, value, (1, INT)) {
        let ms = draft.within(key, ms, (1, 86_400_000));
        let session =
            draft.java.text("session.timeout.ms").and_then(|text| text.trim().parse().ok());
        let session: i64 = session.unwrap_or(DEFAULT_SESSION);
        if ms < session {
            draft.warn(
                key,
                format!(
                    "{session} is used instead of {ms}: it can't be less than session.timeout.ms"
                ),
            );
        }
        draft.plain(key, ms.max(session));
    }
}

/// As above, where only the session's time is set.
pub(super) fn session_timeout(draft: &mut Draft<'_>, key: &'static str, value: &str) {
    const POLL: &str = "max.poll.interval.ms";
    const DEFAULT_POLL: i64 = 300_000;
    if let Some(ms) = draft.number(key, value, (0, INT)) {
        let ms = draft.within(key, ms, (1, 3_600_000));
        draft.plain(key, ms);
        if ms > DEFAULT_POLL && !draft.java.contains_key(POLL) {
            draft.plain(POLL, ms);
        }
    }
}

/// Java's and librdkafka's default of a consumer.
const DEFAULT_SESSION: i64 = 45_000;
