//! `${file:/path/to/file:key}`: keys of a properties file.

use std::path::Path;

use towpath_sdk::config::{FieldErrors, Secret};
use towpath_sdk::plugin::ConfigProvider;
use towpath_sdk::{Error, Result};

use super::files::{Allowed, FilesConfig};
use super::{Configured, properties};

/// Reads keys of properties files. A file is read anew each time, so that a changed secret counts at
/// the next start.
#[derive(Debug)]
pub struct FileConfigProvider {
    allowed: Allowed,
}

impl Configured for FileConfigProvider {
    type Config = FilesConfig;

    fn new(config: FilesConfig) -> Result<Self, FieldErrors> {
        Ok(Self { allowed: Allowed::new(config)? })
    }
}

impl ConfigProvider for FileConfigProvider {
    fn get(&self, path: &str, key: &str) -> Result<Secret<String>> {
        if path.is_empty() {
            return Err(Error::config(format!(
                "the reference to {key} names no file: write ${{provider:/path/to/file:{key}}}"
            )));
        }
        let text: Secret<String> = self.allowed.read(Path::new(path))?.into();
        properties::get(text.expose(), key)
            .map(Secret::from)
            .ok_or_else(|| Error::config(format!("there is no key {key} in {path}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("secrets.properties");
        std::fs::write(&path, "user = ann\npassword:hunter2\n").unwrap();
        let provider = FileConfigProvider::new(FilesConfig { allowed_paths: None }).unwrap();
        let get = |key| provider.get(path.to_str().unwrap(), key);
        assert_eq!(get("user").unwrap().expose(), "ann");
        assert_eq!(get("password").unwrap().expose(), "hunter2");
        let missing = get("passwort").unwrap_err();
        assert!(missing.to_string().starts_with("there is no key passwort in "));
        assert!(!missing.chain().contains("hunter2"));
        assert!(provider.get("", "user").is_err());
    }
}
