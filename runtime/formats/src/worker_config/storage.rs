//! The three internal topics.

use crate::Properties;
use crate::fields::Fields;
use crate::finding::Warning;

/// An internal topic, as it is to be created if it doesn't exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the broker's default.
    pub partitions: Option<u32>,
    /// How many replicas; `None` for the broker's default.
    pub replication_factor: Option<u16>,
    /// Its other settings. Never `cleanup.policy`: these topics are compacted.
    pub settings: Properties,
}

/// In front of the settings of the topics.
pub(super) const STORAGE_PREFIXES: &[&str] =
    &["config.storage.", "offset.storage.", "status.storage."];

/// Reads the properties that start with `prefix`. `partitions` is the default; the config topic always
/// has one, since its records have an order.
pub(super) fn topic(
    fields: &mut Fields<'_>,
    warnings: &mut Vec<Warning>,
    prefix: &str,
    partitions: u32,
) -> InternalTopic {
    let key = |name: &str| format!("{prefix}{name}");
    let what = format!("the topic that keeps the {}", what(prefix));
    let name = fields.required(&key("topic"), &what);
    if !name.is_empty() && !is_topic_name(&name) {
        let problem = format!(
            "must be letters, digits, dots, dashes and underscores (at most 249), not {name:?}"
        );
        fields.refuse(&key("topic"), problem);
    }
    let single = partitions == 1;
    let mut settings = fields.map.with_prefix(prefix);
    for own in ["topic", "replication.factor", "file.filename"] {
        settings.unset(own);
    }
    let partitions = if single {
        if settings.unset("partitions").is_some() {
            warnings.push(Warning::new(
                key("partitions"),
                "has no effect: this topic always has one partition",
            ));
        }
        Some(1)
    } else {
        settings.unset("partitions");
        positive(fields, &key("partitions"), partitions)
    };
    if settings.unset("cleanup.policy").is_some() {
        warnings.push(Warning::new(
            key("cleanup.policy"),
            "has no effect: internal topics are always compacted",
        ));
    }
    let replication_factor = positive(fields, &key("replication.factor"), 3);
    InternalTopic { name, partitions, replication_factor, settings }
}

fn what(prefix: &str) -> &'static str {
    match prefix {
        "config.storage." => "connectors' configs",
        "offset.storage." => "sources' offsets",
        _ => "connectors' and tasks' statuses",
    }
}

/// A positive number, or −1 for the broker's default.
fn positive<T: TryFrom<i32>>(fields: &mut Fields<'_>, key: &str, default: T) -> Option<T> {
    if fields.text(key).is_none() {
        return Some(default);
    }
    let most = if size_of::<T>() == size_of::<u16>() { i32::from(i16::MAX) } else { i32::MAX };
    let number = fields.number(key, -1..=most)?;
    if number == 0 {
        fields.refuse(key, "must be a positive number, or -1 for the broker's default, not 0");
    }
    T::try_from(number).ok()
}

fn is_topic_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 249 && name.chars().all(known) && !matches!(name, "." | "..")
}
