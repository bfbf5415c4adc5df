//! Compiled expressions, which write JSON.
//!
//! Duty: append the JSON of one value to the batch's buffer. A reference copies what was written
//! before it in the same record, so values are never held in another form.
//!
//! Invariant: what [`Node::write`] appends is one well-formed JSON value, or nothing where it returns
//! false.

use std::ops::Range;

use crate::random::{Random, Zipf, hash};

/// What making one record needs.
#[derive(Debug)]
pub(crate) struct Maker {
    /// The JSON so far; of several records.
    pub(crate) out: Vec<u8>,
    /// The record's own stream.
    pub(crate) random: Random,
    pub(crate) seed: u64,
    /// The record's number among all of the connector.
    pub(crate) sequence: u64,
    /// The record's time in milliseconds since the epoch.
    pub(crate) time_ms: i64,
    /// Where the fields of this record are that were written; empty for those left out.
    pub(super) slots: Vec<Range<usize>>,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Literal(Box<[u8]>),
    Sequence {
        start: i64,
        step: i64,
    },
    /// `span` possible values from `min` on, in units of 10^-decimals.
    Number {
        min: i64,
        span: u64,
        decimals: u8,
    },
    Normal {
        mean: f64,
        deviation: f64,
        decimals: u8,
    },
    Bool(f64),
    Uuid,
    Hex(usize),
    /// Each option up to its bound of all 64-bit numbers; the last for the rest.
    Choice(Vec<(u64, Node)>),
    Zipf(Zipf),
    Time {
        format: TimeFormat,
        jitter_ms: u64,
    },
    Reference(usize),
    Text(Vec<TextPiece>),
    Combination {
        how: How,
        terms: Vec<Node>,
        decimals: u8,
    },
    /// Null unless chance has it.
    Maybe(f64, Box<Node>),
    /// Nothing unless chance has it.
    Optional(f64, Box<Node>),
    Array {
        min: u64,
        span: u64,
        element: Box<Node>,
    },
    Object(Vec<Member>),
    /// The same for the same value of the slot.
    Per {
        slot: usize,
        salt: u64,
        node: Box<Node>,
    },
    Switch {
        slot: usize,
        cases: Vec<(Box<[u8]>, Node)>,
        otherwise: Box<Node>,
    },
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// The name in quotes and the colon.
    pub(super) name: Box<[u8]>,
    pub(super) slot: usize,
    pub(super) node: Node,
}

#[derive(Debug, Clone)]
pub(crate) enum TextPiece {
    /// JSON text without the quotes.
    Plain(Box<[u8]>),
    Computed(Node),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    Milliseconds,
    Seconds,
    Iso,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Sum,
    Product,
}

impl Node {
    /// Appends the value; returns whether there is one.
    pub(crate) fn write(&self, maker: &mut Maker) -> bool {
        match self {
            Self::Literal(json) => maker.out.extend_from_slice(json),
            Self::Sequence { start, step } => {
                let steps = step.wrapping_mul(maker.sequence.cast_signed());
                maker.integer(start.wrapping_add(steps));
            }
            Self::Number { min, span, decimals } => {
                let number = min.wrapping_add_unsigned(maker.random.below(*span));
                maker.scaled(number, *decimals);
            }
            Self::Normal { mean, deviation, decimals } => {
                let number = mean + deviation * maker.random.normal();
                maker.rounded(number, *decimals);
            }
            Self::Bool(probability) => {
                let truth: &[u8] =
                    if maker.random.chance(*probability) { b"true" } else { b"false" };
                maker.out.extend_from_slice(truth);
            }
            Self::Uuid => maker.uuid(),
            Self::Hex(digits) => maker.hex(*digits),
            Self::Choice(options) => {
                let at = maker.random.next();
                let chosen = options.iter().find(|(bound, _)| at < *bound).or(options.last());
                return chosen.is_some_and(|(_, node)| node.write(maker));
            }
            Self::Zipf(zipf) => {
                let k = zipf.sample(&mut maker.random);
                maker.integer(k.cast_signed());
            }
            Self::Time { format, jitter_ms } => maker.time(*format, *jitter_ms),
            Self::Reference(slot) => return maker.copy(*slot),
            Self::Text(pieces) => maker.text(pieces),
            Self::Combination { how, terms, decimals } => maker.combination(*how, terms, *decimals),
            Self::Maybe(probability, node) => {
                if !(maker.random.chance(*probability) && node.write(maker)) {
                    maker.out.extend_from_slice(b"null");
                }
            }
            Self::Optional(probability, node) => {
                return maker.random.chance(*probability) && node.write(maker);
            }
            Self::Array { min, span, element } => {
                let count = min + maker.random.below(*span);
                maker.array(count, element);
            }
            Self::Object(members) => maker.object(members),
            Self::Per { slot, salt, node } => {
                let key = hash(maker.slot(*slot));
                let own = Random::new(maker.seed ^ salt, key);
                let outer = std::mem::replace(&mut maker.random, own);
                let written = node.write(maker);
                maker.random = outer;
                return written;
            }
            Self::Switch { slot, cases, otherwise } => {
                let value = maker.slot(*slot);
                let case = cases.iter().find(|(case, _)| **case == *value);
                return case.map_or(&**otherwise, |(_, node)| node).write(maker);
            }
        }
        true
    }
}

impl Maker {
    /// The JSON of a slot; empty if it was left out.
    pub(crate) fn slot(&self, slot: usize) -> &[u8] {
        let place = self.slots.get(slot).cloned().unwrap_or_default();
        self.out.get(place).unwrap_or_default()
    }

    fn integer(&mut self, n: i64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    }

    /// `n` in units of 10^-decimals.
    fn scaled(&mut self, n: i64, decimals: u8) {
        if decimals == 0 {
            return self.integer(n);
        }
        let unit = 10_u64.pow(decimals.into());
        if n < 0 {
            self.out.push(b'-');
        }
        let (whole, part) = (n.unsigned_abs() / unit, n.unsigned_abs() % unit);
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(whole).as_bytes());
        self.out.push(b'.');
        let part = digits.format(part).as_bytes();
        self.out.extend(std::iter::repeat_n(b'0', usize::from(decimals) - part.len()));
        self.out.extend_from_slice(part);
    }

    fn rounded(&mut self, n: f64, decimals: u8) {
        let scaled = (n * 10_f64.powi(decimals.into())).round();
        // The cast saturates, and takes what is no number as 0.
        self.scaled(scaled as i64, decimals);
    }

    fn hex(&mut self, digits: usize) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.out.push(b'"');
        let mut left = digits;
        while left > 0 {
            let bits = self.random.next();
            let most = left.min(16);
            self.out.extend((0..most).map(|i| HEX[(bits >> (4 * i)) as usize & 15]));
            left -= most;
        }
        self.out.push(b'"');
    }

    /// A version 4 UUID in quotes.
    fn uuid(&mut self) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let high = self.random.next() & !0xf000 | 0x4000;
        let low = self.random.next() & !(0b11 << 62) | (0b10 << 62);
        let mut text = *b"\"00000000-0000-0000-0000-000000000000\"";
        let mut at = 1;
        for byte in high.to_be_bytes().into_iter().chain(low.to_be_bytes()) {
            if text[at] == b'-' {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        self.out.extend_from_slice(&text);
    }

    fn time(&mut self, format: TimeFormat, jitter_ms: u64) {
        let late = self.random.below(jitter_ms.saturating_add(u64::from(jitter_ms > 0)));
        let ms = self.time_ms.saturating_sub_unsigned(late);
        match format {
            TimeFormat::Milliseconds => self.integer(ms),
            TimeFormat::Seconds => self.integer(ms.div_euclid(1000)),
            TimeFormat::Iso => self.out.extend_from_slice(&crate::time::iso(ms)),
        }
    }

    fn copy(&mut self, slot: usize) -> bool {
        match self.slots.get(slot) {
            Some(place) if !place.is_empty() => {
                self.out.extend_from_within(place.clone());
                true
            }
            _ => false,
        }
    }

    fn text(&mut self, pieces: &[TextPiece]) {
        self.out.push(b'"');
        for piece in pieces {
            match piece {
                TextPiece::Plain(json) => self.out.extend_from_slice(json),
                TextPiece::Computed(node) => {
                    let start = self.out.len();
                    // Text goes in without its quotes, numbers and the like as they are.
                    if node.write(self) && self.out.get(start) == Some(&b'"') {
                        self.out.remove(start);
                        self.out.pop();
                    }
                }
            }
        }
        self.out.push(b'"');
    }

    fn combination(&mut self, how: How, terms: &[Node], decimals: u8) {
        let start = self.out.len();
        let mut total = if how == How::Sum { 0.0 } else { 1.0 };
        for term in terms {
            term.write(self);
            let number = std::str::from_utf8(&self.out[start..]).ok();
            let number: f64 = number.and_then(|text| text.parse().ok()).unwrap_or_default();
            self.out.truncate(start);
            match how {
                How::Sum => total += number,
                How::Product => total *= number,
            }
        }
        self.rounded(total, decimals);
    }

    fn array(&mut self, count: u64, element: &Node) {
        self.out.push(b'[');
        let first = self.out.len();
        for _ in 0..count {
            let before = self.out.len();
            if before > first {
                self.out.push(b',');
            }
            if !element.write(self) {
                self.out.truncate(before);
            }
        }
        self.out.push(b']');
    }

    fn object(&mut self, members: &[Member]) {
        self.out.push(b'{');
        let first = self.out.len();
        for member in members {
            let before = self.out.len();
            if before > first {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&member.name);
            let start = self.out.len();
            let written = member.node.write(self);
            if !written {
                self.out.truncate(before);
            }
            if let Some(slot) = self.slots.get_mut(member.slot) {
                *slot = if written { start..self.out.len() } else { 0..0 };
            }
        }
        self.out.push(b'}');
    }
}
