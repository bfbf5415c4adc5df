//! Patterns of files, and what rotation does to names.
//!
//! Duty: which names mean one log (pure), which task reads it (pure), and which files the patterns
//! match now (a look at directories).

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::place::{FileId, Fnv};

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What files to read.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    files: Vec<String>,
    exclude: Vec<Pattern>,
}

/// A key, the pattern in it, and what is wrong with that.
type Wrong = (&'static str, String, String);

/// What the patterns match.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Regular files, each once, in the order of their paths.
    pub(super) files: Vec<(PathBuf, Metadata)>,
    /// Why there may be more.
    pub(super) troubles: Vec<String>,
}

impl Patterns {
    pub(super) fn new(files: &[String], exclude: &[String]) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut parsed = Vec::new();
        for (key, patterns) in [("files", files), ("exclude", exclude)] {
            for pattern in patterns {
                match Pattern::new(pattern) {
                    Ok(good) if key == "exclude" => parsed.push(good),
                    Ok(_) => {}
                    Err(error) => wrong.push((key, pattern.clone(), error.to_string())),
                }
            }
        }
        match wrong.is_empty() {
            true => Ok(Self { files: files.to_vec(), exclude: parsed }),
            false => Err(wrong),
        }
    }

    /// The patterns as they were written.
    pub(super) fn text(&self) -> String {
        self.files.join(", ")
    }

    /// The directories above the first wildcard of each pattern.
    pub(super) fn bases(&self) -> Vec<PathBuf> {
        self.files.iter().map(|pattern| base(pattern)).collect()
    }

    /// What they match now. Symbolic links are followed, and a file that has several names is found
    /// once.
    pub(super) fn find(&self) -> Found {
        let mut found = Found::default();
        let mut paths = Vec::new();
        for pattern in &self.files {
            let Ok(matches) = glob::glob_with(pattern, OPTIONS) else { continue };
            for entry in matches {
                match entry {
                    Ok(path) if self.is_excluded(&path) => {}
                    Ok(path) => paths.push(path),
                    Err(error) if error.error().kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => found.troubles.push(error.to_string()),
                }
            }
        }
        let mut by_id: HashMap<FileId, (PathBuf, Metadata)> = HashMap::new();
        for path in paths {
            // What vanishes between the two looks is not there.
            let Ok(path) = path.canonicalize() else { continue };
            let Ok(metadata) = path.metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            let id = FileId::of(&metadata);
            let known = by_id.get(&id).is_some_and(|(known, _)| *known <= path);
            if !known {
                by_id.insert(id, (path, metadata));
            }
        }
        found.files = by_id.into_values().collect();
        found.files.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    /// Whether they would match a file at `path`, also where that is below a symbolic link.
    pub(super) fn cover(&self, path: &Path) -> bool {
        let covers = |text: &str| {
            Pattern::new(text).is_ok_and(|pattern| pattern.matches_path_with(path, OPTIONS))
        };
        let below_link = |pattern: &str| {
            let base = base(pattern);
            let rest = Path::new(pattern).strip_prefix(&base).unwrap_or(Path::new(pattern));
            let real = base.canonicalize().unwrap_or(base);
            format!("{}/{}", Pattern::escape(&real.to_string_lossy()), rest.display())
        };
        let is_covered = |pattern: &String| covers(pattern) || covers(&below_link(pattern));
        self.files.iter().any(is_covered) && !self.is_excluded(path)
    }

    /// Whether a file is to be left out.
    pub(super) fn is_excluded(&self, path: &Path) -> bool {
        let name = path.file_name().map(Path::new);
        self.exclude.iter().any(|pattern| {
            let whole = pattern.as_str().contains('/');
            let text = if whole { Some(path) } else { name };
            text.is_some_and(|text| pattern.matches_path(text))
        })
    }
}

fn base(pattern: &str) -> PathBuf {
    let wildcard = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    let end = pattern[..wildcard].rfind('/').map_or(0, |at| at.max(1));
    PathBuf::from(if end == 0 { "." } else { &pattern[..end] })
}

/// The name of a log without what rotation appends: `.1`, `-20240131`, `.2024-01-31`, `.gz`.
pub(super) fn stem(name: &str) -> &str {
    let mut stem = name;
    loop {
        let shorter = match stem.strip_suffix(".gz") {
            Some(shorter) => shorter,
            None => match rotation_suffix(stem) {
                Some(at) => &stem[..at],
                None => return stem,
            },
        };
        if shorter.is_empty() {
            return stem;
        }
        stem = shorter;
    }
}

/// The path with the stem of its name.
pub(super) fn stem_path(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    path.with_file_name(stem(&name))
}

/// Which of `tasks` reads a log.
pub(super) fn owner(stem: &Path, tasks: u32) -> u32 {
    let mut hash = Fnv::new();
    hash.add(stem.as_os_str().as_encoded_bytes());
    u32::try_from(hash.get() % u64::from(tasks.max(1))).unwrap_or(0)
}

/// Where a suffix begins that rotation has appended.
fn rotation_suffix(name: &str) -> Option<usize> {
    name.bytes().enumerate().skip(1).find_map(|(at, byte)| {
        let rest = name.as_bytes().get(at + 1..)?;
        let suffix = match byte {
            b'.' => is_number(rest) || is_date(rest),
            b'-' | b'_' => is_date(rest),
            _ => false,
        };
        suffix.then_some(at)
    })
}

/// logrotate's numbers; `00001` is somebody's own.
fn is_number(text: &[u8]) -> bool {
    let digits = matches!(text.len(), 1..=4) && text.iter().all(u8::is_ascii_digit);
    digits && (text.len() == 1 || text[0] != b'0')
}

fn is_date(text: &[u8]) -> bool {
    let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let dash = |at: usize| text.get(at) == Some(&b'-');
    let year = text.starts_with(b"19") || text.starts_with(b"20");
    let whole = (0..8).all(digit);
    let dashed =
        (0..4).all(digit) && dash(4) && digit(5) && digit(6) && dash(7) && digit(8) && digit(9);
    let rest = |byte: &u8| byte.is_ascii_digit() || b"-_T:.".contains(byte);
    year && (whole || dashed) && text.iter().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expect: &str) {
        assert_eq!(stem(name), expect, "{name}");
    }

    #[test]
    fn rotation_does_not_change_the_stem() {
        for rotated in [
            "app.log",
            "app.log.1",
            "app.log.12",
            "app.log.2.gz",
            "app.log.gz",
            "app.log-20240131",
            "app.log-20240131.gz",
            "app.log.2024-01-31",
            "app.log-20240131-1706659200",
            "app.log.2024-01-31T10:00:00",
            "app.log_20240131.3.gz",
        ] {
            check(rotated, "app.log");
        }
    }

    #[test]
    fn other_names_are_their_own_stem() {
        for own in
            ["part-00001", "part.00001", "data-1.csv", "v1.2.x", "log-18990101", ".1", "x.12345"]
        {
            check(own, own);
        }
        check(".gz", ".gz");
        check("x.1.1", "x");
    }

    #[test]
    fn tasks_share_stems() {
        let owners: Vec<u32> =
            (0..64).map(|n| owner(Path::new(&format!("/d/{n}.log")), 4)).collect();
        for task in 0..4 {
            let share = owners.iter().filter(|owner| **owner == task).count();
            assert!((4..32).contains(&share), "task {task} has {share} of 64");
        }
        assert_eq!(owner(Path::new("/x"), 0), 0);
    }

    #[test]
    fn bases_lie_above_the_wildcards() {
        for (pattern, expect) in
            [("/a/b/*.log", "/a/b"), ("/a/b", "/a"), ("/*/b", "/"), ("x", "."), ("a/b*/c", "a")]
        {
            assert_eq!(base(pattern), Path::new(expect), "{pattern}");
        }
    }

    #[test]
    fn files_are_found_once_and_some_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("sub/dir.log")).unwrap();
        for name in ["b.log", "a.log", ".hidden.log", "a.log.gz", "sub/c.log"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(root.join("b.log"), root.join("z.log")).unwrap();
        let pattern = |text: &str| root.join(text).to_str().unwrap().to_owned();
        let names = |files: &[String], exclude: &[String]| -> Vec<String> {
            let found = Patterns::new(files, exclude).unwrap().find();
            let name = |(path, _): &(PathBuf, Metadata)| {
                path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()
            };
            found.files.iter().map(name).collect()
        };
        assert_eq!(names(&[pattern("*.log")], &[]), ["a.log", "b.log"]);
        assert_eq!(
            names(&[pattern("**/*.log*"), pattern("b.log")], &["*.gz".to_owned()]),
            ["a.log", "b.log", "sub/c.log"]
        );
        assert_eq!(names(&[pattern("*.log")], &[pattern("a*")]), ["b.log"]);
        let wrong = Patterns::new(&["a[".to_owned()], &["***".to_owned()]).unwrap_err();
        assert_eq!(wrong.iter().map(|(key, ..)| *key).collect::<Vec<_>>(), ["files", "exclude"]);
    }
}
