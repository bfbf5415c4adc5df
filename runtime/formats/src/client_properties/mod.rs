//! From the Java clients' properties to librdkafka's.
//!
//! Invariants: nothing is dropped in silence. Every property is passed on, or named in a warning or an
//! error with the reason and what to do instead. Values of secrets appear in [`Setting::Secret`] only.
//!
//! Deliberately absent: references (`${…}`), which are resolved before; the defaults that Connect or
//! Towpath force on a client; and files, which the caller reads.

mod jaas;
mod oauth;
mod ordinary;
mod security;
mod table;

use std::collections::BTreeMap;

use ordinary::Draft;

use crate::finding::{FieldError, Warning};
use crate::nearest::nearest;
use crate::secret::Secret;
use crate::tls::ReadFile;
use crate::{ClientRole, Properties};

pub use oauth::{Grant, Oidc};

/// A value for librdkafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It may be shown.
    Plain(String),
    /// It may not.
    Secret(Secret),
}

impl Setting {
    /// The text for librdkafka.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }
}

/// What the Java properties of a client come to.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// Properties for librdkafka.
    pub librdkafka: BTreeMap<String, Setting>,
    /// Where tokens come from, if `sasl.mechanism` is OAUTHBEARER and they aren't made up. Nothing of it
    /// is in `librdkafka`: use [`Oidc::to_librdkafka`], or fetch the tokens.
    pub oidc: Option<Oidc>,
    /// What is otherwise than the properties say.
    pub warnings: Vec<Warning>,
    /// What can't be used. With any, no client should be made.
    pub errors: Vec<FieldError>,
}

/// Translates the properties of one client. Keys carry no prefix; `read` reads key and trust stores.
///
/// Only what the properties say is in the result: librdkafka's own defaults, which in places differ
/// from Java's ([`java_defaults`]), hold for the rest.
pub fn translate(role: ClientRole, java: &Properties, read: ReadFile<'_>) -> Translation {
    let mut draft = Draft {
        role,
        java,
        librdkafka: BTreeMap::new(),
        oidc: None,
        warnings: Vec::new(),
        errors: Vec::new(),
    };
    for (key, value) in java {
        match table::row(key, role) {
            Some(row) => draft.apply(row, value),
            None => unknown(&mut draft, key),
        }
    }
    security::translate(&mut draft, read);
    let Draft { librdkafka, oidc, warnings, errors, .. } = draft;
    Translation { librdkafka, oidc, warnings, errors }
}

fn unknown(draft: &mut Draft<'_>, key: &str) {
    let others = ClientRole::ALL.into_iter().find(|role| is_known(key, *role));
    if let Some(other) = others {
        let text = format!(
            "has no effect: it is a property of a {}, and this is a {}",
            other.name(),
            draft.role.name()
        );
        draft.warn(key, text);
        return;
    }
    let hint = match nearest(key, known_keys().filter(|known| is_known(known, draft.role))) {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    draft.warn(
        key,
        format!("has no effect: the Java {} has no such property{hint}", draft.role.name()),
    );
}

/// Where librdkafka's default differs from Java's in a way that records, order or partitions show.
///
/// A client that should behave as Java's does starts from these and adds a [`Translation`].
pub fn java_defaults(role: ClientRole) -> &'static [(&'static str, &'static str)] {
    match role {
        ClientRole::Producer => &[
            ("partitioner", "murmur2_random"),
            ("enable.idempotence", "true"),
            ("message.max.bytes", "1048576"),
            ("delivery.timeout.ms", "120000"),
            ("queue.buffering.max.kbytes", "32768"),
            ("topic.metadata.refresh.interval.ms", "300000"),
        ],
        ClientRole::Consumer => &[
            ("isolation.level", "read_uncommitted"),
            ("check.crcs", "true"),
            ("allow.auto.create.topics", "true"),
            ("topic.metadata.refresh.interval.ms", "300000"),
        ],
        ClientRole::Admin => &[],
    }
}

/// Is this a property of the Java client of that kind?
pub fn is_known(key: &str, role: ClientRole) -> bool {
    table::row(key, role).is_some()
}

/// All properties of the Java clients, each once.
pub fn known_keys() -> impl Iterator<Item = &'static str> {
    let mut keys: Vec<_> = table::ROWS.iter().map(|row| row.key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
}

#[cfg(test)]
mod tests;
