//! A damaged log is refused with a clear error, or reads as it was; it never panics.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use towpath_core::ports::{Cluster, ProducerSpec};
use towpath_embedded::{Embedded, EmbeddedOptions, OpenErrorKind};
use towpath_sdk::clock::SystemClock;

use crate::{open, record};

fn files(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

#[tokio::test]
async fn every_file_may_be_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    {
        let log = open(&whole, EmbeddedOptions::default());
        let producer = log.producer(ProducerSpec::default()).await.unwrap();
        for n in 0..50 {
            let batch = vec![record("t", format!("{n}")), record("u", vec![b'x'; 1000])];
            assert!(producer.send(batch.into()).await.unwrap().await.is_empty());
        }
    }
    // Opening it once more flushes the journal into tables.
    drop(open(&whole, EmbeddedOptions::default()));
    let names: Vec<PathBuf> = files(&whole)
        .iter()
        .map(|file| file.strip_prefix(&whole).unwrap().to_path_buf())
        .filter(|name| !name.ends_with("LOCK") && !name.ends_with("lock"))
        .collect();
    assert!(names.len() > 4, "{names:?}");
    let mut refused = 0;
    for (index, name) in names.iter().enumerate() {
        for (kind, damage) in DAMAGES.iter().enumerate() {
            let broken = directory.path().join(format!("broken-{index}-{kind}"));
            copy(&whole, &broken);
            let victim = broken.join(name);
            let bytes = fs::read(&victim).unwrap();
            fs::write(&victim, damage(bytes)).unwrap();
            match Embedded::open(&broken, EmbeddedOptions::default(), Arc::new(SystemClock)) {
                Ok(log) => drop(log.local().log("t")),
                Err(error) => {
                    let clear = [OpenErrorKind::Damaged, OpenErrorKind::Foreign, OpenErrorKind::Io];
                    assert!(clear.contains(&error.kind), "{name:?}: {error:?}");
                    let text = error.to_string();
                    assert!(text.contains("broken-"), "{name:?}: {text}");
                    refused += 1;
                }
            }
            fs::remove_dir_all(&broken).unwrap();
        }
    }
    assert!(refused > 3, "only {refused} damages were seen");
}

type Damage = fn(Vec<u8>) -> Vec<u8>;

/// What may happen to a file.
const DAMAGES: &[Damage] = &[
    |_| Vec::new(),
    |bytes| bytes[..bytes.len() / 2].to_vec(),
    |mut bytes| {
        for byte in &mut bytes {
            *byte ^= 0x55;
        }
        bytes
    },
];
