//! The value of `sasl.jaas.config`: one login module with its options.
//!
//! Invariant: no error shows any of the value but the module's name and options' names.

use crate::secret::Secret;

/// A login module: `org.example.SomeLoginModule required name="value" …;`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoginModule {
    /// The class's name without its package.
    pub(super) name: String,
    /// The options in order.
    pub(super) options: Vec<(String, Secret)>,
}

impl LoginModule {
    pub(super) fn option(&self, name: &str) -> Option<&Secret> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Why the value can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JaasError {
    #[error(
        "must look like: org.apache.kafka….SomeLoginModule required username=\"…\" password=\"…\";"
    )]
    Shape,
    #[error("the word after the login module must be required, requisite, sufficient or optional")]
    Flag,
    #[error("the option {0} has no value; write {0}=\"…\"")]
    NoValue(String),
    #[error("a quotation mark is not closed")]
    Unclosed,
    #[error("must end with a semicolon")]
    NoEnd,
    #[error("must name one login module only")]
    Several,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(Secret),
    Equals,
    End,
}

pub(super) fn parse(text: &str) -> Result<LoginModule, JaasError> {
    let mut tokens = tokens(text)?.into_iter();
    let Some(Token::Word(class)) = tokens.next() else { return Err(JaasError::Shape) };
    match tokens.next() {
        Some(Token::Word(flag))
            if ["required", "requisite", "sufficient", "optional"]
                .contains(&flag.to_ascii_lowercase().as_str()) => {}
        Some(Token::End) | None => return Err(JaasError::Shape),
        Some(_) => return Err(JaasError::Flag),
    }
    let mut options = Vec::new();
    loop {
        match tokens.next() {
            Some(Token::End) => break,
            Some(Token::Word(name)) => {
                let value = match (tokens.next(), tokens.next()) {
                    (Some(Token::Equals), Some(Token::Quoted(value))) => value,
                    (Some(Token::Equals), Some(Token::Word(value))) => Secret::new(value),
                    _ => return Err(JaasError::NoValue(name)),
                };
                options.push((name, value));
            }
            Some(_) => return Err(JaasError::Shape),
            None => return Err(JaasError::NoEnd),
        }
    }
    if tokens.next().is_some() {
        return Err(JaasError::Several);
    }
    let name = class.rsplit('.').next().unwrap_or(&class).to_owned();
    Ok(LoginModule { name, options })
}

fn tokens(text: &str) -> Result<Vec<Token>, JaasError> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        let (token, after) = match first {
            '=' => (Token::Equals, after),
            ';' => (Token::End, after),
            '"' | '\'' => quoted(after, first)?,
            _ => {
                // An unquoted value may hold an equals sign (Base64), a name may not.
                let value = found.last() == Some(&Token::Equals);
                let ends = |c: char| c.is_whitespace() || c == ';' || (c == '=' && !value);
                let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
                (Token::Word(word.to_owned()), after)
            }
        };
        found.push(token);
        rest = after.trim_start();
    }
    Ok(found)
}

/// A text up to its closing mark, with the escapes of Java's tokenizer.
fn quoted(text: &str, mark: char) -> Result<(Token, &str), JaasError> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == mark {
            return Ok((Token::Quoted(Secret::new(value)), &text[at + mark.len_utf8()..]));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (_, escaped) = chars.next().ok_or(JaasError::Unclosed)?;
        let Some(mut code) = escaped.to_digit(8) else {
            value.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'f' => '\u{c}',
                'b' => '\u{8}',
                'a' => '\u{7}',
                'v' => '\u{b}',
                other => other,
            });
            continue;
        };
        // Up to three octal digits, and not beyond 377.
        let more = if escaped <= '3' { 2 } else { 1 };
        for _ in 0..more {
            let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(8)) else { break };
            code = code * 8 + digit;
            chars.next();
        }
        value.extend(char::from_u32(code));
    }
    Err(JaasError::Unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        let module = parse(text).expect("valid");
        module.options.into_iter().map(|(name, value)| (name, value.reveal().to_owned())).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
    }

    #[test]
    fn modules_and_options_are_read() {
        let text = "org.apache.kafka.common.security.scram.ScramLoginModule required\n  username=\"al ice\" password=\"a\\\"b\\\\c;=\\101\\t\";";
        assert_eq!(parse(text).expect("valid").name, "ScramLoginModule");
        assert_eq!(options(text), pairs([("username", "al ice"), ("password", "a\"b\\c;=A\t")]));
        assert_eq!(
            options("x.Y required a=b c = 'd e' f=Zm9v== ;"),
            pairs([("a", "b"), ("c", "d e"), ("f", "Zm9v==")])
        );
        assert_eq!(options("Y REQUIRED;"), []);
    }

    #[test]
    fn errors_show_no_value() {
        for (text, expect) in [
            ("", JaasError::Shape),
            ("Y", JaasError::Shape),
            ("Y always username=\"u\";", JaasError::Flag),
            ("Y required password=\"hunter2", JaasError::Unclosed),
            ("Y required password=\"hunter2\"", JaasError::NoEnd),
            ("Y required username password=\"hunter2\";", JaasError::NoValue("username".into())),
            ("Y required; Z required;", JaasError::Several),
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.to_string().contains("hunter2"));
            assert_eq!(error, expect);
        }
        assert!(!format!("{:?}", parse("Y required password=\"hunter2\";")).contains("hunter2"));
    }
}
