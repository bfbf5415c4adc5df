//! The configuration of [`super::ExtractNewRecordState`].

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError};

use super::added::Reference;

/// Debezium's keys, with its defaults.
#[derive(Debug, ConnectorConfig)]
#[config(validate = Config::check)]
pub struct Config {
    /// What becomes of deletes and of the tombstones behind them. The default leaves one record for
    /// each delete.
    #[config(key = "delete.tombstone.handling.mode", default = "tombstone", importance = medium)]
    pub delete_tombstone_handling_mode: DeleteHandling,
    /// The column whose text is the topic's name. Empty leaves the topic alone, and so does a column
    /// that is null or blank.
    #[config(key = "route.by.field", default = "", importance = low, width = long)]
    pub route_by_field: String,
    /// What stands before the names of added fields.
    #[config(key = "add.fields.prefix", default = "__", importance = low, width = short)]
    pub add_fields_prefix: String,
    /// What is added to the row: fields of the envelope (`op`, `ts_ms`) or of a block in it
    /// (`source.lsn`, `transaction.id`), with another name after a colon (`source.ts_ms:when`). A field
    /// without a block is one of `source`, or of `transaction` where it is `id`, `total_order` or
    /// `data_collection_order`. What an envelope does not have is left out; a block that it does not
    /// have is an error.
    #[config(key = "add.fields", default = "", importance = low, width = long)]
    pub add_fields: Vec<String>,
    /// What stands before the names of added headers.
    #[config(key = "add.headers.prefix", default = "__", importance = low, width = short)]
    pub add_headers_prefix: String,
    /// What is added as headers, written as in `add.fields`. Of these a tombstone gets `op` alone.
    #[config(key = "add.headers", default = "", importance = low, width = long)]
    pub add_headers: Vec<String>,
    /// The name of a header that lists fields to leave out of the value.
    #[config(key = "drop.fields.header.name", importance = low, width = short)]
    pub drop_fields_header_name: Option<String>,
    /// Whether these fields are left out of the key, too.
    #[config(key = "drop.fields.from.key", default = false, importance = low, width = short)]
    pub drop_fields_from_key: bool,
    /// Whether only optional fields are left out, so that the new schemas are compatible with the old
    /// ones.
    #[config(
        key = "drop.fields.keep.schema.compatible",
        default = true,
        importance = low,
        width = short
    )]
    pub drop_fields_keep_schema_compatible: bool,
    /// Whether columns that are null take the default of their column where a record is rewritten
    /// (`delete.tombstone.handling.mode` at `rewrite` or `rewrite-with-tombstone`). Debezium's default:
    /// `false` keeps apart what is null and what is not.
    #[config(key = "replace.null.with.default", default = true, importance = low, width = short)]
    pub replace_null_with_default: bool,
}

impl Config {
    fn check(&self) -> Vec<FieldError> {
        let wrong = |key: &'static str, fields: &[String]| {
            let wrong = fields.iter().filter_map(|field| Reference::parse("", field).err());
            wrong.map(|why| FieldError::invalid(key, Some(&fields.join(",")), why)).collect()
        };
        let mut errors: Vec<_> = wrong("add.fields", &self.add_fields);
        errors.extend(wrong("add.headers", &self.add_headers));
        errors
    }
}

/// What becomes of deletes and tombstones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum DeleteHandling {
    /// Neither goes on.
    Drop,
    /// The delete goes on with a null in the place of the row, the tombstone does not. The null keeps
    /// the row's schema: JSON with schemas shows `{"schema":…,"payload":null}`, which Kafka does not
    /// compact away.
    Tombstone,
    /// The delete goes on as the row before it; the tombstone does not. All records get a field
    /// `__deleted`, the text `true` or `false`.
    Rewrite,
    /// As `rewrite`, and the tombstone goes on, too.
    #[config(name = "rewrite-with-tombstone")]
    RewriteWithTombstone,
    /// The delete becomes a tombstone without a schema, and the tombstone behind it does not go on.
    #[config(name = "delete-to-tombstone")]
    DeleteToTombstone,
}

impl DeleteHandling {
    /// Whether records get the field `__deleted`.
    pub(super) const fn rewrites(self) -> bool {
        matches!(self, Self::Rewrite | Self::RewriteWithTombstone)
    }
}
