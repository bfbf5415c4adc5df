//! The rules of a snapshot beside the stream in a small world with seeds: transactions that are open, that
//! are in the log and not seen yet, a stream that lags, chunks that are read at any moment and come at any
//! later one, and ends at any of them. What a consumer has at the end is what the table has, values
//! included that no change carried.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use towpath_sdk::config::{ConnectorConfig as _, Properties};
use towpath_sdk::value::Value;

use super::ids::{Recent, Seen, Xid};
use super::job::{Progress, Request};
use super::stage::{Images, Job, Stage};
use super::window::{Chunk, Key};
use crate::config::Config;
use crate::envelope::{SnapshotMark, Source};
use crate::lsn::Lsn;
use crate::pgoutput::{Message, Old, Tuple, parse};
use crate::rules::Rules;
use crate::table::{ColumnShape, Field, Shape, Table};
use crate::types::{PgKind, PgType};
use crate::unreadable::{self, Read};

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn table() -> Arc<Table> {
    let column = |name: &str, oid, kind: &str, is_key| ColumnShape {
        name: name.into(),
        kind: Arc::new(PgType { oid, name: kind.into(), kind: PgKind::Base }),
        typmod: -1,
        is_required: is_key,
        is_identity: is_key,
        default: None,
    };
    let columns = vec![
        column("id", 23, "int4", true),
        column("v", 23, "int4", false),
        column("toast", 25, "text", false),
    ];
    let shape =
        Shape { oid: 1, schema: "s".into(), name: "t".into(), columns, key: vec!["id".into()] };
    let properties = [("topic.prefix", "p"), ("database.hostname", "h")];
    let mut properties = Properties::from(properties);
    properties.extend([("database.user", "u"), ("database.dbname", "d")]);
    let config = Config::parse(&properties).unwrap();
    let rules = Rules::new(&config).unwrap();
    Arc::new(Table::new(shape, &config, &rules).unwrap())
}

/// A row of the table: `v`, and what is outside of the row.
type Content = (i64, u64);

/// `v` as the server has it. Some can't be shown: their rows are dead letters, which a consumer is taken to
/// read as well.
fn text_of(v: i64) -> String {
    if is_readable(v) { v.to_string() } else { format!("x{v}") }
}

const fn is_readable(v: i64) -> bool {
    v % 2 == 0
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Insert(i64, Content),
    /// `toast` is left alone.
    Touch(i64, i64),
    Replace(i64, Content),
    /// To another key; `toast` is left alone.
    Move(i64, i64),
    Delete(i64),
    Truncate,
}

impl Op {
    fn apply(self, rows: &mut BTreeMap<i64, Content>) {
        match self {
            Self::Insert(id, content) | Self::Replace(id, content) => {
                rows.insert(id, content);
            }
            Self::Touch(id, v) => rows.get_mut(&id).unwrap().0 = v,
            Self::Move(from, to) => {
                let content = rows.remove(&from).unwrap();
                rows.insert(to, content);
            }
            Self::Delete(id) => {
                rows.remove(&id);
            }
            Self::Truncate => rows.clear(),
        }
    }

    /// The keys that other transactions may not touch until this one is seen.
    fn locks(self) -> Vec<i64> {
        match self {
            Self::Insert(id, _) | Self::Touch(id, _) | Self::Replace(id, _) | Self::Delete(id) => {
                vec![id]
            }
            Self::Move(from, to) => vec![from, to],
            Self::Truncate => Vec::new(),
        }
    }
}

#[derive(Debug, Clone)]
struct Transaction {
    xid: Xid,
    ops: Vec<Op>,
}

/// What a consumer gets.
#[derive(Debug, Clone)]
enum Event {
    /// A row, perhaps without `toast`; from another key.
    Row {
        id: i64,
        v: i64,
        toast: Option<u64>,
        from: Option<i64>,
    },
    Gone(i64),
    AllGone,
}

/// Where the task stands: how long the topic is, how far the stream, and how far the table.
type Checkpoint = (usize, usize, Option<Progress>);

struct World {
    rng: Rng,
    table: Arc<Table>,
    next_xid: Xid,
    /// Rows as the next snapshot sees them.
    rows: BTreeMap<i64, Content>,
    open: Vec<Transaction>,
    /// In the log: those that are not seen yet among them.
    log: Vec<Transaction>,
    unseen: Vec<usize>,
    made: u64,
    /// How far apart the numbers are that rows get: with two all can be shown.
    step: u64,
    /// Keys that rows were moved away from, which no other rows get. Without that, what comes twice may be
    /// ambiguous whatever is done here: a move that leaves values alone comes again, and another row is
    /// under the old key by then.
    retired: Option<BTreeSet<i64>>,
    // The task.
    at: usize,
    recent: Recent,
    job: Option<Job>,
    /// A chunk that was read and has not come.
    chunk: Option<(Chunk, Progress)>,
    topic: Vec<Event>,
    least: Vec<Event>,
    checkpoints: Vec<Checkpoint>,
    /// What the snapshots saw under which rows were read that were handed over since the last start.
    given: BTreeMap<i64, Seen>,
    /// A change that came after a row that showed it.
    late: Option<String>,
}

/// The commit of the transaction at `at` ends here.
const fn end(at: usize) -> Lsn {
    Lsn(10 * (at as u64 + 1))
}

const NOWHERE: Source = Source {
    snapshot: SnapshotMark::Incremental,
    ts_us: 0,
    tx_id: None,
    lsn: Lsn::ZERO,
    last_commit: None,
};

fn request() -> Request {
    Request { id: "1".into(), table: "s.t".into(), condition: None, surrogate_key: None }
}

fn key(id: i64) -> Key {
    vec![id.to_string()]
}

fn id(key: &Key) -> i64 {
    key[0].parse().unwrap()
}

fn tuple(id: i64, rest: Option<(i64, Option<u64>)>) -> Tuple {
    let mut out = BytesMut::new();
    let text = |out: &mut BytesMut, text: String| {
        out.put_u8(b't');
        out.put_u32(text.len() as u32);
        out.put_slice(text.as_bytes());
    };
    out.put_u8(b'I');
    out.put_u32(1);
    out.put_u8(b'N');
    out.put_u16(3);
    text(&mut out, id.to_string());
    match rest {
        None => out.put_slice(b"nn"),
        Some((v, toast)) => {
            text(&mut out, text_of(v));
            match toast {
                None => out.put_u8(b'u'),
                Some(toast) => text(&mut out, toast.to_string()),
            }
        }
    }
    match parse(&out.freeze(), false).unwrap() {
        Message::Insert(insert) => insert.new,
        _ => unreachable!(),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let rows = (0..20 + rng.below(30) as i64).map(|id| (2 * id, (0, 1000 + id as u64)));
        let most = 1 + rng.below(12) as usize;
        let mut job = Job::new(1, request(), Progress::default(), most);
        job.limit = most;
        Self {
            table: table(),
            next_xid: if rng.chance(30) { u32::MAX - 20 } else { 100 },
            rows: rows.collect(),
            open: Vec::new(),
            log: Vec::new(),
            unseen: Vec::new(),
            made: 0,
            step: if rng.chance(50) { 1 } else { 2 },
            retired: (seed % 2 == 1).then(BTreeSet::new),
            at: 0,
            recent: Recent::default(),
            job: Some(job),
            chunk: None,
            topic: Vec::new(),
            least: Vec::new(),
            checkpoints: vec![(0, 0, Some(Progress::default()))],
            given: BTreeMap::new(),
            late: None,
            rng,
        }
    }

    fn begin(&mut self) {
        let under_way = self.unseen.iter().map(|at| &self.log[*at]).chain(&self.open);
        let under_way: Vec<&Transaction> = under_way.collect();
        let mut locked: Vec<i64> =
            under_way.iter().flat_map(|of| of.ops.iter().flat_map(|op| op.locks())).collect();
        if under_way.is_empty() && self.rng.chance(30) {
            self.open.push(Transaction { xid: self.next_xid, ops: vec![Op::Truncate] });
            self.next_xid = self.next_xid.wrapping_add(1);
            return;
        }
        // A TRUNCATE locks all.
        if under_way.iter().any(|of| of.ops.iter().any(|op| matches!(op, Op::Truncate))) {
            return;
        }
        let mut ops = Vec::new();
        for _ in 0..1 + self.rng.below(3) {
            self.made += self.step;
            let (id, other) = (self.rng.below(100) as i64, self.rng.below(100) as i64);
            if locked.contains(&id) || locked.contains(&other) || id == other {
                continue;
            }
            let (v, toast) = (self.made as i64, self.made);
            let (is_there, is_other) =
                (self.rows.contains_key(&id), self.rows.contains_key(&other));
            let op = match self.rng.below(10) {
                _ if !is_there && self.is_retired(id) => continue,
                _ if !is_there => Op::Insert(id, (v, toast)),
                0 => Op::Delete(id),
                1 => Op::Replace(id, (v, toast)),
                2..5 if !is_other && !self.is_retired(other) => Op::Move(id, other),
                _ => Op::Touch(id, v),
            };
            if let (Op::Move(from, _), Some(retired)) = (op, &mut self.retired) {
                retired.insert(from);
            }
            locked.extend(op.locks());
            ops.push(op);
        }
        self.open.push(Transaction { xid: self.next_xid, ops });
        self.next_xid = self.next_xid.wrapping_add(1);
    }

    fn is_retired(&self, id: i64) -> bool {
        self.retired.as_ref().is_some_and(|retired| retired.contains(&id))
    }

    fn commit(&mut self) {
        if !self.open.is_empty() {
            let at = self.rng.below(self.open.len() as u64) as usize;
            self.unseen.push(self.log.len());
            self.log.push(self.open.remove(at));
        }
    }

    fn become_seen(&mut self) {
        if !self.unseen.is_empty() {
            let at = self.rng.below(self.unseen.len() as u64) as usize;
            let at = self.unseen.remove(at);
            let ops = self.log[at].ops.clone();
            ops.into_iter().for_each(|op| op.apply(&mut self.rows));
        }
    }

    fn ask(&mut self) {
        let count = self.recent.count();
        if let Some(job) = self.job.as_mut().filter(|job| matches!(job.stage, Stage::Idle)) {
            job.asked(count);
        }
    }

    /// The server's part of a chunk.
    fn read(&mut self) {
        let Some(job) = &self.job else { return };
        if self.chunk.is_some() || !matches!(job.stage, Stage::Reading { .. }) {
            return;
        }
        let mut progress = job.progress.clone();
        let mut ids = Vec::new();
        if !progress.is_read {
            let last = self.rows.keys().next_back().map(|id| key(*id));
            progress.until = progress.until.or(last);
            let until = progress.until.as_ref().map_or(i64::MIN, id);
            let after = progress.after.as_ref().map_or(i64::MIN, id);
            let wanted = self.rows.keys().filter(|id| **id > after && **id <= until);
            ids.extend(wanted.take(job.limit).copied());
            progress.is_read = ids.len() < job.limit;
            progress.after = ids.last().map(|id| key(*id)).or(progress.after);
        }
        let again = std::mem::take(&mut progress.again);
        ids.extend(again.iter().map(id).filter(|id| self.rows.contains_key(id)));
        let rows = ids.iter().map(|id| {
            let (v, toast) = self.rows[id];
            (Some(key(*id)), read(&self.table, (*id, v, Some(toast))))
        });
        let rows = rows.collect();
        let running = self.unseen.iter().map(|at| self.log[*at].xid);
        let running: Vec<Xid> = running.chain(self.open.iter().map(|of| of.xid)).collect();
        // As the server has them, with an epoch.
        let wide = |xid: Xid| {
            let is_next = self.next_xid < 1 << 31 && xid < 1 << 31 && self.next_xid != xid;
            u64::from(xid) + if is_next { 1 << 32 } else { 0 }
        };
        let oldest = running.iter().copied().min_by_key(|xid| xid.wrapping_sub(1 << 30));
        let xmin = oldest.unwrap_or(self.next_xid);
        let list: Vec<String> = running.iter().map(|xid| wide(*xid).to_string()).collect();
        let text = format!("{}:{}:{}", wide(xmin), wide(self.next_xid), list.join(","));
        let seen = Seen::read(&text, false).unwrap();
        let high = Lsn(10 * self.log.len() as u64);
        let chunk = Chunk { table: Arc::clone(&self.table), seen, high, rows, bytes: 1 };
        self.chunk = Some((chunk, progress));
    }

    fn arrive(&mut self) {
        if let (Some((chunk, progress)), Some(job)) = (self.chunk.take(), &mut self.job) {
            job.arrived(chunk, progress, &mut self.recent);
        }
    }

    fn checkpoint(&mut self) {
        let progress = self.job.as_ref().map(|job| job.progress.clone());
        self.checkpoints.push((self.topic.len(), self.at, progress));
    }

    /// All that was committed before `upto` was handed over.
    fn close(&mut self, upto: Lsn) {
        let Some(job) = self.job.as_mut().filter(|job| job.is_over(upto)) else { return };
        let seen = match &job.stage {
            Stage::Open { window, .. } => window.seen().clone(),
            _ => return,
        };
        let Some((_, rows, _)) = job.close() else { return };
        for row in rows {
            let (id, v, toast) = shown(&self.table, row);
            self.given.insert(id, seen.clone());
            self.topic.push(Event::Row { id, v, toast, from: None });
        }
        if job.progress.is_over() {
            self.job = None;
        }
        self.checkpoint();
    }

    fn stream(&mut self) {
        let Some(transaction) = self.log.get(self.at).cloned() else {
            return self.close(Lsn(10 * self.log.len() as u64));
        };
        self.close(Lsn(end(self.at).0 - 1));
        for op in transaction.ops {
            self.hand_over(transaction.xid, op);
        }
        self.recent.push(transaction.xid);
        self.at += 1;
        self.checkpoint();
        self.close(end(self.at - 1));
    }

    fn hand_over(&mut self, xid: Xid, op: Op) {
        for id in op.locks() {
            if self.given.get(&id).is_some_and(|seen| seen.sees(xid)) {
                self.late = Some(format!("{op:?} of {xid} after a row that shows it"));
            }
        }
        let (old, new) = match op {
            Op::Insert(id, (v, toast)) | Op::Replace(id, (v, toast)) => {
                (None, Some((id, v, Some(toast))))
            }
            Op::Touch(id, v) => (None, Some((id, v, None))),
            // What `v` is does not matter: the row has it.
            Op::Move(from, to) => (Some(from), Some((to, self.moved(xid, from), None))),
            Op::Delete(id) => (Some(id), None),
            Op::Truncate => (None, None),
        };
        let old_tuple = old.map(|id| Old::Key(tuple(id, None)));
        let new_tuple = new.map(|(id, v, toast)| tuple(id, Some((v, toast))));
        let mut after = new.and_then(|new| read(&self.table, new).ok());
        let images = Images { old: old_tuple.as_ref(), new: new_tuple.as_ref() };
        if let Some(job) = &mut self.job {
            let seen = match &job.stage {
                Stage::Open { window, .. } => Some(window.seen().clone()),
                _ => None,
            };
            let (row, _) = job.change(&self.table, xid, &images, after.as_mut());
            if let (Some(row), Some(seen)) = (row, seen) {
                let (id, v, toast) = shown(&self.table, row);
                self.given.insert(id, seen);
                self.topic.push(Event::Row { id, v, toast, from: None });
            }
        }
        self.topic.push(match (old, new, after) {
            (from, Some(_), Some(row)) => {
                let (id, v, toast) = shown(&self.table, Ok(row));
                Event::Row { id, v, toast, from }
            }
            (from, Some((id, v, toast)), None) => Event::Row { id, v, toast, from },
            (Some(id), None, _) => Event::Gone(id),
            (None, None, _) => Event::AllGone,
        });
    }

    /// The `v` of the row that a transaction moves, as the log has it.
    fn moved(&self, xid: Xid, from: i64) -> i64 {
        let mut v = BTreeMap::new();
        for id in 0..50 {
            v.insert(2 * id, 0);
        }
        for transaction in &self.log {
            for op in &transaction.ops {
                match *op {
                    Op::Insert(id, (new, _)) | Op::Replace(id, (new, _)) | Op::Touch(id, new) => {
                        v.insert(id, new);
                    }
                    Op::Move(id, _) if transaction.xid == xid && id == from => return v[&from],
                    Op::Move(id, to) => {
                        v.insert(to, v[&id]);
                    }
                    Op::Delete(_) | Op::Truncate => {}
                }
            }
        }
        unreachable!()
    }

    fn crash(&mut self) {
        let kept = 1 + self.rng.below(self.checkpoints.len() as u64) as usize;
        self.checkpoints.truncate(kept);
        let (length, at, progress) = self.checkpoints[kept - 1].clone();
        // At least once: some of what was not stored is there all the same.
        let came = length + self.rng.below((self.topic.len() - length) as u64 + 1) as usize;
        let known = self.checkpoints[0].0;
        self.least.extend_from_slice(&self.topic[known..came]);
        self.topic.truncate(length);
        self.checkpoints = vec![(length, at, progress.clone())];
        self.at = at;
        self.recent = Recent::default();
        self.chunk = None;
        self.given.clear();
        let limit = 1 + self.rng.below(12) as usize;
        self.job = progress.map(|progress| {
            let mut job = Job::new(2, request(), progress, limit);
            job.limit = limit;
            job
        });
    }

    fn step(&mut self, is_changing: bool) {
        match self.rng.below(100) {
            0..15 if is_changing => self.begin(),
            0..35 => self.commit(),
            35..50 => self.become_seen(),
            50..60 => self.ask(),
            60..68 => self.read(),
            68..75 => self.arrive(),
            75 if is_changing && self.rng.chance(30) => self.crash(),
            _ => self.stream(),
        }
    }

    fn run(mut self) -> Result<(), String> {
        let steps = 100 + self.rng.below(500);
        (0..steps).for_each(|_| self.step(true));
        for _ in 0..100_000 {
            let is_idle = self.open.is_empty() && self.unseen.is_empty();
            if is_idle && self.job.is_none() && self.at == self.log.len() {
                break;
            }
            self.step(false);
        }
        if self.job.is_some() {
            return Err("it does not end".to_owned());
        }
        if let Some(late) = self.late {
            return Err(late);
        }
        let known = self.checkpoints[0].0;
        self.least.extend_from_slice(&self.topic[known..]);
        let least = self.retired.as_ref().map(|_| ("at least once", &self.least));
        for (what, topic) in std::iter::once(("exactly once", &self.topic)).chain(least) {
            let rebuilt = rebuilt(topic);
            let expected: BTreeMap<_, _> =
                self.rows.iter().map(|(id, (v, toast))| (*id, (*v, Some(*toast)))).collect();
            let ids = rebuilt.keys().chain(expected.keys());
            let wrong = ids.filter(|id| rebuilt.get(id) != expected.get(id));
            let wrong: Vec<_> =
                wrong.map(|id| (id, rebuilt.get(id), "instead of", expected.get(id))).collect();
            if !wrong.is_empty() {
                return Err(format!("{what}: {wrong:?}"));
            }
        }
        Ok(())
    }
}

/// A row as the server sends it, decoded.
fn read(table: &Table, (id, v, toast): (i64, i64, Option<u64>)) -> Read {
    let text = |text: String| Field::Text(Bytes::from(text));
    let toast = toast.map_or(Field::Unchanged, |toast| text(toast.to_string()));
    let fields = [text(id.to_string()), text(text_of(v)), toast];
    unreadable::read(table, || fields.iter().cloned()).unwrap()
}

fn shown(table: &Table, row: Read) -> (i64, i64, Option<u64>) {
    let row = match row {
        Ok(row) => row,
        Err(unreadable) => {
            let letter = unreadable.record(table, "r", &NOWHERE).value;
            let letter: serde_json::Value =
                serde_json::from_str(letter.value.as_str().unwrap()).unwrap();
            let text = |name: &str| letter["after"][name].as_str().map(|v| v.replace('x', ""));
            let number = |name: &str| text(name).map(|text| text.parse().unwrap());
            return (
                number("id").unwrap(),
                number("v").unwrap(),
                number("toast").map(i64::cast_unsigned),
            );
        }
    };
    let number = |value: &Value| value.as_i64().unwrap();
    let toast = match &row.shown.values()[2] {
        Value::Unchanged => None,
        Value::String(text) => Some(text.parse().unwrap()),
        other => panic!("{other:?}"),
    };
    (number(&row.shown.values()[0]), number(&row.shown.values()[1]), toast)
}

/// What a consumer makes of it: what a row leaves out is as it was, under its old key if it has another.
fn rebuilt(topic: &[Event]) -> BTreeMap<i64, (i64, Option<u64>)> {
    let mut rows: BTreeMap<i64, (i64, Option<u64>)> = BTreeMap::new();
    // What was moved away may be needed again when the move comes again.
    let mut moved: BTreeMap<(i64, i64), Option<u64>> = BTreeMap::new();
    for event in topic {
        match *event {
            Event::Row { id, v, toast, from } => {
                let here = rows.get(&id).and_then(|row| row.1);
                let from_there = from.and_then(|from| {
                    let gone = rows.remove(&from).and_then(|row| row.1);
                    // If it is not there it came here before.
                    let known = gone.or(here).or_else(|| moved.get(&(from, id)).copied().flatten());
                    moved.insert((from, id), known);
                    known
                });
                rows.insert(id, (v, toast.or(from_there).or(here)));
            }
            Event::Gone(id) => {
                rows.remove(&id);
            }
            Event::AllGone => rows.clear(),
        }
    }
    rows
}

#[test]
fn whatever_the_order_no_row_is_stale_or_missing() {
    let runs = std::env::var("PG_MODEL_RUNS").ok().and_then(|runs| runs.parse().ok());
    for seed in 0..runs.unwrap_or(1000) {
        if let Err(why) = World::new(seed).run() {
            panic!("seed {seed}: {why}");
        }
    }
}
