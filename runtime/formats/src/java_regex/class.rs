//! Character classes: `[…]`, and the escapes that stand for one character or a class.
//!
//! The grammar follows Java's own, with its oddities: `[]a]` holds a bracket, `&&` binds to what
//! follows up to the closing bracket, and a minus sign that can't make a range means itself.

use super::PatternError;
use super::property;
use super::translate::{Flags, Translator, literal};

/// A set of characters, as the inside of a class for the engine.
#[derive(Clone, Debug)]
pub(super) struct Class {
    inside: String,
    /// Is case to be ignored by the engine (Unicode), rather than spelt out (ASCII)?
    folded: bool,
    /// For a single character: which, so that it may begin or end a range.
    single: Option<char>,
}

impl Class {
    /// A range of characters, with those that differ by case if the flags say so.
    pub(super) fn of(first: char, last: char, flags: Flags) -> Self {
        let range = |a: char, b: char| {
            if a == b { literal(a) } else { format!("{}-{}", literal(a), literal(b)) }
        };
        let mut inside = range(first, last);
        let folded = flags.case_insensitive && flags.unicode_case;
        if folded {
            // Java folds by way of capitals, so these four are one letter to it.
            let dotted = ['i', 'I', '\u{130}', '\u{131}'];
            if dotted.iter().any(|c| (first..=last).contains(c)) {
                inside.extend(dotted);
            }
        } else if flags.case_insensitive {
            for (low, high, shift) in [('a', 'z', -32), ('A', 'Z', 32)] {
                let (from, to) = (first.max(low), last.min(high));
                if from <= to {
                    let moved =
                        |c: char| u32::from(c).checked_add_signed(shift).and_then(char::from_u32);
                    if let (Some(from), Some(to)) = (moved(from), moved(to)) {
                        inside.push_str(&range(from, to));
                    }
                }
            }
        }
        Self { inside, folded, single: (first == last).then_some(first) }
    }

    /// A class that the engine knows, or a part of one.
    pub(super) fn raw(inside: impl Into<String>) -> Self {
        Self { inside: inside.into(), folded: false, single: None }
    }

    pub(super) fn negated(self) -> Self {
        Self { inside: format!("[^{}]", self.bracketed()), folded: false, single: None }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self::raw(format!("{}{}", self.bracketed(), other.bracketed()))
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        Self::raw(format!("[{}&&{}]", self.bracketed(), other.bracketed()))
    }

    fn bracketed(&self) -> String {
        format!("[{}]", self.inside)
    }

    /// As a piece of a pattern.
    pub(super) fn text(&self) -> String {
        if self.folded { format!("(?i:[{}])", self.inside) } else { self.bracketed() }
    }
}

impl Translator {
    /// A class, from its opening bracket on.
    pub(super) fn class(&mut self) -> Result<Class, PatternError> {
        self.position += 1;
        let negated =
            self.tokens.get(self.position).is_some_and(|token| token.c == '^' && !token.quoted);
        self.position += usize::from(negated);
        let class = self.class_items(0)?;
        self.position += 1;
        Ok(if negated { class.negated() } else { class })
    }

    /// What is in a class, up to its closing bracket, which stays.
    fn class_items(&mut self, depth: usize) -> Result<Class, PatternError> {
        const MOST_DEPTH: usize = 50;
        if depth > MOST_DEPTH {
            return Err(self.unsupported("a deeply nested class"));
        }
        let mut found: Option<Class> = None;
        let add = |found: Option<Class>, class: Class| {
            Some(match found {
                Some(found) => found.union(class),
                None => class,
            })
        };
        loop {
            let Some(token) = self.peek() else {
                return Err(self.syntax("Unclosed character class"));
            };
            match token.c {
                _ if token.quoted => {}
                ']' => {
                    if let Some(found) = found.take() {
                        return Ok(found);
                    }
                }
                '[' => {
                    let class = self.nested(depth)?;
                    found = add(found, class);
                    continue;
                }
                '&' if self.is_intersection() => {
                    self.position += 2;
                    let right = self.right_side(depth)?;
                    found = match (found, right) {
                        (Some(left), Some(right)) => Some(left.intersection(right)),
                        (left, right) => {
                            Some(left.or(right).ok_or_else(|| self.syntax("Bad class syntax"))?)
                        }
                    };
                    continue;
                }
                _ => {}
            }
            let class = self.range()?;
            found = add(found, class);
        }
    }

    fn nested(&mut self, depth: usize) -> Result<Class, PatternError> {
        self.position += 1;
        let negated = self.eat('^');
        let class = self.class_items(depth + 1)?;
        self.position += 1;
        Ok(if negated { class.negated() } else { class })
    }

    fn is_intersection(&self) -> bool {
        self.tokens.get(self.position + 1).is_some_and(|next| next.c == '&' && !next.quoted)
    }

    /// What follows `&&`: classes in brackets, then anything up to the closing bracket.
    fn right_side(&mut self, depth: usize) -> Result<Option<Class>, PatternError> {
        let mut right: Option<Class> = None;
        loop {
            if self.is_next(']') {
                return Ok(right);
            }
            if self.is_next('&') {
                return Err(self.unsupported("an & after &&"));
            }
            let class =
                if self.is_next('[') { self.nested(depth)? } else { self.class_items(depth + 1)? };
            right = Some(match right {
                Some(right) => right.union(class),
                None => class,
            });
        }
    }

    /// One character, a range, or an escape that is a class.
    fn range(&mut self) -> Result<Class, PatternError> {
        let first = self.class_atom()?;
        let Some(from) = first.single else { return Ok(first) };
        // A quoted minus sign makes no range.
        if !self.is_next('-') {
            return Ok(first);
        }
        let after = self.tokens.get(self.position + 1);
        if after.is_none_or(|token| !token.quoted && matches!(token.c, '[' | ']')) {
            return Ok(first);
        }
        self.position += 1;
        let illegal = |this: &Self| this.syntax("Illegal character range");
        let Some(to) = self.class_atom()?.single else { return Err(illegal(self)) };
        if to < from {
            return Err(illegal(self));
        }
        Ok(Class::of(from, to, self.flags))
    }

    fn class_atom(&mut self) -> Result<Class, PatternError> {
        let Some(token) = self.peek() else { return Err(self.syntax("Unclosed character class")) };
        self.position += 1;
        if token.c == '\\' && !token.quoted {
            return self.class_escape();
        }
        Ok(Class::of(token.c, token.c, self.flags))
    }

    /// What follows a backslash, where it means a character or a class.
    pub(super) fn class_escape(&mut self) -> Result<Class, PatternError> {
        let unicode = self.flags.unicode_class;
        let Some(c) = self.raw() else { return Err(self.syntax("a backslash at the end")) };
        let class = match c {
            'd' | 'D' => Class::raw(if unicode { r"\d" } else { "0-9" }),
            'w' | 'W' => Class::raw(if unicode { r"\w" } else { "0-9A-Z_a-z" }),
            's' | 'S' => Class::raw(if unicode { r"\s" } else { r"\t\n\x{B}\x{C}\r\x{20}" }),
            'h' | 'H' => Class::raw(
                r"\t\x{20}\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}",
            ),
            'v' | 'V' => Class::raw(r"\n\x{B}\x{C}\r\x{85}\x{2028}\x{2029}"),
            'p' | 'P' => self.property()?,
            'N' => return Err(self.unsupported(r"the name of a character \N{…}")),
            't' => return Ok(self.single('\t')),
            'n' => return Ok(self.single('\n')),
            'r' => return Ok(self.single('\r')),
            'f' => return Ok(self.single('\u{c}')),
            'a' => return Ok(self.single('\u{7}')),
            'e' => return Ok(self.single('\u{1b}')),
            'c' => {
                let control = self.raw().and_then(|c| char::from_u32(u32::from(c) ^ 64));
                return match control {
                    Some(control) => Ok(self.single(control)),
                    None => Err(self.syntax("Illegal control escape sequence")),
                };
            }
            '0' => return self.octal(),
            'x' => return self.hexadecimal(),
            'u' => return self.utf16(),
            c if c.is_ascii_alphanumeric() => {
                return Err(self.syntax("Illegal/unsupported escape sequence"));
            }
            c => return Ok(self.single(c)),
        };
        let negated = matches!(c, 'D' | 'W' | 'S' | 'H' | 'V' | 'P');
        Ok(if negated { class.negated() } else { class })
    }

    fn single(&self, c: char) -> Class {
        Class::of(c, c, self.flags)
    }

    fn property(&mut self) -> Result<Class, PatternError> {
        let unknown = |this: &Self| this.syntax("Unknown character property name");
        let name = match self.raw() {
            Some('{') => {
                let rest = &self.tokens[self.position..];
                let Some(length) = rest.iter().position(|token| token.c == '}') else {
                    return Err(self.syntax("Unclosed character family"));
                };
                let name: String = rest[..length].iter().map(|token| token.c).collect();
                self.position += length + 1;
                name
            }
            Some(letter) => letter.to_string(),
            None => return Err(unknown(self)),
        };
        match property::class(&name, self.flags) {
            property::Found::Class(class) => Ok(Class::raw(class)),
            property::Found::Unsupported => {
                Err(self.unsupported(format!(r"the character property \p{{{name}}}")))
            }
            property::Found::Unknown => Err(unknown(self)),
        }
    }

    /// `\0n`, `\0nn`, `\0mnn` (m up to 3).
    fn octal(&mut self) -> Result<Class, PatternError> {
        let digit =
            |this: &Self| this.tokens.get(this.position).and_then(|token| token.c.to_digit(8));
        let Some(mut code) = digit(self) else {
            return Err(self.syntax("Illegal octal escape sequence"));
        };
        let most = if code <= 3 { 3 } else { 2 };
        self.position += 1;
        for _ in 1..most {
            let Some(next) = digit(self) else { break };
            code = code * 8 + next;
            self.position += 1;
        }
        self.coded(code)
    }

    /// `\xhh` or `\x{h…h}`.
    fn hexadecimal(&mut self) -> Result<Class, PatternError> {
        if self.tokens.get(self.position).is_none_or(|token| token.c != '{') {
            let code = self.digits(2)?;
            return self.coded(code);
        }
        self.position += 1;
        let rest = &self.tokens[self.position..];
        let text: String = rest.iter().map(|token| token.c).take_while(|c| *c != '}').collect();
        let hexadecimal = !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
        if !hexadecimal || rest.len() == text.len() {
            return Err(self.syntax("Unclosed hexadecimal escape sequence"));
        }
        self.position += text.len() + 1;
        let code = u32::from_str_radix(&text, 16).ok().filter(|code| *code <= 0x10_FFFF);
        self.coded(code.ok_or_else(|| self.syntax("Hexadecimal codepoint is too big"))?)
    }

    /// `\uhhhh`, or two that make one character.
    fn utf16(&mut self) -> Result<Class, PatternError> {
        let high = self.digits(4)?;
        let next: Vec<char> =
            self.tokens[self.position..].iter().take(2).map(|token| token.c).collect();
        if (0xD800..0xDC00).contains(&high) && next == ['\\', 'u'] {
            let back = self.position;
            self.position += 2;
            let low = self.digits(4)?;
            if (0xDC00..0xE000).contains(&low) {
                return self.coded(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
            self.position = back;
        }
        self.coded(high)
    }

    fn digits(&mut self, count: usize) -> Result<u32, PatternError> {
        let mut code = 0;
        for _ in 0..count {
            let digit = self.raw().and_then(|c| c.to_digit(16));
            code = code << 4
                | digit.ok_or_else(|| self.syntax("Illegal hexadecimal escape sequence"))?;
        }
        Ok(code)
    }

    fn coded(&self, code: u32) -> Result<Class, PatternError> {
        match char::from_u32(code) {
            Some(c) => Ok(self.single(c)),
            None => Err(self.unsupported("half a surrogate pair")),
        }
    }
}
