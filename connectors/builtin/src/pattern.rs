//! Java's regular expressions, as far as they mean the same here.
//!
//! Duty: full matches, as `Matcher.matches` makes them, and what [`Replacer`] writes for the first match,
//! as `Matcher.replaceFirst` does. Patterns are matched by a backtracking engine
//! with a limit, so look-around, back-references, possessive and atomic groups work. What that engine
//! lacks or reads otherwise than Java is refused with its name, never taken silently: octal and
//! control escapes, `\h`, `\H`, `\v`, `\V`, `\R`, `\X`, `\G`, `\Z`, `\N`, properties other than
//! POSIX ones, a `[` inside of a character class, and the flags `d`, `u`, `x`, `U`.

use fancy_regex::{Regex, RegexBuilder};

use towpath_sdk::{Error, Result};

mod replacer;

pub use replacer::{Flaw, Replacer};

const BACKTRACK_LIMIT: usize = 100_000;

/// A pattern for whole texts.
#[derive(Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern in Java's syntax.
    ///
    /// # Errors
    /// A reason for people, if it is none, or if it would mean something else here.
    pub fn new(java: &str) -> Result<Self, String> {
        compile(&format!("\\A(?:{})\\z", translate(java)?)).map(Self)
    }

    /// Whether the pattern matches all of `text`.
    ///
    /// # Errors
    /// If it takes too many steps.
    pub fn matches(&self, text: &str) -> Result<bool> {
        self.0.is_match(text).map_err(too_many_steps)
    }
}

/// Compiles what was translated. The engine's \d, \w and the like know all of Unicode, Java's only
/// ASCII.
fn compile(translated: &str) -> Result<Regex, String> {
    RegexBuilder::new(translated)
        .backtrack_limit(BACKTRACK_LIMIT)
        .build()
        .map_err(|error| format!("Invalid regex: {error}"))
}

fn too_many_steps(error: fancy_regex::Error) -> Error {
    Error::data("a regular expression took too many steps, make it simpler").with_source(error)
}

fn refuse<T>(what: &str) -> Result<T, String> {
    Err(format!("Invalid regex: {what} is not supported here, use another way to write it"))
}

/// The same pattern in the engine's syntax.
fn translate(java: &str) -> Result<String, String> {
    let mut out = String::with_capacity(java.len());
    let mut rest = java.chars().peekable();
    let mut in_class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('Q') => quoted(&mut rest, &mut out),
                escaped => escape(escaped, &mut rest, in_class, &mut out)?,
            },
            '[' if in_class => return refuse("a '[' inside of a character class"),
            '[' => {
                in_class = true;
                out.push('[');
                if let Some('^') = rest.peek() {
                    out.push('^');
                    rest.next();
                }
                if let Some(']') = rest.peek() {
                    return refuse("a ']' at the start of a character class");
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' | '-' if in_class && rest.peek() == Some(&c) => {
                return refuse("an operator between character classes");
            }
            '{' if !in_class => out.push_str(&counts(&mut rest)?),
            '(' if !in_class && rest.peek() == Some(&'?') => {
                out.push_str("(?");
                rest.next();
                flags(&mut rest)?;
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// `{n}`, `{n,}` or `{n,m}`: the engine would swap the two if they came in the other order.
fn counts(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    let counts: String = rest.by_ref().take_while(|c| *c != '}').collect();
    let (least, most) = counts.split_once(',').unwrap_or((&counts, &counts));
    let number = |text: &str| text.parse::<u32>().ok();
    let right = match (number(least), number(most)) {
        (Some(least), Some(most)) => least <= most,
        (Some(_), None) => most.is_empty(),
        (None, _) => false,
    };
    if right {
        Ok(format!("{{{counts}}}"))
    } else {
        refuse("a '{' that is no count of repetitions")
    }
}

fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut literal = String::new();
    while let Some(c) = rest.next() {
        if c == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            break;
        }
        literal.push(c);
    }
    out.push_str(&fancy_regex::escape(&literal));
}

fn escape(
    escaped: Option<char>,
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) -> Result<(), String> {
    let class = |ranges: &str| if in_class { ranges.to_owned() } else { format!("[{ranges}]") };
    let not = |ranges: &str| match in_class {
        true => refuse("a negated class inside of a character class"),
        false => Ok(format!("[^{ranges}]")),
    };
    const WORD: &str = "0-9A-Z_a-z";
    const SPACE: &str = " \\t\\n\\x0B\\f\\r";
    out.push_str(&match escaped {
        None => return refuse("a backslash at the end"),
        Some('d') => class("0-9"),
        Some('D') => not("0-9")?,
        Some('w') => class(WORD),
        Some('W') => not(WORD)?,
        Some('s') => class(SPACE),
        Some('S') => not(SPACE)?,
        Some('e') => "\\x1B".to_owned(),
        Some(c @ ('p' | 'P')) => {
            let name: String = match rest.next() {
                Some('{') => rest.by_ref().take_while(|c| *c != '}').collect(),
                letter => letter.into_iter().collect(),
            };
            let Some(ranges) = posix(&name) else {
                return refuse(&format!("\\{c}{{{name}}}"));
            };
            if c == 'p' { class(ranges) } else { not(ranges)? }
        }
        Some(c @ ('t' | 'n' | 'r' | 'f' | 'a' | 'b' | 'B' | 'A' | 'z' | 'k' | 'u' | 'x')) => {
            format!("\\{c}")
        }
        Some(c @ '1'..='9') => format!("\\{c}"),
        Some(c) if c.is_ascii_alphanumeric() => return refuse(&format!("\\{c}")),
        Some(c) => fancy_regex::escape(c.encode_utf8(&mut [0; 4])).into_owned(),
    });
    Ok(())
}

fn posix(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "Alpha" => "A-Za-z",
        "Digit" => "0-9",
        "Alnum" => "0-9A-Za-z",
        "Punct" => "!-/:-@\\[-`{-~",
        "Graph" => "!-~",
        "Print" => " -~",
        "Blank" => " \\t",
        "Cntrl" => "\\x00-\\x1F\\x7F",
        "XDigit" => "0-9A-Fa-f",
        "Space" => " \\t\\n\\x0B\\f\\r",
        "ASCII" => "\\x00-\\x7F",
        _ => return None,
    })
}

/// Looks at what follows `(?`, which is copied later.
fn flags(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<(), String> {
    let mut ahead = rest.clone();
    match ahead.next() {
        Some(':' | '=' | '!' | '>' | '<') => Ok(()),
        first => {
            let flags = first.into_iter().chain(ahead.take_while(|c| !matches!(c, ')' | ':')));
            match flags.into_iter().find(|c| !matches!(c, 'i' | 'm' | 's' | '-')) {
                Some(flag) => refuse(&format!("the flag '{flag}'")),
                None => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn matches_the_whole_text_as_java_does() {
        for (pattern, text, expected) in [
            ("orders", "orders", true),
            ("orders", "orders.eu", false),
            ("a|ab", "ab", true),
            ("orders\\..*", "orders.eu", true),
            ("orders\\..*", "orders-eu", false),
            ("(?!internal\\.).*", "internal.x", false),
            ("(?!internal\\.).*", "public.x", true),
            ("(?<!-)x", "x", true),
            ("(a)\\1", "aa", true),
            ("\\Qa.b\\E.", "a.bc", true),
            ("\\Qa.b\\E.", "axbc", false),
            ("\\Q[", "[", true),
            ("[\\w.]+", "a_1.b", true),
            ("\\d+", "\u{663}", false),
            ("\\p{Upper}\\p{Alnum}*", "Ab1", true),
            ("[^\\p{Punct}]+", "a-b", false),
            ("[a-c&&]", "&", true),
            ("(?i)ORDERS", "orders", true),
            ("a*+a", "aaa", false),
            ("(?>a*)b", "aab", true),
            ("\\S+", "a b", false),
            ("x{2,3}", "xxx", true),
            ("[-a]", "-", true),
            ("\\-\\.\\_", "-._", true),
        ] {
            match Pattern::new(pattern) {
                Ok(regex) => assert_eq!(regex.matches(text).unwrap(), expected, "{pattern} {text}"),
                Err(why) => assert!(pattern.contains("&&"), "{pattern}: {why}"),
            }
        }
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for pattern in [
            "\\h",
            "\\R",
            "\\Z",
            "\\01",
            "\\cA",
            "\\p{IsGreek}",
            "\\p{javaLowerCase}",
            "[a[b]]",
            "[a&&[b]]",
            "[\\W]",
            "(?x)a b",
            "(?u)a",
            "(?U:a)",
            "\\",
            "[]a]",
            "(",
            "a{2,1}",
            "\\y",
        ] {
            let why = Pattern::new(pattern).err().unwrap_or_default();
            assert!(why.starts_with("Invalid regex: "), "{pattern}: {why}");
        }
    }

    #[test]
    fn steps_are_bounded() {
        let pattern = Pattern::new("(x+x+)+(?=y)y").unwrap();
        assert!(pattern.matches(&"x".repeat(60)).is_err());
    }
}
