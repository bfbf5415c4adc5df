//! Makes records, as many as are due.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use towpath_sdk::context::{SourceTaskContext, TaskContext, Waiting};
use towpath_sdk::offset::{SourcePartition, StoredOffsets};
use towpath_sdk::record::{Record, Topic};
use towpath_sdk::source::{Budget, SourceBatch, SourceTask};
use towpath_sdk::value::{Datum, Json, Value};
use towpath_sdk::{Error, Result, Text};

use crate::config::{DatagenConfig, ValueFormat};
use crate::expression::{Maker, Program};
use crate::progress::{Progress, Share};
use crate::random::Random;

/// A poll makes no more records than this, so that it keeps its thread for about a millisecond.
const BATCH: usize = 2048;
/// Records that come due within this time come together.
const TICK: Duration = Duration::from_millis(10);
/// What was missed while the engine took nothing is made up for, but no more than this.
const BACKLOG: Duration = Duration::from_secs(1);
/// The stream that decides about malformed records and tombstones.
const FATE: u64 = 0x6661_7465;

/// The task of a `datagen` source.
pub struct DatagenTask {
    cx: TaskContext,
    share: Share,
    seed: i64,
    progress: Progress,
    partition: SourcePartition,
    program: Program,
    maker: Maker,
    pace: Option<Pace>,
    shape: Shape,
    finished: bool,
}

/// What the records have in common.
#[derive(Debug)]
struct Shape {
    topic: Topic,
    format: ValueFormat,
    /// Where to stop, if anywhere.
    end: Option<u64>,
    /// The time of record 0 and from one to the next, if the clock is not asked.
    time: Option<(i64, i64)>,
    malformed: f64,
    tombstones: f64,
}

/// How many records are due.
#[derive(Debug)]
struct Pace {
    per_second: f64,
    since: Instant,
    made: u64,
}

/// A record in the making, by its places in the batch's buffer.
struct Draft {
    key: Range<usize>,
    value: DraftValue,
    time_ms: i64,
}

enum DraftValue {
    Good(Range<usize>),
    Malformed(Text),
    Tombstone,
}

impl DatagenTask {
    pub(crate) fn new(config: &DatagenConfig, share: Share, cx: SourceTaskContext) -> Result<Self> {
        let program = config.program().map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Error::config(errors.join("\n"))
        })?;
        let step = i64::try_from(config.time_step_ms.as_millis()).unwrap_or(i64::MAX);
        let maker = program.maker(config.seed.cast_unsigned());
        Ok(Self {
            cx: cx.task,
            share,
            seed: config.seed,
            progress: share.resume(config.seed, &cx.offsets),
            partition: share.partition(config.seed),
            program,
            maker,
            pace: (config.rate > 0.0).then(|| Pace::new(config.rate / f64::from(share.tasks))),
            shape: Shape {
                topic: config.topic.as_str().into(),
                format: config.value_format,
                end: (config.count > 0).then_some(config.count),
                time: config.start_ms().map(|start| (start, step)),
                malformed: config.malformed_ratio,
                tombstones: config.tombstone_ratio,
            },
            finished: false,
        })
    }

    /// How many records to make now; waits until there is one.
    async fn due(&mut self) -> usize {
        loop {
            let left = self.shape.end.map_or(u64::MAX, |end| {
                end.saturating_sub(self.progress.next).div_ceil(self.share.tasks.into())
            });
            if left == 0 {
                if !std::mem::replace(&mut self.finished, true) {
                    let reason = "all records have been made that were asked for".to_owned();
                    self.cx.waiting(Some(Waiting { reason, next_try: None }));
                }
                std::future::pending::<()>().await;
            }
            let left = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH);
            let Some(pace) = &mut self.pace else { return left };
            match pace.due(Instant::now()) {
                Ok(due) => return left.min(due),
                Err(at) => tokio::time::sleep_until(at).await,
            }
        }
    }

    /// Writes the next record into the maker's buffer.
    fn draft(&mut self, now: i64) -> Draft {
        let number = self.progress.next;
        let time_ms = match self.shape.time {
            Some((start, step)) => {
                start.saturating_add(step.saturating_mul(i64::try_from(number).unwrap_or(i64::MAX)))
            }
            None => now,
        };
        let start = self.maker.out.len();
        self.program.write(&mut self.maker, number, time_ms);
        let end = self.maker.out.len();
        self.progress.next = number.saturating_add(self.share.tasks.into());

        let key = self.program.key_place(&self.maker);
        let mut value = DraftValue::Good(start..end);
        if self.shape.malformed + self.shape.tombstones > 0.0 {
            let mut fate = Random::new(self.maker.seed ^ FATE, number);
            let drawn = fate.unit();
            if drawn < self.shape.malformed {
                value = DraftValue::Malformed(malform(&self.maker.out[start..end], &mut fate));
            } else if drawn < self.shape.malformed + self.shape.tombstones {
                value = DraftValue::Tombstone;
            }
        }
        Draft { key, value, time_ms }
    }

    fn make(&mut self, count: usize, room: Budget) -> Result<SourceBatch> {
        let now = self.cx.clock().now().millis();
        let most = count.min(room.records.max(1));
        let mut drafts = Vec::with_capacity(most);
        while drafts.len() < most {
            // Another record of the size of those before would not fit.
            let used = self.maker.out.len();
            if used > 0 && used + used / drafts.len().max(1) > room.bytes {
                break;
            }
            drafts.push(self.draft(now));
        }
        // The next batch will be about as large.
        let next = Vec::with_capacity(self.maker.out.len() + 256);
        let out = Bytes::from(std::mem::replace(&mut self.maker.out, next));
        let out = Text::try_from(out)
            .map_err(|error| Error::internal("write UTF-8").with_source(error))?;
        let records: Result<Vec<Record>> =
            drafts.into_iter().map(|draft| self.shape.record(&out, draft)).collect();
        let records = records?;
        if let Some(pace) = &mut self.pace {
            pace.made += records.len() as u64;
        }
        let offset = self.share.offset(self.progress);
        Ok(SourceBatch::upto(records, self.partition.clone(), offset))
    }
}

impl Shape {
    fn record(&self, out: &Text, draft: Draft) -> Result<Record> {
        let slice = |place: Range<usize>| out.slice_ref(out.get(place).unwrap_or_default());
        let value = match draft.value {
            DraftValue::Tombstone => Value::Null,
            DraftValue::Malformed(text) => Value::String(text),
            DraftValue::Good(place) => match self.format {
                ValueFormat::Text => Value::String(slice(place)),
                ValueFormat::Json => Value::Json(Json::new(slice(place).into_bytes())?),
            },
        };
        let mut record = Record::new(Arc::clone(&self.topic), Datum::schemaless(value));
        record.key = Datum::schemaless(key(&slice(draft.key))?);
        record.timestamp = Some(draft.time_ms);
        Ok(record)
    }
}

impl SourceTask for DatagenTask {
    async fn poll(&mut self, room: Budget) -> Result<SourceBatch> {
        let count = self.due().await;
        self.make(count, room)
    }

    async fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        self.progress = self.share.resume(self.seed, to);
        if std::mem::take(&mut self.finished) {
            self.cx.waiting(None);
        }
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        Ok(())
    }
}

impl Pace {
    fn new(per_second: f64) -> Self {
        Self { per_second, since: Instant::now(), made: 0 }
    }

    /// How many records are due, or when to ask again.
    fn due(&mut self, now: Instant) -> Result<usize, Instant> {
        let due = (now - self.since).as_secs_f64() * self.per_second - self.made as f64;
        if due >= 1.0 {
            let most = (BACKLOG.as_secs_f64() * self.per_second).max(1.0);
            if due > most {
                // The rest is forgotten: time starts anew with the backlog.
                self.since =
                    now.checked_sub(Duration::from_secs_f64(most / self.per_second)).unwrap_or(now);
                self.made = 0;
            }
            return Ok(due.min(most) as usize);
        }
        let until_next = (1.0 - due) / self.per_second;
        // A rate of next to nothing: look again in a while.
        let wait = Duration::try_from_secs_f64(until_next).unwrap_or(Duration::MAX);
        Err(now + wait.clamp(TICK, Duration::from_secs(3600)))
    }
}

/// The value of a key that was written as JSON.
fn key(json: &Text) -> Result<Value> {
    if json.is_empty() {
        return Ok(Value::Null);
    }
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(inner) = inner.filter(|inner| !inner.contains('\\')) {
        return Ok(Value::String(json.slice_ref(inner)));
    }
    if let Ok(number) = json.parse() {
        return Ok(Value::Int64(number));
    }
    let parsed: serde_json::Value = serde_json::from_str(json)
        .map_err(|error| Error::internal("read the key's JSON").with_source(error))?;
    Ok(parsed.into())
}

/// `json`, an object, so that no parser takes it.
fn malform(json: &[u8], random: &mut Random) -> Text {
    let text = String::from_utf8_lossy(json);
    match random.below(3) {
        0 => {
            // Cut short: its closing brace at least is missing.
            let mut end = 1 + random.below(text.len().saturating_sub(1) as u64) as usize;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text[..end].into()
        }
        1 => text.replacen("\":", "\" ", 1).into(),
        _ => format!("<event>{text}</event>").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_is_malformed() {
        let json = r#"{"a":{"b":"é:"},"c":[1]}"#;
        for number in 0..500 {
            let text = malform(json.as_bytes(), &mut Random::new(1, number));
            assert!(Json::new(text.clone().into_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_values() {
        let check = |json: &'static str, expect: Value| {
            assert_eq!(key(&Text::from_static(json)).unwrap(), expect, "{json}");
        };
        check("", Value::Null);
        check("null", Value::Null);
        check("7", Value::Int64(7));
        check("true", Value::Boolean(true));
        check(r#""a""#, Value::String("a".into()));
        check(r#""a\"b""#, Value::String("a\"b".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_kept_and_a_backlog_is_bounded() {
        let mut pace = Pace::new(50.0);
        let start = Instant::now();
        let at = pace.due(start).unwrap_err();
        assert_eq!((at - start).as_millis(), 20);
        assert_eq!(pace.due(at + Duration::from_millis(1)), Ok(1));
        pace.made = 1;
        assert_eq!(pace.due(start + Duration::from_secs(600)), Ok(50));
        pace.made += 50;
        assert!(pace.due(start + Duration::from_secs(600)).is_err());
        let fast = Pace::new(1e6).due(Instant::now()).unwrap_err();
        assert_eq!(fast - Instant::now(), TICK);
    }
}
