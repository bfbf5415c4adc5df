//! What is done with the rows of one envelope's schema, worked out once.

use std::sync::Arc;

use towpath_sdk::schema::{Field, Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result, Text};

use super::config::{Config, Missing};
use super::placement::{Place, Placed};
use crate::envelope::{self, AFTER, OP, TS_MS, refused};

/// Which columns are what, as they are configured.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) payload: String,
    pub(super) route: String,
    pub(super) timestamp: Option<String>,
    pub(super) version: Option<String>,
    pub(super) placed: Vec<Placed>,
    pub(super) missing: Missing,
}

impl Columns {
    pub(super) fn of(config: &Config, placed: Vec<Placed>) -> Self {
        Self {
            id: config.event_id.clone(),
            key: config.event_key.clone(),
            payload: config.payload.clone(),
            route: config.route_by_field.clone(),
            timestamp: config.timestamp.clone(),
            version: config.schema_version.clone(),
            placed,
            missing: config.missing,
        }
    }
}

/// A column by its place in the row.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) place: usize,
    pub(super) schema: SchemaRef,
}

impl Column {
    fn of(row: &Schema, place: usize) -> Self {
        Self { place, schema: Arc::clone(&row.fields()[place].schema) }
    }

    /// What a row has in it; its default for a null.
    pub(super) fn value(&self, row: &[Value]) -> Value {
        envelope::or_default(envelope::at(row, self.place), &self.schema)
    }
}

/// What kind of change an envelope is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Update,
    Delete,
    /// An insert, or a row that a snapshot has read.
    Other,
}

/// Envelopes of one schema. Whether they hold rows that events can be made of is seen when there is a
/// row: updates and deletes of any table are left out.
#[derive(Debug)]
pub(super) struct Plan {
    op: usize,
    after: Option<usize>,
    /// What is made of rows, or why nothing is and the class of that error.
    event: Result<Event, (String, &'static str)>,
}

/// Rows of one schema.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) schema: SchemaRef,
    pub(super) id: Column,
    pub(super) key: Column,
    pub(super) payload: Column,
    route: usize,
    timestamp: Option<(usize, Unit)>,
    ts_ms: usize,
    version: Option<usize>,
    pub(super) headers: Vec<(Text, Column)>,
    /// The fields beside `payload`; `None` if the payload is the whole value.
    pub(super) beside: Option<Vec<(Arc<str>, Column)>>,
    partition: Option<usize>,
}

/// How a column counts time.
#[derive(Debug)]
enum Unit {
    /// So many of its units are a millisecond.
    PerMs(i64),
    /// It can't be told.
    Unknown(String),
}

impl Plan {
    pub(super) fn of(envelope: &Schema, columns: &Columns) -> Result<Self> {
        let op = envelope::text_column(envelope, OP, "the transform")?;
        let event = Event::of(envelope, columns).map_err(|e| (e.to_string(), e.class()));
        Ok(Self { op, after: envelope.field_index(AFTER), event })
    }

    pub(super) fn operation(&self, envelope: &[Value]) -> Result<Operation> {
        match envelope::text(envelope, self.op).map(|op| &**op) {
            Some("u") => Ok(Operation::Update),
            Some("d") => Ok(Operation::Delete),
            Some(_) => Ok(Operation::Other),
            None => Err(Error::data("the envelope does not say what was done: its op is null")),
        }
    }

    /// The row after the change.
    pub(super) fn event<'r>(&self, envelope: &'r [Value]) -> Result<(&Event, &'r [Value])> {
        let row = self.after.map(|place| envelope::at(envelope, place));
        if row.is_some_and(Value::is_null) {
            return Err(Error::data(
                "the envelope has no row to make an event of, as of a TRUNCATE: leave such changes \
                 out with skipped.operations",
            ));
        }
        let event = self.event.as_ref();
        let event = event.map_err(|(why, class)| Error::data(why.as_str()).with_class(class))?;
        match row {
            Some(Value::Struct(row)) if row.values().len() == event.schema.fields().len() => {
                Ok((event, row.values()))
            }
            _ => Err(Error::data("the row in the envelope is not what the envelope's schema says")),
        }
    }
}

impl Event {
    fn of(envelope: &Schema, columns: &Columns) -> Result<Self> {
        let after = envelope.field_index(AFTER).ok_or_else(|| {
            Error::data("the envelope has no field 'after'")
                .with_class("java.lang.IllegalArgumentException")
        })?;
        let row = &envelope.fields()[after].schema;
        let payload = row.field_index(&columns.payload).ok_or_else(|| {
            refused(format!(
                "the row has no column '{}', which table.field.event.payload names",
                columns.payload
            ))
        })?;
        let column =
            |name, key| envelope::column_of(row, name, key).map(|place| Column::of(row, place));
        let version = columns.version.as_deref();
        let ts_ms = envelope::column_of(envelope, TS_MS, "the record's time")?;
        envelope::typed(envelope, ts_ms, &Kind::Int64, "the record's time")?;
        let mut event = Self {
            schema: Arc::clone(row),
            id: column(&columns.id, "table.field.event.id")?,
            key: column(&columns.key, "table.field.event.key")?,
            payload: Column::of(row, payload),
            route: envelope::text_column(row, &columns.route, "route.by.field")?,
            timestamp: timestamp(row, columns.timestamp.as_deref())?,
            ts_ms,
            version: None,
            headers: Vec::new(),
            beside: None,
            partition: None,
        };
        event.place(row, columns)?;
        if let (Some(version), Some(_)) = (version, &event.beside) {
            let key = "table.field.event.schema.version";
            let place = envelope::column_of(row, version, key)?;
            envelope::typed(row, place, &Kind::Int32, key)?;
            event.version = Some(place);
        }
        Ok(event)
    }

    fn place(&mut self, row: &Schema, columns: &Columns) -> Result<()> {
        for Placed { column, place } in &columns.placed {
            if matches!(place, Place::Envelope(_)) {
                self.beside.get_or_insert_default();
            }
            let Some(at) = row.field_index(column) else {
                if columns.missing == Missing::Ignore {
                    continue;
                }
                let error = refused(format!(
                    "the row has no column '{column}', which table.fields.additional.placement names; \
                     table.field.additional.missing=ignore goes on without it"
                ));
                return Err(match place {
                    Place::Envelope(_) => error,
                    _ => Error::data(error.to_string()),
                });
            };
            match place {
                Place::Header(name) => self.headers.push((name.clone(), Column::of(row, at))),
                Place::Envelope(name) => {
                    let beside = self.beside.get_or_insert_default();
                    beside.push((Arc::clone(name), Column::of(row, at)));
                }
                Place::Partition => {
                    envelope::typed(row, at, &Kind::Int32, "table.fields.additional.placement")?;
                    self.partition = Some(at);
                }
            }
        }
        Ok(())
    }

    /// What names the topic.
    pub(super) fn route<'r>(&self, row: &'r [Value]) -> Result<&'r Text> {
        envelope::text(row, self.route).ok_or_else(|| {
            let column = self.schema.fields().get(self.route).map_or("", |field| &*field.name);
            Error::data(format!(
                "the column '{column}' is null, so no topic is known for the event"
            ))
        })
    }

    /// Milliseconds since the epoch, if they are known.
    pub(super) fn timestamp(&self, row: &[Value], envelope: &[Value]) -> Result<Option<i64>> {
        let own = self.timestamp.as_ref();
        let own = own.and_then(|(place, unit)| Some((envelope::at(row, *place).as_i64()?, unit)));
        match own {
            Some((time, Unit::PerMs(per_ms))) => Ok(Some(time / per_ms)),
            Some((_, Unit::Unknown(why))) => Err(refused(why.as_str())),
            None => Ok(envelope::at(envelope, self.ts_ms).as_i64()),
        }
    }

    /// The version of the value's schema.
    pub(super) fn version(&self, row: &[Value]) -> Option<i32> {
        int32(row, self.version?)
    }

    /// The record's partition.
    pub(super) fn partition(&self, row: &[Value]) -> Option<i32> {
        int32(row, self.partition?)
    }

    /// The schema of a value with `payload` and the fields beside it: called after the row's schema,
    /// with the route before its last name.
    pub(super) fn value_schema(
        &self,
        payload: &SchemaRef,
        route: &str,
        version: Option<i32>,
    ) -> Result<SchemaRef> {
        let field = |name: &Arc<str>, schema: &SchemaRef| Field {
            name: Arc::clone(name),
            schema: Arc::clone(schema),
        };
        let mut fields = vec![field(&"payload".into(), payload)];
        let beside = self.beside.iter().flatten();
        fields.extend(beside.map(|(name, column)| field(name, &column.schema)));
        let name = match self.schema.name.as_deref().map(|name| (name, name.rsplit_once('.'))) {
            None => route.to_owned(),
            Some((_, Some((before, last)))) => format!("{before}.{route}.{last}"),
            Some((name, None)) => format!("{route}.{name}"),
        };
        let mut like = Schema::new(Kind::Struct(Vec::new())).named(name);
        like.version = version;
        envelope::struct_like(&like, fields)
    }
}

fn int32(row: &[Value], place: usize) -> Option<i32> {
    match envelope::at(row, place) {
        Value::Int32(number) => Some(*number),
        _ => None,
    }
}

fn timestamp(row: &Schema, column: Option<&str>) -> Result<Option<(usize, Unit)>> {
    let Some(column) = column else { return Ok(None) };
    let key = "table.field.event.timestamp";
    let place = row.field_index(column);
    let place = place
        .ok_or_else(|| refused(format!("the row has no column '{column}', which {key} names")))?;
    envelope::typed(row, place, &Kind::Int64, key)?;
    let unit = match row.fields()[place].schema.name.as_deref() {
        Some("io.debezium.time.Timestamp") => Unit::PerMs(1),
        Some("io.debezium.time.MicroTimestamp") => Unit::PerMs(1_000),
        Some("io.debezium.time.NanoTimestamp") => Unit::PerMs(1_000_000),
        name => Unit::Unknown(format!(
            "the column '{column}', which {key} names, is {} and no timestamp of Debezium",
            name.unwrap_or("a plain number")
        )),
    };
    Ok(Some((place, unit)))
}
