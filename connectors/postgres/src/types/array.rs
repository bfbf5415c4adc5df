//! Arrays of any element.
//!
//! Source: the server's `array_out`
//! (<https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>). Of an array of more than one
//! dimension the rows are nulls, as in Debezium, which can't convert them; only their number is
//! known.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result, Text};

use super::form::{Binary, Form};
use super::modes::Placeholder;
use super::slice::Slice;

/// What stands for a uuid in an array that is not known: Java's `UUID.nameUUIDFromBytes` of the usual
/// placeholder.
const UNAVAILABLE_UUID: &str = "b68a35a7-17ad-35b3-af2a-ae46edb4545a";

/// How an array that is not known is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// One element, what stands for one; nothing if there is nothing for the element.
    Element,
    /// One uuid.
    Uuid,
    /// The placeholder's bytes, an integer each.
    Int32,
    /// The same in 64 bits.
    Int64,
}

/// The mapping of an array.
#[derive(Debug)]
pub(super) struct Array {
    element: Arc<dyn Form>,
    items: SchemaRef,
    delimiter: u8,
    unavailable: Unavailable,
}

impl Array {
    /// An array of `element`, whose schema says that it takes nulls if `optional`. A delimiter other
    /// than a comma has `box` alone.
    pub(super) fn new(
        element: Arc<dyn Form>,
        optional: bool,
        delimiter: u8,
        unavailable: Unavailable,
    ) -> Self {
        let mut items = element.schema();
        items.optional |= optional;
        Self::of(element, Arc::new(items), delimiter, unavailable)
    }

    fn of(
        element: Arc<dyn Form>,
        items: SchemaRef,
        delimiter: u8,
        unavailable: Unavailable,
    ) -> Self {
        let element = element.bind(&items).unwrap_or(element);
        Self { element, items, delimiter, unavailable }
    }
}

impl Form for Array {
    fn schema(&self) -> Schema {
        Schema::new(Kind::Array(self.items.clone()))
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let mut values = Vec::new();
        let mut elements = Elements::new(text, self.delimiter)?;
        while let Some(element) = elements.next()? {
            values.push(match element {
                Element::Null | Element::Row => Value::Null,
                Element::Text(Cow::Borrowed(part)) => self.element.decode(&text.slice_ref(part))?,
                Element::Text(Cow::Owned(part)) => self.element.decode(&part.into())?,
            });
        }
        Ok(Value::Array(values))
    }

    fn binary(&self) -> Option<&dyn Binary> {
        self.element.binary().map(|_| self as &dyn Binary)
    }

    fn bind(&self, schema: &SchemaRef) -> Option<Arc<dyn Form>> {
        let Kind::Array(items) = &schema.kind else { return None };
        let (delimiter, unavailable) = (self.delimiter, self.unavailable);
        let array = Self::of(self.element.clone(), items.clone(), delimiter, unavailable);
        Some(Arc::new(array))
    }

    fn unavailable(&self, placeholder: &Placeholder) -> Value {
        let bytes = || placeholder.bytes().iter().map(|byte| byte.cast_signed());
        let usual = *placeholder == Placeholder::default();
        Value::Array(match self.unavailable {
            Unavailable::Uuid if usual => {
                vec![Value::String(Text::from_static(UNAVAILABLE_UUID))]
            }
            Unavailable::Element | Unavailable::Uuid => {
                match self.element.unavailable(placeholder) {
                    Value::Unchanged => return Value::Unchanged,
                    element => vec![element],
                }
            }
            Unavailable::Int32 => bytes().map(|byte| Value::Int32(byte.into())).collect(),
            Unavailable::Int64 => bytes().map(|byte| Value::Int64(byte.into())).collect(),
        })
    }
}

/// The bytes that an element takes at least: its length.
const ELEMENT: usize = 4;

/// As `array_send` writes it: the number of dimensions, whether there are nulls, the elements' type, of
/// each dimension its length and where it begins, and the elements.
impl Binary for Array {
    fn read(&self, mut value: Slice<'_>) -> Result<Value> {
        let dimensions = i32::from_be_bytes(value.take()?);
        value.split(8)?;
        if dimensions == 0 {
            return value.end().map(|()| Value::Array(Vec::new()));
        }
        let length = u32::from_be_bytes(value.take()?) as usize;
        value.split(4)?;
        if length > value.len() / ELEMENT {
            return Err(Error::data("an array that is shorter than it says"));
        }
        if dimensions > 1 {
            return Ok(Value::Array(vec![Value::Null; length]));
        }
        let element = self.element.binary().ok_or_else(|| Error::internal("read an element"))?;
        let mut values = Vec::with_capacity(length);
        for _ in 0..length {
            values.push(match i32::from_be_bytes(value.take()?) {
                -1 => Value::Null,
                length => {
                    let length = usize::try_from(length).map_err(|_| malformed())?;
                    element.read(value.split(length)?)?
                }
            });
        }
        value.end()?;
        Ok(Value::Array(values))
    }
}

/// A part of an array.
#[derive(Debug, PartialEq, Eq)]
enum Element<'t> {
    Null,
    /// An array in the array.
    Row,
    Text(Cow<'t, [u8]>),
}

/// Where reading an array has got to.
struct Elements<'t> {
    rest: &'t [u8],
    delimiter: u8,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    First,
    Between,
    End,
}

fn malformed() -> Error {
    Error::data("not an array, as in {1,2}")
}

impl<'t> Elements<'t> {
    /// Enters an array, past the bounds that may be in front: `[0:2]={1,2,3}`.
    fn new(text: &'t [u8], delimiter: u8) -> Result<Self> {
        let array = match text {
            [b'[', ..] => {
                text.iter().position(|byte| *byte == b'=').and_then(|at| text.get(at + 1..))
            }
            _ => Some(text),
        };
        let rest = array.and_then(|array| array.strip_prefix(b"{")).ok_or_else(malformed)?;
        Ok(Self { rest, delimiter, state: State::First })
    }

    /// The next element; `None` at the end.
    fn next(&mut self) -> Result<Option<Element<'t>>> {
        match (self.state, self.rest) {
            (State::End, _) => return Ok(None),
            (_, [b'}']) => {
                self.state = State::End;
                return Ok(None);
            }
            (State::Between, [delimiter, rest @ ..]) if *delimiter == self.delimiter => {
                self.rest = rest;
            }
            (State::First, _) => {}
            _ => return Err(malformed()),
        }
        self.state = State::Between;
        let (element, rest) = match self.rest {
            [b'"', body @ ..] => quoted(body),
            [b'{', ..] => skip(self.rest).map(|rest| (Element::Row, rest)),
            _ => self.bare(),
        }
        .ok_or_else(malformed)?;
        self.rest = rest;
        Ok(Some(element))
    }

    /// An element without quotes.
    fn bare(&self) -> Option<(Element<'t>, &'t [u8])> {
        let ends =
            |byte: &u8| *byte == self.delimiter || matches!(byte, b'{' | b'}' | b'"' | b'\\');
        let end = self.rest.iter().position(ends)?;
        let (part, rest) = self.rest.split_at_checked(end)?;
        match part {
            [] => None,
            b"NULL" => Some((Element::Null, rest)),
            _ => Some((Element::Text(Cow::Borrowed(part)), rest)),
        }
    }
}

/// An element in quotes, from behind the opening one.
fn quoted(body: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', body)?;
    let (plain, mut rest) = body.split_at_checked(end)?;
    if let [b'"', rest @ ..] = rest {
        return Some((Element::Text(Cow::Borrowed(plain)), rest));
    }
    let mut text = plain.to_vec();
    loop {
        match rest {
            [b'"', rest @ ..] => return Some((Element::Text(Cow::Owned(text)), rest)),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// What follows the array in the array at the beginning.
fn skip(text: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    let mut inside = false;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => inside = !inside,
            b'{' if !inside => depth += 1,
            b'}' if !inside => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(bytes.as_slice());
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::number::Number;
    use super::super::text::{Plain, Sent};
    use super::*;

    fn texts() -> Array {
        let text = Arc::new(Plain::Text { defaults: true, sent: Sent::AsText });
        Array::new(text, true, b',', Unavailable::Element)
    }

    fn decode(array: &Array, text: &'static str) -> Option<Vec<Value>> {
        match array.decode(&Bytes::from_static(text.as_bytes())) {
            Ok(Value::Array(values)) => Some(values),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    #[test]
    fn elements_are_quoted_or_not() {
        let text = |text: &'static str| Value::String(text.into());
        for (shown, elements) in [
            ("{}", vec![]),
            (r#"{x,"y z",NULL}"#, vec![text("x"), text("y z"), Value::Null]),
            (r#"{"NULL","","a\"b\\c"}"#, vec![text("NULL"), text(""), text("a\"b\\c")]),
            (r#"{"{","}",","}"#, vec![text("{"), text("}"), text(",")]),
            ("{null,é}", vec![text("null"), text("é")]),
            ("[0:1]={a,b}", vec![text("a"), text("b")]),
            ("{{a,b},{c,d}}", vec![Value::Null, Value::Null]),
            (r#"[1:2][1:1][1:1]={{{"}"}},{{"\""}}}"#, vec![Value::Null, Value::Null]),
        ] {
            assert_eq!(decode(&texts(), shown), Some(elements), "{shown}");
        }
        for wrong in [
            "",
            "{",
            "{a",
            "{a,}",
            "{,a}",
            "{a}b",
            "{a b\"c\"}",
            "{\"a}",
            "{{a}",
            "a",
            "{\"a\"b}",
            "[1:2]",
            "{}{}",
            "{{a}}}",
            "{\"a\\",
        ] {
            assert_eq!(decode(&texts(), wrong), None, "{wrong}");
        }
    }

    #[test]
    fn elements_are_slices_of_what_came() {
        let row = Bytes::from_static(b"{abc,\"d e\"}");
        let Value::Array(values) = texts().decode(&row).unwrap() else { panic!() };
        let places: Vec<_> = values
            .iter()
            .map(|value| match value {
                Value::String(text) => text.as_bytes().as_ptr() as usize - row.as_ptr() as usize,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(places, [1, 6]);
    }

    #[test]
    fn elements_of_a_type_are_decoded() {
        let integers = Array::new(Arc::new(Number::Int32), true, b',', Unavailable::Int32);
        let expected = vec![Value::Int32(1), Value::Int32(-2), Value::Null];
        assert_eq!(decode(&integers, "{1,-2,NULL}"), Some(expected));
        assert_eq!(decode(&integers, "{{1,2},{3,4}}"), Some(vec![Value::Null, Value::Null]));
        assert_eq!(decode(&integers, "{x}"), None);
    }

    #[test]
    fn what_is_not_known_depends_on_the_element() {
        let integers = |form, unavailable| Array::new(Arc::new(form), true, b',', unavailable);
        let placeholder = Placeholder::parse("hex:41ff").unwrap();
        let show = |array: Array| array.unavailable(&placeholder);
        assert_eq!(
            show(integers(Number::Int32, Unavailable::Int32)),
            Value::Array(vec![Value::Int32(65), Value::Int32(-1)])
        );
        assert_eq!(
            show(integers(Number::Int64, Unavailable::Int64)),
            Value::Array(vec![Value::Int64(65), Value::Int64(-1)])
        );
        assert_eq!(show(integers(Number::Int16, Unavailable::Element)), Value::Unchanged);
        assert_eq!(show(texts()), Value::Array(vec![Value::String("A\u{FFFD}".into())]));
    }

    proptest! {
        #[test]
        fn any_texts_are_read_back(texts in prop::collection::vec(prop::option::of(".*"), 0..6)) {
            let shown: Vec<_> = texts.iter().map(|text| match text {
                None => "NULL".to_owned(),
                Some(text) if !text.is_empty() && text.chars().all(char::is_alphanumeric)
                    && !text.eq_ignore_ascii_case("null") => text.clone(),
                Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            }).collect();
            let value = self::texts().decode(&format!("{{{}}}", shown.join(",")).into()).unwrap();
            let expected = texts.into_iter()
                .map(|text| text.map_or(Value::Null, |text| Value::String(text.into())));
            prop_assert_eq!(value, Value::Array(expected.collect()));
        }

        #[test]
        fn nothing_panics(text in "[{}\",\\\\aN\\[\\]=:U]{0,30}") {
            drop(texts().decode(&text.into()));
        }
    }
}
