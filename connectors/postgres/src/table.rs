//! Tables as of an LSN.
//!
//! Duty: from a relation's columns and what the catalog adds (keys, NOT NULL, defaults, types) make
//! the schemas of its records and the decoders of its rows, masks and other names among them. Pure. A
//! [`Table`] never changes: another relation message makes another one.
//!
//! A record's key has its columns as they are, also where the value leaves them out or masks them, as
//! Debezium's has; such values of a row are decoded beside it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;
use towpath_sdk::java_text::write_java_text;
use towpath_sdk::record::Topic;
use towpath_sdk::schema::{Schema, SchemaRef};
use towpath_sdk::value::{Datum, Struct, Value};
use towpath_sdk::{Error, Result};

use crate::config::Config;
use crate::envelope::{hex, schemas};
use crate::mask::Mask;
use crate::names;
use crate::rules::Rules;
use crate::types::{Codec, PgType, Slice, codec};
use crate::unreadable::Texts;

/// A column as it is described.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnShape {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its type.
    pub(crate) kind: Arc<PgType>,
    /// The type's modifier; -1 is none.
    pub(crate) typmod: i32,
    /// Whether it is never null.
    pub(crate) is_required: bool,
    /// Whether changes show it of the row before.
    pub(crate) is_identity: bool,
    /// The expression of its default, as the catalog shows it.
    pub(crate) default: Option<Arc<str>>,
}

/// A table as it is described.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// Its object id.
    pub(crate) oid: u32,
    /// Its schema.
    pub(crate) schema: Arc<str>,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its columns, in the order of its rows.
    pub(crate) columns: Vec<ColumnShape>,
    /// The names of the columns of its key, in the key's order.
    pub(crate) key: Vec<Arc<str>>,
}

/// A table whose rows can be decoded.
#[derive(Debug)]
pub(crate) struct Table {
    /// As it was described.
    pub(crate) shape: Shape,
    /// The topic of its records.
    pub(crate) topic: Topic,
    /// `schema.table`, as transaction metadata calls it.
    pub(crate) collection: Arc<str>,
    /// Its schema and its name, as the block `source` has them.
    pub(crate) names: [Value; 2],
    /// The schema of a row.
    pub(crate) row: SchemaRef,
    /// The schema of a record's value.
    pub(crate) envelope: SchemaRef,
    key: Option<Key>,
    columns: Vec<Option<Column>>,
    /// What is shown in place of values that an UPDATE left alone, by the row's fields; `None` if they
    /// are handed on as such.
    unavailable: Option<Box<[Value]>>,
}

#[derive(Debug)]
struct Key {
    schema: SchemaRef,
    fields: Vec<Part>,
    columns: Vec<Arc<str>>,
}

/// A value of the key.
#[derive(Debug, Clone)]
struct Part {
    place: Place,
    /// The schema of a struct that is not the row's.
    rebind: Option<SchemaRef>,
}

/// Where the value of a column of the key is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In the row as it is shown.
    Shown(usize),
    /// Beside it.
    Beside(usize),
}

#[derive(Debug)]
struct Column {
    codec: Codec,
    field: SchemaRef,
    role: Role,
    /// What is shown where the replica identity does not cover the column.
    absent: Value,
}

/// What is done with a column's value.
#[derive(Debug)]
enum Role {
    Shown,
    /// Something is shown in its place; the key may have it as it is.
    Masked {
        mask: Mask,
        is_key: bool,
    },
    /// Only the key has it.
    KeyOnly,
}

/// A decoded row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// As it is shown.
    pub(crate) shown: Struct,
    /// Values of the key that are not in it.
    beside: Vec<Value>,
}

/// Fields of a schema, by name.
type Fields = Vec<(Arc<str>, SchemaRef)>;

/// A table's columns while they are laid out.
#[derive(Default)]
struct Layout {
    columns: Vec<Option<Column>>,
    /// The row's.
    fields: Fields,
    /// The key's, in the order of the columns.
    key: Vec<KeyField>,
    /// What stands for values that are not known, by the row's fields.
    unavailable: Vec<Value>,
    /// How many values are beside a row.
    beside: usize,
}

struct KeyField {
    column: Arc<str>,
    part: Part,
    schema: SchemaRef,
}

impl Layout {
    fn add(
        &mut self,
        shape: &Shape,
        column: &ColumnShape,
        rules: &Rules,
        is_key: bool,
        is_shown: bool,
    ) {
        let is_wanted = is_key || is_shown;
        let codec = is_wanted.then(|| codec(&column.kind, column.typmod, &rules.modes)).flatten();
        let Some(codec) = codec else { return self.columns.push(None) };
        let default = column.default.as_deref().and_then(|text| codec.default(text));
        let plain = codec.schema(!column.is_required, default);
        let mask = if is_shown { rules.mask(shape, column, &plain) } else { None };
        let field = match is_shown {
            true => Arc::new(rules.schema(shape, column, plain.clone(), mask.as_ref())),
            false => Arc::new(plain.clone()),
        };
        if is_key {
            let schema = if *field == plain { Arc::clone(&field) } else { Arc::new(plain) };
            let place = match is_shown && mask.is_none() {
                true => Place::Shown(self.fields.len()),
                false => Place::Beside(self.beside),
            };
            self.beside += usize::from(matches!(place, Place::Beside(_)));
            // Structs carry the schema that they are bound to, and the row's says more of its source.
            let is_other = !Arc::ptr_eq(&schema, &field) && !schema.fields().is_empty();
            let rebind = is_other.then(|| Arc::clone(&schema));
            let column = Arc::clone(&column.name);
            self.key.push(KeyField { column, part: Part { place, rebind }, schema });
        }
        if is_shown {
            self.unavailable.push(codec.unavailable());
            self.fields.push((rules.field_name(&column.name), Arc::clone(&field)));
        }
        let role = match (is_shown, mask) {
            (false, _) => Role::KeyOnly,
            (true, Some(mask)) => Role::Masked { mask, is_key },
            (true, None) => Role::Shown,
        };
        let codec = codec.bind(&field);
        // As Debezium has it: nothing, or else the default or the zero value.
        let absent = match (column.is_required, &field.default) {
            (false, _) => Value::Null,
            (true, Some(default)) => default.clone(),
            (true, None) => codec.zero(),
        };
        self.columns.push(Some(Column { codec, field, role, absent }));
    }
}

/// A name that two fields have.
fn twice(fields: &Fields) -> Option<Arc<str>> {
    let mut seen = HashSet::with_capacity(fields.len());
    fields.iter().map(|(name, _)| name).find(|name| !seen.insert(*name)).cloned()
}

/// One value of a row as it came.
#[derive(Debug, Clone)]
pub(crate) enum Field<'a> {
    /// NULL.
    Null,
    /// A TOAST value that an UPDATE left alone.
    Unchanged,
    /// PostgreSQL's text.
    Text(Bytes),
    /// What the type's send function writes.
    Binary(Slice<'a>),
    /// It was not sent, as it is not part of the replica identity.
    Absent,
}

impl Table {
    /// Makes the schemas and decoders of a table.
    ///
    /// # Errors
    /// If names of columns are the same once they are adjusted.
    pub(crate) fn new(shape: Shape, config: &Config, rules: &Rules) -> Result<Self> {
        let (schema, name) = (&*shape.schema, &*shape.name);
        let delimiter = &config.records.topic_delimiter;
        let base = format!("{}{delimiter}{schema}{delimiter}{name}", config.topic_prefix);
        let topic = names::topic(&base);
        let key_names = rules.key(&shape);
        let mut layout = Layout::default();
        for column in &shape.columns {
            let is_key = key_names.contains(&column.name);
            let is_shown = config.filters.shows(schema, name, &column.name);
            layout.add(&shape, column, rules, is_key, is_shown);
        }
        let Layout { columns, fields, key: key_fields, unavailable, .. } = layout;
        // In the key's own order.
        let in_order = key_names.iter();
        let key_fields: Vec<_> = in_order
            .filter_map(|name| key_fields.iter().find(|field| field.column == *name))
            .collect();
        let of_key =
            |field: &&KeyField| (rules.field_name(&field.column), Arc::clone(&field.schema));
        let of_key: Vec<_> = key_fields.iter().map(of_key).collect();
        if let Some(twice) = twice(&fields).or_else(|| twice(&of_key)) {
            return Err(Error::config(format!(
                "two columns of table {schema}.{name} are called {twice} under \
                 field.name.adjustment.mode; leave one out with column.exclude.list"
            )));
        }
        let key = (!of_key.is_empty()).then(|| {
            let name = rules.schema_name(&format!("{topic}.Key"));
            let schema = Arc::new(Schema::structure(of_key).named(name));
            let columns = key_fields.iter().map(|field| Arc::clone(&field.column)).collect();
            Key {
                schema,
                fields: key_fields.iter().map(|field| field.part.clone()).collect(),
                columns,
            }
        });
        let row = rules.schema_name(&format!("{topic}.Value"));
        let row = Arc::new(Schema::structure(fields).optional().named(row));
        let envelope = rules.schema_name(&format!("{topic}.Envelope"));
        Ok(Self {
            topic: (*topic).into(),
            collection: format!("{schema}.{name}").into(),
            names: [schema, name].map(|text| Value::String(text.to_owned().into())),
            envelope: Arc::new(schemas::envelope(envelope, &row)),
            row,
            key,
            columns,
            unavailable: rules.shows_placeholder.then(|| unavailable.into()),
            shape,
        })
    }

    /// The columns that rows are decoded from, in order; `None` for one that is left out.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&ColumnShape, bool)> {
        self.shape
            .columns
            .iter()
            .zip(&self.columns)
            .map(|(shape, column)| (shape, column.is_some()))
    }

    /// The fields of a row for all columns, from those that it is decoded from.
    pub(crate) fn spread<'a>(
        &self,
        mut fields: impl Iterator<Item = Field<'a>>,
    ) -> impl Iterator<Item = Field<'a>> {
        self.columns.iter().map(move |column| match column {
            Some(_) => fields.next().unwrap_or(Field::Null),
            None => Field::Null,
        })
    }

    /// The columns of the key, in the order of the table's.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &ColumnShape> {
        self.shape.columns.iter().filter(|column| self.is_of_key(column))
    }

    /// The fields of a row for all columns, from those of [`Self::key_columns`].
    pub(crate) fn spread_key<'a>(
        &self,
        mut fields: impl Iterator<Item = Field<'a>>,
    ) -> impl Iterator<Item = Field<'a>> {
        self.shape.columns.iter().map(move |column| match self.is_of_key(column) {
            true => fields.next().unwrap_or(Field::Null),
            false => Field::Absent,
        })
    }

    fn is_of_key(&self, column: &ColumnShape) -> bool {
        self.key.as_ref().is_some_and(|key| key.columns.contains(&column.name))
    }

    /// Whether all columns that rows are decoded from are read in binary, too.
    #[must_use]
    pub(crate) fn reads_binary(&self) -> bool {
        self.columns.iter().flatten().all(|column| column.codec.reads_binary())
    }

    /// Decodes a row from its fields, which come in the order of the columns.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] with the column, if its value can't be shown.
    pub(crate) fn decode<'a>(&self, fields: impl Iterator<Item = Field<'a>>) -> Result<Row> {
        let mut values = Vec::with_capacity(self.row.fields().len());
        let mut beside = Vec::new();
        let mut count = 0;
        for (field, (column, shape)) in fields.zip(self.columns.iter().zip(&self.shape.columns)) {
            count += 1;
            let Some(column) = column else { continue };
            let value = column
                .decode(&field)
                .map_err(|error| error.context(format!("decode column {}", shape.name)))?;
            column.lay(value, &mut values, &mut beside);
        }
        if count != self.columns.len() {
            return Err(Error::internal(format!(
                "a row of table {} has {count} columns, not {}",
                self.collection,
                self.columns.len()
            )));
        }
        Ok(Row { shown: Struct::new(Arc::clone(&self.row), values)?, beside })
    }

    /// A row of which only the key is known, as a delete shows it; without one the key is made of what
    /// stands for values that are not known.
    ///
    /// # Errors
    /// If it is not this table's key.
    pub(crate) fn row_of_key(&self, key: Option<&Struct>) -> Result<Row> {
        let names = self.key.as_ref().map(|key| &*key.columns).unwrap_or_default();
        let of_key = |name: &Arc<str>| {
            let at = names.iter().position(|column| column == name)?;
            key?.values().get(at).cloned()
        };
        let (mut values, mut beside) = (Vec::with_capacity(self.row.fields().len()), Vec::new());
        for (column, shape) in self.columns.iter().zip(&self.shape.columns) {
            let Some(column) = column else { continue };
            let value = of_key(&shape.name).unwrap_or_else(|| column.absent.clone());
            column.lay(value, &mut values, &mut beside);
        }
        Ok(Row { shown: Struct::new(Arc::clone(&self.row), values)?, beside })
    }

    /// A row, not all of which can be decoded, as texts.
    pub(crate) fn texts<'a>(&self, fields: impl Iterator<Item = Field<'a>>) -> Texts {
        let mut texts = Texts::default();
        for (field, (column, shape)) in fields.zip(self.columns.iter().zip(&self.shape.columns)) {
            let Some(column) = column else { continue };
            if matches!(field, Field::Unchanged | Field::Absent) {
                continue;
            }
            let name = shape.name.to_string();
            let decoded = column.decode(&field).ok();
            let text = |decoded: Option<Value>| match decoded {
                Some(Value::Null) => Json::Null,
                Some(value) => {
                    let mut text = String::new();
                    write_java_text(&mut text, &value, Some(&column.field));
                    text.into()
                }
                None => field.as_sent().into(),
            };
            if self.key.as_ref().is_some_and(|key| key.columns.contains(&shape.name)) {
                let shown = text(decoded.clone());
                if matches!(column.role, Role::Shown) {
                    texts.open_key.insert(name.clone(), shown.clone());
                }
                texts.key.insert(name.clone(), shown);
            }
            match (&column.role, decoded) {
                (Role::Shown, decoded) => texts.row.insert(name, text(decoded)),
                (Role::Masked { mask, .. }, Some(value)) => {
                    texts.row.insert(name, text(Some(mask.apply(value))))
                }
                (Role::Masked { .. }, None) | (Role::KeyOnly, _) => None,
            };
        }
        texts
    }

    /// Puts `unavailable.value.placeholder` in the place of what is not known of a row, if it is to be
    /// shown here.
    pub(crate) fn show_placeholder(&self, row: &mut Row) {
        let Some(unavailable) = &self.unavailable else { return };
        for (value, placeholder) in row.shown.values_mut().iter_mut().zip(unavailable) {
            if *value == Value::Unchanged {
                *value = placeholder.clone();
            }
        }
    }

    /// The key of a decoded row; null if the table has none.
    ///
    /// # Errors
    /// If the row is not of this table.
    pub(crate) fn key_of(&self, row: &Row) -> Result<Datum> {
        let Some(key) = &self.key else { return Ok(Datum::null()) };
        let value = |part: &Part| {
            let value = match part.place {
                Place::Shown(at) => row.shown.values().get(at),
                Place::Beside(at) => row.beside.get(at),
            };
            match (value.cloned().unwrap_or_default(), &part.rebind) {
                (Value::Struct(value), Some(schema)) => {
                    Struct::new(Arc::clone(schema), value.into_values()).map(Value::Struct)
                }
                (value, _) => Ok(value),
            }
        };
        let values = key.fields.iter().map(value).collect::<Result<_>>()?;
        let key_value = Struct::new(Arc::clone(&key.schema), values)?;
        Ok(Datum::new(Arc::clone(&key.schema), Value::Struct(key_value)))
    }

    /// The schema of the key, if the table has one.
    #[must_use]
    pub(crate) fn key_schema(&self) -> Option<&SchemaRef> {
        self.key.as_ref().map(|key| &key.schema)
    }

    /// Whether the table has a key.
    #[must_use]
    pub(crate) const fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

impl Row {
    /// Whether an UPDATE left something alone that is not known here.
    #[must_use]
    pub(crate) fn is_partial(&self) -> bool {
        self.shown.values().iter().chain(&self.beside).any(|value| *value == Value::Unchanged)
    }

    /// What an UPDATE left alone is in the row before, if that is there whole.
    pub(crate) fn fill_unchanged(&mut self, before: &Self) {
        let fill = |values: &mut [Value], before: &[Value]| {
            for (value, old) in values.iter_mut().zip(before) {
                if *value == Value::Unchanged {
                    *value = old.clone();
                }
            }
        };
        fill(self.shown.values_mut(), before.shown.values());
        fill(&mut self.beside, &before.beside);
    }
}

impl Field<'_> {
    /// What came of the server, for people.
    fn as_sent(&self) -> String {
        match self {
            Self::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Self::Binary(value) => String::from_utf8_lossy(&hex(value)).into_owned(),
            Self::Null | Self::Unchanged | Self::Absent => String::new(),
        }
    }
}

impl Column {
    fn decode(&self, field: &Field<'_>) -> Result<Value> {
        match field {
            Field::Null => Ok(Value::Null),
            Field::Unchanged => Ok(Value::Unchanged),
            Field::Absent => Ok(self.absent.clone()),
            Field::Text(text) => self.codec.text(text),
            Field::Binary(value) => self.codec.binary(*value),
        }
    }

    /// Puts a decoded value where the row and its key have it.
    fn lay(&self, value: Value, row: &mut Vec<Value>, beside: &mut Vec<Value>) {
        match &self.role {
            Role::Shown => row.push(value),
            Role::Masked { mask, is_key } => {
                if *is_key {
                    beside.push(value.clone());
                }
                row.push(mask.apply(value));
            }
            Role::KeyOnly => beside.push(value),
        }
    }
}
