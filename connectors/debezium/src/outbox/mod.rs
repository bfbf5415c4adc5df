//! `EventRouter`: rows that are inserted into an outbox table become events.
//!
//! The row's payload becomes the value, or a field of it; other columns become the key, the headers, the
//! timestamp, the partition and the topic. Deletes are left out, updates too, with a word in the log;
//! records that are no changes pass as they are.
//!
//! Differences on purpose:
//! - a payload that can't be expanded stays text. Debezium 3.7 says so, too, and gives it the schema of
//!   what it could not make, so that the converter fails;
//! - the name and version of a value's schema are its own record's (Debezium takes those of the first
//!   record with such a payload);
//! - a replacement that `route.topic.regex` has no group for is refused with the configuration
//!   (Debezium fails at the first record).
//!
//! Deliberately absent: spans of a tracing system.

mod config;
mod expand;
mod placement;
mod plan;

use std::sync::Arc;

use towpath_builtin::cache::{ByPointer, Known};
use towpath_builtin::pattern::Replacer;
use towpath_sdk::config::FieldErrors;
use towpath_sdk::plugin::PluginName;
use towpath_sdk::record::{Header, Record};
use towpath_sdk::schema::SchemaRef;
use towpath_sdk::transform::{Transform, Transformed};
use towpath_sdk::value::{Datum, Struct, Value};
use towpath_sdk::{Error, Result, Text};

use crate::Configured;
use crate::envelope;
pub use config::{Config, InvalidOperation, JsonEmptyArray, JsonNull, Missing};
use expand::Expander;
use plan::{Columns, Event, Operation, Plan};

pub(crate) const NAMES: &[PluginName] =
    &[PluginName::new("io.debezium.transforms.outbox.EventRouter")];

/// How many schemas are kept of each kind.
const SCHEMAS: usize = 1000;
/// How many inferred schemas are kept; each new document is compared with them.
const INFERRED: usize = 64;

/// Makes events of the rows that are inserted into an outbox table.
#[derive(Debug)]
pub struct EventRouter {
    columns: Columns,
    router: Replacer,
    expander: Option<Expander>,
    invalid: InvalidOperation,
    tombstone_on_empty: bool,
    plans: ByPointer<Arc<Plan>>,
    /// Topics by what names them.
    topics: Known<Text, Arc<str>>,
    /// Schemas of expanded payloads, so that equal ones are one.
    inferred: Known<(), Arc<[SchemaRef]>>,
    /// Schemas of values around a payload.
    values: ByPointer<Arc<Values>>,
}

/// Schemas of values by the row's schema, the route and the version. The row's schema is kept, so that
/// its address stays its own.
type Values = Known<(usize, Text, Option<i32>), (SchemaRef, SchemaRef)>;

impl Configured for EventRouter {
    type Config = Config;

    fn of(config: Config) -> Result<Self, FieldErrors> {
        let columns = Columns::of(&config, config.placed()?);
        let (nulls, empty_arrays) = (config.json_null, config.json_empty_array);
        Ok(Self {
            columns,
            router: config.router()?,
            expander: config.expand_json.then_some(Expander { nulls, empty_arrays }),
            invalid: config.invalid_operation,
            tombstone_on_empty: config.tombstone_on_empty,
            plans: ByPointer::new(SCHEMAS),
            topics: Known::new(SCHEMAS),
            inferred: Known::new(1),
            values: ByPointer::new(SCHEMAS),
        })
    }
}

impl Transform for EventRouter {
    fn apply(&self, record: &mut Record) -> Result<Transformed> {
        if record.value.is_null() {
            return Ok(Transformed::Drop);
        }
        let Some(schema) = envelope::schema_of(&record.value) else {
            return Ok(Transformed::Keep);
        };
        let values = envelope::values(&record.value.value)?;
        let plan = self
            .plans
            .get_or_make(schema, |schema| Ok(Arc::new(Plan::of(schema, &self.columns)?)))?;
        match plan.operation(values)? {
            Operation::Delete => return Ok(Transformed::Drop),
            Operation::Update => return self.update(record),
            Operation::Other => {}
        }
        let (event, row) = plan.event(values)?;
        let route = event.route(row)?;
        let topic = self.topic(route)?;
        let timestamp = event.timestamp(row, values)?;
        let partition = event.partition(row);
        let key = Datum::new(Arc::clone(&event.key.schema), event.key.value(row));
        let header = |name: &Text, column: &plan::Column| Header {
            key: name.clone(),
            value: Datum::new(Arc::clone(&column.schema), column.value(row)),
        };
        let id = header(&Text::from_static("id"), &event.id);
        let further = event.headers.iter().map(|(name, column)| header(name, column));
        let headers: Vec<_> = std::iter::once(id).chain(further).collect();
        let value = self.value(event, row, route)?;

        record.topic = topic;
        record.partition = partition;
        record.timestamp = timestamp;
        record.key = key;
        record.value = value;
        record.headers.extend(headers);
        Ok(Transformed::Keep)
    }
}

impl EventRouter {
    /// What `table.op.invalid.behavior` says. The key, which may be a secret, is not logged.
    fn update(&self, record: &Record) -> Result<Transformed> {
        match self.invalid {
            InvalidOperation::Warn => {
                tracing::warn!(topic = %record.topic, "a row of the outbox table was updated: no event");
            }
            InvalidOperation::Error => {
                tracing::error!(topic = %record.topic, "a row of the outbox table was updated: no event");
            }
            InvalidOperation::Fatal => {
                return Err(Error::data(
                    "a row of the outbox table was updated, and table.op.invalid.behavior is fatal",
                )
                .with_class("java.lang.IllegalStateException"));
            }
        }
        Ok(Transformed::Drop)
    }

    fn topic(&self, route: &Text) -> Result<Arc<str>> {
        if let Some(topic) = self.topics.get(route) {
            return Ok(topic);
        }
        let topic: Arc<str> = match self.router.replace(route)? {
            Some(topic) => topic.into(),
            None => (&**route).into(),
        };
        self.topics.remember(&own(route), &topic);
        Ok(topic)
    }

    fn value(&self, event: &Event, row: &[Value], route: &Text) -> Result<Datum> {
        let payload = event.payload.value(row);
        let is_blank = |text: &Text| text.chars().all(|c| c <= ' ');
        let empty = match &payload {
            Value::Null => true,
            Value::String(text) => is_blank(text),
            _ => false,
        };
        if empty && self.tombstone_on_empty {
            return Ok(Datum::null());
        }
        let payload = self.expanded(event, payload);
        let (Some(beside), Some(schema)) = (&event.beside, &payload.schema) else {
            return Ok(payload);
        };
        let schema = self.value_schema(event, schema, route, event.version(row))?;
        let mut values = Vec::with_capacity(1 + beside.len());
        values.push(payload.value);
        values.extend(beside.iter().map(|(_, column)| column.value(row)));
        Ok(Datum::new(Arc::clone(&schema), Value::Struct(Struct::new(schema, values)?)))
    }

    /// The payload with its schema, taken apart if that is wanted and can be done.
    fn expanded(&self, event: &Event, payload: Value) -> Datum {
        let expander = self.expander.as_ref().filter(|_| !payload.is_null());
        if let Some(expander) = expander {
            let expanded = match &payload {
                Value::String(text) => expander.expand(&self.columns.payload, text),
                _ => Err("it is no text".to_owned()),
            };
            match expanded {
                Ok((schema, value)) => return self.interned(schema, value),
                Err(why) => tracing::warn!(
                    column = %self.columns.payload,
                    "a payload could not be expanded and stays as it is: {why}"
                ),
            }
        }
        Datum::new(Arc::clone(&event.payload.schema), payload)
    }

    /// The same with the schema that an equal one had before, so that converters know it again.
    fn interned(&self, schema: SchemaRef, value: Value) -> Datum {
        let known = self.inferred.get(&()).unwrap_or_else(|| [].into());
        if let Some(known) = known.iter().find(|known| ***known == *schema) {
            return Datum::new(Arc::clone(known), value);
        }
        let kept = if known.len() < INFERRED { &*known } else { &[] };
        let next: Arc<[_]> = kept.iter().chain([&schema]).cloned().collect();
        self.inferred.remember(&(), &next);
        Datum::new(schema, value)
    }

    fn value_schema(
        &self,
        event: &Event,
        payload: &SchemaRef,
        route: &Text,
        version: Option<i32>,
    ) -> Result<SchemaRef> {
        let known = self.values.get_or_make(payload, |_| Ok(Arc::new(Known::new(SCHEMAS))))?;
        let mut key = (Arc::as_ptr(&event.schema) as usize, route.clone(), version);
        if let Some((_, schema)) = known.get(&key) {
            return Ok(schema);
        }
        let schema = event.value_schema(payload, route, version)?;
        key.1 = own(route);
        known.remember(&key, &(Arc::clone(&event.schema), Arc::clone(&schema)));
        Ok(schema)
    }
}

/// A copy: what is kept must not hold the batch that the text came in.
fn own(text: &Text) -> Text {
    Text::from(text.to_string())
}
