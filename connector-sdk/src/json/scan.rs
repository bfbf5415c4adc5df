//! The scanner. It goes over each byte once, eight at a time inside of strings, and allocates nothing
//! unless a document nests deeper than 63 levels or writes leading zeros.
//!
//! Functions take the place where they begin and return the place behind what they read.

use std::fmt;
use std::ops::Range;

/// How deep documents may nest; Jackson's limit.
pub const MAX_DEPTH: usize = 1000;

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    found: Option<char>,
    expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(found) => write!(f, "unexpected {found:?}")?,
            None => f.write_str("unexpected end")?,
        }
        write!(f, " at line {}, column {}: expected {}", self.line, self.column, self.expected)
    }
}

impl std::error::Error for Malformed {}

/// The place that was not as expected.
struct Stop {
    at: usize,
    expected: &'static str,
}

type End = Result<usize, Stop>;
type Zeros = Vec<Range<usize>>;

const VALUE: &str = "a string, a number, an array, an object, true, false or null";

#[cold]
const fn stop(at: usize, expected: &'static str) -> End {
    Err(Stop { at, expected })
}

/// The place of the first document, if there is one, and those of the leading zeros in it.
pub(super) fn document(text: &str) -> Result<(Option<Range<usize>>, Zeros), Malformed> {
    let bytes = text.as_bytes();
    let mark = if text.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
    let start = skip(bytes, mark);
    let mut zeros = Zeros::new();
    if start == bytes.len() {
        return Ok((None, zeros));
    }
    match value(bytes, start, &mut zeros) {
        Ok(end) => Ok((Some(start..end), zeros)),
        Err(stop) => Err(malformed(text, &stop)),
    }
}

#[cold]
fn malformed(text: &str, stop: &Stop) -> Malformed {
    let (before, after) = text.split_at_checked(stop.at).unwrap_or((text, ""));
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Malformed {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        found: after.chars().next(),
        expected: stop.expected,
    }
}

/// The first place from `at` on that is not white space.
#[inline(always)]
pub(super) fn skip(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The kinds of the containers around the current one, a bit each.
#[derive(Default)]
struct Open {
    depth: usize,
    /// Whether the innermost container is an object.
    object: bool,
    around: u64,
    /// Full words of bits further out.
    far: Vec<u64>,
}

impl Open {
    #[inline(always)]
    fn push(&mut self, object: bool) {
        if self.depth % 64 == 63 {
            self.far.push(self.around);
        }
        self.around = self.around << 1 | u64::from(self.object);
        self.object = object;
        self.depth += 1;
    }

    #[inline(always)]
    fn pop(&mut self) {
        self.object = self.around & 1 == 1;
        self.around >>= 1;
        self.depth -= 1;
        if self.depth % 64 == 63 {
            self.around = self.far.pop().unwrap_or_default();
        }
    }
}

fn value(bytes: &[u8], mut at: usize, zeros: &mut Zeros) -> End {
    let mut open = Open::default();
    loop {
        at = skip(bytes, at);
        match bytes.get(at) {
            Some(b'"') => at = string(bytes, at + 1)?,
            Some(bracket @ (b'{' | b'[')) => {
                if open.depth == MAX_DEPTH {
                    return stop(at, "at most 1000 levels");
                }
                open.push(*bracket == b'{');
                at = skip(bytes, at + 1);
                match bytes.get(at) {
                    Some(b'}') if open.object => {}
                    Some(b']') if !open.object => {}
                    _ if open.object => {
                        at = name(bytes, at)?;
                        continue;
                    }
                    _ => continue,
                }
            }
            Some(b'-' | b'0'..=b'9') => at = number(bytes, at, zeros)?,
            Some(b't') => at = literal(bytes, at, b"true")?,
            Some(b'f') => at = literal(bytes, at, b"false")?,
            Some(b'n') => at = literal(bytes, at, b"null")?,
            _ => return stop(at, VALUE),
        }
        // After a value: close what ends here, until a comma says that something follows.
        loop {
            if open.depth == 0 {
                return Ok(at);
            }
            at = skip(bytes, at);
            match bytes.get(at) {
                Some(b',') if open.object => {
                    at = name(bytes, at + 1)?;
                    break;
                }
                Some(b',') => {
                    at += 1;
                    break;
                }
                Some(b'}') if open.object => {}
                Some(b']') if !open.object => {}
                _ if open.object => return stop(at, "a comma or '}'"),
                _ => return stop(at, "a comma or ']'"),
            }
            at += 1;
            open.pop();
        }
    }
}

/// A name and the colon behind it.
#[inline(always)]
fn name(bytes: &[u8], at: usize) -> End {
    let at = skip(bytes, at);
    if bytes.get(at) != Some(&b'"') {
        return stop(at, "a double quote to start a field name");
    }
    let at = skip(bytes, string(bytes, at + 1)?);
    if bytes.get(at) == Some(&b':') { Ok(at + 1) } else { stop(at, "a colon") }
}

/// The rest of a string, from behind its first quote.
#[inline(always)]
fn string(bytes: &[u8], mut at: usize) -> End {
    loop {
        while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let special = special(u64::from_le_bytes(*word));
            if special != 0 {
                at += special.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(bytes, at + 1)?,
            Some(0x20..) => at += 1,
            _ => return stop(at, "a double quote or an escaped control character"),
        }
    }
}

/// Marks the bytes which end a run of plain text: quotes, backslashes, control characters. Bits above
/// the lowest one may be wrong.
#[inline(always)]
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let quotes = word ^ (ONES * b'"' as u64);
    let slashes = word ^ (ONES * b'\\' as u64);
    let quotes = quotes.wrapping_sub(ONES) & !quotes;
    let slashes = slashes.wrapping_sub(ONES) & !slashes;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | slashes | controls) & TOPS
}

/// What follows a backslash.
#[inline(never)]
fn escape(bytes: &[u8], at: usize) -> End {
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => {
            let digits = bytes.get(at + 1..).unwrap_or_default();
            match digits.iter().take(4).take_while(|digit| digit.is_ascii_hexdigit()).count() {
                4 => Ok(at + 5),
                good => stop(at + 1 + good, "four hexadecimal digits"),
            }
        }
        _ => stop(at, "one of \" \\ / b f n r t u after a backslash"),
    }
}

#[inline(always)]
fn number(bytes: &[u8], at: usize, zeros: &mut Zeros) -> End {
    let start = at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut at = digits(bytes, start)?;
    if bytes.get(start) == Some(&b'0') && at > start + 1 {
        leading_zeros(bytes, start..at, zeros);
    }
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(sign))?;
    }
    match bytes.get(at) {
        None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') => Ok(at),
        Some(_) => stop(at, "the end of the number"),
    }
}

#[cold]
fn leading_zeros(bytes: &[u8], digits: Range<usize>, zeros: &mut Zeros) {
    let all_but_last = bytes.get(digits.start..digits.end - 1).unwrap_or_default();
    let count = all_but_last.iter().take_while(|digit| **digit == b'0').count();
    zeros.push(digits.start..digits.start + count);
}

#[inline(always)]
fn digits(bytes: &[u8], start: usize) -> End {
    let mut at = start;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    if at > start { Ok(at) } else { stop(at, "a digit") }
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> End {
    let touches = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | 0x80..);
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.starts_with(word) && !rest.get(word.len()).is_some_and(touches) {
        Ok(at + word.len())
    } else {
        stop(at, VALUE)
    }
}

/// Steps into a container; where its first element begins, if there is one.
pub(super) fn enter(bytes: &[u8], bracket: u8) -> Option<usize> {
    let at = skip(bytes, 0);
    let first = skip(bytes, at + 1);
    let closing = bracket + 2;
    (bytes.get(at) == Some(&bracket) && bytes.get(first) != Some(&closing)).then_some(first)
}

/// The place of a string with its quotes.
pub(super) fn string_place(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    (bytes.get(at) == Some(&b'"')).then_some(at..string(bytes, at + 1).ok()?)
}

/// The place of a value.
pub(super) fn value_place(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    Some(at..value(bytes, at, &mut Zeros::new()).ok()?)
}

/// Where the value begins to which the colon after `at` leads.
pub(super) fn after_colon(bytes: &[u8], at: usize) -> Option<usize> {
    after(bytes, at, b':')
}

/// Where the element begins to which the comma after `at` leads, if there is one.
pub(super) fn after_comma(bytes: &[u8], at: usize) -> Option<usize> {
    after(bytes, at, b',')
}

fn after(bytes: &[u8], at: usize, mark: u8) -> Option<usize> {
    let at = skip(bytes, at);
    (bytes.get(at) == Some(&mark)).then(|| skip(bytes, at + 1))
}
