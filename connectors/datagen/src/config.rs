//! The keys of `datagen`.

use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError, Properties};

use crate::expression::Program;
use crate::presets::Content;
use crate::time;

/// The configuration of [`crate::Datagen`].
#[derive(Debug, Clone, ConnectorConfig)]
#[config(validate = DatagenConfig::check)]
pub struct DatagenConfig {
    /// The topic that the records go to.
    #[config(importance = high, non_empty)]
    pub topic: String,
    /// Records that are ready to use. Fields of the same name in `field.*` take the place of the
    /// preset's.
    #[config(importance = high)]
    pub preset: Option<Preset>,
    /// The fields of a record: an expression for each, as in `field.user.id` = `int(1, 100)`. Dots
    /// make nested objects. An empty expression takes a field of the preset away.
    ///
    /// An expression is one of
    /// - `12`, `1.5`, `'text'`, `true`, `null`: itself
    /// - `'user-{$id}'`: a text with other expressions in it; `{{` and `}}` are braces
    /// - `$user.id`: the value of a field before this one; inside `object`, also of its members
    /// - `sequence(start: 0, step: 1)`: a number of its own for each record
    /// - `int(1, 10)`: a whole number of the range, ends included
    /// - `float(0, 1, decimals: 2)`: a decimal number of the range
    /// - `normal(100, 15, decimals: 2)`: a number around a mean, with a standard deviation
    /// - `zipf(1000, 1.1)`: a whole number from 1 on, low ones much more often
    /// - `bool(0.5)`: true with that probability
    /// - `uuid()`, `hex(8)`: a UUID; hexadecimal digits
    /// - `choice('a', 'b')`, `choice('a': 9, 'b': 1)`: one of the values, by weight
    /// - `timestamp(format: 'ms', jitter: 0)`: the record's time as `ms`, `s` or `iso`, up to `jitter`
    ///   milliseconds late
    /// - `sum(1, 2)`, `product($a, $b, decimals: 2)`: of numbers
    /// - `maybe(0.9, 'x')`, `optional(0.9, 'x')`: the value with that probability, else null; else no
    ///   such field
    /// - `array(1, 5, int(1, 9))`: so many elements
    /// - `object(name: 'x', size: int(1, 9))`: an object
    /// - `per($user.id, uuid())`: a value that is the same for the same user
    /// - `switch($event, 'view': 1, 'buy': 2, 0)`: a value by another field's; the last for all others
    #[config(prefix = "field.", importance = high)]
    pub fields: Properties,
    /// The field whose value is the record's key, as a dotted path; the preset's if it is not set, none
    /// if it is empty.
    #[config(importance = medium)]
    pub key_field: Option<String>,
    /// What the values are for the converter.
    #[config(default = "json")]
    pub value_format: ValueFormat,
    /// Records a second, over all tasks; 0 is as fast as it can. Ten, so that a first try fills no
    /// disk.
    #[config(default = 10.0, range(min = 0), importance = high)]
    pub rate: f64,
    /// How many records to make in all; 0 goes on without end.
    #[config(default = 0)]
    pub count: u64,
    /// What makes one run's records differ from another's. The same seed gives the same records.
    #[config(default = 0)]
    pub seed: i64,
    /// The share of records, from 0 to 1, whose value is broken JSON. It is handed to the converter as
    /// text: the string converter passes it on as it is.
    #[config(default = 0.0, range(min = 0, max = 1))]
    pub malformed_ratio: f64,
    /// The share of records, from 0 to 1, whose value is null, as for a deleted key.
    #[config(default = 0.0, range(min = 0, max = 1))]
    pub tombstone_ratio: f64,
    /// The time of the first record, such as `2024-01-01T00:00:00Z`; each record comes `time.step.ms`
    /// after the one before, and records are the same in every run. If it is not set, their time is
    /// that of the clock. (Topics forget records older than their retention.)
    #[config(validate = check_time)]
    pub time_start: Option<String>,
    /// How long after the record before it each record's time is, in milliseconds, if `time.start` is
    /// set. A second, so that a hundred thousand records make a day.
    #[config(default = 1000)]
    pub time_step_ms: Duration,
}

/// Records that are ready to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum Preset {
    /// What visitors of a shop do, keyed by user.
    Clicks,
    /// Orders of a shop with their lines, keyed by order.
    Orders,
}

/// What values are for the converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum ValueFormat {
    /// JSON without a schema, for the JSON converter.
    Json,
    /// Text that happens to be JSON, for the string converter.
    Text,
}

#[expect(clippy::ptr_arg, reason = "the derive hands out the field as it is")]
fn check_time(text: &String) -> Result<(), String> {
    time::parse(text).map(drop)
}

impl DatagenConfig {
    /// All fields in order.
    fn all_fields(&self) -> Vec<(&str, &str)> {
        let preset = self.preset.map(Preset::content);
        let preset = preset.map_or(&[][..], |Content { fields, .. }| fields);
        let mut all: Vec<(&str, &str)> = preset.to_vec();
        for (path, expression) in self.fields.iter() {
            match all.iter_mut().find(|(other, _)| *other == path) {
                Some(field) => field.1 = expression,
                None => all.push((path, expression)),
            }
        }
        all.retain(|(_, expression)| !expression.trim().is_empty());
        all
    }

    fn key(&self) -> Option<&str> {
        match &self.key_field {
            Some(key) => Some(key.as_str()).filter(|key| !key.is_empty()),
            None => self.preset.map(|preset| preset.content().key),
        }
    }

    /// The compiled record.
    pub(crate) fn program(&self) -> Result<Program, Vec<FieldError>> {
        let fields = self.all_fields();
        if fields.is_empty() {
            let text = "There are no fields: set preset, or an expression for each field.<name>";
            return Err(vec![FieldError::other("preset", text)]);
        }
        let field_error = |(path, error): (String, String)| {
            if path.is_empty() {
                return FieldError::invalid("key.field", self.key(), error);
            }
            let key = format!("field.{path}");
            let value = fields.iter().find(|(other, _)| *other == path).map(|(_, e)| *e);
            FieldError::invalid(key, value, error)
        };
        Program::compile(&fields, self.key())
            .map_err(|errors| errors.into_iter().map(field_error).collect())
    }

    /// The time of record 0, if it does not depend on the clock.
    pub(crate) fn start_ms(&self) -> Option<i64> {
        self.time_start.as_deref().and_then(|text| time::parse(text).ok())
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = self.program().err().unwrap_or_default();
        let mut refuse = |key: &str, text: &str| errors.push(FieldError::other(key, text));
        if self.malformed_ratio + self.tombstone_ratio > 1.0 {
            refuse("tombstone.ratio", "malformed.ratio and tombstone.ratio exceed 1 together");
        }
        if self.tombstone_ratio > 0.0 && self.key().is_none() {
            refuse("tombstone.ratio", "tombstone.ratio needs key.field: a tombstone deletes a key");
        }
        errors
    }
}
