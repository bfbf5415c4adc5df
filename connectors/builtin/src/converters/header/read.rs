//! The guess. A text is cut into tokens at `: , { } [ ] "` unless a backslash precedes them; then a
//! parser tries what it may be, and goes back to plain text where that fails.

use std::sync::Arc;

use towpath_sdk::Text;
use towpath_sdk::decimal::{DECIMAL, Decimal, SCALE};
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::{Datum, Value};

use super::shape::{Merger, Shape};
use super::temporal;
use crate::java::last_of_each;

/// Deeper arrays and maps are plain text.
const MAX_DEPTH: usize = 128;

/// The value that `text` is.
pub(super) fn datum(text: &Text) -> Datum {
    if text.is_empty() {
        return plain(text);
    }
    let mut parser = Parser { tokens: Tokens::new(text), depth: 0 };
    match parser.value(false) {
        Ok(Some(Guess { shape, value })) => Datum { schema: shape.schema(), value },
        Ok(None) => Datum::null(),
        Err(Misfit) => plain(text),
    }
}

fn plain(text: &Text) -> Datum {
    Datum::new(Arc::new(Schema::new(Kind::String)), Value::String(text.clone()))
}

struct Guess {
    shape: Shape,
    value: Value,
}

impl Guess {
    fn of(kind: Kind, value: Value) -> Self {
        Self { shape: Shape::of(kind), value }
    }

    fn text(text: impl Into<Text>) -> Self {
        Self::of(Kind::String, Value::String(text.into()))
    }
}

/// The text is not what it was taken for.
struct Misfit;

/// `Ok(None)` is null.
type Guessed = Result<Option<Guess>, Misfit>;

struct Parser<'t> {
    tokens: Tokens<'t>,
    depth: usize,
}

impl Parser<'_> {
    fn value(&mut self, embedded: bool) -> Guessed {
        if !self.tokens.has_next() {
            return Ok(None);
        }
        if embedded && self.tokens.take("\"") {
            return Ok(Some(self.quoted()));
        }
        if self.word("null", embedded) {
            return Ok(None);
        }
        for (word, value) in [("true", true), ("false", false)] {
            if self.word(word, embedded) {
                return Ok(Some(Guess::of(Kind::Boolean, Value::Boolean(value))));
            }
        }
        let start = self.tokens.mark();
        if let Some(container) = self.container() {
            return Ok(Some(container));
        }
        self.tokens.rewind(start);
        let token = self.tokens.next();
        match java_trim(token) {
            "" => Ok(Some(Guess::text(token))),
            token => self.scalar(token).map(Some),
        }
    }

    /// A word which is all there is, unless it stands in a container.
    fn word(&mut self, word: &str, embedded: bool) -> bool {
        let start = self.tokens.mark();
        if self.tokens.take(word) && (embedded || !self.tokens.has_next()) {
            return true;
        }
        self.tokens.rewind(start);
        false
    }

    /// A date or a number. What is neither is text, which only the whole can be.
    fn scalar(&mut self, token: &str) -> Result<Guess, Misfit> {
        let digit = token.starts_with(|c: char| c.is_ascii_digit());
        if digit && let Some(guess) = self.temporal(token) {
            return Ok(guess);
        }
        if (digit || token.starts_with(['+', '-']))
            && let Ok(decimal) = Decimal::parse(token)
        {
            return Ok(number(token, decimal));
        }
        Err(Misfit)
    }

    /// A date or time, which its colons cut into five tokens.
    fn temporal(&mut self, token: &str) -> Option<Guess> {
        let start = self.tokens.mark();
        let guess = |(schema, value)| Guess { shape: Shape::Scalar(schema), value };
        if let Some(rest) = self.tokens.next_four()
            && let Some(found) = temporal::read(&format!("{token}{rest}"))
        {
            return Some(guess(found));
        }
        self.tokens.rewind(start);
        temporal::read(token).map(guess)
    }

    /// What follows an opening quote, up to the closing one. Escapes stay as they are.
    fn quoted(&mut self) -> Guess {
        let mut content = String::new();
        while self.tokens.has_next() && !self.tokens.take("\"") {
            content.push_str(self.tokens.next());
        }
        match temporal::read(&content) {
            Some((schema, value)) => Guess { shape: Shape::Scalar(schema), value },
            None => Guess::text(content),
        }
    }

    fn container(&mut self) -> Option<Guess> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let found = if self.tokens.take("[") {
            self.array()
        } else if self.tokens.take("{") {
            self.map()
        } else {
            Err(Misfit)
        };
        self.depth -= 1;
        found.ok()
    }

    fn array(&mut self) -> Result<Guess, Misfit> {
        let mut items = Vec::new();
        let mut shapes = Merger::default();
        while self.tokens.has_next() {
            if self.tokens.take("]") {
                let shape = shapes.common();
                let items = align_all(shape.as_deref(), items)?;
                return Ok(Guess { shape: Shape::Array(shape), value: Value::Array(items) });
            }
            if self.tokens.take(",") {
                return Err(Misfit);
            }
            let item = self.value(true)?;
            shapes.add(item.as_ref().map(|item| &item.shape));
            items.push(item);
            let end = self.tokens.mark();
            if self.tokens.take("]") {
                self.tokens.rewind(end);
            } else if !self.tokens.take(",") {
                return Err(Misfit);
            }
        }
        Err(Misfit)
    }

    fn map(&mut self) -> Result<Guess, Misfit> {
        let mut keys: Vec<Option<Guess>> = Vec::new();
        let mut values: Vec<Option<Guess>> = Vec::new();
        let (mut of_keys, mut of_values) = (Merger::default(), Merger::default());
        while self.tokens.has_next() {
            if self.tokens.take("}") {
                let of_keys = of_keys.common();
                // Values are known only beside known keys.
                let of_values = of_values.common().filter(|_| of_keys.is_some());
                let keys = align_all(of_keys.as_deref(), keys)?;
                let values = align_all(of_values.as_deref(), values)?;
                let value = Value::Map(last_of_each(keys.into_iter().zip(values)));
                return Ok(Guess { shape: Shape::Map(of_keys, of_values), value });
            }
            if self.tokens.take(",") {
                return Err(Misfit);
            }
            let key = self.value(true)?.ok_or(Misfit)?;
            if !self.tokens.take(":") {
                return Err(Misfit);
            }
            let value = self.value(true)?;
            self.tokens.take(",");
            of_keys.add(Some(&key.shape));
            of_values.add(value.as_ref().map(|value| &value.shape));
            keys.push(Some(key));
            values.push(value);
        }
        Err(Misfit)
    }
}

fn align_all(shape: Option<&Shape>, items: Vec<Option<Guess>>) -> Result<Vec<Value>, Misfit> {
    let align = |item: Option<Guess>| match (shape, item) {
        (None, item) => Some(item.map_or(Value::Null, |item| item.shape.without(item.value))),
        // A null does not fit where a type is known, since that type is required.
        (Some(_), None) => None,
        (Some(shape), Some(item)) => shape.align(item.value, Some(&item.shape)),
    };
    items.into_iter().map(align).collect::<Option<_>>().ok_or(Misfit)
}

/// The smallest type that holds the number.
fn number(token: &str, decimal: Decimal) -> Guess {
    if let Some(integer) = decimal.to_i64() {
        return if let Ok(n) = i8::try_from(integer) {
            Guess::of(Kind::Int8, Value::Int8(n))
        } else if let Ok(n) = i16::try_from(integer) {
            Guess::of(Kind::Int16, Value::Int16(n))
        } else if let Ok(n) = i32::try_from(integer) {
            Guess::of(Kind::Int32, Value::Int32(n))
        } else {
            Guess::of(Kind::Int64, Value::Int64(integer))
        };
    }
    if decimal.scale() != 0 {
        if let Some(n) = token.parse::<f32>().ok().filter(|n| n.is_finite()) {
            return Guess::of(Kind::Float32, Value::Float32(n));
        }
        if let Some(n) = token.parse::<f64>().ok().filter(|n| n.is_finite()) {
            return Guess::of(Kind::Float64, Value::Float64(n));
        }
    }
    let schema = Schema::new(Kind::Bytes)
        .named(DECIMAL)
        .versioned(1)
        .parameter(SCALE, decimal.scale().to_string());
    Guess { shape: Shape::Scalar(Arc::new(schema)), value: Value::Bytes(decimal.unscaled().into()) }
}

/// Java's `trim`.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// A text cut into tokens, with one token looked ahead.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
    ahead: Option<&'t str>,
}

impl<'t> Tokens<'t> {
    const fn new(text: &'t str) -> Self {
        Self { text, at: 0, ahead: None }
    }

    /// Where the next token begins.
    fn mark(&self) -> usize {
        self.at - self.ahead.map_or(0, str::len)
    }

    fn rewind(&mut self, mark: usize) {
        self.at = mark;
        self.ahead = None;
    }

    fn has_next(&self) -> bool {
        self.ahead.is_some() || self.at < self.text.len()
    }

    fn next(&mut self) -> &'t str {
        match self.ahead.take() {
            Some(token) => token,
            None => self.cut(),
        }
    }

    /// The text of the next four tokens, if there are as many.
    fn next_four(&mut self) -> Option<&'t str> {
        let start = self.mark();
        for _ in 0..4 {
            if !self.has_next() {
                self.rewind(start);
                return None;
            }
            self.next();
        }
        self.text.get(start..self.at)
    }

    /// Takes the next token if it is `expected`. White space around it is skipped, and blank tokens
    /// before it are gone in any case.
    fn take(&mut self, expected: &str) -> bool {
        if !self.has_next() {
            return false;
        }
        let mut token = self.next();
        while java_trim(token).is_empty() && self.at < self.text.len() {
            token = self.cut();
        }
        let found = java_trim(token) == expected;
        self.ahead = (!found).then_some(token);
        found
    }

    fn cut(&mut self) -> &'t str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut escaped = false;
        let mut end = rest.len();
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                b'\\' => escaped = !escaped,
                b':' | b',' | b'{' | b'}' | b'[' | b']' | b'"' if !escaped => {
                    end = at.max(1);
                    break;
                }
                _ => escaped = false,
            }
        }
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nesting_is_bounded() {
        for levels in [MAX_DEPTH, MAX_DEPTH + 1, 100_000] {
            let text = Text::from("[".repeat(levels) + &"]".repeat(levels));
            let is_text = datum(&text).value == Value::String(text);
            assert_eq!(is_text, levels > MAX_DEPTH);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_something(text in r#"[\[\]{}":, \\0-9.eTZ+nulltruea-]{0,40}"#) {
            datum(&text.into());
        }
    }
}
