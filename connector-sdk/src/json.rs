//! JSON text, looked at in place.
//!
//! Duty: validate a document in one scan, find members without building anything around them, and
//! build a tree ([`Node`]) where one is needed. [`crate::value::Json`] stands on it.
//!
//! What is JSON here is what Kafka Connect's JSON converter (Jackson) takes for it: RFC 8259, and
//! numbers with leading zeros, a byte order mark in front, anything after the first document, and
//! escaped surrogates without their other half. Documents nest at most [`MAX_DEPTH`] levels.
//! Deliberately absent: other encodings than UTF-8, writing.

mod scan;
mod tree;

use std::borrow::Cow;
use std::ops::Range;

use bytestring::ByteString;

pub use scan::{MAX_DEPTH, Malformed};
pub use tree::Node;

/// The first document of a text, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    place: Range<usize>,
    zeros: Vec<Range<usize>>,
}

impl Document {
    /// Validates the first document of `text`. `None` if there is none: nothing but white space.
    ///
    /// # Errors
    /// Where and why it is malformed.
    pub fn scan(text: &str) -> Result<Option<Self>, Malformed> {
        let (place, zeros) = scan::document(text)?;
        Ok(place.map(|place| Self { place, zeros }))
    }

    /// Where it is, without white space around it.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// The document out of the `text` that was scanned, without leading zeros of numbers: a slice in
    /// all but that case.
    #[must_use]
    pub fn strict(&self, text: ByteString) -> ByteString {
        let piece = |place: Range<usize>| text.get(place).unwrap_or_default();
        if self.zeros.is_empty() {
            if self.place.len() == text.len() {
                return text;
            }
            return text.slice_ref(piece(self.place()));
        }
        let mut strict = String::with_capacity(self.place.len());
        let mut from = self.place.start;
        for zeros in &self.zeros {
            strict.push_str(piece(from..zeros.start));
            from = zeros.end;
        }
        strict.push_str(piece(from..self.place.end));
        strict.into()
    }
}

/// The members of a validated object as they are written, the names with their quotes. Nothing if it
/// is no object.
pub fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let bytes = object.as_bytes();
    let mut next = scan::enter(bytes, b'{');
    std::iter::from_fn(move || {
        let name = scan::string_place(bytes, next.take()?)?;
        let value = scan::value_place(bytes, scan::after_colon(bytes, name.end)?)?;
        next = scan::after_comma(bytes, value.end);
        Some((object.get(name)?, object.get(value)?))
    })
}

/// The elements of a validated array as they are written. Nothing if it is no array.
pub fn elements(array: &str) -> impl Iterator<Item = &str> {
    let bytes = array.as_bytes();
    let mut next = scan::enter(bytes, b'[');
    std::iter::from_fn(move || {
        let value = scan::value_place(bytes, next.take()?)?;
        next = scan::after_comma(bytes, value.end);
        array.get(value)
    })
}

/// The value of the member called `name` of a validated object, as it is written. Of several members
/// of one name the last counts.
#[must_use]
pub fn member<'t>(object: &'t str, name: &str) -> Option<&'t str> {
    members(object).filter(|(written, _)| unquote(written) == name).last().map(|(_, value)| value)
}

/// What a validated string stands for, without quotes and escapes. A surrogate without its other half
/// becomes U+FFFD.
#[must_use]
pub fn unquote(string: &str) -> Cow<'_, str> {
    let inner = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        rest = tree::unescape(escape, &mut text);
    }
    text.push_str(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> Result<Option<&str>, String> {
        match Document::scan(text) {
            Ok(document) => Ok(document.map(|document| &text[document.place()])),
            Err(malformed) => Err(malformed.to_string()),
        }
    }

    #[test]
    fn finds_the_first_document() {
        for (text, document) in [
            (" {\"a\" : [ 1 , -2.5e+7 ] , \"b\":null}\n", "{\"a\" : [ 1 , -2.5e+7 ] , \"b\":null}"),
            ("{}{}", "{}"),
            ("[]x", "[]"),
            ("\u{FEFF}true", "true"),
            (
                "\"a long text with an escape \\u00e4 in it\"",
                "\"a long text with an escape \\u00e4 in it\"",
            ),
            ("007 1", "007"),
            ("-0", "-0"),
            ("null,", "null"),
        ] {
            assert_eq!(place(text), Ok(Some(document)), "{text}");
        }
        assert_eq!((place(""), place(" \n\t")), (Ok(None), Ok(None)));
    }

    #[test]
    fn says_where_and_why_a_text_is_malformed() {
        const VALUE: &str = "expected a string, a number, an array, an object, true, false or null";
        for (text, why) in [
            (
                "{bad json",
                "unexpected 'b' at line 1, column 2: expected a double quote to start a field name",
            ),
            (
                "{\"a\":1,}",
                "unexpected '}' at line 1, column 8: expected a double quote to start a field name",
            ),
            ("{\"a\" 1}", "unexpected '1' at line 1, column 6: expected a colon"),
            ("{\"a\":1", "unexpected end at line 1, column 7: expected a comma or '}'"),
            ("[1\n 2]", "unexpected '2' at line 2, column 2: expected a comma or ']'"),
            (
                "\"\n\"",
                "unexpected '\\n' at line 1, column 2: expected a double quote or an escaped control character",
            ),
            (
                "\"\\x\"",
                "unexpected 'x' at line 1, column 3: expected one of \" \\ / b f n r t u after a backslash",
            ),
            (
                "\"ä\\u12g4\"",
                "unexpected 'g' at line 1, column 7: expected four hexadecimal digits",
            ),
            ("1.", "unexpected end at line 1, column 3: expected a digit"),
            ("[1x]", "unexpected 'x' at line 1, column 3: expected the end of the number"),
            ("-", "unexpected end at line 1, column 2: expected a digit"),
        ] {
            assert_eq!(place(text), Err(why.to_owned()), "{text}");
        }
        for text in ["nope", "nul", "truex", "'a'", "[,]", "[1,]", ",", "+1", ".5", "NaN", "]"] {
            assert!(
                place(text).is_err_and(|why| why.ends_with(VALUE)),
                "{text}: {:?}",
                place(text)
            );
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for levels in [1, 63, 64, 65, 127, 128, 129, MAX_DEPTH] {
            assert!(place(&nested(levels)).is_ok(), "{levels}");
        }
        assert!(place(&nested(MAX_DEPTH + 1)).is_err());
        let mixed = "[{\"a\":".repeat(500) + &"}]".repeat(500);
        assert!(place(&mixed).is_err());
        let mixed = "[{\"a\":".repeat(500) + "1" + &"}]".repeat(500);
        assert_eq!(place(&mixed), Ok(Some(mixed.as_str())));
        let crossed = "[{\"a\":".repeat(70) + "1" + &"}]".repeat(69) + "]}";
        assert!(place(&crossed).is_err());
    }

    #[test]
    fn leading_zeros_are_dropped() {
        let text = ByteString::from_static(" {\"a\":[007,-00,0.50,-01.5e03,0]} x");
        let document = Document::scan(&text).unwrap().unwrap();
        assert_eq!(document.strict(text), "{\"a\":[7,-0,0.50,-1.5e03,0]}");
    }

    #[test]
    fn members_and_elements() {
        let text = r#" {"a":1, "b\u0062" : {"c":[]} ,"a":"x,}"} "#;
        assert_eq!(
            members(text).collect::<Vec<_>>(),
            [(r#""a""#, "1"), (r#""b\u0062""#, r#"{"c":[]}"#), (r#""a""#, r#""x,}""#)]
        );
        assert_eq!(member(text, "a"), Some(r#""x,}""#));
        assert_eq!(member(text, "bb"), Some(r#"{"c":[]}"#));
        assert_eq!((member(text, "c"), member("[1]", "a"), member("{}", "a")), (None, None, None));
        assert_eq!(elements("[ 1 ,[2,3],\"]\" ]").collect::<Vec<_>>(), ["1", "[2,3]", "\"]\""]);
        assert_eq!(elements("[]").count() + elements("{\"a\":1}").count(), 0);
    }

    #[test]
    fn escapes() {
        for (string, text) in [
            (r#""""#, ""),
            (r#""a\"\\\/\b\f\n\r\tb""#, "a\"\\/\u{8}\u{c}\n\r\tb"),
            (r#""\u00e4\u20AC""#, "ä€"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\ud83dx\ude00""#, "\u{FFFD}x\u{FFFD}"),
            (r#""\ud83d\u0041""#, "\u{FFFD}A"),
        ] {
            assert_eq!(unquote(string), text, "{string}");
        }
    }

    /// A second opinion: `serde_json`, which is strict.
    fn agrees(text: &str) -> bool {
        let strict = serde_json::from_str::<serde_json::Value>(text);
        match (Document::scan(text), strict) {
            (Ok(Some(document)), Ok(value)) => {
                let text = document.strict(ByteString::from(text));
                serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v == value)
            }
            (Ok(Some(document)), Err(_)) => {
                // What is taken beyond the standard is listed in the module's head.
                let rest = !text[document.place().end..].trim().is_empty();
                rest || !document.zeros.is_empty() || text.contains("\\u") || text.contains('e')
            }
            (Ok(None) | Err(_), Ok(_)) => false,
            (Ok(None) | Err(_), Err(_)) => true,
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_agrees_with_another_reader(
            text in r#"[\[\]{}",:\\ \nu0-9a-fA-Fntrulesé.eE+-]{0,40}"#,
        ) {
            prop_assert!(agrees(&text), "{text}");
            members(&text).for_each(drop);
            elements(&text).for_each(drop);
            drop(unquote(&text));
        }

        #[test]
        fn agrees_on_documents(value in documents(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            let document = Document::scan(&text).unwrap().unwrap();
            prop_assert_eq!(document.place(), 0..text.len());
            let node = Node::of(&document.strict(ByteString::from(text.clone())));
            prop_assert!(same(&node, &value), "{text} {node:?}");
            // Cut short it is malformed, unless it is a number.
            let cut: String = text.chars().take(text.chars().count() - 1).collect();
            let whole = matches!(Document::scan(&cut), Ok(Some(_)));
            prop_assert!(value.is_number() || !whole, "{cut}");
        }
    }

    fn documents() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".*", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn same(node: &Node, value: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (node, value) {
            (Node::Null, Value::Null) => true,
            (Node::Boolean(a), Value::Bool(b)) => a == b,
            (Node::Number(a), Value::Number(b)) => **a == *b.to_string(),
            (Node::String(a), Value::String(b)) => *a == b.as_str(),
            (Node::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Node::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|((ka, a), (kb, b))| *ka == kb.as_str() && same(a, b))
            }
            _ => false,
        }
    }
}
