//! Recovery against a model of a bucket, crashed at every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn intent(path: &str, start: i64, end: i64, nonce: &str) -> Intent {
    Intent { path: path.into(), start, end, step: 0, nonce: nonce.into(), first: 7 }
}

fn mark(writer: &str, nonce: &str, start: i64, end: Option<i64>, first: u32) -> Mark {
    Mark { writer: writer.into(), nonce: nonce.into(), start, end, first }
}

#[test]
fn a_group_is_stored_and_read_back_in_chunks() {
    let of = TopicPartition::new("t", 3);
    let long = "x".repeat(900);
    let intents: Vec<_> =
        (0..1000).map(|n| intent(&format!("{long}/{n}"), n, n + 5, &format!("n{n}"))).collect();
    let group = Group { writer: "w".into(), end: 1005, span: 1005, intents };
    let states = group.to_states(&of);
    assert!(states.len() > 4, "{}", states.len());
    let stored: Vec<(OffsetMap, OffsetMap)> = states;
    let get = |key: &OffsetMap| stored.iter().find(|(k, _)| k == key).map(|(_, v)| v);
    let head = get(&Group::head_key(&of)).unwrap();
    let (mut read, chunks) = Group::from_head(&of, head).unwrap();
    for key in &chunks {
        read.add_chunk(head, get(key).unwrap());
    }
    assert_eq!(read, group);
    let other = Group { intents: vec![intent("p", 0, 1, "other")], ..group };
    let mut read = Group::from_head(&of, head).unwrap().0;
    read.add_chunk(head, &other.to_states(&of)[0].1);
    assert_eq!(read.intents, []);
}

#[test]
fn links_are_stored_and_bounded() {
    let mut links = Links::default();
    for n in 0..2 * LINKS as i64 {
        links.add(&format!("n{n}").into(), n);
    }
    let read = Links::from_state(&links.to_state()).unwrap();
    assert_eq!(read, links);
    assert_eq!(read.end_of("n0"), None);
    assert_eq!(read.end_of("n2047"), Some(2047));
    let later: [(&str, i64); 1] = [("v", 2)];
    assert!(Links::from_state(&OffsetMap::of(later)).is_err());
}

#[test]
fn a_name_is_judged_by_writer_start_and_first_record() {
    let mut links = Links::default();
    links.add(&"big".into(), 40);
    let writer: Arc<str> = "w".into();
    let front = Front { writer: &writer, start: 10, first: 7 };
    let judge = |mark: Option<Mark>, exists| judge_name(mark.as_ref(), exists, &front, &links);
    assert_eq!(judge(None, false), Verdict::Free);
    assert_eq!(judge(None, true), Verdict::Taken);
    assert_eq!(judge(Some(mark("w", "n", 10, Some(20), 7)), true), Verdict::Held(20));
    assert_eq!(judge(Some(mark("w", "big", 10, None, 7)), true), Verdict::Held(40));
    for other in [
        mark("other", "n", 10, Some(20), 7),
        mark("w", "n", 9, Some(20), 7),
        mark("w", "n", 10, Some(20), 8),
        mark("w", "forgotten", 10, None, 7),
    ] {
        assert_eq!(judge(Some(other.clone()), true), Verdict::Taken, "{other:?}");
    }
}

#[test]
fn an_unclear_outcome_is_judged_by_the_nonce() {
    let links = Links::default();
    let writer: Arc<str> = "w".into();
    let front = Front { writer: &writer, start: 10, first: 7 };
    let intent = intent("p", 10, 20, "mine");
    let judge =
        |mark: Option<Mark>, exists| judge_outcome(mark.as_ref(), exists, &intent, &front, &links);
    assert_eq!(judge(None, false), Outcome::Absent);
    assert_eq!(judge(None, true), Outcome::Taken);
    assert_eq!(judge(Some(mark("w", "mine", 10, None, 7)), true), Outcome::Complete);
    assert_eq!(judge(Some(mark("w", "late", 10, Some(20), 7)), true), Outcome::Complete);
    assert_eq!(judge(Some(mark("w", "late", 10, Some(15), 7)), true), Outcome::Overtaken);
    assert_eq!(judge(Some(mark("other", "late", 10, Some(20), 7)), true), Outcome::Taken);
}

#[test]
fn what_is_held_depends_on_the_first_record_if_that_comes_by() {
    let path: Arc<str> = "p".into();
    let mut held = Held::default();
    held.add(&path, 10, 20, Some(7));
    assert!(!held.holds("p", 9, || 0) && !held.holds("p", 20, || 0) && !held.holds("q", 10, || 7));
    assert!(held.holds("p", 15, || 0), "the first record did not come by");
    assert!(held.holds("p", 10, || 7));
    assert!(!held.holds("p", 10, || 8), "the record of another topic");
    assert!(!held.holds("p", 15, || 0));
}

/// A bucket, a state store and a consumer group, as far as recovery sees them.
#[derive(Default)]
struct World {
    objects: BTreeMap<String, (Option<Mark>, Records)>,
    stored: Vec<(OffsetMap, OffsetMap)>,
    links: Links,
    committed: i64,
    nonces: u32,
    steps: u32,
}

/// (path, offset)
type Records = Vec<(usize, i64)>;

const OF: (&str, i32) = ("t", 0);

impl World {
    /// One thing that may not happen because of a crash.
    fn step(&mut self) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        Some(())
    }

    fn store(&mut self, key: OffsetMap, value: OffsetMap) -> Option<()> {
        self.step()?;
        self.stored.retain(|(k, _)| *k != key);
        self.stored.push((key, value));
        Some(())
    }

    fn load(&self) -> Option<Group> {
        let of = TopicPartition::new(OF.0, OF.1);
        let get = |key: &OffsetMap| self.stored.iter().find(|(k, _)| k == key).map(|(_, v)| v);
        let head = get(&Group::head_key(&of))?;
        let (mut group, chunks) = Group::from_head(&of, head).unwrap();
        for key in &chunks {
            group.add_chunk(head, get(key).unwrap());
        }
        Some(group)
    }

    fn name(path: usize, start: i64, step: u32) -> String {
        format!("{path}/{start:04}-{step}")
    }

    /// Reads `records` from the committed offset as the sink does; `None` is a crash.
    fn run(&mut self, records: &[(usize, i64)], flush: usize, big: bool) -> Option<()> {
        let before = self.load();
        let writer: Arc<str> = before.as_ref().map_or("w".into(), |g| Arc::clone(&g.writer));
        let (upto, mut span) = before.as_ref().map_or((0, 0), |g| (g.end, g.span));
        let reach = span;
        let (mut held, mut checked) = (Held::default(), Vec::new());
        let mut open: Vec<(Intent, Vec<(usize, i64)>)> = Vec::new();
        let (mut count, mut first) = (0, 0);
        let committed = self.committed;
        for (path, offset) in records.iter().filter(|(_, offset)| *offset >= committed) {
            let key: Arc<str> = path.to_string().into();
            if *offset < upto {
                if !checked.contains(path) {
                    checked.push(*path);
                    for i in before.iter().flat_map(|g| &g.intents).filter(|i| i.path == key) {
                        let found = self.objects.get(&Self::name(*path, i.start, i.step));
                        if found
                            .is_some_and(|(m, _)| m.as_ref().is_some_and(|m| m.nonce == i.nonce))
                        {
                            held.add(&key, i.start, i.end, Some(i.first));
                        }
                    }
                    let before = |name: &str| {
                        let start = name.strip_prefix(&format!("{path}/")).unwrap_or_default();
                        let start = start.split('-').next().and_then(|s| s.parse::<i64>().ok());
                        start.is_some_and(|start| start > committed - reach && start < committed)
                    };
                    for (_, (mark, _)) in self.objects.iter().filter(|(name, _)| before(name)) {
                        let Some(mark) = mark else { continue };
                        if let Some(end) = judge_before(mark, &writer, &self.links) {
                            held.add(&key, mark.start, end, None);
                        }
                    }
                }
                if held.holds(&key, *offset, || *offset as u32) {
                    continue;
                }
            }
            let at = match open.iter().position(|(i, _)| i.path == key) {
                Some(at) => at,
                None => {
                    let front = Front { writer: &writer, start: *offset, first: *offset as u32 };
                    let mut step = 0;
                    let verdict = loop {
                        let found = self.objects.get(&Self::name(*path, *offset, step));
                        let mark = found.and_then(|(m, _)| m.as_ref());
                        match judge_name(mark, found.is_some(), &front, &self.links) {
                            Verdict::Taken => step += 1,
                            verdict => break verdict,
                        }
                    };
                    if let Verdict::Held(end) = verdict {
                        held.add(&key, *offset, end, None);
                        continue;
                    }
                    self.nonces += 1;
                    let nonce = format!("n{}", self.nonces).into();
                    open.push((
                        Intent {
                            path: key,
                            start: *offset,
                            end: 0,
                            step,
                            nonce,
                            first: *offset as u32,
                        },
                        Vec::new(),
                    ));
                    open.len() - 1
                }
            };
            if count == 0 {
                first = *offset;
            }
            open[at].0.end = offset + 1;
            open[at].1.push((*path, *offset));
            count += 1;
            if count == flush {
                span = span.max(offset + 1 - first);
                let end = (offset + 1).max(upto);
                self.complete(&writer, std::mem::take(&mut open), *offset + 1, (end, span), big)?;
                count = 0;
            }
        }
        Some(())
    }

    fn complete(
        &mut self,
        writer: &Arc<str>,
        files: Vec<(Intent, Vec<(usize, i64)>)>,
        durable: i64,
        (end, span): (i64, i64),
        big: bool,
    ) -> Option<()> {
        let of = TopicPartition::new(OF.0, OF.1);
        if big {
            self.step()?;
            for (intent, _) in &files {
                self.links.add(&intent.nonce, intent.end);
            }
        }
        let intents = files.iter().map(|(i, _)| i.clone()).collect();
        for (key, value) in
            (Group { writer: Arc::clone(writer), end, span, intents }).to_states(&of)
        {
            self.store(key, value)?;
        }
        for (intent, records) in files {
            self.step()?;
            let path = intent.path.parse().unwrap();
            let known = (!big).then_some(intent.end);
            let mark = Mark {
                writer: Arc::clone(writer),
                nonce: Arc::clone(&intent.nonce),
                start: intent.start,
                end: known,
                first: intent.start as u32,
            };
            let name = Self::name(path, intent.start, intent.step);
            assert!(!self.objects.contains_key(&name), "{name} would be overwritten");
            self.objects.insert(name, (Some(mark), records));
        }
        self.step()?;
        self.committed = durable;
        Some(())
    }
}

proptest! {
    /// However often it crashes, whatever bounds each run chooses, and although the consumer's
    /// offset may lag: all records are in the bucket, in order per path, once.
    #[test]
    fn nothing_is_lost_or_doubled(
        paths in prop::collection::vec(0..4_usize, 1..60),
        crashes in prop::collection::vec((0..40_u32, 1..12_usize, any::<bool>(), 0..30_i64), 0..6),
        strangers in prop::collection::vec((0..4_usize, 0..60_i64), 0..5),
        last_flush in 1..12_usize,
    ) {
        let records: Vec<_> = paths.iter().enumerate().map(|(at, p)| (*p, at as i64)).collect();
        let mut world = World::default();
        for (path, start) in strangers {
            world.objects.insert(World::name(path, start, 0), (None, Vec::new()));
        }
        for (steps, flush, big, lag) in crashes {
            world.steps = steps;
            world.run(&records, flush, big);
            // The consumer's offset was perhaps not committed that far.
            world.committed = (world.committed - lag).max(0);
        }
        world.steps = u32::MAX;
        world.run(&records, last_flush, false).unwrap();
        // The rest of an incomplete set is cut by flushing once more.
        world.run(&records, 1, false).unwrap();
        for path in 0..4 {
            let want: Vec<_> = records.iter().filter(|(p, _)| *p == path).copied().collect();
            let prefix = format!("{path}/");
            let mut got: Vec<_> = world
                .objects
                .iter()
                .filter(|(name, _)| name.starts_with(&prefix))
                .flat_map(|(_, (_, records))| records.clone())
                .collect();
            prop_assert_eq!(&got, &want, "order by name");
            got.dedup();
            prop_assert_eq!(got.len(), want.len());
        }
    }
}
