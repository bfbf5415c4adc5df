//! Reads typed values out of a flat map and collects what is wrong.
//!
//! As Kafka's own parser does, white space around a value doesn't count, and words are read in any
//! case of letters. An empty value counts as unset, but for lists.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::Properties;
use crate::finding::FieldError;

pub(crate) struct Fields<'a> {
    pub(crate) map: &'a Properties,
    pub(crate) errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Properties) -> Self {
        Self { map, errors: Vec::new() }
    }

    pub(crate) fn refuse(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.push(FieldError::new(key, problem));
    }

    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.map.text(key).map(str::trim).filter(|text| !text.is_empty())
    }

    /// A value that must be there; if not, `what` says in the error what it is.
    pub(crate) fn required(&mut self, key: &str, what: &str) -> String {
        match self.text(key) {
            Some(text) => text.to_owned(),
            None => {
                self.refuse(key, format!("must be set: {what}"));
                String::new()
            }
        }
    }

    /// Items between commas; an empty value is an empty list.
    pub(crate) fn list(&self, key: &str) -> Option<Vec<&'a str>> {
        let items = self.map.text(key)?.split(',').map(str::trim);
        Some(items.filter(|item| !item.is_empty()).collect())
    }

    pub(crate) fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.choice(key, default, &[("true", true), ("false", false)])
    }

    pub(crate) fn choice<T: Copy>(&mut self, key: &str, default: T, choices: &[(&str, T)]) -> T {
        let Some(text) = self.text(key) else { return default };
        if let Some((_, value)) = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return *value;
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        self.refuse(key, format!("must be {}, not {text:?}", names.join(" or ")));
        default
    }

    pub(crate) fn number<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let text = self.text(key)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            self.refuse(
                key,
                format!("must be a whole number from {least} to {most}, not {text:?}"),
            );
        }
        number
    }
}
