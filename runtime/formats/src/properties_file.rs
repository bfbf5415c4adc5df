//! Java's `.properties` files, read as `java.util.Properties.load` reads them.
//!
//! Invariant: for a text without unpaired surrogates in its `\u` escapes the result equals Java's,
//! with one intended difference: bytes that are valid UTF-8 are read as UTF-8 (Java's loader takes
//! every byte as a Latin-1 character); other bytes are read as Latin-1, as Java does.
//!
//! Deliberately absent: writing such files, and references like `${file:…}` in values.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use crate::Properties;

/// A file that Java would refuse too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// Reads a whole file. Of a key that is set twice the last value counts.
///
/// # Errors
/// If a `\u` escape isn't four hexadecimal digits, or stands for half a character.
pub fn parse(bytes: &[u8]) -> Result<Properties, ParseError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    };
    parse_text(text.strip_prefix('\u{feff}').unwrap_or(&text))
}

/// Reads a text.
///
/// # Errors
/// As [`parse`].
pub fn parse_text(text: &str) -> Result<Properties, ParseError> {
    let mut lines = Lines { rest: text.chars().peekable(), line: 1 };
    let mut properties = Properties::new();
    while let Some(logical) = lines.next_logical() {
        let (key, value) = split(&logical.text);
        let unescaped =
            |part| unescape(part).map_err(|problem| ParseError { line: logical.line, problem });
        properties.set(unescaped(key)?, unescaped(value)?);
    }
    Ok(properties)
}

/// A line with its continuations, escapes still in it.
struct Logical {
    text: String,
    line: usize,
}

struct Lines<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Lines<'_> {
    /// The next character; either single end of line is a line feed, both together a carriage return.
    fn next_char(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if !is_end(c) {
            return Some(c);
        }
        self.line += 1;
        let both = c == '\r' && self.rest.next_if_eq(&'\n').is_some();
        Some(if both { '\r' } else { '\n' })
    }

    fn skip(&mut self, skipped: fn(char) -> bool) {
        while self.rest.peek().is_some_and(|c| skipped(*c)) {
            self.next_char();
        }
    }

    fn next_logical(&mut self) -> Option<Logical> {
        let mut text = String::new();
        self.skip(|c| is_space(c) || is_end(c));
        let mut line = self.line;
        let mut escaped = false;
        loop {
            // A comment starts where nothing else is on the line yet, even after a lone backslash.
            if text.is_empty() && matches!(self.rest.peek(), Some('#' | '!')) {
                self.skip(|c| !is_end(c));
                self.skip(|c| is_space(c) || is_end(c));
                line = self.line;
                continue;
            }
            match self.next_char() {
                Some(end) if is_end(end) && escaped => {
                    text.pop();
                    escaped = false;
                    // Java's reader looks for the second of two ends here, and stops if there is nothing.
                    if end == '\n' && self.rest.peek().is_none() {
                        break;
                    }
                    self.skip(is_space);
                }
                // After a continuation an empty line ends what there is; if there is nothing, go on.
                Some(end) if is_end(end) && text.is_empty() => {
                    self.skip(|c| is_space(c) || is_end(c))
                }
                Some(end) if is_end(end) => break,
                Some(c) => {
                    escaped = c == '\\' && !escaped;
                    text.push(c);
                }
                None if text.is_empty() => return None,
                None => {
                    if escaped {
                        text.pop();
                    }
                    break;
                }
            }
        }
        Some(Logical { text, line })
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn is_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// Splits at the first unescaped `=`, `:` or white space; white space around one `=` or `:` goes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let ends_key = |(_, c): &(usize, char)| {
        let ends = !escaped && (matches!(c, '=' | ':') || is_space(*c));
        escaped = *c == '\\' && !escaped;
        ends
    };
    let Some((at, _)) = line.char_indices().find(ends_key) else {
        return (line, "");
    };
    let rest = line[at..].trim_start_matches(is_space);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..at], rest.trim_start_matches(is_space))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    // The first half of a character that takes two `\u` escapes.
    let mut half: Option<u16> = None;
    while let Some(c) = chars.next() {
        let unit = match c {
            '\\' => match chars.next() {
                Some('u') => Err(hex4(&mut chars)?),
                Some('t') => Ok('\t'),
                Some('n') => Ok('\n'),
                Some('r') => Ok('\r'),
                Some('f') => Ok('\u{c}'),
                Some(other) => Ok(other),
                None => break,
            },
            plain => Ok(plain),
        };
        match (unit, half.take()) {
            (Ok(c), None) => out.push(c),
            (Err(unit), first) => {
                let units = first.into_iter().chain([unit]);
                match char::decode_utf16(units).collect::<Result<String, _>>() {
                    Ok(decoded) => out.push_str(&decoded),
                    Err(_) if first.is_none() && (0xD800..0xDC00).contains(&unit) => {
                        half = Some(unit)
                    }
                    Err(_) => return Err(UNPAIRED),
                }
            }
            (Ok(_), Some(_)) => return Err(UNPAIRED),
        }
    }
    if half.is_some() { Err(UNPAIRED) } else { Ok(out) }
}

const UNPAIRED: &str = "a \\u escape stands for half a character; write both halves";

fn hex4(chars: &mut Chars<'_>) -> Result<u16, &'static str> {
    const MALFORMED: &str =
        "malformed \\uxxxx escape; write four hexadecimal digits, or \\\\u for a backslash and u";
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or(MALFORMED)?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The table was printed by `java.util.Properties.load` of Java 17: text and entries, or null for
    /// an error.
    #[test]
    fn texts_are_read_as_java_reads_them() {
        let table = include_str!("../fixtures/properties.jsonl");
        for line in table.lines() {
            let (text, expect): (String, Option<BTreeMap<String, String>>) =
                serde_json::from_str(line).expect("a row");
            let read = parse_text(&text).ok().map(|p| p.into_iter().collect::<BTreeMap<_, _>>());
            assert_eq!(read, expect, "{text:?}");
        }
        assert!(table.lines().count() > 400);
    }

    #[test]
    fn utf8_and_latin1_are_told_apart() {
        let expect = Properties::from([("ü", "é")]);
        assert_eq!(parse("\u{feff}ü=é".as_bytes()), Ok(expect.clone()));
        assert_eq!(parse(b"\xfc=\xe9"), Ok(expect));
    }

    #[test]
    fn errors_name_the_line() {
        let error = parse(b"a=b\n# c\nc=d\\\n e\\u12").expect_err("malformed");
        assert_eq!(error.line, 3);
        assert!(error.to_string().starts_with("line 3: malformed \\uxxxx escape"));
        assert_eq!(parse(b"\n\na=\\ud83d x").expect_err("half").line, 3);
        assert!(parse(b"a=\\ude00").is_err() && parse(b"a=\\ud83d\\ud83d").is_err());
    }

    #[test]
    fn the_order_is_kept() {
        let read = parse(b"b=1\na=2\nb=3").expect("valid");
        assert_eq!(
            read.iter().collect::<Vec<_>>(),
            [(&"b".to_owned(), &"3".to_owned()), (&"a".to_owned(), &"2".to_owned())]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_entries_or_an_error(bytes in any::<Vec<u8>>()) {
            if let Ok(read) = parse(&bytes) {
                prop_assert!(read.len() <= bytes.len());
            }
        }
    }
}
