//! Lines out of a stream of bytes, with the byte position after each.
//!
//! Duty: cut a stream that arrives in chunks of any size into lines without copying them: a line is
//! a slice of the chunk that it came in. Only an unfinished last line is copied, once, to the front
//! of the next chunk.
//!
//! Invariants: every byte of the stream belongs to exactly one line or line end; [`LineBuffer::position`]
//! is after the last line that was taken, [`LineBuffer::end`] after the last byte that was read. A
//! lone `\r` at the end of what was read is not judged before the byte after it is known.
//!
//! Deliberately absent: encodings other than UTF-8, records of several lines.

use std::io::{self, Read};

use bytes::Bytes;
use towpath_sdk::Text;
use towpath_sdk::config::ConfigEnum;

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub(crate) enum LineEnd {
    /// `\n`, and `\r\n`, whose `\r` is not part of the line.
    Newline,
    /// `\n`, `\r\n` and a lone `\r`, as Java reads lines.
    Any,
}

/// The part of a stream that was read and not yet taken.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    line_end: LineEnd,
    chunk: Bytes,
    /// The longest prefix of the chunk that is UTF-8, validated once for all its lines.
    text: Text,
    /// Where the first line begins that was not taken.
    start: usize,
    /// Up to where no line end is known to be.
    scanned: usize,
    /// The stream's position at `start`.
    position: u64,
    /// What was pushed after the chunk and holds no line end.
    carry: Vec<u8>,
    /// How many bytes of the first line were let go.
    skipped: u64,
}

impl LineBuffer {
    /// An empty buffer of a stream that is read from `position` on.
    pub(crate) fn new(line_end: LineEnd, position: u64) -> Self {
        Self {
            line_end,
            chunk: Bytes::new(),
            text: Text::new(),
            start: 0,
            scanned: 0,
            position,
            carry: Vec::new(),
            skipped: 0,
        }
    }

    /// Forgets what is held and goes on at `position`.
    pub(crate) fn reset(&mut self, position: u64) {
        *self = Self::new(self.line_end, position);
    }

    /// The position after the last line that was taken.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The position after the last byte that was read: where to read on.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.skipped + self.held() as u64
    }

    /// How many bytes are held that belong to no taken line.
    pub(crate) fn held(&self) -> usize {
        self.chunk.len() - self.start + self.carry.len()
    }

    /// Calls `input`, which stands at [`LineBuffer::end`], for up to `most` bytes, or as many as are held
    /// if that is more, so that a long line is copied seldom. Returns how many came; none at the end
    /// of the input, for now or for good.
    pub(crate) fn fill(&mut self, input: &mut impl Read, most: usize) -> io::Result<usize> {
        let held = self.held();
        let mut next = vec![0; held + most.max(held)];
        let came = loop {
            match input.read(&mut next[held..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        if came > 0 {
            self.move_held(&mut next[..held]);
            next.truncate(held + came);
            if next.len() < next.capacity() / 2 {
                next.shrink_to_fit();
            }
            self.replace(next);
        }
        Ok(came)
    }

    /// Appends `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if memchr::memchr2(b'\n', b'\r', bytes).is_none() && !self.awaits_newline() {
            self.carry.extend_from_slice(bytes);
            return;
        }
        let held = self.held();
        let mut next = vec![0; held];
        self.move_held(&mut next);
        next.extend_from_slice(bytes);
        self.replace(next);
    }

    /// Moves all that is held to `next`, which is just as long.
    fn move_held(&mut self, next: &mut [u8]) {
        let (chunk, carry) = next.split_at_mut(self.chunk.len() - self.start);
        chunk.copy_from_slice(&self.chunk[self.start..]);
        carry.copy_from_slice(&self.carry);
        self.carry.clear();
    }

    fn replace(&mut self, next: Vec<u8>) {
        self.scanned -= self.start;
        self.start = 0;
        self.chunk = Bytes::from(next);
        let valid = match std::str::from_utf8(&self.chunk) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        self.text = Text::try_from(self.chunk.slice(..valid)).unwrap_or_default();
    }

    /// The next line, if it is complete. It stays until [`LineBuffer::advance`].
    pub(crate) fn peek(&mut self) -> Option<Line> {
        let unseen = &self.chunk[self.scanned..];
        let found = match self.line_end {
            LineEnd::Newline => memchr::memchr(b'\n', unseen),
            LineEnd::Any => memchr::memchr2(b'\n', b'\r', unseen),
        };
        let Some(at) = found.map(|at| at + self.scanned) else {
            self.scanned = self.chunk.len();
            return None;
        };
        self.scanned = at;
        let (end, next) = match (self.chunk[at], self.line_end) {
            (b'\r', _) => match self.chunk.get(at + 1)? {
                b'\n' => (at, at + 2),
                _ => (at, at + 1),
            },
            (_, LineEnd::Newline) if at > self.start && self.chunk[at - 1] == b'\r' => {
                (at - 1, at + 1)
            }
            _ => (at, at + 1),
        };
        Some(Line { start: self.start, end, next })
    }

    /// What is left of a stream that will not grow: a last line without an end.
    pub(crate) fn peek_rest(&mut self) -> Option<Line> {
        if !self.carry.is_empty() {
            let mut next = vec![0; self.held()];
            self.move_held(&mut next);
            self.replace(next);
        }
        let next = self.chunk.len();
        let end = next - usize::from(self.awaits_newline());
        let any = self.held() > 0 || self.skipped > 0;
        any.then_some(Line { start: self.start, end, next })
    }

    /// The bytes held of a line that has no end yet. Nothing was pushed.
    pub(crate) fn unfinished(&self) -> &[u8] {
        &self.chunk[self.start..]
    }

    /// Lets go of what is held of a line that has no end yet; the line goes on with what comes next.
    pub(crate) fn skip_unfinished(&mut self) {
        self.skipped += self.held() as u64;
        self.start = self.chunk.len();
        self.scanned = self.start;
        self.carry.clear();
    }

    /// The last bytes before [`LineBuffer::position`], at most `most`, and as far as they came with the
    /// last read; none while a line is being let go.
    pub(crate) fn before(&self, most: usize) -> &[u8] {
        let end = if self.skipped == 0 { self.start } else { 0 };
        &self.chunk[end.saturating_sub(most)..end]
    }

    /// The last bytes that were read, at most `most`, and as far as they are there.
    pub(crate) fn last(&self, most: usize) -> &[u8] {
        &self.chunk[self.chunk.len().saturating_sub(most)..]
    }

    /// Whether a `\r` is the last byte held, so that the next byte decides what ends there.
    fn awaits_newline(&self) -> bool {
        let unseen = &self.chunk[self.start..];
        self.line_end == LineEnd::Any && self.carry.is_empty() && unseen.ends_with(b"\r")
    }

    /// Counts `line` as taken.
    pub(crate) fn advance(&mut self, line: Line) {
        self.position += std::mem::take(&mut self.skipped) + line.size() as u64;
        self.start = line.next;
        self.scanned = line.next;
    }

    /// The bytes of a line that was seen since the last read.
    pub(crate) fn bytes(&self, line: Line) -> Bytes {
        self.chunk.slice(line.start..line.end)
    }

    /// The bytes of such a line with its end.
    pub(crate) fn whole(&self, line: Line) -> &[u8] {
        &self.chunk[line.start..line.next]
    }

    /// The text of a line that was seen since the last read, or its bytes if it is not UTF-8.
    pub(crate) fn text(&self, line: Line) -> Result<Text, Bytes> {
        if let Some(text) = self.text.get(line.start..line.end) {
            return Ok(self.text.slice_ref(text));
        }
        let bytes = self.bytes(line);
        Text::try_from(bytes.clone()).map_err(|_| bytes)
    }
}

/// Where a line is in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    start: usize,
    end: usize,
    /// Where the next line starts.
    next: usize,
}

impl Line {
    /// How many bytes it has without its end.
    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }

    /// Its bytes with its end.
    pub(crate) fn size(self) -> usize {
        self.next - self.start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(buffer: &mut LineBuffer) -> Vec<(Bytes, u64)> {
        std::iter::from_fn(|| {
            let line = buffer.peek()?;
            buffer.advance(line);
            Some((buffer.bytes(line), buffer.position()))
        })
        .collect()
    }

    /// The obvious way, over all bytes at once.
    fn expected(line_end: LineEnd, bytes: &[u8]) -> Vec<(Bytes, u64)> {
        let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            let (end, next) = match (bytes[at], bytes.get(at + 1), line_end) {
                (b'\n', ..) => (at, at + 1),
                (b'\r', Some(b'\n'), _) => (at, at + 2),
                (b'\r', Some(_), LineEnd::Any) => (at, at + 1),
                _ => {
                    at += 1;
                    continue;
                }
            };
            lines.push((Bytes::copy_from_slice(&bytes[start..end]), next as u64));
            (start, at) = (next, next);
        }
        lines
    }

    fn check(line_end: LineEnd, bytes: &[u8], expect: &[(&str, u64)]) {
        let mut buffer = LineBuffer::new(line_end, 0);
        buffer.push(bytes);
        let lines = all(&mut buffer);
        let shown: Vec<_> =
            lines.iter().map(|(l, p)| (std::str::from_utf8(l).unwrap(), *p)).collect();
        assert_eq!(shown, expect, "{bytes:?}");
    }

    #[test]
    fn ends_of_lines() {
        check(LineEnd::Any, b"a\nb\r\nc\rd\r", &[("a", 2), ("b", 5), ("c", 7)]);
        check(LineEnd::Any, b"\n\r\n\rx", &[("", 1), ("", 3), ("", 4)]);
        check(LineEnd::Newline, b"a\r\nb\rc\n\r\n", &[("a", 3), ("b\rc", 7), ("", 9)]);
        check(LineEnd::Newline, b"unfinished", &[]);
    }

    #[test]
    fn the_rest_of_a_stream_that_has_ended() {
        for (bytes, expect) in [("a\nb", Some("b")), ("a\n", None), ("a\r", Some("a"))] {
            let mut buffer = LineBuffer::new(LineEnd::Any, 0);
            buffer.push(bytes.as_bytes());
            all(&mut buffer);
            let rest = buffer.peek_rest();
            assert_eq!(rest.map(|l| buffer.bytes(l)).as_deref(), expect.map(str::as_bytes));
            assert_eq!(buffer.position() + rest.map_or(0, Line::size) as u64, bytes.len() as u64);
        }
    }

    #[test]
    fn a_line_can_be_let_go_in_parts() {
        let mut buffer = LineBuffer::new(LineEnd::Newline, 10);
        buffer.push(b"a\nlong");
        let line = buffer.peek().unwrap();
        buffer.advance(line);
        assert_eq!((buffer.peek(), buffer.unfinished()), (None, &b"long"[..]));
        assert_eq!((buffer.before(9), buffer.last(3)), (&b"a\n"[..], &b"ong"[..]));
        buffer.skip_unfinished();
        assert_eq!((buffer.position(), buffer.end(), buffer.held()), (12, 16, 0));
        assert_eq!((buffer.before(9), buffer.last(3)), (&b""[..], &b"ong"[..]));
        let came = buffer.fill(&mut &b"er\nb\n"[..], 64).unwrap();
        assert_eq!((came, buffer.end()), (5, 21));
        let line = buffer.peek().unwrap();
        assert_eq!(buffer.whole(line), b"er\n");
        buffer.advance(line);
        assert_eq!((buffer.position(), line.len()), (19, 2));
    }

    #[test]
    fn a_line_that_is_no_text_is_bytes() {
        let mut buffer = LineBuffer::new(LineEnd::Newline, 0);
        buffer.push(b"good\nb\xffd\n\xe2\x82\xac\n");
        let mut texts = Vec::new();
        while let Some(line) = buffer.peek() {
            texts.push(buffer.text(line));
            buffer.advance(line);
        }
        let text = |t: &'static str| Ok(Text::from_static(t));
        assert_eq!(texts, [text("good"), Err(Bytes::from_static(b"b\xffd")), text("€")]);
    }

    #[test]
    fn a_long_line_is_read_in_growing_steps() {
        let bytes = vec![b'x'; 10_000];
        let (mut input, mut reads) = (bytes.as_slice(), 0);
        let mut buffer = LineBuffer::new(LineEnd::Newline, 0);
        while buffer.fill(&mut input, 10).unwrap() > 0 {
            reads += 1;
        }
        assert_eq!((buffer.held(), reads), (10_000, 11));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0xc3_u8), any::<u8>()],
                0..200,
            ),
            cuts in proptest::collection::vec(1_usize..9, 1..50),
            any_end in any::<bool>(),
            pushed in any::<bool>(),
        ) {
            let line_end = if any_end { LineEnd::Any } else { LineEnd::Newline };
            let mut buffer = LineBuffer::new(line_end, 0);
            let (mut input, mut lines) = (bytes.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                if pushed {
                    let (chunk, rest) = input.split_at((*cut).min(input.len()));
                    buffer.push(chunk);
                    input = rest;
                } else if buffer.fill(&mut input, *cut).unwrap() == 0 {
                    break;
                }
                if input.is_empty() && pushed {
                    lines.extend(all(&mut buffer));
                    break;
                }
                lines.extend(all(&mut buffer));
                prop_assert_eq!(buffer.end(), (bytes.len() - input.len()) as u64);
            }
            let expect = expected(line_end, &bytes);
            prop_assert_eq!(&lines, &expect);
            let rest = buffer.peek_rest().map_or(0, Line::size) as u64;
            prop_assert_eq!(buffer.position() + rest, bytes.len() as u64);
        }

        #[test]
        fn a_restart_at_any_position_goes_on_with_the_next_line(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..100,
            ),
        ) {
            let lines = expected(LineEnd::Any, &bytes);
            for (done, (_, position)) in lines.iter().enumerate() {
                let mut buffer = LineBuffer::new(LineEnd::Any, *position);
                buffer.push(&bytes[usize::try_from(*position).unwrap()..]);
                prop_assert_eq!(&all(&mut buffer)[..], &lines[done + 1..]);
            }
        }
    }
}
