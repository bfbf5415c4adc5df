//! Copies lines into records.
//!
//! Invariant: a call on the blocking pool owns the [`Tail`]; a poll that is dropped leaves the call
//! in [`Input::Busy`], and the next poll takes its outcome from there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use towpath_sdk::context::{SourceTaskContext, TaskContext, Waiting};
use towpath_sdk::offset::{SourcePartition, StoredOffsets};
use towpath_sdk::record::{Record, Topic};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::source::{Budget, SourceBatch, SourceTask};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, ErrorKind, Result};

use super::client::{Stdin, Tail};
use super::config::FileStreamSourceConfig;
use super::connector::{offset, partition, position};
use crate::error::{FileError, joined};
use crate::lines::{LineBuffer, LineEnd};
use crate::utf8::decode_as_java;

/// The shortest and the longest pause between two looks at a file that does not grow. Connect looks
/// once a second.
const PAUSES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_millis(500);
/// A line that is longer than this is not taken into memory. Brokers take a megabyte unless they are
/// told otherwise.
const MAX_LINE: usize = 64 * 1024 * 1024;

/// The task of a `FileStreamSource`.
pub struct FileStreamSourceTask {
    cx: TaskContext,
    partition: SourcePartition,
    shape: Shape,
    /// Where to open the file.
    start: u64,
    input: Input,
    pause: Duration,
    waiting: bool,
}

/// What every record has in common.
#[derive(Debug, Clone)]
struct Shape {
    topic: Topic,
    schema: SchemaRef,
    batch_size: usize,
}

#[derive(Debug)]
enum Input {
    /// The file is not open yet.
    Missing(PathBuf),
    Open(Box<Tail>),
    Busy(PathBuf, JoinHandle<(Box<Tail>, Result<Step, FileError>)>),
    Stdin(StdinLines),
}

/// Standard input, cut into lines.
#[derive(Debug)]
struct StdinLines {
    chunks: Stdin,
    lines: LineBuffer,
}

/// What a look at the file gave.
#[derive(Debug)]
enum Step {
    Records(Vec<Record>),
    /// Bytes, but no whole line yet; how many are held of it.
    Part(usize),
    /// No further bytes; the file's length, if it is shorter than what was read of it.
    End(Option<u64>),
}

impl FileStreamSourceTask {
    pub(super) fn new(config: Arc<FileStreamSourceConfig>, cx: SourceTaskContext) -> Result<Self> {
        let partition = partition(&config);
        let start = position(cx.offsets.get(&partition))?;
        let input = match config.path() {
            Some(path) => Input::Missing(path.to_owned()),
            None => Input::Stdin(StdinLines::new(Stdin::open())),
        };
        Ok(Self {
            cx: cx.task,
            partition,
            shape: Shape {
                topic: config.topic.as_str().into(),
                schema: Arc::new(Schema::new(Kind::String)),
                batch_size: config.batch_size.get() as usize,
            },
            start,
            input,
            pause: *PAUSES.start(),
            waiting: false,
        })
    }

    /// Opens the file, or says that it is not there.
    async fn open(&mut self, path: PathBuf) -> Result<()> {
        let start = self.start;
        let open = {
            let path = path.clone();
            move || Tail::open(&path, start)
        };
        match spawn_blocking(open).await.map_err(joined)? {
            Ok(tail) => {
                self.say(None);
                self.input = Input::Open(Box::new(tail));
                self.pause = *PAUSES.start();
                Ok(())
            }
            Err(error) if error.io() == std::io::ErrorKind::NotFound => {
                let path = path.display();
                self.say(Some(format!("the file '{path}' is not there; waiting until it appears")));
                self.rest().await;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Starts a look at the file, or goes on with one.
    async fn look(&mut self, room: Budget) -> Result<Step> {
        let idle = Input::Missing(PathBuf::new());
        self.input = match std::mem::replace(&mut self.input, idle) {
            Input::Open(mut tail) => {
                let (shape, now) = (self.shape.clone(), self.cx.clock().now().millis());
                let path = tail.path().to_owned();
                let look = move || {
                    let outcome = step(&mut tail, &shape, room, now);
                    (tail, outcome)
                };
                Input::Busy(path, spawn_blocking(look))
            }
            other => other,
        };
        let Input::Busy(path, call) = &mut self.input else {
            return Err(Error::internal("look at a file that is not open"));
        };
        match call.await {
            Ok((tail, outcome)) => {
                self.input = Input::Open(tail);
                Ok(outcome?)
            }
            Err(error) => {
                self.input = Input::Missing(std::mem::take(path));
                Err(joined(error))
            }
        }
    }

    /// A batch from standard input; the end of which is no end of the task.
    async fn read_stdin(&mut self, room: Budget) -> Result<SourceBatch> {
        let now = self.cx.clock().now().millis();
        if let Input::Stdin(stdin) = &mut self.input
            && let Some(records) = stdin.next(&self.shape, room, now).await?
        {
            return Ok(SourceBatch::upto(records, self.partition.clone(), offset(None)));
        }
        self.say(Some("standard input has ended".to_owned()));
        std::future::pending().await
    }

    /// Shows, and logs once, why nothing comes.
    fn say(&mut self, reason: Option<String>) {
        if self.waiting == reason.is_some() {
            return;
        }
        self.waiting = reason.is_some();
        if let Some(reason) = &reason {
            tracing::warn!(connector = %self.cx.connector, task = self.cx.task, "{reason}");
        }
        self.cx.waiting(reason.map(|reason| Waiting { reason, next_try: None }));
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(*PAUSES.end());
    }
}

impl SourceTask for FileStreamSourceTask {
    async fn poll(&mut self, room: Budget) -> Result<SourceBatch> {
        loop {
            match &self.input {
                Input::Stdin(_) => return self.read_stdin(room).await,
                Input::Missing(path) => {
                    let path = path.clone();
                    self.open(path).await?;
                }
                Input::Open(_) | Input::Busy(..) => match self.look(room).await? {
                    Step::Records(records) => {
                        self.pause = *PAUSES.start();
                        self.say(None);
                        let Input::Open(tail) = &self.input else { continue };
                        let offset = offset(Some(tail.lines.position()));
                        return Ok(SourceBatch::upto(records, self.partition.clone(), offset));
                    }
                    Step::Part(held) => refuse_long(held)?,
                    Step::End(shrunk) => {
                        let reason = shrunk.map(|length| {
                            format!(
                                "the file has become shorter ({length} bytes) than what was read \
                                 of it; waiting until it has grown again, as Kafka Connect's \
                                 FileStreamSource does (file-source would read it from its start)"
                            )
                        });
                        self.say(reason);
                        self.rest().await;
                    }
                },
            }
        }
    }

    async fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        if let Input::Stdin(_) = self.input {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "read standard input again; name a file, or turn exactly-once off",
            ));
        }
        let to = position(to.get(&self.partition))?;
        self.start = to;
        if let Input::Busy(path, _) = &mut self.input {
            // The call's outcome is stale whatever it is.
            self.input = Input::Missing(std::mem::take(path));
        }
        if let Input::Open(tail) = &mut self.input {
            tail.seek(to)?;
        }
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        Ok(())
    }
}

/// Takes the lines that are held; reads only if there is none.
fn step(tail: &mut Tail, shape: &Shape, room: Budget, now: i64) -> Result<Step, FileError> {
    let held = records(&mut tail.lines, shape, room, now);
    if !held.is_empty() {
        return Ok(Step::Records(held));
    }
    if tail.fill()? == 0 {
        return Ok(Step::End(tail.shrunk_to()?));
    }
    let records = records(&mut tail.lines, shape, room, now);
    Ok(if records.is_empty() { Step::Part(tail.lines.held()) } else { Step::Records(records) })
}

/// The records of whole lines, within the budget.
fn records(lines: &mut LineBuffer, shape: &Shape, room: Budget, now: i64) -> Vec<Record> {
    let most = room.records.clamp(1, shape.batch_size);
    let mut left = room.bytes;
    let mut records = Vec::new();
    while let Some(line) = lines.peek().filter(|_| records.len() < most) {
        if records.is_empty() {
            // A guess from the first line, so that the vector grows seldom.
            records.reserve((lines.held() / line.size()).clamp(1, most));
        } else if line.size() > left {
            break;
        }
        left = left.saturating_sub(line.size());
        lines.advance(line);
        let text = lines.text(line).unwrap_or_else(|bytes| decode_as_java(&bytes).into());
        let value = Datum::new(Arc::clone(&shape.schema), Value::String(text));
        let mut record = Record::new(Arc::clone(&shape.topic), value);
        record.timestamp = Some(now);
        records.push(record);
    }
    records
}

fn refuse_long(held: usize) -> Result<()> {
    if held <= MAX_LINE {
        return Ok(());
    }
    let text = format!(
        "take a line of more than {MAX_LINE} bytes into memory; is this a file of lines of text?"
    );
    Err(Error::new(ErrorKind::Unsupported, text))
}

impl StdinLines {
    fn new(chunks: Stdin) -> Self {
        Self { chunks, lines: LineBuffer::new(LineEnd::Any, 0) }
    }

    /// The records of the next lines; `None` at the end. May be dropped.
    async fn next(&mut self, shape: &Shape, room: Budget, now: i64) -> Result<Option<Vec<Record>>> {
        loop {
            let records = records(&mut self.lines, shape, room, now);
            if !records.is_empty() {
                return Ok(Some(records));
            }
            refuse_long(self.lines.held())?;
            match self.chunks.next().await? {
                Some(chunk) => self.lines.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn standard_input_becomes_records() {
        let mut input = b"one\r\ntwo\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', 200_000));
        input.extend(b"\nunfinished");
        let mut stdin = StdinLines::new(Stdin::read_from(std::io::Cursor::new(input)));
        let schema = Arc::new(Schema::new(Kind::String));
        let shape = Shape { topic: "t".into(), schema, batch_size: 2 };
        let room = Budget { bytes: 1 << 20, records: 9 };
        let mut lengths = Vec::new();
        while let Some(records) = stdin.next(&shape, room, 7).await.unwrap() {
            assert!(records.len() <= 2 && records.iter().all(|r| r.timestamp == Some(7)));
            lengths.extend(records.iter().map(|r| r.value.value.as_str().map(str::len)));
        }
        assert_eq!(lengths, [Some(3), Some(3), Some(200_000)]);
    }

    #[test]
    fn a_line_without_end_is_refused_in_time() {
        assert!(refuse_long(MAX_LINE).is_ok());
        assert_eq!(refuse_long(MAX_LINE + 1).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
