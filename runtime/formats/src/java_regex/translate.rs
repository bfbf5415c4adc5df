//! The syntax outside of character classes.
//!
//! One pass over the pattern writes the translation piece by piece. Back-references are pieces of
//! their own: whether their group exists is known only at the end, and one to no group never matches.

use super::PatternError;
use super::class::Class;

/// What came before a quantifier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Atom {
    /// It takes characters, or may.
    Wide,
    /// It looks only, and takes none.
    Look,
    /// A change of flags, which takes no quantifier.
    Nothing,
}

/// A character of the pattern; a quoted one (`\Q…\E`) means itself wherever it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) c: char,
    pub(super) quoted: bool,
}

/// The flags in force, as Java names them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// `i`
    pub(super) case_insensitive: bool,
    /// `u`
    pub(super) unicode_case: bool,
    /// `U`
    pub(super) unicode_class: bool,
    /// `x`
    pub(super) comments: bool,
    /// `d`
    pub(super) unix_lines: bool,
    /// `m`
    pub(super) multiline: bool,
    /// `s`
    pub(super) dot_all: bool,
}

enum Piece {
    Text(String),
    Reference(usize),
}

pub(super) struct Translator {
    pub(super) tokens: Vec<Token>,
    pub(super) position: usize,
    pub(super) flags: Flags,
    pieces: Vec<Piece>,
    groups: usize,
    names: Vec<(String, usize)>,
    depth: usize,
}

/// Groups in groups; the engines behind recurse, too.
const MOST_DEPTH: usize = 100;

/// The translation, anchored so that it matches whole texts only.
pub(super) fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut translator = Translator {
        tokens: unquoted(pattern),
        position: 0,
        flags: Flags::default(),
        pieces: Vec::new(),
        groups: 0,
        names: Vec::new(),
        depth: 0,
    };
    translator.alternatives()?;
    if translator.position < translator.tokens.len() {
        return Err(translator.syntax("Unmatched closing ')'"));
    }
    let mut text = String::from(r"\A(?:");
    for piece in &translator.pieces {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Reference(group) if *group <= translator.groups => {
                text.push_str(&format!(r"(?:\{group})"))
            }
            Piece::Reference(_) => text.push_str("[a&&b]"),
        }
    }
    text.push_str(r")\z");
    Ok(text)
}

/// Takes `\Q` and `\E` away.
fn unquoted(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut quoted = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (c, next) {
            ('\\', Some('E')) if quoted => {
                quoted = false;
                chars.next();
            }
            ('\\', Some('Q')) if !quoted => {
                quoted = true;
                chars.next();
            }
            // An escaped backslash escapes nothing.
            ('\\', Some(next)) if !quoted => {
                tokens.extend([Token { c, quoted }, Token { c: next, quoted }]);
                chars.next();
            }
            _ => tokens.push(Token { c, quoted }),
        }
    }
    tokens
}

/// A character as itself, in or out of a class.
pub(super) fn literal(c: char) -> String {
    if c.is_ascii_alphanumeric() || (!c.is_ascii() && !c.is_whitespace() && !c.is_control()) {
        return c.to_string();
    }
    format!(r"\x{{{:X}}}", u32::from(c))
}

/// Java's line ends but CR LF.
const LINE_ENDS: &str = r"\n\r\x{85}\x{2028}\x{2029}";

impl Translator {
    pub(super) fn syntax(&self, problem: &str) -> PatternError {
        PatternError::syntax(self.position, problem)
    }

    pub(super) fn unsupported(&self, construct: impl Into<String>) -> PatternError {
        PatternError::unsupported(self.position, construct)
    }

    /// The next character that counts; in comments mode white space and comments don't.
    pub(super) fn peek(&mut self) -> Option<Token> {
        if self.flags.comments {
            while let Some(token) = self.tokens.get(self.position).filter(|token| !token.quoted) {
                if token.c == '#' {
                    let rest = self.tokens[self.position..].iter();
                    self.position += rest.take_while(|token| !self.ends_comment(**token)).count();
                } else if matches!(token.c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r') {
                    self.position += 1;
                } else {
                    break;
                }
            }
        }
        self.tokens.get(self.position).copied()
    }

    fn ends_comment(&self, token: Token) -> bool {
        let others =
            !self.flags.unix_lines && matches!(token.c, '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        token.c == '\n' || others
    }

    pub(super) fn is_next(&mut self, c: char) -> bool {
        self.peek().is_some_and(|token| !token.quoted && token.c == c)
    }

    /// Takes the next character if it is this one.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.is_next(c);
        self.position += usize::from(found);
        found
    }

    /// The very next character, white space or not.
    pub(super) fn raw(&mut self) -> Option<char> {
        let token = self.tokens.get(self.position)?;
        self.position += 1;
        Some(token.c)
    }

    fn raw_peek(&self) -> Option<char> {
        self.tokens.get(self.position).filter(|token| !token.quoted).map(|token| token.c)
    }

    fn push(&mut self, text: impl Into<String>) {
        self.pieces.push(Piece::Text(text.into()));
    }

    /// Whether any alternative may take a character.
    fn alternatives(&mut self) -> Result<bool, PatternError> {
        let mut wide = false;
        loop {
            wide |= self.sequence()?;
            if !self.eat('|') {
                return Ok(wide);
            }
            self.push("|");
        }
    }

    fn sequence(&mut self) -> Result<bool, PatternError> {
        let mut wide = false;
        while let Some(token) = self.peek() {
            if !token.quoted && matches!(token.c, '|' | ')') {
                break;
            }
            let start = self.pieces.len();
            let kind = self.atom(token)?;
            if kind != Atom::Nothing {
                self.quantifier(start, kind == Atom::Look)?;
            }
            wide |= kind == Atom::Wide;
        }
        Ok(wide)
    }

    /// One thing that a quantifier may follow, or a change of flags.
    fn atom(&mut self, token: Token) -> Result<Atom, PatternError> {
        if token.quoted {
            self.position += 1;
            self.literal(token.c);
            return Ok(Atom::Wide);
        }
        match token.c {
            '(' => return self.group(),
            '[' => {
                let class = self.class()?;
                self.class_piece(class);
                return Ok(Atom::Wide);
            }
            '\\' => {
                self.position += 1;
                return self.escape();
            }
            '*' | '+' | '?' => {
                return Err(self.syntax(&format!("Dangling meta character '{}'", token.c)));
            }
            '{' if self.follows(|c| c.is_ascii_digit()) => {
                return Err(self.unsupported("a quantifier of nothing"));
            }
            '{' => return Err(self.syntax("Illegal repetition")),
            _ => {}
        }
        self.position += 1;
        match token.c {
            '.' => self.dot(),
            '^' => {
                self.caret();
                return Ok(Atom::Look);
            }
            '$' => {
                self.dollar();
                return Ok(Atom::Look);
            }
            c => self.literal(c),
        }
        Ok(Atom::Wide)
    }

    fn literal(&mut self, c: char) {
        if !self.flags.case_insensitive {
            self.push(literal(c));
            return;
        }
        let class = Class::of(c, c, self.flags);
        self.class_piece(class);
    }

    pub(super) fn class_piece(&mut self, class: Class) {
        let text = class.text();
        self.push(text);
    }

    fn dot(&mut self) {
        let text = match (self.flags.dot_all, self.flags.unix_lines) {
            (true, _) => "(?s:.)".to_owned(),
            (false, true) => r"[^\n]".to_owned(),
            (false, false) => format!("[^{LINE_ENDS}]"),
        };
        self.push(text);
    }

    fn caret(&mut self) {
        let text = match (self.flags.multiline, self.flags.unix_lines) {
            (false, _) => r"\A",
            (true, true) => r"(?:(?!\z)(?:\A|(?<=\n)))",
            (true, false) => r"(?:(?!\z)(?:\A|(?<=[\n\x{85}\x{2028}\x{2029}])|(?<=\r)(?!\n)))",
        };
        self.push(text);
    }

    fn dollar(&mut self) {
        // At the end of the whole pattern it says nothing more than the anchor that follows.
        if self.depth == 0 && self.peek().is_none() {
            return;
        }
        if self.flags.multiline {
            let text = if self.flags.unix_lines {
                r"(?=\n|\z)"
            } else {
                r"(?:\z|(?<!\r)(?=\n)|(?=[\r\x{85}\x{2028}\x{2029}]))"
            };
            self.push(text);
        } else {
            self.last_line_end();
        }
    }

    fn last_line_end(&mut self) {
        let text = if self.flags.unix_lines {
            r"(?=\n?\z)"
        } else {
            r"(?:\z|(?=\r\n\z)|(?<!\r)(?=\n\z)|(?=[\r\x{85}\x{2028}\x{2029}]\z))"
        };
        self.push(text);
    }

    fn quantifier(&mut self, start: usize, look: bool) -> Result<(), PatternError> {
        let Some(token) = self.peek().filter(|token| !token.quoted) else { return Ok(()) };
        let mut text = match token.c {
            c @ ('*' | '+' | '?') => {
                self.position += 1;
                c.to_string()
            }
            '{' => self.counts()?,
            _ => return Ok(()),
        };
        let possessive = self.eat('+');
        if !possessive && self.eat('?') {
            text.push('?');
        }
        if matches!(self.raw_peek(), Some('{')) {
            return Err(self.unsupported("a quantifier of a quantifier"));
        }
        if look {
            self.maybe(start, &text);
            return Ok(());
        }
        let open = if possessive { "(?>(?:" } else { "(?:" };
        self.pieces.insert(start, Piece::Text(open.to_owned()));
        self.push(format!("){text}"));
        if possessive {
            self.push(")");
        }
        Ok(())
    }

    /// Looking more than once tells no more; looking at least never times may be left out.
    fn maybe(&mut self, start: usize, quantifier: &str) {
        if !quantifier.starts_with(['*', '?']) && !quantifier.starts_with("{0") {
            return;
        }
        let lazy = quantifier.len() > 1 && quantifier.ends_with('?');
        self.pieces.insert(start, Piece::Text(if lazy { "(?:|" } else { "(?:" }.to_owned()));
        self.push(if lazy { ")" } else { "|)" });
    }

    /// `{n}`, `{n,}` or `{n,m}`; no white space, not even in comments mode.
    fn counts(&mut self) -> Result<String, PatternError> {
        self.position += 1;
        let least = self.count()?.ok_or_else(|| self.syntax("Illegal repetition"))?;
        let mut text = format!("{{{least}");
        if self.raw_peek() == Some(',') {
            self.position += 1;
            text.push(',');
            if let Some(most) = self.count()? {
                if most < least {
                    return Err(self.syntax("Illegal repetition range"));
                }
                text.push_str(&most.to_string());
            }
        }
        if self.raw() != Some('}') {
            return Err(self.syntax("Unclosed counted closure"));
        }
        text.push('}');
        Ok(text)
    }

    fn count(&mut self) -> Result<Option<u32>, PatternError> {
        let mut count: Option<u32> = None;
        while let Some(digit) = self.raw_peek().and_then(|c| c.to_digit(10)) {
            self.position += 1;
            let next = count.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit));
            count = Some(
                next.filter(|n| i32::try_from(*n).is_ok())
                    .ok_or_else(|| self.syntax("Illegal repetition range"))?,
            );
        }
        Ok(count)
    }

    /// `(…)` in all its kinds.
    fn group(&mut self) -> Result<Atom, PatternError> {
        self.position += 1;
        let saved = self.flags;
        if !self.eat('?') {
            self.groups += 1;
            return self.group_body("(".to_owned(), saved);
        }
        let open = match self.raw() {
            Some(c @ (':' | '=' | '!' | '>')) => format!("(?{c}"),
            Some('<') => match self.raw_peek() {
                Some(c @ ('=' | '!')) => {
                    self.position += 1;
                    format!("(?<{c}")
                }
                _ => {
                    let name = self.name()?;
                    if self.names.iter().any(|(known, _)| *known == name) {
                        return Err(self.syntax(&format!(
                            "Named capturing group <{name}> is already defined"
                        )));
                    }
                    self.groups += 1;
                    self.names.push((name, self.groups));
                    "(".to_owned()
                }
            },
            _ => {
                self.position -= 1;
                self.change_flags()?;
                if self.eat(')') {
                    return Ok(Atom::Nothing);
                }
                if !self.eat(':') {
                    return Err(self.syntax("Unknown inline modifier"));
                }
                "(?:".to_owned()
            }
        };
        self.group_body(open, saved)
    }

    fn group_body(&mut self, open: String, saved: Flags) -> Result<Atom, PatternError> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(self.unsupported(format!("a group nested more than {MOST_DEPTH} deep")));
        }
        let (capturing, looking) = (open == "(", open.ends_with(['=', '!']));
        self.push(open);
        let wide = self.alternatives()?;
        if !self.eat(')') {
            return Err(self.syntax("Unclosed group"));
        }
        self.push(")");
        self.depth -= 1;
        self.flags = saved;
        Ok(if looking || !(wide || capturing) { Atom::Look } else { Atom::Wide })
    }

    /// A group's name and the `>` after it.
    fn name(&mut self) -> Result<String, PatternError> {
        let mut name = String::new();
        while let Some(c) = self.raw_peek().filter(char::is_ascii_alphanumeric) {
            self.position += 1;
            name.push(c);
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(self.syntax("capturing group name does not start with a Latin letter"));
        }
        if self.raw() != Some('>') {
            return Err(self.syntax("named capturing group is missing trailing '>'"));
        }
        Ok(name)
    }

    /// `idmsux-idmsuxU`, before `)` or `:`.
    fn change_flags(&mut self) -> Result<(), PatternError> {
        let mut on = true;
        while let Some(c) = self.raw_peek() {
            let flags = &mut self.flags;
            match c {
                'i' => flags.case_insensitive = on,
                'm' => flags.multiline = on,
                's' => flags.dot_all = on,
                'd' => flags.unix_lines = on,
                'u' => flags.unicode_case = on,
                'x' => flags.comments = on,
                'U' => {
                    flags.unicode_class = on;
                    flags.unicode_case = on;
                }
                '-' if on => on = false,
                ')' | ':' => return Ok(()),
                _ => return Err(self.syntax("Unknown inline modifier")),
            }
            self.position += 1;
        }
        Err(self.syntax("Unknown inline modifier"))
    }

    /// What follows a backslash, outside a class.
    fn escape(&mut self) -> Result<Atom, PatternError> {
        let Some(c) = self.raw_peek() else {
            return Err(self.syntax("Unexpected internal error: a backslash at the end"));
        };
        let text = match c {
            'A' | 'G' => r"\A",
            'z' => r"\z",
            'Z' => {
                self.position += 1;
                self.last_line_end();
                return Ok(Atom::Look);
            }
            'b' if self.follows(|c| c == '{')
                && self.tokens.get(self.position + 2).is_some_and(|token| token.c == 'g') =>
            {
                return Err(self.unsupported(r"the grapheme boundary \b{g}"));
            }
            'b' => r"\b",
            'B' => r"\B",
            'R' => {
                self.position += 1;
                // Java does not come back to a repeated one to split it.
                let repeated =
                    self.peek().is_some_and(|next| !next.quoted && "*+?{".contains(next.c));
                self.push(if repeated { "(?>" } else { "(?:" });
                self.push(r"\r\n|[\n\x{B}\x{C}\r\x{85}\x{2028}\x{2029}])");
                return Ok(Atom::Wide);
            }
            'X' => return Err(self.unsupported(r"the grapheme cluster \X")),
            'k' => {
                self.position += 1;
                self.named_reference()?;
                return Ok(Atom::Wide);
            }
            '1'..='9' => {
                self.reference(c);
                self.check_reference()?;
                return Ok(Atom::Wide);
            }
            _ => {
                let class = self.class_escape()?;
                self.class_piece(class);
                return Ok(Atom::Wide);
            }
        };
        self.position += 1;
        self.push(text);
        Ok(Atom::Look)
    }

    /// Is the character after the next one such?
    fn follows(&self, such: impl Fn(char) -> bool) -> bool {
        self.tokens.get(self.position + 1).is_some_and(|next| !next.quoted && such(next.c))
    }

    /// `\1` and up: as many digits as make the number of a group that is open or closed by now.
    fn reference(&mut self, first: char) {
        self.position += 1;
        let mut group = first.to_digit(10).map_or(0, |digit| digit as usize);
        while let Some(digit) = self.raw_peek().and_then(|c| c.to_digit(10)) {
            let longer = group * 10 + digit as usize;
            if longer > self.groups {
                break;
            }
            group = longer;
            self.position += 1;
        }
        self.pieces.push(Piece::Reference(group));
    }

    fn named_reference(&mut self) -> Result<(), PatternError> {
        if self.raw() != Some('<') {
            return Err(self.syntax(r"\k is not followed by '<' for named capturing group"));
        }
        let name = self.name()?;
        let Some((_, group)) = self.names.iter().find(|(known, _)| *known == name) else {
            return Err(self.syntax(&format!("named capturing group <{name}> does not exist")));
        };
        self.pieces.push(Piece::Reference(*group));
        self.check_reference()
    }

    /// The engine folds more letters in a reference than Java does.
    fn check_reference(&self) -> Result<(), PatternError> {
        if self.flags.case_insensitive {
            return Err(self.unsupported("a back-reference that ignores case"));
        }
        Ok(())
    }
}
