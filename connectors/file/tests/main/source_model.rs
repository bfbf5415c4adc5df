//! `file-source` against a model: random histories of two logs and of their reader.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::source::Budget;

use crate::host::{ROOM, SourceRun, text_of};
use crate::source::{Logs, append, gzip};

/// What happens to a log, to its reader and to what it has stored.
#[derive(Debug, Clone)]
enum Event {
    Append { log: usize, lines: usize },
    Begin { log: usize },
    Rename { log: usize, created_later: bool },
    Truncate { log: usize, leave: bool },
    Compress { log: usize },
    Delete { log: usize },
    Poll { records: usize },
    Store,
    Crash,
    Rewind,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let log = || 0_usize..2;
    let event = prop_oneof![
        5 => (log(), 0_usize..6).prop_map(|(log, lines)| Event::Append { log, lines }),
        2 => log().prop_map(|log| Event::Begin { log }),
        3 => (log(), any::<bool>())
            .prop_map(|(log, created_later)| Event::Rename { log, created_later }),
        1 => (log(), any::<bool>()).prop_map(|(log, leave)| Event::Truncate { log, leave }),
        1 => log().prop_map(|log| Event::Compress { log }),
        1 => log().prop_map(|log| Event::Delete { log }),
        6 => (1_usize..8).prop_map(|records| Event::Poll { records }),
        2 => Just(Event::Store),
        2 => Just(Event::Crash),
        1 => Just(Event::Rewind),
    ];
    proptest::collection::vec(event, 1..40)
}

/// Two logs, what was written to them, and what has come of it.
struct Model {
    logs: Logs,
    run: SourceRun,
    written: [usize; 2],
    /// The file that holds the beginning of a line, if one does.
    begun: [Option<PathBuf>; 2],
    got: Vec<String>,
    /// What is stored, and how much had come by then.
    stored: (StoredOffsets, usize),
    wide: bool,
}

impl Model {
    async fn new(wide: bool) -> Self {
        let pattern = if wide { "*.log*" } else { "*.log" };
        let logs = Logs::new(pattern, &[("exclude", "*.gz"), ("scan.interval.ms", "100")]);
        let run = logs.first().await;
        Self {
            logs,
            run,
            written: [0; 2],
            begun: [None, None],
            got: Vec::new(),
            stored: (StoredOffsets::default(), 0),
            wide,
        }
    }

    async fn settle(&mut self) {
        while let Ok(batch) =
            tokio::time::timeout(Duration::from_secs(2), self.run.poll(ROOM)).await
        {
            self.got.extend(batch.unwrap().records.iter().map(text_of));
        }
        self.store();
    }

    fn store(&mut self) {
        self.stored = (self.run.stored.clone(), self.got.len());
    }

    fn name(log: usize) -> String {
        format!("{log}.log")
    }

    fn end_line(&mut self, log: usize) {
        if let Some(path) = self.begun[log].take() {
            append(&path, b" end\n");
            self.written[log] += 1;
        }
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Append { log, lines } => {
                self.end_line(log);
                let first = self.written[log];
                let text: String =
                    (first..first + lines).map(|n| format!("{log} {n} end\n")).collect();
                self.logs.append(&Self::name(log), text);
                self.written[log] += lines;
            }
            Event::Begin { log } if self.begun[log].is_none() => {
                self.logs.append(&Self::name(log), format!("{log} {}", self.written[log]));
                self.begun[log] = Some(self.logs.path(&Self::name(log)));
            }
            Event::Rename { log, created_later } => self.rename(log, created_later).await,
            Event::Truncate { log, leave } => {
                // What was not read by then would be gone.
                self.end_line(log);
                self.settle().await;
                if self.logs.has(&Self::name(log)) {
                    let first = self.written[log];
                    let text = if leave { format!("{log} {first} end\n") } else { String::new() };
                    std::fs::write(self.logs.path(&Self::name(log)), &text).unwrap();
                    self.written[log] += usize::from(leave);
                    self.settle().await;
                }
            }
            Event::Compress { log } => {
                let path = self.logs.path(&format!("{log}.log.1"));
                if self.begun[log].as_ref() != Some(&path) && path.exists() {
                    self.settle().await;
                    let compressed = gzip(&std::fs::read(&path).unwrap());
                    std::fs::write(path.with_extension("1.gz"), compressed).unwrap();
                    std::fs::remove_file(path).unwrap();
                }
            }
            Event::Delete { log } => {
                self.end_line(log);
                self.settle().await;
                for n in 1..10 {
                    std::fs::remove_file(self.logs.path(&format!("{log}.log.{n}"))).ok();
                }
            }
            Event::Poll { records } => {
                let room = Budget { bytes: 1 << 20, records };
                let poll = self.run.poll(room);
                if let Ok(batch) = tokio::time::timeout(Duration::from_millis(300), poll).await {
                    self.got.extend(batch.unwrap().records.iter().map(text_of));
                }
            }
            Event::Store => self.store(),
            Event::Crash => {
                self.run = self.logs.start(&self.stored.0).await;
                self.got.truncate(self.stored.1);
            }
            Event::Rewind => {
                self.run.task.rewind(&self.stored.0).await.unwrap();
                self.run.stored = self.stored.0.clone();
                self.got.truncate(self.stored.1);
            }
            Event::Begin { .. } => {}
        }
    }

    async fn rename(&mut self, log: usize, created_later: bool) {
        let name = Self::name(log);
        if !self.logs.has(&name) {
            return;
        }
        // Under the narrow pattern a file must have been seen before it has another name.
        if !self.wide {
            self.settle().await;
        }
        if created_later {
            self.end_line(log);
        }
        for n in (1..9).rev() {
            let (from, to) = (format!("{log}.log.{n}"), format!("{log}.log.{}", n + 1));
            if self.logs.has(&from) {
                self.logs.rename(&from, &to);
                let moved = self.begun[log].as_ref() == Some(&self.logs.path(&from));
                if moved {
                    self.begun[log] = Some(self.logs.path(&to));
                }
            }
        }
        self.logs.rename(&name, &format!("{log}.log.1"));
        if self.begun[log].as_ref() == Some(&self.logs.path(&name)) {
            self.begun[log] = Some(self.logs.path(&format!("{log}.log.1")));
        }
        if !created_later {
            // The last line ends in the old file before the new one has any.
            self.end_line(log);
            self.logs.append(&name, "");
        }
    }

    /// Every line of each log came once and in order.
    fn verify(&self) -> Result<(), TestCaseError> {
        for log in 0..2 {
            let mine = |line: &&String| line.starts_with(&format!("{log} "));
            let got: Vec<&String> = self.got.iter().filter(mine).collect();
            let expect: Vec<String> =
                (0..self.written[log]).map(|n| format!("{log} {n} end")).collect();
            prop_assert_eq!(got, expect.iter().collect::<Vec<_>>());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Two logs grow, are renamed, cut, compressed and deleted; their reader crashes and goes back to
    /// what is stored: each line comes once, in order.
    #[test]
    fn each_line_comes_once_whatever_happens(events in events(), wide in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all().start_paused(true).build().unwrap();
        let model = runtime.block_on(async {
            let mut model = Model::new(wide).await;
            for event in events {
                model.happen(event).await;
            }
            (0..2).for_each(|log| model.end_line(log));
            model.settle().await;
            model
        });
        model.verify()?;
    }
}
