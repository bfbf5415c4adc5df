//! All files of one task.
//!
//! Duty: keep the list of files up to date, let each log have its turn, older files of a log first,
//! and put finished files away. Everything here blocks and is called on the blocking pool.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towpath_sdk::Result;
use towpath_sdk::context::TaskContext;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::source::{Budget, Mark, SourceBatch};

use super::client::{self, Inodes};
use super::config::{FileSourceConfig, LastLine, WhenFinished};
use super::connector::Share;
use super::names::{Patterns, stem_path};
use super::place::{FileId, Places};
use super::shape::{Room, Shape};
use super::tracked::{Condition, Tracked};

/// The most files that are kept open though they are at their ends.
const OPEN_MAX: usize = 512;
/// The shortest time between two looks at files that are at their ends, and what each file adds.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_micros(10));

/// The files of a task.
pub(super) struct Follower {
    cx: TaskContext,
    config: Arc<FileSourceConfig>,
    patterns: Patterns,
    share: Share,
    shape: Shape,
    places: Places,
    files: Vec<Tracked>,
    next_scan: Option<Instant>,
    next_look: Option<Instant>,
    /// Whether files that were renamed while nobody looked are to be searched for.
    search: bool,
    /// The log to begin with.
    turn: usize,
    troubles: Vec<String>,
    /// Partitions of files that were deleted, whose inodes others may get.
    gone: Vec<SourcePartition>,
}

/// What a step is done at and with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) ms: i64,
    pub(super) room: Budget,
}

impl Follower {
    pub(super) fn new(
        config: Arc<FileSourceConfig>,
        share: Share,
        stored: &StoredOffsets,
        cx: TaskContext,
    ) -> Result<Self> {
        Ok(Self {
            cx,
            patterns: config.patterns(),
            share,
            shape: Shape::new(&config),
            places: Places::new(stored)?,
            config,
            files: Vec::new(),
            next_scan: None,
            next_look: None,
            search: true,
            turn: 0,
            troubles: Vec::new(),
            gone: Vec::new(),
        })
    }

    /// Goes back to `to`. Open files stay open, since they may have no name any more.
    pub(super) fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        self.places = Places::new(to)?;
        for file in &mut self.files {
            file.rewind(self.places.get(file.id, &file.path));
        }
        (self.search, self.next_scan) = (true, None);
        Ok(())
    }

    /// What was acknowledged.
    pub(super) fn acknowledge(&mut self, upto: &[(SourcePartition, SourceOffset)]) {
        if self.config.when_finished == WhenFinished::Keep {
            return;
        }
        let Ok(upto) = Places::new(&StoredOffsets::new(upto.to_vec())) else { return };
        for file in &mut self.files {
            if let Some(place) = upto.get(file.id, &file.path) {
                file.acknowledged = place.position;
            }
        }
    }

    /// The next records and marks, if there are any.
    pub(super) fn step(&mut self, now: Now) -> SourceBatch {
        if self.next_scan.is_none_or(|next| next <= now.at) {
            self.scan(now.at);
        }
        let is_look = self.next_look.is_none_or(|next| next <= now.at);
        if is_look {
            let files = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
            self.next_look = Some(now.at + LOOK.0 + LOOK.1 * files);
        }
        let mut room = Room::new(now.room, self.config.batch_size.get() as usize, now.ms);
        let mut batch = SourceBatch::default();
        for partition in self.gone.drain(..) {
            batch.marks.push(Mark::forget(0, partition));
        }
        let logs = self.logs();
        for turn in 0..logs.len() {
            let log = (self.turn + turn) % logs.len();
            for at in logs[log].clone() {
                self.visit(at, is_look, &mut room, &mut batch, now.at);
                if room.is_full() {
                    break;
                }
            }
            if room.is_full() {
                self.turn = log + 1;
                break;
            }
        }
        if is_look {
            self.put_away(now.at);
            self.close_some();
        }
        batch
    }

    /// The places of the files of each log.
    fn logs(&self) -> Vec<std::ops::Range<usize>> {
        let mut start = 0;
        let chunks = self.files.chunk_by(|a, b| a.stem == b.stem);
        let range = |chunk: &[Tracked]| {
            let range = start..start + chunk.len();
            start = range.end;
            range
        };
        chunks.map(range).collect()
    }

    fn visit(
        &mut self,
        at: usize,
        is_look: bool,
        room: &mut Room,
        batch: &mut SourceBatch,
        now: Instant,
    ) {
        let Some(file) = self.files.get_mut(at) else { return };
        if is_look {
            file.look_again(now);
        } else if file.condition != Condition::More {
            return;
        }
        let before = file.position();
        let mut is_moved = false;
        if file.condition == Condition::More {
            let restarts = file.take(&self.shape, room, &mut batch.records, now);
            is_moved = restarts > 0;
            if is_moved {
                let (connector, path) = (&self.cx.connector, file.path.display());
                tracing::warn!(%connector, file = %path, "the file was cut or written anew and is read from its start");
                self.cx.count("files_restarted", restarts);
            }
        }
        let is_finished = file.is_finished(self.config.finished_after_ms, now);
        let is_over = !file.is_named || file.is_gzip() || self.config.last_line == LastLine::Read;
        if is_finished && is_over && file.has_rest() && !room.is_full() {
            file.take_rest(&self.shape, room, &mut batch.records);
        }
        // A file of which nothing was read yet is marked once, so that it is found again when it is
        // renamed while nobody looks.
        if is_moved || file.position() != before || !file.is_marked {
            file.is_marked = true;
            let offset = file.place().offset();
            batch.marks.push(Mark::new(batch.records.len(), file.partition.clone(), offset));
        }
    }

    /// Looks the patterns up, and where files have gone that they do not match any more.
    fn scan(&mut self, at: Instant) {
        let began = std::time::Instant::now();
        let found = self.patterns.find();
        self.troubles = found.troubles;
        let mut known: HashMap<FileId, usize> = HashMap::new();
        for (index, file) in self.files.iter_mut().enumerate() {
            file.is_named = false;
            known.insert(file.id, index);
        }
        for (path, metadata) in found.files {
            let id = FileId::of(&metadata);
            let tracked = known.get(&id).and_then(|index| self.files.get_mut(*index));
            let is_mine = self.share.owns(&stem_path(&path));
            match tracked {
                Some(file) => {
                    if !file.found(path.clone(), &metadata, at) {
                        *file = Tracked::new(path, &metadata, None, at);
                    }
                    file.is_named = true;
                }
                None if is_mine => {
                    let place = self.places.get(id, &path);
                    let mut file = Tracked::new(path, &metadata, place, at);
                    file.is_named = true;
                    self.files.push(file);
                }
                None => {}
            }
        }
        self.search_unnamed(at);
        if std::mem::take(&mut self.search) {
            self.search_renamed(at);
        }
        self.sort();
        // Where looking takes long it is done seldom.
        let pause = self.config.scan_interval_ms.max(began.elapsed() * 10);
        self.next_scan = Some(at + pause);
    }

    /// Where files have gone that had a name at the last look-up.
    fn search_unnamed(&mut self, at: Instant) {
        let mut inodes = Inodes::default();
        for file in self.files.iter_mut().filter(|file| !file.is_named) {
            let directory = file.path.parent().map(ToOwned::to_owned).unwrap_or_default();
            file.is_there = match inodes.find(&directory, file.id) {
                Some((path, metadata)) => file.found(path, &metadata, at),
                None => false,
            };
        }
        let connector = &self.cx.connector;
        self.files.retain(|file| {
            let stays = file.is_there || file.is_open();
            if !stays {
                tracing::info!(%connector, file = %file.path.display(), "the file is gone");
                // It may come back.
                self.places.set(file.id, file.place());
            }
            stays
        });
    }

    /// Files that were being read when the last task ended, and were renamed since.
    fn search_renamed(&mut self, at: Instant) {
        let mut inodes = Inodes::default();
        let known: HashSet<FileId> = self.files.iter().map(|file| file.id).collect();
        let mut renamed = Vec::new();
        for (id, path) in self.places.iter() {
            let is_mine = self.share.owns(&stem_path(path));
            if known.contains(&id) || !is_mine || !self.patterns.cover(path) {
                continue;
            }
            let Some(directory) = path.parent() else { continue };
            if let Some((now_at, metadata)) = inodes.find(directory, id)
                && !self.patterns.is_excluded(&now_at)
                && metadata.is_file()
            {
                renamed.push(Tracked::new(now_at, &metadata, self.places.get(id, path), at));
            }
        }
        self.files.extend(renamed);
    }

    /// By log; in a log the older first, and the one that is being written last.
    fn sort(&mut self) {
        self.files.sort_by(|a, b| {
            let age = |file: &Tracked| (file.path == file.stem, file.look.modified());
            a.stem.cmp(&b.stem).then_with(|| age(a).cmp(&age(b))).then_with(|| b.path.cmp(&a.path))
        });
    }

    /// Puts finished files away once they are acknowledged, and forgets those without a name.
    fn put_away(&mut self, at: Instant) {
        let config = &self.config;
        let after = config.finished_after_ms;
        let (connector, gone, places) = (&self.cx.connector, &mut self.gone, &mut self.places);
        self.files.retain_mut(|file| {
            if !file.is_finished(after, at) || file.has_rest() {
                return true;
            }
            if !file.is_there && !file.is_named {
                places.set(file.id, file.place());
                return false;
            }
            if !file.is_named || file.acknowledged < file.position() {
                return true;
            }
            let outcome = match (config.when_finished, &config.move_to) {
                (WhenFinished::Delete, _) => client::delete(&file.path, file.id, file.look),
                (WhenFinished::Move, Some(directory)) => {
                    client::move_to(&file.path, directory, file.id, file.look)
                }
                _ => return true,
            };
            match outcome {
                Ok(true) => {
                    tracing::debug!(%connector, file = %file.path.display(), "a finished file was put away");
                    match config.when_finished {
                        WhenFinished::Delete => {
                            places.forget(file.id);
                            gone.push(file.partition.clone());
                        }
                        _ => places.set(file.id, file.place()),
                    }
                    false
                }
                // It has changed, and is looked at again.
                Ok(false) => {
                    file.quiet_since = at;
                    true
                }
                Err(error) => {
                    file.cannot_be_put_away(towpath_sdk::Error::from(error).chain());
                    true
                }
            }
        });
    }

    /// Keeps the number of open files bounded.
    fn close_some(&mut self) {
        let idle = |file: &Tracked| {
            file.is_open() && file.is_there && file.condition == Condition::End && !file.has_rest()
        };
        let open = self.files.iter().filter(|file| file.is_open()).count();
        let mut surplus = open.saturating_sub(OPEN_MAX);
        for file in self.files.iter_mut() {
            if surplus == 0 {
                break;
            }
            if idle(file) {
                file.close();
                surplus -= 1;
            }
        }
    }

    /// For a person: what is not read, and why.
    pub(super) fn reason(&self) -> Option<String> {
        let stuck = self.files.iter().filter_map(|file| match &file.condition {
            Condition::Stuck { reason, .. } => Some(reason),
            _ => None,
        });
        let all: Vec<&String> = stuck.chain(&self.troubles).collect();
        match all.as_slice() {
            [] if self.files.is_empty() && self.share.tasks == 1 => {
                let patterns = self.patterns.text();
                Some(format!("no file matches '{patterns}'; waiting until one appears"))
            }
            [] => None,
            [one] => Some((*one).clone()),
            [first, others @ ..] => Some(format!("{first}; and {} more", others.len())),
        }
    }
}
