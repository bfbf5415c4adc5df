//! Evidence that every declared key does something.
//!
//! A key that is read and then ignored is worse than an unknown one. [`KeyWalk`] goes over a
//! definition: for each key the author of a plug-in gives two values under which something observable
//! differs, or a value that is refused, or, for a key which another product has and which has nothing
//! to tune here, a value whose setter is told so. All of it is carried out; a key without evidence fails
//! the walk, and so does evidence without a key.

use std::collections::BTreeSet;
use std::fmt::Debug;

use towpath_sdk::config::{ConfigDef, FieldErrors, Properties};

/// A walk over all keys of a definition.
pub struct KeyWalk<'w, T> {
    definition: &'w ConfigDef,
    base: Properties,
    validate: Box<dyn Fn(&Properties) -> FieldErrors + 'w>,
    observe: Box<dyn FnMut(&Properties) -> T + 'w>,
    seen: BTreeSet<String>,
    problems: Vec<String>,
}

impl<'w, T: PartialEq + Debug> KeyWalk<'w, T> {
    /// A walk that starts from `base`, a configuration which is valid. `validate` says what is wrong
    /// with one; `observe` runs the plug-in with a valid one and returns all that can be seen of it.
    pub fn new(
        definition: &'w ConfigDef,
        base: Properties,
        validate: impl Fn(&Properties) -> FieldErrors + 'w,
        mut observe: impl FnMut(&Properties) -> T + 'w,
    ) -> Self {
        let mut problems = Vec::new();
        let errors = validate(&base);
        if !errors.is_empty() {
            problems.push(format!("the configuration to start from is refused: {errors}"));
        } else {
            // Else a difference would prove nothing.
            let (one, other) = (observe(&base), observe(&base));
            if one != other {
                problems.push(format!("one configuration shows {one:?} and {other:?}"));
            }
        }
        Self {
            definition,
            base,
            validate: Box::new(validate),
            observe: Box::new(observe),
            seen: BTreeSet::new(),
            problems,
        }
    }

    /// What is observed with `key` at `one` differs from what is with it at `other`; `None` leaves it
    /// out.
    #[must_use]
    pub fn changes<'v>(
        self,
        key: &str,
        one: impl Into<Option<&'v str>>,
        other: impl Into<Option<&'v str>>,
    ) -> Self {
        self.changes_with(key, one, other, &[])
    }

    /// The same where it takes further keys to see it.
    #[must_use]
    pub fn changes_with<'v>(
        mut self,
        key: &str,
        one: impl Into<Option<&'v str>>,
        other: impl Into<Option<&'v str>>,
        with: &[(&str, &str)],
    ) -> Self {
        self.claim(key);
        let mut seen = Vec::new();
        for value in [one.into(), other.into()] {
            let mut properties = self.base.clone();
            properties.extend(with.iter().copied());
            set(&mut properties, key, value);
            let errors = (self.validate)(&properties);
            if errors.is_empty() {
                seen.push((self.observe)(&properties));
            } else {
                self.problems.push(format!("{key} at {value:?} is refused: {errors}"));
            }
        }
        if let [one, other] = seen.as_slice()
            && one == other
        {
            self.problems.push(format!("{key} changes nothing of {one:?}"));
        }
        self
    }

    /// `value` of `key` is refused, with an error that names the key.
    #[must_use]
    pub fn refuses(self, key: &str, value: &str) -> Self {
        self.refuses_with(key, value, &[])
    }

    /// The same where it takes further keys to see it.
    #[must_use]
    pub fn refuses_with(mut self, key: &str, value: &str, with: &[(&str, &str)]) -> Self {
        self.claim(key);
        let mut properties = self.base.clone();
        properties.extend(with.iter().copied());
        let before = (self.validate)(&properties).of(key).count();
        properties.insert(key, value);
        let errors = (self.validate)(&properties);
        if errors.of(key).count() <= before {
            self.problems.push(format!("{key} at {value:?} is not refused"));
        }
        self
    }

    /// Whoever sets `key` to `value`, which is accepted, is told that it has nothing to tune.
    #[must_use]
    pub fn tells(mut self, key: &str, value: &str) -> Self {
        self.claim(key);
        let mut properties = self.base.clone();
        properties.insert(key, value);
        let errors = (self.validate)(&properties);
        if !errors.is_empty() {
            self.problems.push(format!("{key} at {value:?} is refused: {errors}"));
        }
        if !self.definition.deprecated(&properties).iter().any(|(told, _)| told == key) {
            self.problems.push(format!("nobody is told that {key} has nothing to tune"));
        }
        self
    }

    fn claim(&mut self, key: &str) {
        match self.definition.resolve(key) {
            Some(declared) => {
                self.seen.insert(declared.name.clone());
            }
            None => self.problems.push(format!("{key} is not declared")),
        }
    }

    /// Ends the walk.
    ///
    /// # Panics
    /// If a key has no evidence, or some evidence did not hold, with all that is wrong.
    #[track_caller]
    pub fn finish(self) {
        let problems = self.all_problems();
        assert!(problems.is_empty(), "the walk over all keys failed:\n{}", problems.join("\n"));
    }

    fn all_problems(mut self) -> Vec<String> {
        let unseen = self.definition.keys.iter().filter(|key| !self.seen.contains(&key.name));
        self.problems.extend(unseen.map(|key| format!("{} has no evidence", key.name)));
        self.problems
    }
}

fn set(properties: &mut Properties, key: &str, value: Option<&str>) {
    match value {
        Some(value) => drop(properties.insert(key, value)),
        None => drop(properties.remove(key)),
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::ConnectorConfig;
    use towpath_sdk::plugin::validate_as;

    use super::*;

    #[derive(Debug, ConnectorConfig)]
    #[expect(dead_code, reason = "keys without effect are what must be found")]
    struct Config {
        /// Takes effect.
        word: String,
        /// Is ignored.
        #[config(default = 1)]
        ignored: u32,
        /// Takes effect with another one.
        #[config(default = false)]
        loud: bool,
        /// Only one value is known.
        #[config(default = "a", one_of("a"))]
        only: String,
        /// Has nothing to tune.
        #[config(deprecated = "leave it out")]
        old: Option<String>,
        /// More words.
        #[config(prefix = "word.")]
        words: Properties,
    }

    fn observe(properties: &Properties) -> String {
        let config = Config::parse(properties).unwrap();
        let mut text = config.word;
        text.extend(config.words.iter().map(|(_, word)| word));
        if config.loud { text.to_uppercase() } else { text }
    }

    fn walk<'w>() -> KeyWalk<'w, String> {
        let base = Properties::from([("word", "a")]);
        KeyWalk::new(Config::definition(), base, validate_as::<Config>, observe)
    }

    fn good<'w>() -> KeyWalk<'w, String> {
        walk()
            .changes("word", "a", "b")
            .changes_with("loud", "true", None, &[("word", "x")])
            .refuses("only", "b")
            .tells("old", "x")
            .changes("word.more", None, "y")
    }

    #[test]
    fn evidence_that_holds_passes() {
        assert_eq!(good().refuses("ignored", "x").all_problems(), [""; 0]);
    }

    #[test]
    fn each_kind_of_evidence_can_fail() {
        let fails = |walk: KeyWalk<'_, String>, why: &str| {
            let problems = walk.all_problems();
            assert!(problems.iter().any(|problem| problem.contains(why)), "{problems:?}");
        };
        fails(good(), "ignored has no evidence");
        fails(good().changes("ignored", "1", "2"), "ignored changes nothing of \"a\"");
        fails(good().changes("ignored", "1", "x"), "ignored at Some(\"x\") is refused");
        fails(good().refuses("word", "b"), "word at \"b\" is not refused");
        fails(good().refuses_with("only", "b", &[("only", "c")]), "only at \"b\" is not refused");
        fails(good().tells("word", "b"), "nobody is told that word has nothing to tune");
        fails(good().tells("ignored", "x"), "ignored at \"x\" is refused");
        fails(good().changes("stale", "1", "2"), "stale is not declared");
        let bad = KeyWalk::new(
            Config::definition(),
            Properties::new(),
            validate_as::<Config>,
            |_: &Properties| 0,
        );
        assert!(bad.all_problems()[0].starts_with("the configuration to start from is refused"));
        let mut count = 0;
        let restless = KeyWalk::new(
            Config::definition(),
            Properties::from([("word", "a")]),
            validate_as::<Config>,
            move |_: &Properties| {
                count += 1;
                count
            },
        );
        assert_eq!(restless.all_problems()[0], "one configuration shows 1 and 2");
    }

    #[test]
    fn a_failure_stops_the_test() {
        let panic = std::panic::catch_unwind(|| good().finish()).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("ignored has no evidence"), "{text}");
    }
}
