//! CORS and the headers that every reply carries.

use crate::fields::Fields;
use crate::finding::Warning;

/// Which web pages may call the API (`access.control.allow.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins, or `*` for any.
    pub origins: Vec<String>,
    /// The methods.
    pub methods: Vec<String>,
}

/// One rule of `response.http.headers.config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// What to do.
    pub action: HeaderAction,
    /// The header.
    pub name: String,
    /// Its value; for the dates, milliseconds since 1970.
    pub value: String,
}

/// What a rule does with its header, by Jetty's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// `set`: replaces.
    Set,
    /// `add`: adds one more.
    Add,
    /// `setDate`: replaces by a date.
    SetDate,
    /// `addDate`: adds a date.
    AddDate,
}

const ORIGIN: &str = "access.control.allow.origin";
const METHODS: &str = "access.control.allow.methods";
const HEADERS: &str = "response.http.headers.config";

pub(super) fn cors(fields: &mut Fields<'_>, warnings: &mut Vec<Warning>) -> Option<Cors> {
    let owned = |items: Vec<&str>| items.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let origins = owned(fields.list(ORIGIN).unwrap_or_default());
    let methods = owned(fields.list(METHODS).unwrap_or_default());
    if let Some(odd) = methods.iter().find(|method| !is_token(method)) {
        fields.refuse(METHODS, format!("must be HTTP methods between commas, and {odd:?} is none"));
    }
    if origins.is_empty() {
        if !methods.is_empty() {
            warnings.push(Warning::new(METHODS, format!("has no effect: {ORIGIN} is not set")));
        }
        return None;
    }
    // What browsers call simple methods; also what Connect's server allows where none are named.
    let simple = || ["GET", "POST", "HEAD"].map(str::to_owned).to_vec();
    Some(Cors { origins, methods: if methods.is_empty() { simple() } else { methods } })
}

pub(super) fn headers(fields: &mut Fields<'_>) -> Vec<HeaderRule> {
    let Some(text) = fields.text(HEADERS) else { return Vec::new() };
    let mut rules = Vec::new();
    for rule in split(text) {
        match parse(&rule) {
            Some(rule) => rules.push(rule),
            None => fields.refuse(
                HEADERS,
                format!("must be rules like \"set name: value\" (or add, setDate, addDate) between commas, and {rule:?} is none"),
            ),
        }
    }
    rules
}

/// Splits at commas outside double quotes; the quotes around a rule go.
fn split(text: &str) -> Vec<String> {
    let mut rules = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match (c, rules.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => rules.push(String::new()),
            (c, Some(rule)) => rule.push(c),
            (_, None) => {}
        }
    }
    rules.into_iter().map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()).collect()
}

fn parse(rule: &str) -> Option<HeaderRule> {
    let (action, header) = rule.split_once(char::is_whitespace)?;
    let action = match action.to_ascii_lowercase().as_str() {
        "set" => HeaderAction::Set,
        "add" => HeaderAction::Add,
        "setdate" => HeaderAction::SetDate,
        "adddate" => HeaderAction::AddDate,
        _ => return None,
    };
    let (name, value) = header.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let date = matches!(action, HeaderAction::SetDate | HeaderAction::AddDate);
    let visible = value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    let fits = is_token(name) && visible && (!date || value.parse::<i64>().is_ok());
    fits.then(|| HeaderRule { action, name: name.to_owned(), value: value.to_owned() })
}

/// A word of HTTP: a method, a header's name.
fn is_token(text: &str) -> bool {
    let mark = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Properties;

    #[test]
    fn header_rules_are_read() {
        let text = "add Cache-Control: no-cache, \"set X-A: b, c\",setDate Expires: 31540000000";
        let map = Properties::from([(HEADERS, text)]);
        let mut fields = Fields::new(&map);
        let rules: Vec<_> =
            headers(&mut fields).into_iter().map(|r| (r.action, r.name, r.value)).collect();
        let expect = [
            (HeaderAction::Add, "Cache-Control", "no-cache"),
            (HeaderAction::Set, "X-A", "b, c"),
            (HeaderAction::SetDate, "Expires", "31540000000"),
        ];
        assert_eq!(rules, expect.map(|(a, n, v)| (a, n.to_owned(), v.to_owned())));
        assert_eq!(fields.errors, []);
    }

    #[test]
    fn odd_header_rules_are_refused() {
        for text in ["put a: b", "set a", "set a b: c", "setDate a: soon", "set a: b\u{1}"] {
            let map = Properties::from([(HEADERS, text)]);
            let mut fields = Fields::new(&map);
            assert!(headers(&mut fields).is_empty());
            assert_eq!(fields.errors.len(), 1, "{text}");
        }
    }

    #[test]
    fn cors_is_off_without_an_origin() {
        let read = |entries: &[(&str, &str)]| {
            let map = entries.iter().copied().collect();
            let mut fields = Fields::new(&map);
            (cors(&mut fields, &mut Vec::new()), fields.errors.len())
        };
        assert_eq!(read(&[(METHODS, "GET")]), (None, 0));
        let (found, _) = read(&[(ORIGIN, "https://a.example, *"), (METHODS, "GET,PUT")]);
        let found = found.expect("on");
        assert_eq!(
            (found.origins.join(" "), found.methods.join(" ")),
            ("https://a.example *".into(), "GET PUT".into())
        );
        assert_eq!(read(&[(ORIGIN, "*")]).0.expect("on").methods, ["GET", "POST", "HEAD"]);
        assert_eq!(read(&[(METHODS, "GET /")]).1, 1);
    }
}
