//! The keys of `file-source`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError};

use super::names::Patterns;

/// The configuration of [`super::FileSource`].
#[derive(Debug, Clone, ConnectorConfig)]
#[config(validate = FileSourceConfig::check)]
pub struct FileSourceConfig {
    /// The files to read: paths or patterns, separated by commas. `*` and `?` match within a name, `**`
    /// any number of directories, `[a-z]` one character. Names that begin with a dot are matched only
    /// by a dot. Files that end in `.gz` are decompressed.
    #[config(importance = high, alias("file"), non_empty, width = long, group = "Files")]
    pub files: Vec<String>,
    /// Files to leave out: patterns of paths, or of names if they hold no `/`, as in `*.gz`.
    #[config(default = "", group = "Files")]
    pub exclude: Vec<String>,
    /// The topic that the lines go to.
    #[config(importance = high, non_empty, group = "Records")]
    pub topic: String,
    /// The most lines of one batch.
    #[config(default = 10_000, importance = low, group = "Records")]
    pub batch_size: NonZeroU32,
    /// What values are for the converter.
    #[config(default = "text", group = "Records")]
    pub value_format: ValueFormat,
    /// What records have for a key. None, so that lines are spread over all partitions; `path` keeps
    /// the lines of a file in one partition and in order.
    #[config(default = "none", group = "Records")]
    pub record_key: RecordKey,
    /// Whether records get the headers `file.path` and `file.offset`, the position at which the line
    /// begins.
    #[config(default = false, group = "Records")]
    pub file_headers: bool,
    /// The longest line, in bytes without its end. A mebibyte, which is what brokers take unless they
    /// are told otherwise.
    #[config(default = 1_048_576, range(min = 1, max = 1_073_741_824), group = "Lines")]
    pub max_line_bytes: u32,
    /// What becomes of a longer line.
    #[config(default = "stop", group = "Lines")]
    pub long_lines: LongLines,
    /// What becomes of a last line without an end once the file is finished. Files that were rotated
    /// away and `.gz` files can't be waited for: theirs is read in any case.
    #[config(default = "wait", group = "Lines")]
    pub last_line: LastLine,
    /// A file that has been read to its end and has not changed for so long, in milliseconds, is
    /// finished.
    #[config(default = 10_000, group = "Finished files")]
    pub finished_after_ms: Duration,
    /// What becomes of finished files once all of their records are acknowledged.
    #[config(default = "keep", dependents("move.to"), group = "Finished files")]
    pub when_finished: WhenFinished,
    /// The directory that finished files are moved to, on the same file system. It must exist. A file
    /// whose name is taken there stays where it is.
    #[config(none = "", group = "Finished files")]
    pub move_to: Option<PathBuf>,
    /// How often the patterns are looked up, in milliseconds.
    #[config(default = 1000, range(min = 10), importance = low, group = "Files")]
    pub scan_interval_ms: Duration,
    /// The longest pause between two looks at files that do not grow, in milliseconds. A look costs
    /// about a microsecond a file.
    #[config(default = 250, range(min = 5), importance = low, group = "Files")]
    pub poll_interval_ms: Duration,
}

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum ValueFormat {
    /// Text; a line that is not UTF-8 is passed as bytes.
    Text,
    /// Bytes.
    Bytes,
}

/// What records have for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum RecordKey {
    /// Nothing.
    None,
    /// The file's path.
    Path,
}

/// What becomes of lines that are too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum LongLines {
    /// The file is not read on, and the status says so; other files are.
    Stop,
    /// Their first `max.line.bytes` become a record, the rest is left out.
    Cut,
    /// They are left out.
    Skip,
}

/// What becomes of a last line without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum LastLine {
    /// It waits for its end.
    Wait,
    /// It becomes a record.
    Read,
}

/// What becomes of finished files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum WhenFinished {
    /// They stay, and are read on when they grow.
    Keep,
    /// They are deleted.
    Delete,
    /// They are moved to `move.to`.
    Move,
}

impl FileSourceConfig {
    /// The patterns; none match if they are wrong, which parsing has ruled out.
    pub(super) fn patterns(&self) -> Patterns {
        Patterns::new(&self.files, &self.exclude).unwrap_or_default()
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (key, pattern, reason) in
            Patterns::new(&self.files, &self.exclude).err().unwrap_or_default()
        {
            errors.push(FieldError::invalid(key, Some(&pattern), reason));
        }
        let moves = self.when_finished == WhenFinished::Move;
        match (moves, &self.move_to) {
            (true, None) => {
                let text = "when.finished=move needs a directory to move files to";
                errors.push(FieldError::other("move.to", text));
            }
            (false, Some(_)) => {
                let text = "move.to has an effect with when.finished=move only";
                errors.push(FieldError::other("move.to", text));
            }
            _ => {}
        }
        errors
    }
}
