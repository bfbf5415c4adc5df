//! Where we answer otherwise than Kafka Connect, deliberately, and why.
//!
//! `docs/rest-differences.md` is made from this table. An entry that no longer holds fails the replay, as does
//! a difference that has no entry.

use super::compare::Found;

/// A deliberate difference.
pub(super) struct Difference {
    /// The numbers of the exchanges that show it.
    pub(super) exchanges: &'static [u16],
    /// What we answer instead.
    pub(super) ours: Ours,
    /// Why.
    pub(super) reason: &'static str,
}

/// What we answer instead. A `*` in a pattern stands for anything.
pub(super) enum Ours {
    /// An error with this status, and a message of this pattern.
    Error(u16, &'static str),
    /// At each place of the pattern, a value of which the JSON text has this pattern; `absent` is none.
    At(&'static [(&'static str, &'static str)]),
}

impl Difference {
    /// Whether the entry covers what was found in one of its exchanges.
    pub(super) fn covers(&self, found: &Found) -> bool {
        let ours = found.ours.as_ref().map_or_else(|| "absent".to_owned(), ToString::to_string);
        match &self.ours {
            Ours::Error(status, message) => match found.at.as_str() {
                "status" | "body/error_code" => ours == status.to_string(),
                "content-type" => ours == "\"application/json\"",
                "body/message" => found.ours.as_ref().and_then(|v| v.as_str()).is_some_and(|text| fits(message, text)),
                // Where Connect answers no error, or none in JSON, the bodies have nothing in common.
                "body" => found.ours.as_ref().is_some_and(|body| {
                    body["error_code"] == *status && body["message"].as_str().is_some_and(|text| fits(message, text))
                }),
                at => at.starts_with("body/") && found.ours.is_none(),
            },
            Ours::At(places) => {
                places.iter().any(|(at, value)| fits(at, &found.at) && fits(value, &ours))
            }
        }
    }
}

/// Whether `text` has the pattern: its parts between `*` in this order, the first and last at the ends.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// All of them.
pub(super) const DIFFERENCES: &[Difference] = &[];

#[test]
fn patterns() {
    assert!(fits("a*c", "abbc") && fits("a*", "a") && fits("*", "") && fits("a*b*c", "axbyc"));
    assert!(!fits("a*c", "abcd") && !fits("a", "ab") && !fits("a*b*c", "acb") && !fits("ab*ba", "aba"));
}
