//! What a column's default is, out of the expression that `pg_get_expr` shows.
//!
//! As Debezium has it: a literal is its value, and a default that a function makes is the zero value
//! of the type, whether the column takes nulls or not. Types without a word about defaults in their
//! mapping have none, and neither have structs (Kafka Connect can't hold them as defaults,
//! KAFKA-12694) and domains.
//!
//! Differences on purpose, where Debezium reads an expression wrongly: quotes and backslashes in a
//! literal are unescaped, and an operation on literals (`'a'::text || 'b'::text`) is no default.

use bytes::Bytes;
use towpath_sdk::value::Value;

use super::form::Form;

/// What an expression says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// A literal, without quotes.
    Literal(Bytes),
    /// A function makes it.
    Generated,
}

/// Functions that are called without parentheses.
const BARE_FUNCTIONS: [&str; 10] = [
    "current_timestamp",
    "current_time",
    "current_date",
    "localtime",
    "localtimestamp",
    "current_user",
    "session_user",
    "current_role",
    "current_catalog",
    "current_schema",
];

impl Written {
    /// Reads an expression. `None` for null and for what is neither literal nor function.
    pub(super) fn parse(expression: &str) -> Option<Self> {
        let expression = expression.trim();
        if is_call(expression.strip_prefix('(').unwrap_or(expression))
            || BARE_FUNCTIONS.iter().any(|name| name.eq_ignore_ascii_case(expression))
        {
            return Some(Self::Generated);
        }
        let inner = expression.trim_start_matches('(');
        let (text, rest) = match quote(inner) {
            Some((escaped, body)) => quoted(body, escaped)?,
            None => {
                let end = inner.find([')', ':', ' ']).unwrap_or(inner.len());
                let (text, rest) = inner.split_at_checked(end)?;
                if text.eq_ignore_ascii_case("null") {
                    return None;
                }
                (text.to_owned(), rest)
            }
        };
        is_cast(rest).then(|| Self::Literal(text.into()))
    }

    /// The literal; `zero` if a function makes the value.
    pub(super) fn text_or(&self, zero: &'static str) -> Bytes {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Generated => Bytes::from_static(zero.as_bytes()),
        }
    }

    /// The literal's value in `form`; `zero`'s if a function makes it.
    pub(super) fn read(&self, form: &dyn Form, zero: &'static str) -> Option<Value> {
        form.decode(&self.text_or(zero)).ok()
    }
}

/// Whether this begins with `name(`.
fn is_call(text: &str) -> bool {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let rest = text.trim_start_matches(named);
    rest.len() < text.len() && rest.starts_with('(')
}

/// What follows the opening quote of a literal, and whether backslashes escape in it.
fn quote(text: &str) -> Option<(bool, &str)> {
    if let Some(body) = text.strip_prefix("E'") {
        return Some((true, body));
    }
    text.strip_prefix('\'').or_else(|| text.strip_prefix("B'")).map(|body| (false, body))
}

/// The text up to the closing quote, unescaped, and what follows.
fn quoted(body: &str, escaped: bool) -> Option<(String, &str)> {
    let mut text = String::with_capacity(body.len());
    let mut rest = body.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' if rest.as_str().starts_with('\'') => {
                rest.next();
                text.push('\'');
            }
            '\'' => return Some((text, rest.as_str())),
            '\\' if escaped => text.push(rest.next()?),
            c => text.push(c),
        }
    }
    None
}

/// Whether this is nothing but closing parentheses and casts, `::character varying(20)`.
fn is_cast(text: &str) -> bool {
    let text = text.trim_start_matches(')');
    let part = |c: char| c.is_alphanumeric() || "_ .\"()[],:".contains(c);
    text.is_empty() || (text.starts_with("::") && text.chars().all(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expressions_are_literals_or_calls() {
        let literal =
            |text: &'static str| Some(Written::Literal(Bytes::from_static(text.as_bytes())));
        for (expression, written) in [
            ("7", literal("7")),
            ("'-5'::integer", literal("-5")),
            ("('7'::text)::integer", literal("7")),
            ("true", literal("true")),
            ("'ab'::character(5)", literal("ab")),
            ("'12:00:00'::time without time zone", literal("12:00:00")),
            ("'it''s'::text", literal("it's")),
            (r"'a\b'::text", literal(r"a\b")),
            (r"E'a\\b'::text", literal(r"a\b")),
            ("'101'::\"bit\"", literal("101")),
            ("B'101'::\"bit\"", literal("101")),
            ("'{}'::int4[]", literal("{}")),
            ("'it''s'::s.mood", literal("it's")),
            ("('now'::text)::date", literal("now")),
            ("(5)::bigint", literal("5")),
            ("''::text", literal("")),
            ("'NULL'::text", literal("NULL")),
            ("nextval('s.seq'::regclass)", Some(Written::Generated)),
            ("now()", Some(Written::Generated)),
            ("(now())::date", Some(Written::Generated)),
            ("(now() AT TIME ZONE 'utc'::text)", Some(Written::Generated)),
            ("(now() + '1 day'::interval)", Some(Written::Generated)),
            ("public.gen_random_uuid()", Some(Written::Generated)),
            ("LOCALTIMESTAMP(3)", Some(Written::Generated)),
            ("CURRENT_TIMESTAMP", Some(Written::Generated)),
            ("COALESCE('a'::text, 'b'::text)", Some(Written::Generated)),
            ("((random() * (10)::double precision))::integer", None),
            ("s.\"My Function\"()", None),
            ("NULL::character varying", None),
            ("NULL", None),
            ("('a'::text || 'b'::text)", None),
            ("(1 + 2)", None),
            ("(+ 5)", None),
            ("(NOT true)", None),
            ("\nCASE\n    WHEN true THEN 'a'::text\n    ELSE NULL::text\nEND", None),
            ("ARRAY[1, 2]", None),
            ("'open", None),
        ] {
            assert_eq!(Written::parse(expression), written, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn any_literal_is_read_back(text in "\\PC*") {
            let expression = format!("'{}'::text", text.replace('\'', "''"));
            prop_assert_eq!(Written::parse(&expression), Some(Written::Literal(text.clone().into())));
            let escaped = text.replace('\\', "\\\\").replace('\'', "''");
            let expression = format!("(E'{escaped}'::character varying(3))");
            prop_assert_eq!(Written::parse(&expression), Some(Written::Literal(text.into())));
        }

        #[test]
        fn nothing_panics(expression in "[()':a-zE1\\\\ é]*") {
            drop(Written::parse(&expression));
        }
    }
}
