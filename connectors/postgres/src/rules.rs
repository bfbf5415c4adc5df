//! What the configuration does to columns, compiled once.
//!
//! Duty: answer for a table's columns which make its key, what they are called, what masks them, and
//! what their schemas tell. Pure.

use std::sync::Arc;

use towpath_sdk::schema::Schema;
use towpath_sdk::{Error, Result};

use crate::config::Config;
use crate::config::Patterns;
use crate::config::columns::{Adjustment, KeyColumns, Masks};
use crate::mask::Mask;
use crate::names;
use crate::source_type;
use crate::table::{ColumnShape, Shape};
use crate::types::Modes;

/// The rules.
#[derive(Debug)]
pub(crate) struct Rules {
    /// How values are shown.
    pub(crate) modes: Modes,
    /// Whether what an update left alone is shown as a text of the user's own.
    pub(crate) shows_placeholder: bool,
    key: Option<KeyColumns>,
    masks: Masks,
    described: [Option<Patterns>; 2],
    schemas: Adjustment,
    fields: Adjustment,
    database: String,
}

impl Rules {
    /// The rules of a configuration.
    ///
    /// # Errors
    /// If it was not checked before.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let columns = &config.columns;
        let masks = columns.masks().map_err(|_| Error::config("column.mask.* can't be read"))?;
        Ok(Self {
            modes: config.modes(),
            shows_placeholder: !columns.unavailable_value_placeholder.is_default,
            key: columns.message_key_columns.clone(),
            masks,
            described: [
                columns.column_propagate_source_type.clone(),
                columns.datatype_propagate_source_type.clone(),
            ],
            schemas: columns.schema_name_adjustment_mode,
            fields: columns.field_name_adjustment_mode,
            database: config.database.dbname.clone(),
        })
    }

    /// The columns of the table's key, in their order.
    pub(crate) fn key(&self, shape: &Shape) -> Vec<Arc<str>> {
        let names = shape.columns.iter().map(|column| &column.name);
        let own = self.key.as_ref().map(|key| key.of(&shape.schema, &shape.name, names));
        own.filter(|key| !key.is_empty()).unwrap_or_else(|| shape.key.clone())
    }

    /// The mask of a column whose schema is `schema`.
    pub(crate) fn mask(
        &self,
        shape: &Shape,
        column: &ColumnShape,
        schema: &Schema,
    ) -> Option<Mask> {
        if self.masks.is_empty() {
            return None;
        }
        let mut masks = self.masks.iter();
        let (_, mask) = masks.find(|(of, _)| self.matches(of, shape, &column.name))?;
        let (length, _) = source_type::size(&column.kind, column.typmod);
        let fits = mask.fit(schema, length);
        if fits.is_none() && !matches!(mask, Mask::Truncate(_)) {
            tracing::warn!(
                table = %format_args!("{}.{}", shape.schema, shape.name), column = %column.name,
                kind = %column.kind.name,
                "only texts are masked: the column is shown as it is; leave it out with column.exclude.list"
            );
        }
        fits
    }

    /// The schema of a column with what it tells of the column.
    pub(crate) fn schema(
        &self,
        shape: &Shape,
        column: &ColumnShape,
        mut schema: Schema,
        mask: Option<&Mask>,
    ) -> Schema {
        if let Some(mask) = mask {
            let (key, value) = mask.parameter();
            schema = schema.parameter(key, value);
        }
        let [columns, types] = &self.described;
        let is_described = |of: &Option<Patterns>, name: &str| {
            of.as_ref().is_some_and(|of| self.matches(of, shape, name))
        };
        match is_described(columns, &column.name) || is_described(types, &column.kind.name) {
            true => source_type::describe(schema, column),
            false => schema,
        }
    }

    /// A schema's name.
    pub(crate) fn schema_name(&self, name: &str) -> Arc<str> {
        (*names::schema(name, self.schemas)).into()
    }

    /// The name of a column's field.
    pub(crate) fn field_name(&self, column: &Arc<str>) -> Arc<str> {
        match self.fields {
            Adjustment::None => Arc::clone(column),
            how => (*names::field(column, how)).into(),
        }
    }

    /// Whether `schema.table.name`, with the database before it or not, is meant.
    fn matches(&self, patterns: &Patterns, shape: &Shape, name: &str) -> bool {
        let Shape { schema, name: table, .. } = shape;
        patterns.matches(&format!("{schema}.{table}.{name}"))
            || patterns.matches(&format!("{}.{schema}.{table}.{name}", self.database))
    }
}
