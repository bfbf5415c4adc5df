//! The tree of a document, built in one pass and without recursion.

use std::borrow::Cow;
use std::collections::HashMap;

use bytestring::ByteString;

use super::{scan, unquote};

/// A JSON value with everything below it. Texts without escapes are slices of the document.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number as it is written.
    Number(ByteString),
    /// A text.
    String(ByteString),
    /// An array.
    Array(Vec<Node>),
    /// An object's members in their order. Of several members of one name only the last is here, in
    /// the place of the first.
    Object(Vec<(ByteString, Node)>),
}

impl Node {
    /// The tree of a validated document.
    #[must_use]
    pub fn of(document: &ByteString) -> Self {
        Builder { document, open: Vec::new() }.build().unwrap_or(Self::Null)
    }
}

/// A container whose end is still to come.
enum Frame {
    Array(Vec<Node>),
    /// The members so far and the name of the next one.
    Object(Vec<(ByteString, Node)>, ByteString),
}

struct Builder<'d> {
    document: &'d ByteString,
    open: Vec<Frame>,
}

impl Builder<'_> {
    /// `None` if the document was not valid after all.
    fn build(mut self) -> Option<Node> {
        let bytes = self.document.as_bytes();
        let mut at = scan::skip(bytes, 0);
        loop {
            let mut node = match bytes.get(at)? {
                b'{' => {
                    at = scan::skip(bytes, at + 1);
                    if bytes.get(at) != Some(&b'}') {
                        at = self.open_object(Vec::new(), at)?;
                        continue;
                    }
                    at += 1;
                    Node::Object(Vec::new())
                }
                b'[' => {
                    at = scan::skip(bytes, at + 1);
                    if bytes.get(at) != Some(&b']') {
                        self.open.push(Frame::Array(Vec::new()));
                        continue;
                    }
                    at += 1;
                    Node::Array(Vec::new())
                }
                first => {
                    let place = scan::value_place(bytes, at)?;
                    at = place.end;
                    self.scalar(*first, self.document.get(place)?)
                }
            };
            // After a value: close what ends here, until a comma says that something follows.
            at = loop {
                let Some(frame) = self.open.pop() else { return Some(node) };
                let next = scan::after_comma(bytes, at);
                match (frame, next) {
                    (Frame::Array(mut items), next) => {
                        items.push(node);
                        if let Some(next) = next {
                            self.open.push(Frame::Array(items));
                            break next;
                        }
                        node = Node::Array(items);
                    }
                    (Frame::Object(mut members, name), next) => {
                        members.push((name, node));
                        if let Some(next) = next {
                            break self.open_object(members, next)?;
                        }
                        node = Node::Object(last_of_each(members));
                    }
                }
                at = scan::skip(bytes, at) + 1;
            };
        }
    }

    /// Reads a name, which opens or goes on with an object; where its value begins.
    fn open_object(&mut self, members: Vec<(ByteString, Node)>, at: usize) -> Option<usize> {
        let place = scan::string_place(self.document.as_bytes(), at)?;
        let value = scan::after_colon(self.document.as_bytes(), place.end)?;
        let name = self.string(self.document.get(place)?);
        self.open.push(Frame::Object(members, name));
        Some(value)
    }

    fn scalar(&self, first: u8, text: &str) -> Node {
        match first {
            b'"' => Node::String(self.string(text)),
            b't' => Node::Boolean(true),
            b'f' => Node::Boolean(false),
            b'n' => Node::Null,
            _ => Node::Number(self.document.slice_ref(text)),
        }
    }

    fn string(&self, quoted: &str) -> ByteString {
        match unquote(quoted) {
            Cow::Borrowed(text) => self.document.slice_ref(text),
            Cow::Owned(text) => text.into(),
        }
    }
}

/// Leaves of each name the last member, in the place of the first.
fn last_of_each(members: Vec<(ByteString, Node)>) -> Vec<(ByteString, Node)> {
    // Comparing all pairs is quicker than hashing as long as they are few.
    let few = members.len() <= 32;
    let repeated = |(at, (name, _)): (usize, &(ByteString, Node))| {
        members[..at].iter().any(|(earlier, _)| earlier == name)
    };
    if few && !members.iter().enumerate().any(repeated) {
        return members;
    }
    let mut places: HashMap<ByteString, usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<(ByteString, Node)> = Vec::with_capacity(members.len());
    for (name, node) in members {
        match places.get(&name) {
            Some(place) => kept[*place].1 = node,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, node));
            }
        }
    }
    kept
}

/// Appends what the escape at the start of `escape` stands for (its backslash is gone already), and
/// returns what follows it.
pub(super) fn unescape<'t>(escape: &'t str, text: &mut String) -> &'t str {
    let rest = escape.get(1..).unwrap_or_default();
    text.push(match escape.as_bytes().first() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unescape_unicode(rest, text),
        Some(other) => char::from(*other),
        None => return rest,
    });
    rest
}

fn unescape_unicode<'t>(digits: &'t str, text: &mut String) -> &'t str {
    let unit = |digits: &str| digits.get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let rest = digits.get(4..).unwrap_or_default();
    let Some(first) = unit(digits) else { return rest };
    let second = rest.strip_prefix("\\u").and_then(unit);
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    match pair {
        Some(pair) if u32::from(pair) > 0xFFFF => {
            text.push(pair);
            rest.get(6..).unwrap_or_default()
        }
        _ => {
            text.push(char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
            rest
        }
    }
}
