//! The syntax of expressions.
//!
//! ```text
//! expression = number | text | "true" | "false" | "null" | reference | call
//! text       = "'" { character | "{" expression "}" | "{{" | "}}" | "\\" character } "'"
//! reference  = "$" name { "." name }
//! call       = name "(" [ argument { "," argument } ] ")"
//! argument   = [ ( name | number | text ) ":" ] expression
//! ```
//!
//! Invariant: nesting is bounded, so no input can exhaust the stack.

/// Expressions nest no deeper than this.
const MAX_DEPTH: usize = 32;

/// An expression as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Vec<Piece>),
    Reference(String),
    Call(String, Vec<Argument>),
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Plain(String),
    Computed(Expr),
}

/// An argument with what stands before its colon.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument {
    pub(super) label: Option<Label>,
    pub(super) value: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Label {
    Name(String),
    Value(Expr),
}

/// Parses all of `text`. The error says at which character (from 1) what was expected.
pub(super) fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser { rest: text, length: text.chars().count(), depth: 0 };
    let expr = parser.expression()?;
    parser.space();
    if parser.rest.is_empty() { Ok(expr) } else { Err(parser.expected("the end")) }
}

struct Parser<'t> {
    rest: &'t str,
    length: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn expected(&self, what: &str) -> String {
        let at = self.length - self.rest.chars().count() + 1;
        match self.rest.chars().next() {
            Some(found) => format!("expected {what} at character {at}, not '{found}'"),
            None => format!("expected {what} at character {at}, where the text ends"),
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `token` if it comes next.
    fn takes(&mut self, token: char) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn while_some(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn expression(&mut self) -> Result<Expr, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("expressions nest at most {MAX_DEPTH} levels deep"));
        }
        self.depth += 1;
        self.space();
        let expr = match self.rest.chars().next() {
            Some('\'') => self.text(),
            Some('$') => self.reference(),
            Some('0'..='9' | '-' | '.') => self.number(),
            Some(c) if is_name(c) => self.named(),
            _ => Err(self.expected("a number, a 'text', a $reference or a function")),
        };
        self.depth -= 1;
        expr
    }

    fn number(&mut self) -> Result<Expr, String> {
        let before = self.rest;
        let digits = self.while_some(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
        let number = digits
            .parse()
            .map(Expr::Int)
            .ok()
            .or_else(|| digits.parse().ok().filter(|n: &f64| n.is_finite()).map(Expr::Float));
        number.ok_or_else(|| {
            self.rest = before;
            self.expected("a number")
        })
    }

    fn reference(&mut self) -> Result<Expr, String> {
        self.takes('$');
        let path = self.while_some(|c| is_name(c) || c == '.');
        if path.is_empty() {
            return Err(self.expected("the name of a field"));
        }
        Ok(Expr::Reference(path.to_owned()))
    }

    fn named(&mut self) -> Result<Expr, String> {
        let name = self.while_some(is_name);
        if self.takes('(') {
            return Ok(Expr::Call(name.to_owned(), self.arguments()?));
        }
        match name {
            "true" => Ok(Expr::Bool(true)),
            "false" => Ok(Expr::Bool(false)),
            "null" => Ok(Expr::Null),
            _ => Err(self.expected(&format!("'(' after {name} (texts stand in single quotes)"))),
        }
    }

    /// After the opening parenthesis, up to and including the closing one.
    fn arguments(&mut self) -> Result<Vec<Argument>, String> {
        let mut arguments = Vec::new();
        if self.takes(')') {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.argument()?);
            if self.takes(')') {
                return Ok(arguments);
            }
            if !self.takes(',') {
                return Err(self.expected("',' or ')'"));
            }
        }
    }

    fn argument(&mut self) -> Result<Argument, String> {
        self.space();
        let before = self.rest;
        let name = self.while_some(is_name);
        if name.starts_with(|c: char| !c.is_ascii_digit()) && self.takes(':') {
            let label = Some(Label::Name(name.to_owned()));
            return Ok(Argument { label, value: self.expression()? });
        }
        self.rest = before;
        let value = self.expression()?;
        if self.takes(':') {
            let label = Some(Label::Value(value));
            return Ok(Argument { label, value: self.expression()? });
        }
        Ok(Argument { label: None, value })
    }

    fn text(&mut self) -> Result<Expr, String> {
        self.takes('\'');
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        loop {
            plain.push_str(self.while_some(|c| !matches!(c, '\'' | '{' | '}' | '\\')));
            let mut characters = self.rest.chars();
            match (characters.next(), characters.next()) {
                (Some('\''), _) => {
                    self.takes('\'');
                    if !plain.is_empty() || pieces.is_empty() {
                        pieces.push(Piece::Plain(plain));
                    }
                    return Ok(Expr::Text(pieces));
                }
                (Some('{'), Some('{')) | (Some('}'), Some('}')) => {
                    plain.push_str(&self.rest[..1]);
                    self.rest = &self.rest[2..];
                }
                (Some('\\'), Some(escaped)) => {
                    plain.push(escaped);
                    self.rest = &self.rest[1 + escaped.len_utf8()..];
                }
                (Some('{'), _) => {
                    self.takes('{');
                    if !plain.is_empty() {
                        pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Computed(self.expression()?));
                    if !self.takes('}') {
                        return Err(self.expected("'}'"));
                    }
                }
                (Some('}'), _) => return Err(self.expected("'}}' for a brace in a text")),
                _ => return Err(self.expected("the closing quote")),
            }
        }
    }
}

/// Whether `c` may be part of a name.
pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Expr {
        Expr::Text(vec![Piece::Plain(text.to_owned())])
    }

    #[test]
    fn expressions() {
        for (text, expect) in [
            (" 12 ", Expr::Int(12)),
            ("-1.5e3", Expr::Float(-1500.0)),
            ("true", Expr::Bool(true)),
            ("''", plain("")),
            (r"'a\'b{{c}}\\'", plain(r"a'b{c}\")),
            ("$user.id", Expr::Reference("user.id".to_owned())),
            ("uuid()", Expr::Call("uuid".to_owned(), Vec::new())),
        ] {
            assert_eq!(parse(text), Ok(expect), "{text}");
        }
        let call = parse("choice('a': 1, 2: x(jitter: 3), 'u-{$n}')").unwrap();
        let label = |value| Some(Label::Value(value));
        let jitter =
            Argument { label: Some(Label::Name("jitter".to_owned())), value: Expr::Int(3) };
        let template = Expr::Text(vec![
            Piece::Plain("u-".to_owned()),
            Piece::Computed(Expr::Reference("n".to_owned())),
        ]);
        let arguments = vec![
            Argument { label: label(plain("a")), value: Expr::Int(1) },
            Argument {
                label: label(Expr::Int(2)),
                value: Expr::Call("x".to_owned(), vec![jitter]),
            },
            Argument { label: None, value: template },
        ];
        assert_eq!(call, Expr::Call("choice".to_owned(), arguments));
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, expect) in [
            (
                "",
                "expected a number, a 'text', a $reference or a function at character 1, where the text ends",
            ),
            (
                "hello",
                "expected '(' after hello (texts stand in single quotes) at character 6, where the text ends",
            ),
            ("int(1 2)", "expected ',' or ')' at character 7, not '2'"),
            ("'a", "expected the closing quote at character 3, where the text ends"),
            ("'a}'", "expected '}}' for a brace in a text at character 3, not '}'"),
            ("'é{1'", "expected '}' at character 5, not '''"),
            ("1 2", "expected the end at character 3, not '2'"),
            ("1x", "expected a number at character 1, not '1'"),
            ("$", "expected the name of a field at character 2, where the text ends"),
        ] {
            assert_eq!(parse(text), Err(expect.to_owned()), "{text}");
        }
        let deep = "f(".repeat(10_000);
        assert_eq!(parse(&deep).unwrap_err(), "expressions nest at most 32 levels deep");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            // The outcome does not matter, only that there is one.
            let _outcome = parse(&text);
        }

        #[test]
        fn no_near_miss_panics(text in r"[a-c'{}$.():, 0-9\\é-]{0,40}") {
            let _outcome = parse(&text);
        }
    }
}
