use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A pattern, and the texts that it matches.
type Row = (String, Option<BTreeSet<usize>>);

/// The table was printed by Java 17: first the texts, then for each pattern the indexes of the texts
/// that it matches, or null if Java refuses it.
fn golden() -> (Vec<String>, Vec<Row>) {
    let mut lines = include_str!("../../fixtures/java_regex.jsonl").lines();
    let texts = serde_json::from_str(lines.next().expect("texts")).expect("texts");
    let rows = lines.map(|line| serde_json::from_str(line).expect("a row")).collect();
    (texts, rows)
}

/// What Java takes and Towpath refuses, and the construct that the error names.
const UNSUPPORTED: &[(&str, &str)] = &[
    (r"\p{InGreek}", r"\p{InGreek}"),
    (r"\p{block=Greek}", r"\p{block=Greek}"),
    (r"\p{javaMirrored}", r"\p{javaMirrored}"),
    (r"\X", "grapheme cluster"),
    (r"\b{g}", "grapheme boundary"),
    (r"\N{LATIN SMALL LETTER A}", "name of a character"),
    (r"\ud83d", "surrogate"),
    (r"(?i)(a)\1", "back-reference that ignores case"),
    (r"[a&&&b]", "an & after &&"),
    (r"a{2}{2}", "quantifier of a quantifier"),
    (r"a{1,2}{2}", "quantifier of a quantifier"),
];

/// Where Java's own versions differ: `\b` beside a combining mark (changed in Java 19).
const DIFFERENT: &[&str] = &["\\b\u{300}"];

#[test]
fn patterns_mean_what_they_mean_in_java() {
    let (texts, rows) = golden();
    let mut wrong = Vec::new();
    for (pattern, expect) in &rows {
        let unsupported = UNSUPPORTED.iter().any(|(known, _)| known == pattern);
        match (JavaRegex::new(pattern), expect) {
            (Err(error), None) if error.is_unsupported() => {
                wrong.push(format!("{pattern}: Java refuses it, we: {error}"))
            }
            (Err(_), None) => {}
            (Err(error), Some(_)) if unsupported && error.is_unsupported() => {}
            (Err(error), Some(_)) => wrong.push(format!("{pattern}: {error}")),
            (Ok(_), None) => wrong.push(format!("{pattern}: Java refuses it")),
            (Ok(regex), Some(expect)) => {
                let matched: BTreeSet<usize> = (0..texts.len())
                    .filter(|at| regex.matches(&texts[*at]).expect("few steps"))
                    .collect();
                if unsupported {
                    wrong.push(format!("{pattern}: is supported after all"));
                }
                let shown =
                    |set: Vec<&usize>| set.into_iter().map(|at| &texts[*at]).collect::<Vec<_>>();
                let (more, fewer) = (
                    shown(matched.difference(expect).collect()),
                    shown(expect.difference(&matched).collect()),
                );
                let different = !more.is_empty() || !fewer.is_empty();
                if different != DIFFERENT.contains(&pattern.as_str()) {
                    wrong.push(format!("{pattern}: matches {more:?} too and {fewer:?} not"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.len() > 400);
}

#[test]
fn what_is_not_supported_is_named() {
    for (pattern, construct) in UNSUPPORTED {
        let error = JavaRegex::new(pattern).expect_err(pattern);
        let text = error.to_string();
        assert!(text.contains(construct) && text.contains("is not supported"), "{text}");
    }
}

#[test]
fn syntax_errors_say_where() {
    let error = JavaRegex::new("ab(c").expect_err("unclosed");
    assert_eq!(error.to_string(), "Unclosed group near index 4");
    assert!(!error.is_unsupported());
}

#[test]
fn a_pattern_that_runs_on_is_given_up() {
    let regex = JavaRegex::new(r"(?:(?=a)a|aa)*b").expect("valid");
    assert_eq!(regex.matches(&"a".repeat(40)), Err(TooComplex));
}

#[test]
fn a_pattern_that_is_too_large_is_refused() {
    let error = JavaRegex::new(r"(?:\p{L}{1000}){1000}").expect_err("too large");
    assert!(error.to_string().starts_with("the pattern can't be compiled"), "{error}");
    assert!(JavaRegex::new(&"(".repeat(100_000)).is_err());
    assert!(JavaRegex::new(&"[".repeat(100_000)).is_err());
}

proptest! {
    #[test]
    fn any_text_is_a_pattern_or_an_error(pattern in r#"([ab(){}\[\]|*+?^$.,<>=!:&0-9\\QEdpkx#-]|\\[a-zA-Z]|\(\?[a-z:<=!>]){0,12}"#) {
        if let Ok(regex) = JavaRegex::new(&pattern) {
            let _matched = regex.matches("ab-12");
        }
    }

    #[test]
    fn a_quoted_text_matches_itself_alone(text in ".{0,12}", other in ".{0,12}") {
        prop_assume!(!text.contains("\\E"));
        let regex = JavaRegex::new(&format!("\\Q{text}\\E")).expect("valid");
        prop_assert_eq!(regex.matches(&text), Ok(true));
        prop_assert_eq!(regex.matches(&other), Ok(text == other));
    }
}
