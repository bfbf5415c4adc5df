//! Log levels that change while running (KIP-495, KIP-976).
//!
//! Duty: keep the levels that people set, by the logger names that they use, and turn them into filter
//! directives. Java names stand for ours: `org.apache.kafka.connect` and what is below it mean the
//! whole engine, a Rust path means itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use towpath_formats::rest::LoggerLevel;
use towpath_sdk::clock::{Clock, SystemClock};

/// The logger of everything.
pub const ROOT: &str = "root";
/// Loggers that exist from the start, with what they stand for.
const KNOWN: &[(&str, &str)] = &[
    ("org.apache.kafka.connect", "towpath_core"),
    ("org.apache.kafka.clients", "towpath_kafka"),
    ("towpath_builtin", "towpath_builtin"),
    ("towpath_connector_datagen", "towpath_connector_datagen"),
    ("towpath_connector_file", "towpath_connector_file"),
    ("towpath_connector_s3", "towpath_connector_s3"),
    ("towpath_core", "towpath_core"),
    ("towpath_embedded", "towpath_embedded"),
    ("towpath_kafka", "towpath_kafka"),
    ("towpath_rest", "towpath_rest"),
];

/// Sets levels.
#[derive(Clone)]
pub struct LogControl(Arc<Control>);

struct Control {
    base: String,
    levels: Mutex<BTreeMap<String, Set>>,
    apply: Box<dyn Fn(&str) + Send + Sync>,
}

#[derive(Clone)]
struct Set {
    level: &'static str,
    at: i64,
}

/// A level that there isn't.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownLevel;

impl LogControl {
    /// A control over a subscriber that filters by `base` now and takes new directives by `apply`.
    pub fn new(base: &str, apply: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Control {
            base: base.to_owned(),
            levels: Mutex::default(),
            apply: Box::new(apply),
        }))
    }

    /// All loggers.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, LoggerLevel> {
        let set: Vec<String> = self.0.levels.lock().keys().cloned().collect();
        let known = KNOWN.iter().map(|(name, _)| (*name).to_owned());
        std::iter::once(ROOT.to_owned())
            .chain(known)
            .chain(set)
            .filter_map(|name| self.level(&name).map(|level| (name, level)))
            .collect()
    }

    /// The level of one logger; `None` if there is none of that name.
    #[must_use]
    pub fn level(&self, logger: &str) -> Option<LoggerLevel> {
        level_in(&self.0.levels.lock(), logger)
    }

    /// Sets the level of `logger` and of those below it. Returns the loggers whose level is another
    /// now; as in Connect, one that had it already is left alone.
    ///
    /// # Errors
    /// If there is no such level.
    pub fn set(&self, logger: &str, level: &str) -> Result<Vec<String>, UnknownLevel> {
        let level = level_of(level).ok_or(UnknownLevel)?;
        let at = SystemClock.now().millis();
        let mut levels = self.0.levels.lock();
        let own = (logger == ROOT || target_of(logger).is_some()).then(|| logger.to_owned());
        let known = KNOWN.iter().map(|(name, _)| (*name).to_owned());
        let below = known.chain(levels.keys().cloned()).filter(|name| is_below(name, logger));
        let mut concerned: Vec<String> = own.into_iter().chain(below).collect();
        concerned.sort();
        concerned.dedup();
        // Asked before any of them is set, since those below inherit.
        concerned.retain(|name| level_in(&levels, name).is_some_and(|now| now.level != level));
        for name in &concerned {
            levels.insert(name.clone(), Set { level, at });
        }
        (self.0.apply)(&directives(&self.0.base, &levels));
        Ok(concerned)
    }

    /// A level that came from the fleet.
    pub fn set_from_fleet(&self, logger: &str, level: &str) {
        if self.set(logger, level).is_err() {
            tracing::warn!(logger, level, "the fleet set a log level that there isn't");
        }
    }
}

fn level_in(levels: &BTreeMap<String, Set>, logger: &str) -> Option<LoggerLevel> {
    if let Some(set) = levels.get(logger) {
        return Some(LoggerLevel { level: set.level.to_owned(), last_modified: Some(set.at) });
    }
    if logger != ROOT && target_of(logger).is_none() {
        return None;
    }
    let above = levels.iter().filter(|(name, _)| is_below(logger, name));
    let inherited = above.max_by_key(|(name, _)| name.len()).or_else(|| levels.get_key_value(ROOT));
    let level = inherited.map_or("INFO", |(_, set)| set.level);
    Some(LoggerLevel { level: level.to_owned(), last_modified: None })
}

fn is_below(name: &str, above: &str) -> bool {
    above != ROOT
        && name.len() > above.len()
        && name.starts_with(above)
        && (name[above.len()..].starts_with('.') || name[above.len()..].starts_with("::"))
}

/// Which of our targets a logger means.
fn target_of(logger: &str) -> Option<String> {
    if let Some((_, target)) = KNOWN.iter().find(|(name, _)| *name == logger) {
        return Some((*target).to_owned());
    }
    if logger.starts_with("towpath_") {
        return Some(logger.replace('.', "::"));
    }
    let above = KNOWN.iter().find(|(name, _)| is_below(logger, name))?;
    Some(above.1.to_owned())
}

fn directives(base: &str, levels: &BTreeMap<String, Set>) -> String {
    let mut directives = match levels.get(ROOT) {
        Some(root) => filter_level(root.level).to_owned(),
        None => base.to_owned(),
    };
    for (logger, set) in levels.iter().filter(|(name, _)| *name != ROOT) {
        if let Some(target) = target_of(logger) {
            directives.push_str(&format!(",{target}={}", filter_level(set.level)));
        }
    }
    directives
}

/// Whether there is such a level.
pub(crate) fn is_level(level: &str) -> bool {
    level_of(level).is_some()
}

fn level_of(level: &str) -> Option<&'static str> {
    ["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(level))
}

fn filter_level(level: &str) -> &'static str {
    match level {
        "OFF" => "off",
        "FATAL" | "ERROR" => "error",
        "WARN" => "warn",
        "DEBUG" => "debug",
        "TRACE" | "ALL" => "trace",
        _ => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_kept_inherited_and_applied() {
        let applied = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&applied);
        let control = LogControl::new("info", move |text| *seen.lock() = text.to_owned());
        let logger = "org.apache.kafka.connect.runtime.WorkerSinkTask";
        assert_eq!(control.level(logger).unwrap().level, "INFO");
        assert_eq!(
            control.set("org.apache.kafka.connect", "debug").unwrap(),
            ["org.apache.kafka.connect"]
        );
        assert_eq!(control.level(logger).unwrap().level, "DEBUG");
        assert_eq!(*applied.lock(), "info,towpath_core=debug");
        assert!(control.level("no.such.logger").is_none());
        // What has the level already is left alone; what lies below is set too.
        assert!(control.set(logger, "DEBUG").unwrap().is_empty());
        assert_eq!(control.set(logger, "TRACE").unwrap(), [logger]);
        assert_eq!(control.set("org.apache.kafka.connect", "DEBUG").unwrap(), [logger]);
        assert_eq!(control.set(ROOT, "LOUD"), Err(UnknownLevel));
        control.set(ROOT, "warn").unwrap();
        assert!(applied.lock().starts_with("warn,"));
        assert!(control.level(ROOT).unwrap().last_modified.is_some());
    }
}
