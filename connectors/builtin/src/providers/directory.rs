//! `${directory:/path/to/directory:name}`: the content of a file called `name`, as it is.

use std::path::Path;

use towpath_sdk::config::{FieldErrors, Secret};
use towpath_sdk::plugin::ConfigProvider;
use towpath_sdk::{Error, Result};

use super::Configured;
use super::files::{Allowed, FilesConfig};

/// Reads whole files of a directory.
#[derive(Debug)]
pub struct DirectoryConfigProvider {
    allowed: Allowed,
}

impl Configured for DirectoryConfigProvider {
    type Config = FilesConfig;

    fn new(config: FilesConfig) -> Result<Self, FieldErrors> {
        Ok(Self { allowed: Allowed::new(config)? })
    }
}

impl ConfigProvider for DirectoryConfigProvider {
    fn get(&self, path: &str, key: &str) -> Result<Secret<String>> {
        if path.is_empty() {
            return Err(Error::config(format!(
                "the reference to {key} names no directory: write ${{provider:/path:{key}}}"
            )));
        }
        if key.is_empty() || key.contains('/') || key == "." || key == ".." {
            return Err(Error::config(format!("'{key}' is not the name of a file")));
        }
        self.allowed.read(&Path::new(path).join(key)).map(Secret::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_is_the_value() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("sub")).unwrap();
        std::fs::write(home.path().join("token"), "abc\n").unwrap();
        std::fs::write(home.path().join("binary"), b"\xff").unwrap();
        let provider = DirectoryConfigProvider::new(FilesConfig { allowed_paths: None }).unwrap();
        let path = home.path().to_str().unwrap();
        assert_eq!(provider.get(path, "token").unwrap().expose(), "abc\n");
        let sub = home.path().join("sub");
        for (path, key) in [
            (path, "nothing"),
            (path, "sub"),
            (path, "binary"),
            (path, "."),
            (path, ""),
            ("", "token"),
            (sub.to_str().unwrap(), "../token"),
        ] {
            assert!(provider.get(path, key).is_err(), "{path} {key}");
        }
    }
}
