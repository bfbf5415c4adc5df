//! What takes the place of a match, in the language of `Matcher.appendReplacement`: `$1` and
//! `${name}` are groups, a backslash takes the next character as it is.

use fancy_regex::Regex;
use towpath_sdk::Result;

use super::{Pattern, compile, too_many_steps, translate};

/// A pattern for whole texts and what takes the place of what it matches.
///
/// As in Kafka Connect's `RegexRouter` it is the pattern's first match that is replaced: `a|ab` matches
/// all of `ab`, and then replaces its `a`.
#[derive(Debug)]
pub struct Replacer {
    whole: Pattern,
    first: Regex,
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Replacer {
    /// Compiles both.
    ///
    /// # Errors
    /// A reason for people, if the pattern is none; or, with [`Flaw::Replacement`], if the replacement
    /// is none for it.
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, Flaw> {
        let whole = Pattern::new(pattern).map_err(Flaw::Pattern)?;
        let first = translate(pattern).and_then(|text| compile(&text)).map_err(Flaw::Pattern)?;
        let pieces = pieces(replacement, &first).map_err(Flaw::Replacement)?;
        Ok(Self { whole, first, pieces })
    }

    /// `text` with its first match replaced, or `None` if the pattern does not match all of `text`.
    ///
    /// # Errors
    /// If it takes too many steps.
    pub fn replace(&self, text: &str) -> Result<Option<String>> {
        if !self.whole.matches(text)? {
            return Ok(None);
        }
        let Some(found) = self.first.captures(text).map_err(too_many_steps)? else {
            return Ok(None);
        };
        let Some(place) = found.get(0) else { return Ok(None) };
        let mut out = text[..place.start()].to_owned();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(group) => {
                    out.push_str(found.get(*group).map_or("", |group| group.as_str()));
                }
            }
        }
        out.push_str(&text[place.end()..]);
        Ok(Some(out))
    }
}

/// Which of the two is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The pattern.
    Pattern(String),
    /// What is to take its place.
    Replacement(String),
}

fn pieces(replacement: &str, regex: &Regex) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut text) = (Vec::new(), String::new());
    let mut rest = replacement;
    while let Some(at) = rest.find(['\\', '$']) {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if rest[at..].starts_with('\\') {
            let escaped =
                after.chars().next().ok_or("a character is missing after the last '\\'")?;
            text.push(escaped);
            rest = &after[escaped.len_utf8()..];
            continue;
        }
        let (group, behind) = group(after, regex)?;
        pieces.push(Piece::Text(std::mem::take(&mut text)));
        pieces.push(Piece::Group(group));
        rest = behind;
    }
    text.push_str(rest);
    pieces.push(Piece::Text(text));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

/// The group that is named after a `$`, and what follows.
fn group<'t>(after: &'t str, regex: &Regex) -> Result<(usize, &'t str), String> {
    if let Some(named) = after.strip_prefix('{') {
        let (name, behind) = named.split_once('}').ok_or("a '}' is missing after '${'")?;
        let known = regex.capture_names().position(|known| known == Some(name));
        let group = known.ok_or_else(|| format!("the pattern has no group called '{name}'"))?;
        return Ok((group, behind));
    }
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    // As many digits belong to the number as there are groups for.
    let number =
        |digits| after[..digits].parse::<usize>().ok().filter(|n| *n < regex.captures_len());
    let taken = (1..=digits).take_while(|digits| number(*digits).is_some()).last();
    match taken.and_then(|taken| Some((number(taken)?, &after[taken..]))) {
        Some(group) => Ok(group),
        None if digits > 0 => Err(format!("the pattern has no group {}", &after[..1])),
        None => {
            Err("a '$' stands before the number or {name} of a group; write \\$ for a '$'"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Flaw, Replacer};

    #[test]
    fn replaces_as_java_does() {
        for (pattern, replacement, text, expected) in [
            ("(?<by>.*)", "outbox.event.${by}", "order", Some("outbox.event.order")),
            ("(.)(.*)", "$2-$1$0", "abc", Some("bc-aabc")),
            ("(.*)", "$11", "a", Some("a1")),
            ("(a)(b)?", "<$2>$1", "a", Some("<>a")),
            (".*", "\\$1\\\\", "a", Some("$1\\")),
            ("a|ab", "X", "ab", Some("Xb")),
            ("b", "X", "ab", None),
            ("(.*)", "", "ab", Some("")),
            ("()()()()()()()()()()(.*)", "$11$1", "x", Some("x")),
        ] {
            let replaced = Replacer::new(pattern, replacement).unwrap().replace(text).unwrap();
            assert_eq!(replaced.as_deref(), expected, "{pattern} {replacement} {text}");
        }
    }

    #[test]
    fn what_can_not_be_replaced_by_is_refused() {
        for replacement in ["$2", "${nope}", "$x", "x$", "x\\", "${a"] {
            let flaw = Replacer::new("(.*)", replacement).unwrap_err();
            assert!(matches!(flaw, Flaw::Replacement(_)), "{replacement}: {flaw:?}");
        }
        assert!(matches!(Replacer::new("(", "x"), Err(Flaw::Pattern(_))));
    }
}
