//! What is captured, and what of it is shown.

use towpath_sdk::config::{ConnectorConfig, FieldError};

use super::patterns::Patterns;

/// Which schemas, tables, columns and operations.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Filters", validate = Filters::check)]
pub struct Filters {
    /// Schemas to capture, as regular expressions for whole names.
    pub schema_include_list: Option<Patterns>,
    /// Schemas to leave out.
    pub schema_exclude_list: Option<Patterns>,
    /// Tables to capture, as regular expressions for `schema.table`.
    #[config(importance = high)]
    pub table_include_list: Option<Patterns>,
    /// Tables to leave out.
    pub table_exclude_list: Option<Patterns>,
    /// Columns to show, as regular expressions for `schema.table.column`. Records' keys have their
    /// columns in any case.
    pub column_include_list: Option<Patterns>,
    /// Columns to leave out of records' values.
    pub column_exclude_list: Option<Patterns>,
    /// Logical messages to capture, as regular expressions for their prefixes.
    pub message_prefix_include_list: Option<Patterns>,
    /// Logical messages to leave out.
    pub message_prefix_exclude_list: Option<Patterns>,
    /// Operations to leave out: `c`, `u`, `d`, `t`, or `none`.
    #[config(default = "t", one_of("c", "u", "d", "t", "none"))]
    pub skipped_operations: Vec<String>,
}

impl Filters {
    /// Whether `operation` (`c`, `u`, `d` or `t`) is left out.
    #[must_use]
    pub fn skips(&self, operation: &str) -> bool {
        self.skipped_operations.iter().any(|skipped| skipped == operation)
    }

    /// Whether the table is captured. Schemas of the system never are.
    #[must_use]
    pub fn captures(&self, schema: &str, table: &str) -> bool {
        if schema == "information_schema" || schema.starts_with("pg_") {
            return false;
        }
        let name = format!("{schema}.{table}");
        passes(&self.schema_include_list, &self.schema_exclude_list, schema)
            && passes(&self.table_include_list, &self.table_exclude_list, &name)
    }

    /// Whether the column of a captured table is shown in records' values.
    #[must_use]
    pub fn shows(&self, schema: &str, table: &str, column: &str) -> bool {
        if self.column_include_list.is_none() && self.column_exclude_list.is_none() {
            return true;
        }
        let name = format!("{schema}.{table}.{column}");
        passes(&self.column_include_list, &self.column_exclude_list, &name)
    }

    /// Whether logical messages with this prefix are captured.
    #[must_use]
    pub fn takes_message(&self, prefix: &str) -> bool {
        passes(&self.message_prefix_include_list, &self.message_prefix_exclude_list, prefix)
    }

    fn check(&self) -> Vec<FieldError> {
        let pairs = [
            ("schema", self.schema_include_list.is_some(), self.schema_exclude_list.is_some()),
            ("table", self.table_include_list.is_some(), self.table_exclude_list.is_some()),
            ("column", self.column_include_list.is_some(), self.column_exclude_list.is_some()),
            (
                "message.prefix",
                self.message_prefix_include_list.is_some(),
                self.message_prefix_exclude_list.is_some(),
            ),
        ];
        let both = pairs.into_iter().filter(|(_, includes, excludes)| *includes && *excludes);
        both.map(|(what, ..)| {
            let text = format!("{what}.include.list and {what}.exclude.list exclude each other");
            FieldError::other(format!("{what}.include.list"), text)
        })
        .collect()
    }
}

/// Whether a name is let through by an include list and an exclude list.
fn passes(include: &Option<Patterns>, exclude: &Option<Patterns>, name: &str) -> bool {
    include.as_ref().is_none_or(|patterns| patterns.matches(name))
        && !exclude.as_ref().is_some_and(|patterns| patterns.matches(name))
}
