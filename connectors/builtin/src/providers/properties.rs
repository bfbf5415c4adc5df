//! One key of a text in Java's properties format.

use std::str::Chars;

/// The value of `key`; of several lines with this key the last counts.
pub(super) fn get(text: &str, key: &str) -> Option<String> {
    let mut found = None;
    let mut rest = text.chars();
    while let Some((name, value)) = entry(&mut rest) {
        if name == key {
            found = Some(value);
        }
    }
    found
}

/// The next logical line that is neither blank nor a comment.
fn entry(rest: &mut Chars<'_>) -> Option<(String, String)> {
    loop {
        skip(rest, |c| matches!(c, ' ' | '\t' | '\x0C' | '\n' | '\r'));
        match rest.clone().next()? {
            '#' | '!' => skip(rest, |c| !matches!(c, '\n' | '\r')),
            _ => break,
        }
    }
    let blank = |c| matches!(c, ' ' | '\t' | '\x0C');
    let name = piece(rest, |c| blank(c) || matches!(c, '=' | ':'));
    skip(rest, blank);
    if let Some('=' | ':') = rest.clone().next() {
        rest.next();
        skip(rest, blank);
    }
    Some((name, piece(rest, |_| false)))
}

fn skip(rest: &mut Chars<'_>, matches: impl Fn(char) -> bool) {
    while rest.clone().next().is_some_and(&matches) {
        rest.next();
    }
}

/// Reads up to the end of the line, or to where `ends` says, and resolves escapes.
fn piece(rest: &mut Chars<'_>, ends: impl Fn(char) -> bool) -> String {
    let mut units: Vec<u16> = Vec::new();
    loop {
        let before = rest.clone();
        let Some(c) = rest.next() else { break };
        let c = match c {
            '\\' => match rest.next() {
                None => break,
                Some(end @ ('\r' | '\n')) => {
                    if end == '\r' && rest.clone().next() == Some('\n') {
                        rest.next();
                    }
                    skip(rest, |c| matches!(c, ' ' | '\t' | '\x0C'));
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0C',
                Some('u') => {
                    let digits: String = rest.clone().take(4).collect();
                    if let Ok(unit) = u16::from_str_radix(&digits, 16) {
                        rest.nth(3);
                        units.push(unit);
                        continue;
                    }
                    'u'
                }
                Some(other) => other,
            },
            c if matches!(c, '\n' | '\r') || ends(c) => {
                *rest = before;
                break;
            }
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::get;

    #[test]
    fn properties_as_java_reads_them() {
        let text = "# comment\n\n! another\\\n  a=1\r\nb : two words  \nc\tthree\nd\n\
                    e = x\\\n   y\\\r\nz\nf\\ g\\=h=\\t\\u00e4\\ud83d\\ude00\\\\n\na:=2\n=nameless\n\
                    last = 3";
        for (key, value) in [
            ("a", "=2"),
            ("b", "two words  "),
            ("c", "three"),
            ("d", ""),
            ("e", "xyz"),
            ("f g=h", "\tä😀\\n"),
            ("", "nameless"),
            ("last", "3"),
        ] {
            assert_eq!(get(text, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!((get(text, "comment"), get(text, "another"), get("", "a")), (None, None, None));
    }
}
