//! The table of signals, as the stream shows it.
//!
//! Duty: from a row that was inserted to a signal. Its first three columns are the id, the type and the
//! particulars as JSON, whatever they are called, as Debezium has it. Pure.

use towpath_sdk::signal::Signal;

use crate::pgoutput::{Column, Tuple};

/// The signal that a row holds.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn signal(row: &Tuple) -> Result<Signal, String> {
    let mut columns = row.columns();
    let mut text = || match columns.next() {
        Some(Column::Text(text)) => String::from_utf8(text.to_vec())
            .map(Some)
            .map_err(|_| "a column of the table of signals is not in UTF-8".to_owned()),
        Some(_) => Ok(None),
        None => Err("the table of signals has three columns: id, type and data".to_owned()),
    };
    let (id, kind, data) = (text()?, text()?, text()?);
    let kind = kind.ok_or("a signal has a type in its second column")?;
    let data = match data.as_deref().map(str::trim) {
        None | Some("") => serde_json::Map::new(),
        Some(data) => serde_json::from_str(data).map_err(|error| {
            format!("the third column of a signal is no object of JSON: {error}")
        })?,
    };
    Ok(Signal { id, kind, data })
}
