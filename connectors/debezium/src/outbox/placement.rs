//! Further columns of an outbox table: where they go.

use std::sync::Arc;

use towpath_sdk::Text;
use towpath_sdk::config::ConfigEnum;

/// A column and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) column: String,
    pub(super) place: Place,
}

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// To a header of this name.
    Header(Text),
    /// To a field of this name in the value.
    Envelope(Arc<str>),
    /// It is the record's partition.
    Partition,
}

#[derive(ConfigEnum)]
#[config(ignore_case)]
enum Kind {
    /// A header.
    Header,
    /// A field of the value.
    Envelope,
    /// The partition.
    Partition,
}

impl Placed {
    /// Reads `column:place` or `column:place:name`. The error is a reason for people.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let parts: Vec<_> = written.split(':').map(str::trim).collect();
        let (column, place, name) = match *parts {
            [column, place] => (column, place, column),
            [column, place, name] => (column, place, name),
            _ => return Err(format!("'{written}' is not column:place or column:place:name")),
        };
        if column.is_empty() {
            return Err(format!("'{written}' names no column"));
        }
        let place = match Kind::from_name(place) {
            Some(Kind::Header) => Place::Header(name.into()),
            Some(Kind::Envelope) => Place::Envelope(name.into()),
            Some(Kind::Partition) => Place::Partition,
            None => return Err(format!("'{place}' is not one of header, envelope and partition")),
        };
        Ok(Self { column: column.to_owned(), place })
    }
}
