//! Simulated outside systems for the pipelines: a source and a sink whose outside survives crashes.
//!
//! Duty: behave as real systems do when they behave badly (slowly, with errors, with answers that get
//! lost), from the seed of the cluster, and note at once whatever an engine must never do.
//!
//! A record's value is its name, `<source partition>:<number>`; whether it is rejected somewhere follows
//! from the number, so that it is the same on each try.

mod sink;
mod source;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use towpath_sdk::config::ConfigDef;
use towpath_sdk::converter::Converter;
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, ErrorKind, Result};

pub use sink::{Row, SimSink, SinkBehaviour, SinkOutside};
pub use source::{Judge, SimSource, SourceBehaviour, SourceOutside};

/// The name of a record: a source partition and a number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The source partition.
    pub partition: u64,
    /// The number, from 0.
    pub number: u64,
}

impl Name {
    /// The name in `value`.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (partition, number) = std::str::from_utf8(value).ok()?.split_once(':')?;
        Some(Self { partition: partition.parse().ok()?, number: number.parse().ok()? })
    }

    /// The record's key, one of `keys` in its partition.
    #[must_use]
    pub fn key(self, keys: u64) -> String {
        format!("{}/{}", self.partition, self.number % keys)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.number)
    }
}

/// Whether the record of this number is one of each `every` that something rejects.
#[must_use]
pub fn is_every(number: u64, every: Option<u64>) -> bool {
    every.is_some_and(|every| number % every == every / 2)
}

/// What an engine did that it must not.
#[derive(Debug, Clone, Default)]
pub struct Violations(Arc<Mutex<Vec<String>>>);

impl Violations {
    /// Notes one.
    pub fn note(&self, text: impl Into<String>) {
        self.0.lock().push(text.into());
    }

    /// Notes one if there is one.
    pub fn check(&self, outcome: std::result::Result<(), String>) {
        if let Err(text) = outcome {
            self.note(text);
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

/// Text as bytes and back. Values whose number is one of each so many can't be converted.
#[derive(Debug, Clone, Default)]
pub struct TextConverter {
    /// Which values are refused; see [`is_every`].
    pub refuses_every: Option<u64>,
}

impl TextConverter {
    fn check(&self, text: &[u8]) -> Result<()> {
        match Name::parse(text).filter(|name| is_every(name.number, self.refuses_every)) {
            Some(name) => Err(Error::data(format!("{name} can't be converted (simulated)"))),
            None => Ok(()),
        }
    }
}

impl Converter for TextConverter {
    fn decode(&self, _name: &str, bytes: Option<Bytes>) -> Result<Datum> {
        let Some(bytes) = bytes else { return Ok(Datum::null()) };
        self.check(&bytes)?;
        let text = towpath_sdk::Text::try_from(bytes)
            .map_err(|_| Error::new(ErrorKind::Data, "not UTF-8"))?;
        Ok(Datum::schemaless(Value::String(text)))
    }

    fn encode(&self, _name: &str, datum: &Datum, _scratch: &mut BytesMut) -> Result<Option<Bytes>> {
        match &datum.value {
            Value::Null => Ok(None),
            Value::String(text) => {
                self.check(text.as_bytes())?;
                Ok(Some(text.as_bytes().clone()))
            }
            other => Err(Error::data(format!("{other:?} is no text"))),
        }
    }
}

/// Simulated plug-ins have no settings.
fn no_settings() -> &'static ConfigDef {
    static NONE: std::sync::OnceLock<ConfigDef> = std::sync::OnceLock::new();
    NONE.get_or_init(ConfigDef::new)
}
