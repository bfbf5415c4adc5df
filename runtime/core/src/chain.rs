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
use towpath_sdk::record::{Header, Headers, Origin, Record, SinkRecord};
use towpath_sdk::transform::{Predicate, Transform, Transformed};
use towpath_sdk::written::Spot;

use crate::ports::{OutHeaders, OutRecord};

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

/// What encoding writes to, from record to record of a batch.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Where converters write.
    pub bytes: BytesMut,
    /// The last record's headers, and what became of them: the next one's are often the same.
    headers: (Headers, OutHeaders),
}

impl Scratch {
    /// With room for so many bytes at first.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes), ..Self::default() }
    }
}

/// Where and why a record failed.
#[derive(Debug)]
pub struct Fault {
    /// The stage.
    pub stage: Stage,
    /// The class name of what failed.
    pub class: Arc<str>,
    /// The error.
    pub error: Arc<Error>,
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
    pub fn new(stage: Stage, class: impl Into<Arc<str>>, error: impl Into<Arc<Error>>) -> Self {
        Self { stage, class: class.into(), error: error.into() }
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
            decoded.map_err(|error| Fault::new(stage, Arc::clone(&named.class), error))
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
        let mut record = Record::new(Arc::clone(topic), value).with_key(key);
        record.partition = Some(origin.topic_partition().partition);
        record.timestamp = origin.row().timestamp;
        record.headers = headers.into();
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
        scratch: &mut Scratch,
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

    /// Where a source's `record` would be written; `None` where a transform leaves it out.
    ///
    /// # Errors
    /// The first stage that fails.
    pub fn spot(&self, mut record: Record) -> Result<Option<Spot>, Fault> {
        if self.transform(&mut record)? == Transformed::Drop {
            return Ok(None);
        }
        let NamedConverter { class, converter } = &self.key;
        let key = converter.encode(&record.topic, &record.key, &mut BytesMut::new());
        let key = key.map_err(|e| Fault::new(Stage::KeyConverter, Arc::clone(class), e))?;
        let is_tombstone = record.value.is_null();
        Ok(Some(Spot { topic: record.topic, key, is_tombstone }))
    }

    fn bytes_of(&self, record: &Record, scratch: &mut Scratch) -> Result<OutRecord, Fault> {
        let Scratch { bytes: scratch, headers: last } = scratch;
        let mut encode = |named: &NamedConverter, stage, name: &str, datum| {
            let encoded = named.converter.encode(name, datum, scratch);
            encoded.map_err(|error| Fault::new(stage, Arc::clone(&named.class), error))
        };
        let key = encode(&self.key, Stage::KeyConverter, &record.topic, &record.key)?;
        let value = encode(&self.value, Stage::ValueConverter, &record.topic, &record.value)?;
        if !last.0.is_same(&record.headers) {
            let encoded = record.headers.iter().map(|header| {
                let stage = Stage::HeaderConverter;
                let bytes = encode(&self.header, stage, &header.key, &header.value)?;
                Ok((header.key.clone(), bytes))
            });
            *last = (record.headers.clone(), encoded.collect::<Result<_, _>>()?);
        }
        let headers = Arc::clone(&last.1);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use towpath_sdk::Result;
    use towpath_sdk::value::{Datum, Value};

    use super::*;

    /// Texts as they are; counts them.
    #[derive(Default)]
    struct Texts(AtomicUsize);

    impl Converter for Texts {
        fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
            Ok(bytes.map_or_else(Datum::null, |bytes| Datum::schemaless(Value::Bytes(bytes))))
        }

        fn encode(&self, _: &str, datum: &Datum, _: &mut BytesMut) -> Result<Option<Bytes>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(datum.value.as_str().map(|text| Bytes::copy_from_slice(text.as_bytes())))
        }
    }

    #[test]
    fn headers_that_records_share_are_converted_once() {
        let converter = Arc::new(Texts::default());
        let named =
            || NamedConverter { class: "texts".into(), converter: Arc::clone(&converter) as _ };
        let headers = Arc::new(Texts::default());
        let header = NamedConverter { class: "texts".into(), converter: Arc::clone(&headers) as _ };
        let chain = Chain { key: named(), value: named(), header, steps: Vec::new() };
        let text = |text: &str| Datum::schemaless(Value::String(text.to_owned().into()));
        let with = |value: &str| -> Headers {
            vec![Header { key: "h".into(), value: text(value) }].into()
        };
        let (one, two) = (with("1"), with("2"));
        let mut scratch = Scratch::default();
        let mut found = Vec::new();
        for of in [&one, &one, &two, &two, &Headers::new(), &one] {
            let mut record = Record::new("t", text("v"));
            record.headers = of.clone();
            let out = chain.encode(record, 0, &mut scratch).unwrap().unwrap();
            found.push(out.headers.first().map(|(_, value)| value.clone().unwrap()));
        }
        let expect = ["1", "1", "2", "2", "", "1"]
            .map(|value| (!value.is_empty()).then(|| Bytes::from(value)));
        assert_eq!(found, expect);
        assert_eq!(headers.0.load(Ordering::Relaxed), 3);
    }
}
