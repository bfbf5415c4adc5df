//! The chain between bytes and connectors: converters, transforms and their predicates.
//!
//! Duty: turn a consumed row into a sink record and a source's record into bytes, and say at which
//! stage and in which class it failed. Pure: no retries, no tolerance, no I/O; several threads use one
//! chain at once.

use std::sync::Arc;

use bytes::BytesMut;
use bytestring::ByteString;
use towpath_formats::dlq::Stage;
use towpath_sdk::Error;
use towpath_sdk::converter::Converter;
use towpath_sdk::record::{Header, Origin, Record, SinkRecord};
use towpath_sdk::transform::{Predicate, Transform, Transformed};

use crate::ports::OutRecord;

/// A converter with the class name that error headers show.
#[derive(Clone)]
pub struct NamedConverter {
    /// The class name.
    pub class: Arc<str>,
    /// The converter.
    pub converter: Arc<dyn Converter>,
}

/// One transform of the chain.
pub struct Step {
    /// The transform's class name.
    pub class: Arc<str>,
    /// The transform.
    pub transform: Arc<dyn Transform>,
    /// The transform applies where the predicate's answer is not `negate`.
    pub guard: Option<Guard>,
}

/// A predicate in front of a transform.
pub struct Guard {
    /// The predicate.
    pub predicate: Arc<dyn Predicate>,
    /// Whether "no" lets the transform apply.
    pub negate: bool,
}

/// Converters and transforms of one connector.
pub struct Chain {
    /// For keys.
    pub key: NamedConverter,
    /// For values.
    pub value: NamedConverter,
    /// For header values.
    pub header: NamedConverter,
    /// In order.
    pub steps: Vec<Step>,
}

/// Where and why a record failed.
#[derive(Debug)]
pub struct Fault {
    /// The stage.
    pub stage: Stage,
    /// The class name of what failed.
    pub class: Arc<str>,
    /// The error.
    pub error: Error,
}

/// A source's record that failed on its way to bytes.
#[derive(Debug)]
pub struct Failed {
    /// Where and why.
    pub fault: Fault,
    /// The record as it was then.
    pub record: Record,
    /// How many transforms it has behind it.
    pub done: usize,
}

impl Fault {
    /// `error` in `class` at `stage`.
    pub fn new(stage: Stage, class: impl Into<Arc<str>>, error: Error) -> Self {
        Self { stage, class: class.into(), error }
    }
}

impl Chain {
    /// The sink record of `origin`; `None` where a transform leaves it out.
    ///
    /// # Errors
    /// The first stage that fails.
    pub fn decode(&self, origin: &Origin) -> Result<Option<SinkRecord>, Fault> {
        let topic = &origin.topic_partition().topic;
        let decode = |named: &NamedConverter, stage, bytes| {
            let decoded = named.converter.decode(topic, bytes);
            decoded.map_err(|error| Fault { stage, class: Arc::clone(&named.class), error })
        };
        let key = decode(&self.key, Stage::KeyConverter, origin.key())?;
        let value = decode(&self.value, Stage::ValueConverter, origin.value())?;
        let mut headers = Vec::with_capacity(origin.row().headers.len());
        for (name, bytes) in origin.headers() {
            let value = self.header.converter.decode(name, bytes).map_err(|error| {
                Fault::new(Stage::HeaderConverter, Arc::clone(&self.header.class), error)
            })?;
            headers.push(Header { key: ByteString::from(name), value });
        }
        let mut record = Record {
            topic: Arc::clone(topic),
            partition: Some(origin.topic_partition().partition),
            key,
            value,
            timestamp: origin.row().timestamp,
            headers,
        };
        Ok(match self.transform(&mut record)? {
            Transformed::Keep => Some(SinkRecord::new(record, origin.clone())),
            Transformed::Drop => None,
        })
    }

    /// The bytes of a source's `record`; `None` where a transform leaves it out. Starts behind the first
    /// `done` transforms, so that a stage which may heal can be tried again.
    ///
    /// # Errors
    /// The first stage that fails, with the record as it was then.
    pub fn encode(
        &self,
        mut record: Record,
        done: usize,
        scratch: &mut BytesMut,
    ) -> Result<Option<OutRecord>, Box<Failed>> {
        for (index, step) in self.steps.iter().enumerate().skip(done) {
            match step.apply(&mut record) {
                Ok(Transformed::Keep) => {}
                Ok(Transformed::Drop) => return Ok(None),
                Err(fault) => return Err(Box::new(Failed { fault, record, done: index })),
            }
        }
        match self.bytes_of(&record, scratch) {
            Ok(out) => Ok(Some(out)),
            Err(fault) => Err(Box::new(Failed { fault, record, done: self.steps.len() })),
        }
    }

    fn bytes_of(&self, record: &Record, scratch: &mut BytesMut) -> Result<OutRecord, Fault> {
        let mut encode = |named: &NamedConverter, stage, name: &str, datum| {
            let encoded = named.converter.encode(name, datum, scratch);
            encoded.map_err(|error| Fault { stage, class: Arc::clone(&named.class), error })
        };
        let key = encode(&self.key, Stage::KeyConverter, &record.topic, &record.key)?;
        let value = encode(&self.value, Stage::ValueConverter, &record.topic, &record.value)?;
        let mut headers = Vec::with_capacity(record.headers.len());
        for header in &record.headers {
            let bytes = encode(&self.header, Stage::HeaderConverter, &header.key, &header.value)?;
            headers.push((header.key.clone(), bytes));
        }
        Ok(OutRecord {
            topic: Arc::clone(&record.topic),
            partition: record.partition,
            key,
            value,
            timestamp: record.timestamp,
            headers,
        })
    }

    fn transform(&self, record: &mut Record) -> Result<Transformed, Fault> {
        for step in &self.steps {
            if step.apply(record)? == Transformed::Drop {
                return Ok(Transformed::Drop);
            }
        }
        Ok(Transformed::Keep)
    }
}

impl Step {
    fn apply(&self, record: &mut Record) -> Result<Transformed, Fault> {
        let applies = match &self.guard {
            Some(guard) => guard.predicate.test(record).map(|answer| answer != guard.negate),
            None => Ok(true),
        };
        let applied = match applies {
            Ok(true) => self.transform.apply(record),
            Ok(false) => Ok(Transformed::Keep),
            Err(error) => Err(error),
        };
        applied.map_err(|e| Fault::new(Stage::Transformation, Arc::clone(&self.class), e))
    }
}
