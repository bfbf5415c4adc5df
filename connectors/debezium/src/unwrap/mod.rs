//! `ExtractNewRecordState`: the row after a change takes the place of the change.
//!
//! A delete or a tombstone becomes what `delete.tombstone.handling.mode` says; a TRUNCATE, and a change
//! that shows no row at all, is left out. Records that are no changes pass as they are.
//!
//! Differences on purpose: where `delete-to-tombstone` meets a header of fields to leave out, there is
//! nothing to leave out of a null (Debezium throws a null pointer exception).

mod added;
mod config;
mod drops;
mod plan;

use std::sync::{Arc, LazyLock};

use towpath_builtin::cache::ByPointer;
use towpath_sdk::config::FieldErrors;
use towpath_sdk::plugin::PluginName;
use towpath_sdk::record::{Header, Record};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::transform::{Transform, Transformed};
use towpath_sdk::value::{Datum, Struct, Value};
use towpath_sdk::{Error, Result, Text};

use crate::Configured;
use crate::envelope;
use added::Reference;
pub use config::{Config, DeleteHandling};
use drops::Drops;
use plan::{Plan, Rows, Wanted};

pub(crate) const NAMES: &[PluginName] =
    &[PluginName::new("io.debezium.transforms.ExtractNewRecordState")];

/// How many schemas are kept of each kind.
const SCHEMAS: usize = 1000;

/// A tombstone has no schema to take that of `op` from.
static TEXT: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(Kind::String)));

/// Puts the row after a change in the place of the change.
#[derive(Debug)]
pub struct ExtractNewRecordState {
    deletes: DeleteHandling,
    defaults: bool,
    wanted: Wanted,
    drops: Option<Drops>,
    plans: ByPointer<Arc<Plan>>,
}

impl Configured for ExtractNewRecordState {
    type Config = Config;

    fn of(config: Config) -> Result<Self, FieldErrors> {
        // Wrong ones were refused when the configuration was read.
        let references = |prefix: &str, written: &[String]| {
            let written = written.iter().filter(|field| !field.is_empty());
            written.filter_map(|field| Reference::parse(prefix, field).ok()).collect()
        };
        let deletes = config.delete_tombstone_handling_mode;
        Ok(Self {
            deletes,
            defaults: config.replace_null_with_default,
            wanted: Wanted {
                fields: references(&config.add_fields_prefix, &config.add_fields),
                headers: references(&config.add_headers_prefix, &config.add_headers),
                route: Some(config.route_by_field.clone()).filter(|column| !column.is_empty()),
                flagged: deletes.rewrites(),
            },
            drops: Drops::of(&config),
            plans: ByPointer::new(SCHEMAS),
        })
    }
}

impl Transform for ExtractNewRecordState {
    fn apply(&self, record: &mut Record) -> Result<Transformed> {
        if record.value.is_null() {
            return Ok(self.tombstone(record));
        }
        let Some(schema) = envelope::schema_of(&record.value) else {
            return Ok(Transformed::Keep);
        };
        let values = envelope::values(&record.value.value)?;
        let plan = self
            .plans
            .get_or_make(schema, |schema| Ok(Arc::new(Plan::of(schema, &self.wanted)?)))?;
        let headers = plan.headers(values)?;
        if !envelope::at(values, plan.after.place).is_null() {
            return self.row(record, &plan.after, headers, false);
        }
        let Some(before) = &plan.before else {
            return Err(Error::data("the envelope has no field 'before' to tell a delete by")
                .with_class("java.lang.IllegalArgumentException"));
        };
        if envelope::at(values, before.place).is_null() {
            return Ok(Transformed::Drop);
        }
        match self.deletes {
            DeleteHandling::Drop => Ok(Transformed::Drop),
            DeleteHandling::Tombstone => {
                let value = Datum::new(Arc::clone(&plan.after.schema), Value::Null);
                self.deleted(record, before, headers, value)
            }
            DeleteHandling::DeleteToTombstone => {
                self.deleted(record, before, headers, Datum::null())
            }
            DeleteHandling::Rewrite | DeleteHandling::RewriteWithTombstone => {
                self.row(record, before, headers, true)
            }
        }
    }
}

impl ExtractNewRecordState {
    fn tombstone(&self, record: &mut Record) -> Transformed {
        if self.deletes != DeleteHandling::RewriteWithTombstone {
            return Transformed::Drop;
        }
        for name in self.wanted.headers.iter().filter_map(Reference::operation) {
            let text = Value::String(Text::from_static("d"));
            let value = Datum::new(Arc::clone(&TEXT), text);
            record.headers.push(Header { key: name.into(), value });
        }
        Transformed::Keep
    }

    /// Puts `value`, a null, in the place of a delete.
    fn deleted(
        &self,
        record: &mut Record,
        before: &Rows,
        headers: Vec<Header>,
        value: Datum,
    ) -> Result<Transformed> {
        let topic = before.topic(row_of(record, before)?, false)?;
        let (_, key) = self.dropped(record, &headers)?;
        record.topic = topic.unwrap_or_else(|| Arc::clone(&record.topic));
        record.key = key.unwrap_or_else(|| std::mem::take(&mut record.key));
        record.value = value;
        record.headers.extend(headers);
        Ok(Transformed::Keep)
    }

    /// Puts a row of the envelope, which is there still or `gone`, in its place. What can fail comes
    /// first.
    fn row(
        &self,
        record: &mut Record,
        rows: &Rows,
        headers: Vec<Header>,
        gone: bool,
    ) -> Result<Transformed> {
        let shape = rows.shape()?;
        // A row that is there still is routed as it is rewritten, one that is gone as it was.
        let defaults = self.defaults && self.deletes.rewrites();
        let topic = rows.topic(row_of(record, rows)?, defaults && !gone)?;
        let envelope = envelope::values(&record.value.value)?;
        let added =
            shape.added.iter().map(|added| added.value(envelope)).collect::<Result<Vec<_>>>()?;
        let (names, key) = self.dropped(record, &headers)?;
        // What is added to a row before it was deleted can't be left out.
        let limit = if gone { shape.own } else { shape.schema.fields().len() };
        let narrowed = match &self.drops {
            Some(drops) => drops.narrow(&shape.schema, limit, &names)?,
            None => None,
        };

        let mut values = take_row(record, rows);
        if self.deletes.rewrites() {
            if defaults {
                for (value, field) in values.iter_mut().zip(rows.schema.fields()) {
                    if let (Value::Null, Some(default)) = (&*value, &field.schema.default) {
                        *value = default.clone();
                    }
                }
            }
            values.push(Value::String(Text::from_static(if gone { "true" } else { "false" })));
        }
        values.extend(added);
        let schema = match narrowed {
            Some(narrowed) => {
                values = drops::left(&narrowed, &shape.schema, values.into_iter());
                narrowed.1
            }
            None => Arc::clone(&shape.schema),
        };
        record.value = Datum::new(Arc::clone(&schema), Value::Struct(Struct::new(schema, values)?));
        record.topic = topic.unwrap_or_else(|| Arc::clone(&record.topic));
        record.key = key.unwrap_or_else(|| std::mem::take(&mut record.key));
        record.headers.extend(headers);
        Ok(Transformed::Keep)
    }

    /// The names of fields to leave out, and the key without them if it is another one.
    fn dropped(&self, record: &Record, added: &[Header]) -> Result<(Vec<Text>, Option<Datum>)> {
        let Some(drops) = &self.drops else { return Ok((Vec::new(), None)) };
        let names = drops.names(record.headers.iter().chain(added))?;
        let key = drops.key(&record.key, &names)?;
        Ok((names, key))
    }
}

/// The values of the row at a place of the envelope.
fn row_of<'r>(record: &'r Record, rows: &Rows) -> Result<&'r [Value]> {
    match envelope::at(envelope::values(&record.value.value)?, rows.place) {
        Value::Struct(row) if row.values().len() == rows.schema.fields().len() => Ok(row.values()),
        _ => Err(Error::data("the row in the envelope is not what the envelope's schema says")),
    }
}

/// The same, taken out. It was seen before that it is there.
fn take_row(record: &mut Record, rows: &Rows) -> Vec<Value> {
    let Value::Struct(envelope) = std::mem::take(&mut record.value.value) else {
        return Vec::new();
    };
    match envelope.into_values().into_iter().nth(rows.place) {
        Some(Value::Struct(row)) => row.into_values(),
        _ => Vec::new(),
    }
}
