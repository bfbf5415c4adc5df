//! UTF-8 with replacement, as Java's decoder does it.
//!
//! It replaces what Rust and the WHATWG replace, with one exception: three bytes that would encode a
//! surrogate are one U+FFFD in Java and three elsewhere.

/// The text of `bytes`, with U+FFFD for what is malformed.
pub(crate) fn decode_as_java(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    let mut rest = bytes;
    while !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                break;
            }
            Err(error) => {
                let (valid, malformed) = rest.split_at(error.valid_up_to());
                text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                text.push(char::REPLACEMENT_CHARACTER);
                let length = error.error_len().unwrap_or(malformed.len());
                rest =
                    malformed.get(surrogate_length(malformed).unwrap_or(length)..).unwrap_or(&[]);
            }
        }
    }
    text
}

/// How many bytes of an encoded surrogate, whole or cut short, `malformed` begins with.
fn surrogate_length(malformed: &[u8]) -> Option<usize> {
    match malformed {
        [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => Some(3),
        [0xed, 0xa0..=0xbf, ..] => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: &str) {
        assert_eq!(decode_as_java(bytes), expect, "{bytes:x?}");
    }

    #[test]
    fn replacement_is_javas() {
        check(b"plain", "plain");
        check(b"a\xffb", "a\u{fffd}b");
        check(b"\xe2\x82x", "\u{fffd}x");
        check(b"\xf0\x9f\x98x", "\u{fffd}x");
        check(b"\xe0\x80\x80", "\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xed\xa0\x80.", "\u{fffd}.");
        check(b"\xed\xa0.", "\u{fffd}.");
        check(b"\xe2\x82", "\u{fffd}");
        check("€\u{10348}".as_bytes(), "€\u{10348}");
    }
}
