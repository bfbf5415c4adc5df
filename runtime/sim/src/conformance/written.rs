//! Reading back what a source has written: the engine's own code over the ports.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::chain::{Chain, NamedConverter};
use towpath_core::ports::ProducerSpec;
use towpath_core::settings::{PipelineSettings, Tolerance};
use towpath_core::source::WrittenTopics;
use towpath_core::task::TaskId;
use towpath_sdk::Result;
use towpath_sdk::converter::Converter;
use towpath_sdk::record::{Record, Topic};
use towpath_sdk::signal::TopicRecord;
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::written::{TopicScan, Written};

use super::{Bench, Failed, Outcome, ensure, produce, record};

/// Texts as they are.
struct Texts;

impl Converter for Texts {
    fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
        Ok(bytes.map_or_else(Datum::null, |bytes| Datum::schemaless(Value::Bytes(bytes))))
    }

    fn encode(&self, _: &str, datum: &Datum, _: &mut BytesMut) -> Result<Option<Bytes>> {
        Ok(datum.value.as_str().map(|text| Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl From<towpath_sdk::Error> for Failed {
    fn from(error: towpath_sdk::Error) -> Self {
        Self(error.chain())
    }
}

fn written(bench: &Bench) -> WrittenTopics {
    let named = || NamedConverter { class: "texts".into(), converter: Arc::new(Texts) };
    let chain = Chain { key: named(), value: named(), header: named(), steps: Vec::new() };
    let settings = PipelineSettings {
        tolerance: Tolerance::default(),
        commit_interval: Duration::from_secs(1),
        stop_timeout: Duration::from_secs(1),
        budget_bytes: 1 << 20,
        producer: Default::default(),
        consumer: Default::default(),
        admin: Default::default(),
    };
    let id = TaskId { connector: bench.name("c").into(), task: 0 };
    WrittenTopics::new(id, Arc::new(chain), Arc::clone(&bench.cluster), &settings)
}

async fn all(scan: &mut dyn TopicScan) -> Result<Vec<TopicRecord>> {
    let mut all = Vec::new();
    while let Some(records) = scan.next().await? {
        all.extend(records);
    }
    Ok(all)
}

fn texts(records: &[TopicRecord]) -> Vec<String> {
    let text = |bytes: &Option<Bytes>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "-".to_owned(),
    };
    let shown = |record: &TopicRecord| format!("{}={}", text(&record.key), text(&record.value));
    let mut all: Vec<String> = records.iter().map(shown).collect();
    all.sort();
    all
}

/// All partitions, behind markers too, without what was aborted; one topic after the other, and again;
/// what comes later is not waited for.
pub(super) async fn what_was_written_is_read_to_its_end(bench: Bench) -> Outcome {
    let (one, two) = (bench.topic("one", 3).await?, bench.topic("two", 1).await?);
    let empty = bench.topic("empty", 1).await?;
    let writer =
        bench.cluster.transactional_producer(bench.name("x"), ProducerSpec::default()).await?;
    let mut expect = Vec::new();
    for n in 0..12 {
        writer.begin().await?;
        let key = n.to_string();
        let mut gone = record(&one, Some(n % 3), Some(&key), "");
        gone.value = None;
        let batch = vec![record(&one, Some(n % 3), Some(&key), "v"), gone];
        produce(&*writer, batch).await?;
        if n % 4 == 3 {
            drop(writer.abort().await);
        } else {
            drop(writer.commit().await);
            expect.extend([format!("{key}=-"), format!("{key}=v")]);
        }
    }
    expect.sort();
    produce(&*bench.producer().await?, vec![record(&two, Some(0), Some("k"), "w")]).await?;
    let written = written(&bench);
    let topics =
        [&one, &two, &empty, &bench.name("nowhere")].map(|name| Topic::from(name.as_str()));
    let mut scan = written.scan(topics.to_vec()).await?;
    let nowhere = scan.begin(&topics[3]).await?;
    ensure!(nowhere.is_none(), "a topic that is not there begins with {nowhere:?}");
    for _ in 0..2 {
        let Some(records) = scan.begin(&one).await? else {
            return Err(Failed("the topic is not there".to_owned()));
        };
        ensure!(records >= expect.len() as u64, "{records} records are less than there are");
        let found = texts(&all(&mut *scan).await?);
        ensure!(found == expect, "{found:?}, not {expect:?}");
        ensure!(scan.is_whole().await?, "a new topic is not whole");
        scan.begin(&empty).await?;
        let found = all(&mut *scan).await?;
        ensure!(found.is_empty(), "an empty topic has {found:?}");
        scan.begin(&two).await?;
        let found = all(&mut *scan).await?;
        ensure!(texts(&found) == ["k=w"], "{found:?}");
    }
    let key = Datum::schemaless(Value::String("k".to_owned().into()));
    let spot = written.spot(Record::new(two.as_str(), Datum::null()).with_key(key))?;
    let is_there =
        spot.is_some_and(|spot| *spot.topic == *two && spot.key.as_deref() == Some(b"k"));
    ensure!(is_there, "the record would be written somewhere else");
    Ok(())
}
