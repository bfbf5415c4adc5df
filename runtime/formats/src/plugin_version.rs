//! Versions of plug-ins, and which ones a config asks for (KIP-891).
//!
//! Duty: `connector.plugin.version` and its siblings, which Kafka Connect reads as Maven does: one version, or
//! ranges such as `[1.0,2.0)`. The order of versions is that of Maven's POM reference, section "Version Order
//! Specification".
//!
//! Deliberately absent: finding plug-ins.

use std::cmp::Ordering;

/// Which versions of a plug-in will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRequirement {
    /// One of them must hold; none at all means that any version will do.
    ranges: Vec<Range>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    from: Option<Bound>,
    to: Option<Bound>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    version: String,
    included: bool,
}

impl VersionRequirement {
    /// Reads a requirement. As in Connect, `latest` asks for nothing, and a bare version for exactly it.
    ///
    /// # Errors
    /// If it is neither a version nor ranges; the text says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text == "latest" {
            return Ok(Self { ranges: Vec::new() });
        }
        if !text.starts_with(['[', '(']) {
            if text.contains([',', '[', ']', '(', ')']) {
                return Err(format!("{text} is neither a version nor a range such as [1.0,2.0)"));
            }
            let exactly = || Some(Bound { version: text.to_owned(), included: true });
            return Ok(Self { ranges: vec![Range { from: exactly(), to: exactly() }] });
        }
        let mut ranges: Vec<Range> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end =
                rest.find([']', ')']).ok_or_else(|| format!("a range in {text} has no end"))?;
            let range = range(&rest[..=end])?;
            if ranges.last().is_some_and(|before| !comes_before(before, &range)) {
                return Err(format!("the ranges in {text} overlap or are out of order"));
            }
            ranges.push(range);
            rest = rest[end + 1..].trim_start();
            if let Some(next) = rest.strip_prefix(',') {
                rest = next.trim_start();
                if rest.is_empty() {
                    return Err(format!("{text} ends with a comma"));
                }
            } else if !rest.is_empty() {
                return Err(format!("a comma must stand between the ranges in {text}"));
            }
        }
        Ok(Self { ranges })
    }

    /// Whether `version` will do.
    #[must_use]
    pub fn admits(&self, version: &str) -> bool {
        self.ranges.is_empty() || self.ranges.iter().any(|range| range.holds(version))
    }
}

impl Range {
    fn holds(&self, version: &str) -> bool {
        let above = self.from.as_ref().is_none_or(|from| match compare(version, &from.version) {
            Ordering::Less => false,
            Ordering::Equal => from.included,
            Ordering::Greater => true,
        });
        let below = self.to.as_ref().is_none_or(|to| match compare(version, &to.version) {
            Ordering::Less => true,
            Ordering::Equal => to.included,
            Ordering::Greater => false,
        });
        above && below
    }
}

/// One range with its brackets.
fn range(text: &str) -> Result<Range, String> {
    let wrong = || format!("{text} is not a range such as [1.0,2.0)");
    let opened = text.strip_prefix('[').map(|rest| (rest, true));
    let (rest, from_included) =
        opened.or_else(|| Some((text.strip_prefix('(')?, false))).ok_or_else(wrong)?;
    let closed = rest.strip_suffix(']').map(|rest| (rest, true));
    let (inside, to_included) =
        closed.or_else(|| Some((rest.strip_suffix(')')?, false))).ok_or_else(wrong)?;
    let bound = |version: &str, included| {
        let version = version.trim().to_owned();
        (!version.is_empty()).then_some(Bound { version, included })
    };
    let Some((from, to)) = inside.split_once(',') else {
        // A single version stands in square brackets.
        let exactly =
            bound(inside, true).filter(|_| from_included && to_included).ok_or_else(wrong)?;
        return Ok(Range { from: Some(exactly.clone()), to: Some(exactly) });
    };
    if to.contains(',') {
        return Err(wrong());
    }
    let (from, to) = (bound(from, from_included), bound(to, to_included));
    if let (Some(from), Some(to)) = (&from, &to)
        && compare(&from.version, &to.version) != Ordering::Less
    {
        return Err(format!("{text} ends before it begins"));
    }
    Ok(Range { from, to })
}

fn comes_before(one: &Range, other: &Range) -> bool {
    let (Some(to), Some(from)) = (&one.to, &other.from) else { return false };
    match compare(&to.version, &from.version) {
        Ordering::Less => true,
        Ordering::Equal => !(to.included && from.included),
        Ordering::Greater => false,
    }
}

/// Which of two versions is newer.
#[must_use]
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (tokens(one), tokens(other));
    for index in 0..one.len().max(other.len()) {
        let (a, b) = match (one.get(index), other.get(index)) {
            (Some(a), Some(b)) => (a.clone(), b.clone()),
            (Some(a), None) => (a.clone(), a.padding()),
            (None, Some(b)) => (b.padding(), b.clone()),
            (None, None) => return Ordering::Equal,
        };
        match a.order(&b) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

/// A part of a version with the separator before it.
#[derive(Clone, Debug)]
struct Token {
    hyphen: bool,
    part: Part,
}

#[derive(Clone, Debug)]
enum Part {
    /// Decimal digits without leading zeros; empty is zero. Of any length, so never a number.
    Number(String),
    /// In lower case, with the short forms written out; empty is a release.
    Qualifier(String),
}

impl Token {
    /// What the shorter of two versions is filled up with.
    fn padding(&self) -> Self {
        let part = match self.part {
            Part::Number(_) => Part::Number(String::new()),
            Part::Qualifier(_) => Part::Qualifier(String::new()),
        };
        Self { hyphen: self.hyphen, part }
    }

    fn is_null(&self) -> bool {
        matches!(&self.part, Part::Number(text) | Part::Qualifier(text) if text.is_empty())
    }

    fn order(&self, other: &Self) -> Ordering {
        match (&self.part, &other.part) {
            (Part::Number(a), Part::Number(b)) => {
                // Behind a hyphen a number weighs less than behind a dot.
                let by_separator = other.hyphen.cmp(&self.hyphen);
                by_separator.then_with(|| a.len().cmp(&b.len())).then_with(|| a.cmp(b))
            }
            (Part::Number(_), Part::Qualifier(_)) => Ordering::Greater,
            (Part::Qualifier(_), Part::Number(_)) => Ordering::Less,
            (Part::Qualifier(a), Part::Qualifier(b)) => {
                rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
            }
        }
    }
}

fn rank(qualifier: &str) -> usize {
    const KNOWN: &[&str] = &["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
    KNOWN.iter().position(|known| *known == qualifier).unwrap_or(KNOWN.len())
}

fn tokens(version: &str) -> Vec<Token> {
    let version = version.trim().to_lowercase();
    let mut tokens: Vec<Token> = Vec::new();
    let mut hyphen = false;
    for (index, piece) in pieces(&version).into_iter().enumerate() {
        match piece {
            Piece::Separator(is_hyphen) => hyphen = is_hyphen,
            Piece::Text { text, joined, before_number } => {
                // From digits to letters and back counts as a hyphen.
                let hyphen = index > 0 && (hyphen || joined);
                tokens.push(Token { hyphen, part: part(text, before_number) });
            }
        }
    }
    trim_nulls(&mut tokens);
    tokens
}

enum Piece<'v> {
    Separator(bool),
    Text { text: &'v str, joined: bool, before_number: bool },
}

fn pieces(version: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let separates = |c: char| matches!(c, '.' | '-' | '_');
    let mut rest = version;
    loop {
        let end = rest.find(separates).unwrap_or(rest.len());
        let mut run = &rest[..end];
        let mut joined = false;
        // Nothing between two separators is a zero.
        while !run.is_empty() || !joined {
            let digits = run.starts_with(|c: char| c.is_ascii_digit());
            let length = run.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(run.len());
            let before_number = !digits && length > 0 && length < run.len();
            pieces.push(Piece::Text { text: &run[..length], joined, before_number });
            joined = true;
            run = &run[length..];
        }
        if end == rest.len() {
            return pieces;
        }
        pieces.push(Piece::Separator(rest[end..].starts_with('-')));
        rest = &rest[end + 1..];
    }
}

fn part(text: &str, before_number: bool) -> Part {
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Part::Number(text.trim_start_matches('0').to_owned());
    }
    let qualifier = match (text, before_number) {
        ("a", true) => "alpha",
        ("b", true) => "beta",
        ("m", true) => "milestone",
        ("cr", _) => "rc",
        ("final" | "ga" | "release", _) => "",
        (other, _) => other,
    };
    Part::Qualifier(qualifier.to_owned())
}

/// `1.0.0` is `1`: what means nothing is taken off the end, and before each hyphen.
fn trim_nulls(tokens: &mut Vec<Token>) {
    let mut end = tokens.len();
    while end > 0 {
        let mut from = end;
        while from > 0 && tokens[from - 1].is_null() {
            from -= 1;
        }
        tokens.drain(from..end);
        // On to the token before the last hyphen that is left.
        end = tokens[..from].iter().rposition(|token| token.hyphen).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_mavens() {
        // The examples of the POM reference, and some of those that plug-ins really have.
        for (less, more) in [
            ("1", "1.1"),
            ("1-snapshot", "1"),
            ("1", "1-sp"),
            ("1-foo2", "1-foo10"),
            ("1.foo", "1-1"),
            ("1-foo", "1-1"),
            ("1-1", "1.1"),
            ("1-ga.1", "1-sp.1"),
            ("1-sp-1", "1-ga-1"),
            ("1-alpha-1", "1-beta"),
            ("1.0-rc1", "1.0"),
            ("3.5.0.Beta1", "3.5.0.Final"),
            ("3.5.0.Final", "3.5.1.Alpha1"),
            ("9.9", "10"),
            ("99999999999999999999", "100000000000000000000"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} < {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{more} > {less}");
        }
        for (one, other) in [
            ("1.ga", "1"),
            ("1-ga", "1.0"),
            ("1-0", "1"),
            ("1-a1", "1-alpha-1"),
            ("1.0.0", "1"),
            ("1-cr", "1-RC"),
            ("1.foo", "1-foo"),
            ("01.2", "1.2"),
            ("3.5.0.Final", "3.5"),
            ("1..1", "1.0.1"),
        ] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} = {other}");
        }
    }

    #[test]
    fn requirements() {
        let admits = |requirement: &str, version: &str| {
            VersionRequirement::parse(requirement).expect(requirement).admits(version)
        };
        assert!(admits("latest", "0.1.0") && admits("", "0.1.0") && admits("0.1", "0.1.0"));
        assert!(!admits("0.1.1", "0.1.0"));
        assert!(admits("[0.1.0]", "0.1.0") && !admits("[0.1.1]", "0.1.0"));
        assert!(admits("[0.1,1.0)", "0.1.0") && !admits("(0.1,1.0)", "0.1.0"));
        assert!(admits("(,1.0]", "1.0") && !admits("(,1.0)", "1.0") && admits("[1,)", "9"));
        assert!(admits("[1.0,1.2],[1.5,)", "1.6") && !admits("[1.0,1.2],[1.5,)", "1.3"));
        assert!(admits("(,1.1),(1.1,)", "1.2") && !admits("(,1.1),(1.1,)", "1.1"));
    }

    #[test]
    fn what_is_no_requirement_is_refused() {
        for wrong in [
            "[1.0",
            "(1.0)",
            "[]",
            "1.0,2.0",
            "[2,1]",
            "[1,2],",
            "[1,2][3,4]",
            "[1,3],[2,4]",
            "[1,2,3]",
            "1.0]",
            "[1,2]x",
        ] {
            assert!(VersionRequirement::parse(wrong).is_err(), "{wrong}");
        }
    }
}
