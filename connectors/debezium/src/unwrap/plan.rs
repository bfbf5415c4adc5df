//! What is done with the records of one envelope's schema, worked out once.

use std::sync::Arc;

use towpath_sdk::record::{Header, Topic};
use towpath_sdk::schema::{Field, Kind, Schema, SchemaRef};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result};

use super::added::{Added, Reference};
use crate::envelope::{self, AFTER, BEFORE, OP};

/// What is added, as it is configured.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) fields: Vec<Reference>,
    pub(super) headers: Vec<Reference>,
    /// The column that names the topic.
    pub(super) route: Option<String>,
    /// Whether rows get the field `__deleted`.
    pub(super) flagged: bool,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) after: Rows,
    /// `None` if envelopes do not show the row before a change.
    pub(super) before: Option<Rows>,
    headers: Result<Vec<Added>, Fault>,
}

/// The rows at one place of the envelope.
#[derive(Debug)]
pub(super) struct Rows {
    /// The place.
    pub(super) place: usize,
    /// Their schema.
    pub(super) schema: SchemaRef,
    /// What they become.
    shape: Result<Shape, Fault>,
    /// The place of the column that names the topic.
    route: Result<Option<usize>, Fault>,
}

/// What a row becomes.
#[derive(Debug)]
pub(super) struct Shape {
    /// The row's fields, `__deleted`, and what is added.
    pub(super) schema: SchemaRef,
    /// How many of these fields are not added ones.
    pub(super) own: usize,
    pub(super) added: Vec<Added>,
}

/// Why records of this schema can't be worked on, as far as they need what is wrong.
type Fault = String;

fn fault(error: &Error) -> Fault {
    error.to_string()
}

fn found<T>(found: &Result<T, Fault>) -> Result<&T> {
    found.as_ref().map_err(|why| Error::data(why.as_str()))
}

impl Plan {
    pub(super) fn of(envelope: &Schema, wanted: &Wanted) -> Result<Self> {
        let rows = |name| envelope.field_index(name).map(|at| Rows::of(envelope, at, wanted));
        let after = rows(AFTER).ok_or_else(|| {
            Error::data("the envelope has no field 'after'")
                .with_class("java.lang.IllegalArgumentException")
        })?;
        let headers = added(envelope, &wanted.headers).map_err(|error| fault(&error));
        Ok(Self { after, before: rows(BEFORE), headers })
    }

    /// The headers that a record gets.
    pub(super) fn headers(&self, envelope: &[Value]) -> Result<Vec<Header>> {
        let header = |added: &Added| {
            let value = Datum::new(Arc::clone(&added.schema), added.value(envelope)?);
            Ok(Header { key: (&*added.name).into(), value })
        };
        found(&self.headers)?.iter().map(header).collect()
    }
}

impl Rows {
    fn of(envelope: &Schema, place: usize, wanted: &Wanted) -> Self {
        let row = &envelope.fields()[place].schema;
        let route = wanted.route.as_ref();
        let route = route.map(|column| envelope::text_column(row, column, "route.by.field"));
        Self {
            place,
            schema: Arc::clone(row),
            shape: Shape::of(envelope, row, wanted).map_err(|error| fault(&error)),
            route: route.transpose().map_err(|error| fault(&error)),
        }
    }

    /// What they become.
    pub(super) fn shape(&self) -> Result<&Shape> {
        found(&self.shape)
    }

    /// The topic that a row names, if it does; where the column is null its default does with
    /// `defaults`.
    pub(super) fn topic(&self, row: &[Value], defaults: bool) -> Result<Option<Topic>> {
        let Some(column) = *found(&self.route)? else { return Ok(None) };
        let default = match self.schema.fields().get(column) {
            Some(field) if defaults => field.schema.default.as_ref(),
            _ => None,
        };
        let topic = match (envelope::at(row, column), default) {
            (Value::Null, Some(default)) => default.as_str(),
            (topic, _) => topic.as_str(),
        };
        Ok(topic.filter(|topic| !is_blank(topic)).map(Into::into))
    }
}

impl Shape {
    fn of(envelope: &Schema, row: &Schema, wanted: &Wanted) -> Result<Self> {
        let Kind::Struct(fields) = &row.kind else {
            return Err(Error::data("the row in the envelope is no struct"));
        };
        envelope::text_column(envelope, OP, "the transform")?;
        let mut fields = fields.clone();
        if wanted.flagged {
            let schema = Arc::new(Schema::new(Kind::String).optional());
            fields.push(Field { name: "__deleted".into(), schema });
        }
        let own = fields.len();
        let added = added(envelope, &wanted.fields)?;
        fields.extend(added.iter().map(|added| Field {
            name: Arc::clone(&added.name),
            schema: Arc::clone(&added.schema),
        }));
        Ok(Self { schema: envelope::struct_like(row, fields)?, own, added })
    }
}

fn added(envelope: &Schema, wanted: &[Reference]) -> Result<Vec<Added>> {
    wanted.iter().filter_map(|reference| reference.find(envelope).transpose()).collect()
}

/// As Java trims.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c <= ' ')
}
