//! The paths that are measured, and how.
//!
//! A worker is started fresh for each measurement and does the path's work once before, uncounted: the
//! incumbent's compiler gets to know it, and both have their connections. CPU is what the worker's
//! process used from just before the connector was created until the last record was seen at the
//! other end; seconds run from the first record seen there to the last.

use std::path::{Path as File, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use towpath_tests::bucket::Bucket;
use towpath_tests::kafka::Kafka;
use towpath_tests::{server, unique};

use crate::data::{self, Shape};
use crate::report::{PathReport, Sample};
use crate::subject::{Runtime, Subject};

/// Between two looks at the other end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The most that a single run may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Where the S3 sink's objects are.
const OBJECTS: &str = "topics/";
/// Records in an object.
const FLUSH_SIZE: u64 = 50_000;

/// A way of records through a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    KafkaToNull,
    KafkaToFile,
    FileToKafka,
    KafkaToS3,
}

/// All of them, in the order of the report.
pub(crate) const ALL: &[Path] =
    &[Path::KafkaToNull, Path::KafkaToFile, Path::FileToKafka, Path::KafkaToS3];

impl Path {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KafkaToNull => "kafka-null",
            Self::KafkaToFile => "kafka-file",
            Self::FileToKafka => "file-kafka",
            Self::KafkaToS3 => "kafka-s3",
        }
    }

    const fn definition(self) -> &'static str {
        match self {
            Self::KafkaToNull => {
                "values of 100 B without keys, uncompressed, 4 partitions, one task, \
                 ByteArrayConverter; null-sink against Connect's own MockSinkConnector; the limit is a \
                 bare loop on rd_kafka_consume_batch_queue with our client settings"
            }
            Self::KafkaToFile => {
                "values of 100 B, 1 partition, StringConverter, FileStreamSink; the limit is the bare \
                 loop writing each value and a line feed through a buffer of 1 MiB"
            }
            Self::FileToKafka => {
                "lines of 100 B, 1 partition, StringConverter, FileStreamSource; the limit is a loop of \
                 rd_kafka_produce over the lines with our client settings (acks=all, idempotent)"
            }
            Self::KafkaToS3 => {
                "JSON of 180 B, 1 partition, JsonConverter without schemas, Confluent's S3 sink class and \
                 keys, flush.size 50000, uncompressed, plain HTTP; the limit is the bare loop writing \
                 to a file plus PUTs of the same bytes by the same S3 client; no S3 sink for Connect \
                 is among the packages that this machine can install"
            }
        }
    }

    const fn records(self, short: bool) -> u64 {
        match self {
            _ if short => 2 * FLUSH_SIZE,
            Self::KafkaToNull => 5_000_000,
            Self::KafkaToFile | Self::FileToKafka => 1_000_000,
            Self::KafkaToS3 => 10 * FLUSH_SIZE,
        }
    }

    const fn shape(self) -> Shape {
        match self {
            Self::KafkaToS3 => Shape::Json180,
            _ => Shape::Text100,
        }
    }

    const fn partitions(self) -> u32 {
        match self {
            Self::KafkaToNull => 4,
            _ => 1,
        }
    }
}

/// Where and how much.
pub(crate) struct Bench {
    dir: PathBuf,
    short: bool,
    connect: bool,
    kafka: Kafka,
}

/// A path's input, made once for all rounds.
struct Input {
    path: Path,
    records: u64,
    /// Its records as lines; fewer than `records` where the topic got them several times.
    file: PathBuf,
    /// Filled for the paths that read one.
    topic: String,
}

/// One run of a connector.
struct Run {
    name: String,
    /// Where it writes: a file, a topic or a bucket.
    target: String,
    /// That bucket.
    bucket: Option<Bucket>,
}

impl Run {
    fn bucket(&self) -> Result<&Bucket> {
        self.bucket.as_ref().context("this run has no bucket")
    }
}

/// What a run has done.
struct Worked {
    /// From the first record seen at the other end to the last.
    seconds: f64,
    /// What [`Bench::progress`] said at last.
    done: u64,
}

impl Bench {
    pub(crate) fn new(dir: &File, short: bool, connect: bool) -> Result<Self> {
        Ok(Self { dir: dir.to_owned(), short, connect, kafka: Kafka::connect()? })
    }

    pub(crate) async fn measure(&self, path: Path, rounds: usize) -> Result<PathReport> {
        let input = self.input(path).await?;
        let mut subjects = vec![Subject::Limit, Subject::Towpath];
        if self.connect && path != Path::KafkaToS3 {
            subjects.push(Subject::Connect);
        }
        let mut report = PathReport::new(path.name(), path.definition(), input.records);
        for round in 1..=rounds {
            for &subject in &subjects {
                let sample = match subject {
                    Subject::Limit => self.limit(&input).await,
                    _ => self.worker(&input, subject).await,
                };
                let what = format!("{}, {}, round {round}", path.name(), subject.name());
                let sample = sample.with_context(|| what.clone())?;
                crate::say(&format!("{what}: {sample}"));
                ensure!(
                    sample.arrived == input.records,
                    "{what}: {} of {} records arrived",
                    sample.arrived,
                    input.records
                );
                report.add(subject, sample);
            }
        }
        Ok(report)
    }

    async fn input(&self, path: Path) -> Result<Input> {
        let records = path.records(self.short);
        let lines = records.min(1_000_000);
        let file = data::lines(&self.dir, path.shape(), lines)?;
        let topic = unique(&format!("bench-{}", path.name()))?;
        if path != Path::FileToKafka {
            data::create_topic(&topic, path.partitions()).await?;
            for _ in 0..records / lines {
                data::bare_loop(&topic, lines, &format!("produce:{}", file.display()))?;
            }
        }
        Ok(Input { path, records, file, topic })
    }

    async fn limit(&self, input: &Input) -> Result<Sample> {
        let scratch = self.dir.join("limit");
        let to_file = format!("file:{}", scratch.display());
        let consume = |mode: &str| data::bare_loop(&input.topic, input.records, mode);
        let used = match input.path {
            Path::KafkaToNull => consume("batch")?,
            Path::KafkaToFile => consume(&to_file)?,
            Path::FileToKafka => {
                let topic = unique("bench-limit")?;
                data::create_topic(&topic, 1).await?;
                let mode = format!("produce:{}", input.file.display());
                let used = data::bare_loop(&topic, input.records, &mode)?;
                ensure!(self.end(&topic)? == input.records, "lines are missing in {topic}");
                used
            }
            Path::KafkaToS3 => {
                let mut used = consume(&to_file)?;
                let name = unique("bench-limit")?;
                Bucket::create(&name).await?;
                let uploaded = data::uploads(&scratch, &name, FLUSH_SIZE * 181)?;
                ensure!(uploaded.records == input.records / FLUSH_SIZE, "objects are missing");
                used.seconds = used.seconds.max(uploaded.seconds);
                used.cpu_seconds += uploaded.cpu_seconds;
                used.peak_rss_mib = used.peak_rss_mib.max(uploaded.peak_rss_mib);
                used
            }
        };
        Ok(Sample {
            arrived: used.records,
            seconds: used.seconds,
            cpu_seconds: used.cpu_seconds,
            peak_rss_mib: used.peak_rss_mib,
        })
    }

    async fn worker(&self, input: &Input, subject: Subject) -> Result<Sample> {
        let runtime = Runtime::start(subject, &self.dir).await?;
        let warm_up = self.run(input).await?;
        self.work(input, &runtime, &warm_up).await?;
        let run = self.run(input).await?;
        let before = runtime.usage()?;
        let worked = self.work(input, &runtime, &run).await?;
        let after = runtime.usage()?;
        runtime.stop().await?;
        Ok(Sample {
            arrived: self.arrived(input, &run, &worked).await?,
            seconds: worked.seconds,
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            peak_rss_mib: after.peak_rss_mib,
        })
    }

    async fn run(&self, input: &Input) -> Result<Run> {
        let name = unique(input.path.name())?;
        let target = match input.path {
            Path::KafkaToFile => self.dir.join(&name).display().to_string(),
            _ => name.clone(),
        };
        let mut bucket = None;
        match input.path {
            Path::KafkaToS3 => bucket = Some(Bucket::create(&target).await?),
            Path::FileToKafka => data::create_topic(&target, 1).await?,
            _ => {}
        }
        Ok(Run { name, target, bucket })
    }

    /// Runs one connector until all has arrived.
    async fn work(&self, input: &Input, runtime: &Runtime, run: &Run) -> Result<Worked> {
        let config = config(input, runtime.subject, run)?;
        let complete = self.complete(input)?;
        let began = Instant::now();
        runtime.put(&run.name, &config).await?;
        let mut first = None;
        loop {
            let done = self.progress(input, runtime, run).await?;
            let now = Instant::now();
            if done > 0 {
                first.get_or_insert(now);
            }
            if done >= complete {
                runtime.check(&run.name).await?;
                runtime.delete(&run.name).await?;
                return Ok(Worked { seconds: (now - first.unwrap_or(began)).as_secs_f64(), done });
            }
            if began.elapsed() > PATIENCE {
                runtime.check(&run.name).await?;
                anyhow::bail!("only {done} of {complete} after {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How far the run is, in records, bytes or objects: cheap to ask.
    async fn progress(&self, input: &Input, runtime: &Runtime, run: &Run) -> Result<u64> {
        match input.path {
            Path::KafkaToNull => runtime.taken(&run.name).await,
            Path::KafkaToFile => Ok(std::fs::metadata(&run.target).map_or(0, |file| file.len())),
            Path::FileToKafka => self.end(&run.target),
            Path::KafkaToS3 => Ok(run.bucket()?.keys(OBJECTS).await?.len() as u64),
        }
    }

    /// What [`Self::progress`] says at the end.
    fn complete(&self, input: &Input) -> Result<u64> {
        Ok(match input.path {
            Path::KafkaToFile => std::fs::metadata(&input.file)?.len(),
            Path::KafkaToS3 => input.records / FLUSH_SIZE,
            Path::KafkaToNull | Path::FileToKafka => input.records,
        })
    }

    /// Where the only partition of `topic` ends.
    fn end(&self, topic: &str) -> Result<u64> {
        Ok(self.kafka.end(topic)?.try_into()?)
    }

    /// Counts the records in the target, after comparing them with the input.
    async fn arrived(&self, input: &Input, run: &Run, worked: &Worked) -> Result<u64> {
        let bytes = match input.path {
            // Nothing is kept: what the worker says that it took is all there is.
            Path::KafkaToNull => return Ok(worked.done),
            Path::KafkaToFile => std::fs::read(&run.target)?,
            Path::FileToKafka => {
                let back = self.dir.join("back");
                let mode = format!("file:{}", back.display());
                data::bare_loop(&run.target, self.end(&run.target)?, &mode)?;
                std::fs::read(back)?
            }
            Path::KafkaToS3 => {
                let bucket = run.bucket()?;
                let mut all = Vec::new();
                for key in bucket.keys(OBJECTS).await? {
                    all.extend(bucket.read(&key).await?);
                }
                all
            }
        };
        ensure!(bytes == std::fs::read(&input.file)?, "what arrived is not what was sent");
        if input.path == Path::KafkaToFile {
            std::fs::remove_file(&run.target)?;
        }
        Ok(bytes.iter().filter(|byte| **byte == b'\n').count() as u64)
    }
}

fn config(input: &Input, subject: Subject, run: &Run) -> Result<Value> {
    let string = "org.apache.kafka.connect.storage.StringConverter";
    let bytes = "org.apache.kafka.connect.converters.ByteArrayConverter";
    Ok(match input.path {
        Path::KafkaToNull => json!({
            "connector.class": match subject {
                Subject::Connect => "org.apache.kafka.connect.tools.MockSinkConnector",
                _ => "null-sink",
            },
            "topics": input.topic,
            "key.converter": bytes,
            "value.converter": bytes,
        }),
        Path::KafkaToFile => json!({
            "connector.class": "FileStreamSink",
            "topics": input.topic,
            "file": run.target,
            "key.converter": string,
            "value.converter": string,
        }),
        Path::FileToKafka => json!({
            "connector.class": "FileStreamSource",
            "file": input.file,
            "topic": run.target,
            "key.converter": string,
            "value.converter": string,
        }),
        Path::KafkaToS3 => json!({
            "connector.class": "io.confluent.connect.s3.S3SinkConnector",
            "topics": input.topic,
            "s3.bucket.name": run.target,
            "s3.region": server("TOWPATH_TEST_S3_REGION")?,
            "store.url": server("TOWPATH_TEST_S3")?,
            "aws.access.key.id": server("TOWPATH_TEST_S3_ACCESS_KEY")?,
            "aws.secret.access.key": server("TOWPATH_TEST_S3_SECRET_KEY")?,
            "format.class": "io.confluent.connect.s3.format.json.JsonFormat",
            "storage.class": "io.confluent.connect.s3.storage.S3Storage",
            "key.converter": string,
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "flush.size": FLUSH_SIZE.to_string(),
        }),
    })
}
