//! The configuration of [`super::EventRouter`].

use towpath_builtin::pattern::{Flaw, Replacer};
use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError};

use super::placement::Placed;

/// Debezium's keys, with its defaults.
#[derive(Debug, ConnectorConfig)]
#[config(validate = Config::check)]
pub struct Config {
    /// The column with the event's id. It becomes the header `id`.
    #[config(key = "table.field.event.id", default = "id", importance = low, group = "Table")]
    pub event_id: String,
    /// The column that becomes the record's key, so that events about one thing keep their order.
    #[config(
        key = "table.field.event.key",
        default = "aggregateid",
        importance = low,
        group = "Table"
    )]
    pub event_key: String,
    /// The column with the event's type, which is not read by this transform, nor by Debezium's.
    #[config(
        key = "table.field.event.type",
        importance = low,
        group = "Table",
        deprecated = "leave it out: the column is not read; table.fields.additional.placement puts \
                      it where it is wanted, as in type:header:eventType"
    )]
    pub event_type: Option<String>,
    /// The column with the event itself. It becomes the record's value, or the field `payload` of it
    /// where columns are added to the value.
    #[config(
        key = "table.field.event.payload",
        default = "payload",
        importance = low,
        group = "Table"
    )]
    pub payload: String,
    /// The column with the record's timestamp: of a type that Debezium shows as `Timestamp`,
    /// `MicroTimestamp` or `NanoTimestamp`. Where it is null, and without this key, the time of the
    /// envelope (`ts_ms`) is taken.
    #[config(key = "table.field.event.timestamp", importance = medium, group = "Table")]
    pub timestamp: Option<String>,
    /// Further columns and where they go: `column:header`, `column:envelope` (a field of the value,
    /// beside `payload`) or `column:partition` (the record's partition, a column of 32-bit integers),
    /// each with another name after a further colon.
    #[config(key = "table.fields.additional.placement", importance = high, group = "Table")]
    pub placement: Option<Vec<String>>,
    /// What happens where such a column is missing.
    #[config(
        key = "table.field.additional.missing",
        default = "error",
        importance = medium,
        group = "Table"
    )]
    pub missing: Missing,
    /// The column with the version of the value's schema, a column of 32-bit integers. It takes effect
    /// where columns are added to the value, since only then the value has a schema of its own.
    #[config(key = "table.field.event.schema.version", importance = low, group = "Table")]
    pub schema_version: Option<String>,
    /// What happens to updates of the outbox table, of which no event is made.
    #[config(
        key = "table.op.invalid.behavior",
        default = "warn",
        importance = medium,
        group = "Table"
    )]
    pub invalid_operation: InvalidOperation,
    /// Whether a payload that is a JSON object in a text is taken apart and gets a schema. Text that is
    /// none, or of which no schema can be made (as with arrays of different types), stays text, with a
    /// warning.
    #[config(
        key = "table.expand.json.payload",
        default = false,
        importance = medium,
        group = "Table"
    )]
    pub expand_json: bool,
    /// What becomes of nulls in such an object, whose type nobody knows.
    #[config(
        key = "table.json.payload.null.behavior",
        default = "ignore",
        importance = medium,
        group = "Table"
    )]
    pub json_null: JsonNull,
    /// What becomes of empty arrays in such an object, the type of whose elements nobody knows.
    #[config(
        key = "table.json.payload.empty.array.behavior",
        default = "ignore",
        importance = medium,
        group = "Table"
    )]
    pub json_empty_array: JsonEmptyArray,
    /// The column that names the topic, after `route.topic.regex` and `route.topic.replacement`.
    #[config(key = "route.by.field", default = "aggregatetype", importance = high, group = "Router")]
    pub route_by_field: String,
    /// What the column must match as a whole, in Java's syntax; if it does not, its text is the topic.
    #[config(
        key = "route.topic.regex",
        default = "(?<routedByValue>.*)",
        importance = low,
        group = "Router"
    )]
    pub topic_regex: String,
    /// What takes the place of the match: `${name}` and `$1` are groups of `route.topic.regex`.
    #[config(
        key = "route.topic.replacement",
        default = "outbox.event.${routedByValue}",
        importance = high,
        group = "Router"
    )]
    pub topic_replacement: String,
    /// Whether a payload that is null or blank becomes a tombstone.
    #[config(
        key = "route.tombstone.on.empty.payload",
        default = false,
        importance = high,
        group = "Router"
    )]
    pub tombstone_on_empty: bool,
    /// The only one there is: names in an expanded payload stay as they are. With another one Debezium
    /// loses the fields whose names it changes.
    #[config(
        key = "field.name.adjustment.mode",
        default = "none",
        one_of("none"),
        importance = low,
        group = "Not supported"
    )]
    pub name_adjustment: String,
    /// Debezium: the column with the context of a span. No spans are made here.
    #[config(
        key = "tracing.span.context.field",
        importance = low,
        group = "Without effect",
        deprecated = "leave it out: no spans are made; table.fields.additional.placement hands the \
                      context on, as in tracingspancontext:header"
    )]
    pub span_context: Option<String>,
    /// Debezium: what it calls its spans. No spans are made here.
    #[config(
        key = "tracing.operation.name",
        importance = low,
        group = "Without effect",
        deprecated = "leave it out: no spans are made"
    )]
    pub span_operation: Option<String>,
    /// Debezium: whether it makes spans only where there is a context. No spans are made here.
    #[config(
        key = "tracing.with.context.field.only",
        importance = low,
        group = "Without effect",
        deprecated = "leave it out: no spans are made"
    )]
    pub span_with_context: Option<bool>,
}

impl Config {
    /// Where further columns go.
    pub(super) fn placed(&self) -> Result<Vec<Placed>, FieldError> {
        let Some(written) = &self.placement else { return Ok(Vec::new()) };
        let some = written.iter().filter(|one| !one.is_empty());
        let placed = some.map(|one| Placed::parse(one)).collect::<Result<Vec<_>, _>>();
        let placed = placed.and_then(|placed| match placed.is_empty() {
            true => Err("it is empty: leave it out".to_owned()),
            false => Ok(placed),
        });
        placed.map_err(|why| {
            let key = "table.fields.additional.placement";
            FieldError::invalid(key, Some(&written.join(",")), why)
        })
    }

    /// How topics are named.
    pub(super) fn router(&self) -> Result<Replacer, FieldError> {
        let (regex, replacement) = (&self.topic_regex, &self.topic_replacement);
        Replacer::new(regex, replacement).map_err(|flaw| match flaw {
            Flaw::Pattern(why) => FieldError::invalid("route.topic.regex", Some(regex), why),
            Flaw::Replacement(why) => {
                FieldError::invalid("route.topic.replacement", Some(replacement), why)
            }
        })
    }

    fn check(&self) -> Vec<FieldError> {
        self.placed().err().into_iter().chain(self.router().err()).collect()
    }
}

/// What happens where a further column is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum Missing {
    /// The record is refused.
    Error,
    /// The record goes on without it.
    Ignore,
}

/// What happens to updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum InvalidOperation {
    /// They are left out, with a warning.
    Warn,
    /// They are left out, and an error is logged.
    Error,
    /// They are refused: the task fails, unless `errors.tolerance` says otherwise.
    Fatal,
}

/// What becomes of nulls in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum JsonNull {
    /// They are left out.
    Ignore,
    /// They are optional bytes, null.
    #[config(name = "optional_bytes")]
    OptionalBytes,
}

/// What becomes of empty arrays in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum JsonEmptyArray {
    /// They are left out.
    Ignore,
    /// They are arrays of optional texts.
    #[config(name = "optional_string")]
    OptionalString,
}
