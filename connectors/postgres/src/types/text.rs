//! Booleans, and all types that stay the text that they are.

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result};

use super::default::Written;
use super::form::{Binary, Form, named, utf8};
use super::slice::Slice;

/// `boolean`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boolean;

impl Form for Boolean {
    fn schema(&self) -> Schema {
        Schema::new(Kind::Boolean)
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        match &text[..] {
            b"t" | b"true" => Ok(Value::Boolean(true)),
            b"f" | b"false" => Ok(Value::Boolean(false)),
            _ => Err(Error::data("not a boolean")),
        }
    }

    fn binary(&self) -> Option<&dyn Binary> {
        Some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        written.read(self, "false")
    }
}

impl Binary for Boolean {
    fn read(&self, value: Slice<'_>) -> Result<Value> {
        Ok(Value::Boolean(value.number::<1>()? != [0]))
    }
}

/// What the send function of a type makes of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The text.
    AsText,
    /// The text behind the number of a version, which is 1.
    Versioned,
    /// Something else.
    Otherwise,
}

/// A text.
#[derive(Debug, Clone)]
pub(super) enum Plain {
    /// Of no other meaning. Whether it has defaults, Debezium decides by type: `text`, `varchar` and
    /// `char(n)` do, `citext` or `inet` don't.
    Text { defaults: bool, sent: Sent },
    /// Of a meaning that the schema's name says. `zero` is the default that a function makes; without
    /// it the type has no defaults.
    Named { name: &'static str, zero: Option<&'static str>, sent: Sent },
    /// One of the values of an enum, in their order.
    Enum { allowed: Arc<str> },
}

impl Plain {
    /// The mapping of an enum of these labels.
    pub(super) fn of_labels(labels: &[Arc<str>]) -> Self {
        Self::Enum { allowed: labels.join(",").into() }
    }

    const fn sent(&self) -> Sent {
        match self {
            Self::Text { sent, .. } | Self::Named { sent, .. } => *sent,
            Self::Enum { .. } => Sent::AsText,
        }
    }
}

impl Binary for Plain {
    fn read(&self, mut value: Slice<'_>) -> Result<Value> {
        if self.sent() == Sent::Versioned && value.take()? != [1] {
            return Err(Error::data("a binary value of another version than 1"));
        }
        utf8(&value.share()).map(Value::String)
    }
}

impl Form for Plain {
    fn schema(&self) -> Schema {
        match self {
            Self::Text { .. } => Schema::new(Kind::String),
            Self::Named { name, .. } => named(Kind::String, name),
            Self::Enum { allowed } => {
                named(Kind::String, "io.debezium.data.Enum").parameter("allowed", &**allowed)
            }
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        utf8(text).map(Value::String)
    }

    fn binary(&self) -> Option<&dyn Binary> {
        (self.sent() != Sent::Otherwise).then_some(self)
    }

    fn default(&self, written: &Written) -> Option<Value> {
        let zero = match self {
            Self::Text { defaults: true, .. } => "",
            Self::Named { zero: Some(zero), .. } => zero,
            Self::Enum { .. } if *written != Written::Generated => "",
            _ => return None,
        };
        written.read(self, zero)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Plain = Plain::Text { defaults: true, sent: Sent::AsText };

    #[test]
    fn text_is_a_slice_of_what_came() {
        let row = Bytes::from_static("héllo \"w\"".as_bytes());
        let Value::String(text) = TEXT.decode(&row).unwrap() else { panic!() };
        assert_eq!((&*text, text.as_bytes().as_ptr()), ("héllo \"w\"", row.as_ptr()));
        let wrong = TEXT.decode(&Bytes::from_static(&[0xff]));
        assert_eq!(wrong.unwrap_err().to_string(), "not valid UTF-8");
    }

    #[test]
    fn booleans() {
        let decode = |text: &'static str| Boolean.decode(&Bytes::from_static(text.as_bytes())).ok();
        assert_eq!(decode("t"), Some(Value::Boolean(true)));
        assert_eq!(decode("f"), Some(Value::Boolean(false)));
        assert_eq!((decode(""), decode("T"), decode("1")), (None, None, None));
    }

    #[test]
    fn enums_name_their_values() {
        let labels = ["sad", "ok", "happy"].map(Arc::from);
        let schema = Plain::of_labels(&labels).schema();
        assert_eq!(schema.name.as_deref(), Some("io.debezium.data.Enum"));
        assert_eq!(schema.parameters.get("allowed").map(String::as_str), Some("sad,ok,happy"));
    }
}
