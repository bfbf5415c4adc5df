//! Reading files that an allow-list permits.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use towpath_sdk::config::{ConnectorConfig, FieldError, FieldErrors};
use towpath_sdk::{Error, Result};

const ALLOWED_PATHS: &str = "allowed.paths";
const MAX_BYTES: u64 = 1024 * 1024;

/// The parameters of a provider that reads files.
#[derive(Debug, ConnectorConfig)]
pub struct FilesConfig {
    /// Absolute paths of files or directories; only they and what is below them may be read. All may
    /// be read if it is not set.
    #[config(key = "allowed.paths")]
    pub allowed_paths: Option<Vec<String>>,
}

/// What may be read.
#[derive(Debug)]
pub(super) struct Allowed {
    /// Without symbolic links; `None` allows everything.
    roots: Option<Vec<PathBuf>>,
}

impl Allowed {
    pub(super) fn new(config: FilesConfig) -> Result<Self, FieldErrors> {
        let Some(paths) = config.allowed_paths.filter(|paths| !paths.is_empty()) else {
            tracing::warn!(
                "a config provider may read every file that the worker can: set its allowed.paths"
            );
            return Ok(Self { roots: None });
        };
        let mut errors = FieldErrors::default();
        let mut roots = Vec::new();
        for path in &paths {
            if !Path::new(path).is_absolute() {
                let why = format!("Path {path} is not absolute");
                errors.extend([FieldError::other(ALLOWED_PATHS, why)]);
                continue;
            }
            match fs::canonicalize(path) {
                Ok(root) => roots.push(root),
                Err(_) => {
                    let why = format!("Path {path} does not exist");
                    errors.extend([FieldError::other(ALLOWED_PATHS, why)]);
                }
            }
        }
        if errors.is_empty() { Ok(Self { roots: Some(roots) }) } else { Err(errors) }
    }

    /// The text of the file at `path`.
    pub(super) fn read(&self, path: &Path) -> Result<String> {
        let shown = path.display();
        let fail = |e: std::io::Error| {
            Error::config(format!("could not read {shown}: {}", e.kind())).with_source(e)
        };
        // Without `..` and symbolic links, so that what is compared is what is opened.
        let path = fs::canonicalize(path).map_err(fail)?;
        let allowed = |roots: &Vec<PathBuf>| roots.iter().any(|root| path.starts_with(root));
        if !self.roots.as_ref().is_none_or(allowed) {
            return Err(Error::config(format!(
                "{shown} is not among the provider's allowed.paths"
            )));
        }
        if !fs::metadata(&path).map_err(fail)?.is_file() {
            return Err(Error::config(format!("{shown} is not a regular file")));
        }
        let mut text = String::new();
        let file = File::open(&path).map_err(fail)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Error::config(format!("{shown} is larger than {MAX_BYTES} bytes")));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::{Properties, testing};

    use super::*;

    fn allowed(paths: &str) -> Result<Allowed, FieldErrors> {
        Allowed::new(FilesConfig::parse(&Properties::from([(ALLOWED_PATHS, paths)])).unwrap())
    }

    #[test]
    fn nothing_outside_of_the_allowed_paths_is_read() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for directory in ["in", "in/deep", "out", "in-not"] {
            fs::create_dir(at(directory)).unwrap();
        }
        for file in ["in/a", "in/deep/b", "out/secret", "in-not/c"] {
            fs::write(at(file), file).unwrap();
        }
        std::os::unix::fs::symlink(at("out"), at("in/link")).unwrap();
        std::os::unix::fs::symlink(at("in/a"), at("out/link")).unwrap();
        let inside = allowed(at("in").to_str().unwrap()).unwrap();
        let everything = Allowed::new(FilesConfig { allowed_paths: None }).unwrap();
        for (name, found) in [
            ("in/a", true),
            ("in/deep/b", true),
            ("in/deep/../a", true),
            ("out/link", true),
            ("out/secret", false),
            ("in/../out/secret", false),
            ("in/link/secret", false),
            ("in-not/c", false),
        ] {
            assert_eq!(inside.read(&at(name)).is_ok(), found, "{name}");
            assert!(everything.read(&at(name)).is_ok(), "{name}");
        }
        for name in ["in/deep", "in/nothing"] {
            assert!(inside.read(&at(name)).is_err(), "{name}");
        }
        let both = format!("{},{}", at("out").display(), at("in/a").display());
        let both = allowed(&both).unwrap();
        assert!(both.read(&at("in/a")).is_ok() && both.read(&at("out/secret")).is_ok());
        assert!(both.read(&at("in/deep/b")).is_err());
    }

    #[test]
    fn files_are_bounded() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("large");
        fs::write(&path, vec![b'x'; MAX_BYTES as usize + 1]).unwrap();
        let everything = Allowed::new(FilesConfig { allowed_paths: None }).unwrap();
        assert!(everything.read(&path).is_err());
        assert!(everything.read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn all_wrong_paths_are_named() {
        let errors = allowed("relative,/no/such/directory,/").unwrap_err();
        let shown = errors.to_string();
        assert_eq!(shown, "Path relative is not absolute\nPath /no/such/directory does not exist");
    }

    #[test]
    fn every_key_has_its_effect() {
        testing::assert_definition::<FilesConfig>();
        testing::assert_every_key_is_claimed(
            FilesConfig::definition(),
            &[(ALLOWED_PATHS, "nothing_outside_of_the_allowed_paths_is_read")],
        );
    }
}
