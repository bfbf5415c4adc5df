//! A bound on a process's memory that the kernel enforces: a control group of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A control group. It is removed with this, by when the process must have ended.
pub(crate) struct Bound {
    group: PathBuf,
}

impl Bound {
    /// Bounds what `pid` takes from now on, with the pages of its files, or kills it; `None` where this user
    /// may not make control groups.
    ///
    /// # Errors
    /// If a group was made and can't be used.
    pub(crate) fn enforce(name: &str, pid: u32, bytes: u64) -> Result<Option<Self>> {
        let root = Path::new("/sys/fs/cgroup");
        let (parent, limit) = match root.join("cgroup.controllers").exists() {
            // Version 2: children have the controllers that their parent names.
            true => {
                drop(fs::write(root.join("cgroup.subtree_control"), "+memory"));
                (root.to_owned(), "memory.max")
            }
            false => (root.join("memory"), "memory.limit_in_bytes"),
        };
        let bound = Self { group: parent.join(name) };
        if fs::create_dir(&bound.group).is_err() || !bound.group.join(limit).exists() {
            return Ok(None);
        }
        let write = |file: &str, text: String| {
            let path = bound.group.join(file);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        write(limit, bytes.to_string())?;
        // Without this, what has swap is slow instead of killed. Not every kernel counts it.
        for (file, text) in [("memory.swap.max", 0), ("memory.memsw.limit_in_bytes", bytes)] {
            if bound.group.join(file).exists() {
                write(file, text.to_string())?;
            }
        }
        write("cgroup.procs", pid.to_string())?;
        Ok(Some(bound))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.group));
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_takes_more_is_killed() {
        let mut shell = Command::new("sh");
        let taking = "read line; x=$(head -c 100000000 /dev/zero | tr '\\0' a); echo ${#x}";
        let shell = shell.args(["-c", taking]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = shell.stderr(Stdio::null()).spawn().unwrap();
        let name = format!("towpath-test-{}", std::process::id());
        let bound = Bound::enforce(&name, child.id(), 30 << 20).unwrap();
        // It begins once its input ends.
        drop(child.stdin.take());
        let status = child.wait().unwrap();
        // Without the right to make groups nothing is bound.
        assert_eq!(status.success(), bound.is_none(), "{status}");
    }
}
