//! The records of the benchmarks: files of lines, and topics filled from them.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use towpath_tests::bucket::Bucket;
use towpath_tests::{server, stack};

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// 100 bytes of text.
    Text100,
    /// A JSON object of 180 bytes: strings, numbers, a nested object.
    Json180,
}

impl Shape {
    fn line(self, n: u64, line: &mut String) -> Result<()> {
        line.clear();
        match self {
            Self::Text100 => write!(line, "{n:010} ")?,
            Self::Json180 => write!(
                line,
                r#"{{"id":{n},"user":"u{:05}","amount":{}.{:02},"ok":{},"at":{},"geo":{{"lat":{}.5,"lon":{}.25}},"note":""#,
                n % 10_007,
                n % 997,
                n % 100,
                n.is_multiple_of(3),
                1_790_000_000_000 + n,
                n % 90,
                n % 180,
            )?,
        }
        let (length, end) = match self {
            Self::Text100 => (100, ""),
            Self::Json180 => (180, "\"}"),
        };
        while line.len() + end.len() < length {
            line.push(char::from(b'a' + u8::try_from(line.len() % 26)?));
        }
        line.push_str(end);
        Ok(())
    }
}

/// A file of `count` lines, made once.
pub(crate) fn lines(dir: &Path, shape: Shape, count: u64) -> Result<PathBuf> {
    let path = dir.join(format!("{shape:?}-{count}.txt"));
    if path.exists() {
        return Ok(path);
    }
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(&path)?);
    let mut line = String::new();
    for n in 0..count {
        shape.line(n, &mut line)?;
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(path)
}

/// Creates a topic that keeps what it is given.
pub(crate) async fn create_topic(name: &str, partitions: u32) -> Result<()> {
    let partitions = partitions.to_string();
    let options = ["--create", "--topic", name, "--partitions", &partitions];
    let settings = ["--config", "retention.ms=-1"];
    stack::kafka_tool("topics", &[options.as_slice(), &settings].concat()).await
}

/// What `bare_loop` counted.
pub(crate) struct Bare {
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_mib: f64,
}

/// Runs the bare loop on librdkafka.
pub(crate) fn bare_loop(topic: &str, records: u64, mode: &str) -> Result<Bare> {
    let program = server("TOWPATH_BENCH_BARE_LOOP")?;
    let mut command = Command::new(program);
    command.args([&server("TOWPATH_TEST_KAFKA")?, topic, &records.to_string(), mode]);
    parse(command)
}

/// Uploads `file` in objects of `object` bytes, in a process of its own.
pub(crate) fn uploads(file: &Path, bucket: &str, object: u64) -> Result<Bare> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("upload").arg(file).arg(bucket).arg(object.to_string());
    parse(command)
}

fn parse(mut command: Command) -> Result<Bare> {
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?} failed");
    let said: Value = serde_json::from_slice(&output.stdout).context("no JSON came")?;
    let number = |key: &str| said[key].as_f64().with_context(|| format!("{key} is missing"));
    Ok(Bare {
        records: said["records"].as_u64().context("records is missing")?,
        seconds: number("seconds")?,
        cpu_seconds: number("cpu_seconds")?,
        peak_rss_mib: number("peak_rss_kib")? / 1024.0,
    })
}

/// The other end of [`uploads`]: one PUT an object, from a file that is in the page cache.
pub(crate) async fn upload(arguments: Vec<String>) -> Result<()> {
    let [file, bucket, object] = &arguments[..] else { anyhow::bail!("upload FILE BUCKET BYTES") };
    let object: usize = object.parse()?;
    let began = std::time::Instant::now();
    let bucket = Bucket::open(bucket)?;
    let bytes = std::fs::read(file)?;
    let mut count = 0_u64;
    for (n, chunk) in bytes.chunks(object).enumerate() {
        bucket.write(&format!("limit/{n:06}"), chunk.to_vec()).await?;
        count += 1;
    }
    let used = crate::process::usage(std::process::id())?;
    crate::print(&format!(
        r#"{{"records":{count},"seconds":{:.3},"cpu_seconds":{:.3},"peak_rss_kib":{:.0}}}"#,
        began.elapsed().as_secs_f64(),
        used.cpu_seconds,
        used.peak_rss_mib * 1024.0
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_length_and_json_is_json() {
        let mut line = String::new();
        for n in [0, 9, 999, 499_999, 4_999_999] {
            Shape::Text100.line(n, &mut line).unwrap();
            assert_eq!(line.len(), 100, "{line}");
            Shape::Json180.line(n, &mut line).unwrap();
            assert_eq!(line.len(), 180, "{line}");
            serde_json::from_str::<Value>(&line).unwrap();
        }
    }
}
