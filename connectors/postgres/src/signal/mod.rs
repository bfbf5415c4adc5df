//! What people signal to a running connector.
//!
//! Duty: from Debezium's words (`execute-snapshot`, `stop-snapshot`, …) and their particulars to what is
//! to be done. Pure. Where signals come from: [`inbox`], and, of the table of signals, the stream.

pub(crate) mod inbox;
pub(crate) mod table;

use serde_json::{Map, Value as JsonValue};
use towpath_sdk::config::ConfigValue as _;
use towpath_sdk::signal::Signal;

use crate::config::Patterns;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Read tables while the stream goes on.
    Execute(Execute),
    /// Give up what is being read: these tables, or all.
    Stop(Option<Patterns>),
    /// Wait with it.
    Pause,
    /// Go on with it.
    Resume,
    /// Write a message to the log.
    Log(String),
}

/// Which tables are to be read, and what of them.
#[derive(Debug, Clone)]
pub(crate) struct Execute {
    /// The signal's id.
    pub(crate) id: String,
    /// The tables.
    pub(crate) tables: Patterns,
    /// Conditions of SQL, each for some tables.
    conditions: Vec<(Patterns, String)>,
    /// The column by which rows are ordered in place of the key's.
    pub(crate) surrogate_key: Option<String>,
}

impl Execute {
    /// All rows of the tables that `tables` matches.
    #[must_use]
    pub(crate) const fn all(id: String, tables: Patterns) -> Self {
        Self { id, tables, conditions: Vec::new(), surrogate_key: None }
    }

    /// The condition for a table.
    #[must_use]
    pub(crate) fn condition(&self, table: &str) -> Option<&str> {
        let found = self.conditions.iter().find(|(tables, _)| tables.matches(table));
        found.map(|(_, condition)| condition.as_str())
    }
}

impl Command {
    /// What a signal says.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn of(signal: &Signal) -> Result<Self, String> {
        let data = &signal.data;
        match signal.kind.as_str() {
            "execute-snapshot" => execute(signal.id.clone().unwrap_or_default(), data),
            "stop-snapshot" => {
                incremental(data)?;
                Ok(Self::Stop(tables(data)?))
            }
            "pause-snapshot" => Ok(Self::Pause),
            "resume-snapshot" => Ok(Self::Resume),
            "log" => match data.get("message").and_then(JsonValue::as_str) {
                Some(message) => Ok(Self::Log(message.to_owned())),
                None => Err("a signal log has a text 'message' in its data".to_owned()),
            },
            other => Err(format!(
                "'{other}' is no type of signal; known: execute-snapshot, stop-snapshot, \
                 pause-snapshot, resume-snapshot, log"
            )),
        }
    }
}

fn execute(id: String, data: &Map<String, JsonValue>) -> Result<Command, String> {
    incremental(data)?;
    let tables = tables(data)?;
    let tables = tables.ok_or("a signal execute-snapshot names tables in 'data-collections'")?;
    let mut conditions = Vec::new();
    if let Some(all) = data.get("additional-conditions") {
        for condition in list(all, "additional-conditions")? {
            let text = |key| condition.get(key).and_then(JsonValue::as_str);
            let (Some(of), Some(filter)) = (text("data-collection"), text("filter")) else {
                return Err("each of 'additional-conditions' is an object with the texts \
                            'data-collection' and 'filter'"
                    .to_owned());
            };
            conditions.push((Patterns::parse_value(of)?, filter.to_owned()));
        }
    }
    // Older: one for all.
    if let Some(filter) = optional_text(data, "additional-condition")? {
        conditions.push((tables.clone(), filter));
    }
    let surrogate_key = optional_text(data, "surrogate-key")?;
    Ok(Command::Execute(Execute { id, tables, conditions, surrogate_key }))
}

fn incremental(data: &Map<String, JsonValue>) -> Result<(), String> {
    match optional_text(data, "type")? {
        Some(kind) if !kind.eq_ignore_ascii_case("incremental") => Err(format!(
            "snapshots of type '{kind}' are not supported; 'incremental' reads the same rows and lets \
             the stream go on"
        )),
        _ => Ok(()),
    }
}

fn tables(data: &Map<String, JsonValue>) -> Result<Option<Patterns>, String> {
    let Some(all) = data.get("data-collections") else { return Ok(None) };
    let texts = list(all, "data-collections")?.iter().map(|table| match table.as_str() {
        Some(table) => Ok(table),
        None => Err(format!("'data-collections' holds names of tables, not {table}")),
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    match texts.is_empty() {
        true => Ok(None),
        false => Patterns::all(texts).map(Some),
    }
}

fn list<'a>(value: &'a JsonValue, key: &str) -> Result<&'a Vec<JsonValue>, String> {
    value.as_array().ok_or_else(|| format!("'{key}' is a list, not {value}"))
}

fn optional_text(data: &Map<String, JsonValue>, key: &str) -> Result<Option<String>, String> {
    match data.get(key) {
        None | Some(JsonValue::Null) => Ok(None),
        Some(JsonValue::String(text)) if text.trim().is_empty() => Ok(None),
        Some(JsonValue::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("'{key}' is a text, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(kind: &str, data: JsonValue) -> Result<Command, String> {
        let JsonValue::Object(data) = data else { panic!() };
        Command::of(&Signal { id: Some("1".into()), kind: kind.to_owned(), data })
    }

    #[test]
    fn debeziums_signals_are_understood() {
        let data = json!({"type": "INCREMENTAL", "data-collections": ["s.a", "s\\.b.*"],
            "additional-conditions": [{"data-collection": "s.a", "filter": "x > 1"}],
            "surrogate-key": "k"});
        let Ok(Command::Execute(execute)) = command("execute-snapshot", data) else { panic!() };
        assert!(execute.tables.matches("s.a") && execute.tables.matches("s.bcd"));
        assert!(!execute.tables.matches("s.c"));
        assert_eq!((execute.condition("s.a"), execute.condition("s.b")), (Some("x > 1"), None));
        assert_eq!(execute.surrogate_key.as_deref(), Some("k"));
        let data = json!({"data-collections": ["s.a"], "additional-condition": "y"});
        let Ok(Command::Execute(execute)) = command("execute-snapshot", data) else { panic!() };
        assert_eq!((execute.condition("s.a"), execute.surrogate_key.as_deref()), (Some("y"), None));
        let stop = command("stop-snapshot", json!({"type": "incremental"}));
        assert!(matches!(stop, Ok(Command::Stop(None))));
        let stop = command("stop-snapshot", json!({"data-collections": ["a.b"]}));
        assert!(matches!(stop, Ok(Command::Stop(Some(tables))) if tables.matches("a.b")));
        assert!(matches!(command("pause-snapshot", json!({})), Ok(Command::Pause)));
        assert!(matches!(command("resume-snapshot", json!({})), Ok(Command::Resume)));
        assert!(matches!(command("log", json!({"message": "m"})), Ok(Command::Log(_))));
    }

    #[test]
    fn what_is_wrong_with_a_signal_is_said() {
        let wrong = |kind, data, says: &str| {
            let error = command(kind, data).unwrap_err();
            assert!(error.contains(says), "{error}");
        };
        wrong("nonsense", json!({}), "no type of signal");
        wrong("log", json!({}), "message");
        wrong("execute-snapshot", json!({}), "data-collections");
        wrong("execute-snapshot", json!({"data-collections": []}), "data-collections");
        wrong("execute-snapshot", json!({"data-collections": "a"}), "is a list");
        wrong("execute-snapshot", json!({"data-collections": [1]}), "names of tables");
        wrong("execute-snapshot", json!({"data-collections": ["("]}), "regular expression");
        let blocking = json!({"type": "blocking", "data-collections": ["a"]});
        wrong("execute-snapshot", blocking, "'incremental'");
        let condition =
            json!({"data-collections": ["a"], "additional-conditions": [{"filter": ""}]});
        wrong("execute-snapshot", condition, "data-collection");
    }
}
