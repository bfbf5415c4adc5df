//! Tests that every connector writes about its configuration.
//!
//! A key that is read and then ignored is worse than an unknown one. No type can see that a value
//! takes effect, so each declared key must be claimed: by the name of the test that shows its
//! effect, or by the reason why it is refused or has none yet.
//!
//! ```
//! use towpath_sdk::config::{ConnectorConfig, testing};
//!
//! #[derive(ConnectorConfig)]
//! struct Config {
//!     /// The file to read.
//!     file: String,
//!     /// How many lines to read at once.
//!     #[config(default = 100, range(min = 1))]
//!     batch_size: u32,
//! }
//!
//! // In a connector: #[test] fn every_key_has_its_effect()
//! testing::assert_definition::<Config>();
//! testing::assert_every_key_is_claimed(
//!     Config::definition(),
//!     &[
//!         ("file", "reads_the_lines_of_a_file"),
//!         ("batch.size", "a_batch_has_at_most_so_many_lines"),
//!     ],
//! );
//! ```

use std::collections::HashSet;

use super::{ConfigDef, ConnectorConfig, Properties};

/// Every key that `definition` declares has a claim, every claim a key, and none is empty or made
/// twice. A claim is the name of the test that shows the key's effect, or a reason.
///
/// # Panics
/// If not, with all that is wrong.
#[track_caller]
pub fn assert_every_key_is_claimed(definition: &ConfigDef, claims: &[(&str, &str)]) {
    report("claims", &claim_problems(definition, claims));
}

/// `C`'s definition is sound: keys and aliases are unique, dependents are declared, everything is
/// documented, a deprecated key is not required, and every default is accepted.
///
/// # Panics
/// If not, with all that is wrong.
#[track_caller]
pub fn assert_definition<C: ConnectorConfig>() {
    report("definition", &problems_of::<C>());
}

/// All that [`assert_definition`] finds wrong with `C`'s definition.
#[must_use]
pub fn problems_of<C: ConnectorConfig>() -> Vec<String> {
    let mut problems = definition_problems(C::definition());
    if let Err(errors) = C::parse(&Properties::new()) {
        let wrong = errors.iter().filter(|error| !error.is_missing());
        problems.extend(wrong.map(|error| format!("the defaults are refused: {error}")));
    }
    problems
}

#[track_caller]
fn report(what: &str, problems: &[String]) {
    assert!(problems.is_empty(), "wrong {what}:\n{}", problems.join("\n"));
}

fn claim_problems(definition: &ConfigDef, claims: &[(&str, &str)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut claimed = HashSet::new();
    for (key, claim) in claims {
        if definition.get(key).is_none() {
            problems.push(format!("{key} is claimed but not declared"));
        }
        if claim.trim().is_empty() {
            problems.push(format!("the claim of {key} says nothing"));
        }
        if !claimed.insert(*key) {
            problems.push(format!("{key} is claimed twice"));
        }
    }
    let unclaimed = definition.keys.iter().filter(|key| !claimed.contains(key.name.as_str()));
    problems.extend(unclaimed.map(|key| format!("{} is declared but not claimed", key.name)));
    problems
}

fn definition_problems(definition: &ConfigDef) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = HashSet::new();
    for key in &definition.keys {
        for name in std::iter::once(&key.name).chain(&key.aliases) {
            if !names.insert(name) {
                problems.push(format!("{name} is declared twice"));
            }
        }
        for dependent in &key.dependents {
            if definition.get(dependent).is_none() {
                problems.push(format!("{dependent}, a dependent of {}, is not declared", key.name));
            }
        }
        if key.documentation.trim().is_empty() {
            problems.push(format!("{} is not documented", key.name));
        }
        if key.required && key.default.is_some() {
            problems.push(format!("{} is required and has a default", key.name));
        }
        if key.required && key.deprecated.is_some() {
            problems.push(format!("{} is required and deprecated", key.name));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{assert_definition, claim_problems, definition_problems};
    use crate::config::{ConfigDef, ConfigKey, ConnectorConfig, FieldType};

    fn definition(keys: &[&str]) -> ConfigDef {
        let keys = keys.iter().map(|key| ConfigKey::new(*key, FieldType::Int, "Documented."));
        ConfigDef { keys: keys.collect() }
    }

    #[test]
    fn claims_must_match_the_keys() {
        let definition = definition(&["a", "b", "header.*"]);
        let all = [("a", "test_a"), ("b", "refused"), ("header.*", "test_headers")];
        assert_eq!(claim_problems(&definition, &all), [""; 0]);
        assert_eq!(
            claim_problems(&definition, &[("a", "test_a"), ("a", " "), ("c", "test_c")]),
            [
                "the claim of a says nothing",
                "a is claimed twice",
                "c is claimed but not declared",
                "b is declared but not claimed",
                "header.* is declared but not claimed",
            ]
        );
    }

    #[test]
    fn a_definition_must_be_sound() {
        assert_eq!(definition_problems(&definition(&["a", "b"])), [""; 0]);
        let mut wrong = definition(&["a", "b", "a"]);
        wrong.keys[0].aliases.push("b".to_owned());
        wrong.keys[0].documentation.clear();
        wrong.keys[1].dependents.push("z".to_owned());
        wrong.keys[1].required = true;
        wrong.keys[1].default = Some(String::new());
        wrong.keys[1].deprecated = Some("use a".to_owned());
        assert_eq!(
            definition_problems(&wrong),
            [
                "a is not documented",
                "b is declared twice",
                "z, a dependent of b, is not declared",
                "b is required and has a default",
                "b is required and deprecated",
                "a is declared twice",
            ]
        );
    }

    /// Why the assertion fails for `C`.
    fn refusal<C: ConnectorConfig>() -> String {
        let panic = std::panic::catch_unwind(assert_definition::<C>).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn defaults_must_be_accepted() {
        #[derive(ConnectorConfig)]
        #[expect(dead_code, reason = "only its definition is looked at")]
        struct Wrong {
            /// Out of range.
            #[config(default = 0, range(min = 1))]
            a: i32,
            /// Required, which is fine.
            b: i32,
            /// Not a number.
            #[config(default = "x")]
            c: i32,
        }
        assert_eq!(
            refusal::<Wrong>(),
            "wrong definition:\n\
             the defaults are refused: \
             Invalid value 0 for configuration a: Value must be at least 1\n\
             the defaults are refused: \
             Invalid value x for configuration c: Not a number of type INT"
        );
    }
}
