//! Writing: what arrives, under which names, in which form, within which bounds.

use std::io::Read;
use std::sync::Arc;

use towpath_connector_s3::config::aiven;
use towpath_connector_s3::connector::{AivenS3Sink, S3Sink};
use towpath_sdk::config::{ConnectorConfig, Properties};
use towpath_sdk::error::ErrorKind;
use towpath_sdk::guarantee::Delivery;
use towpath_sdk::sink::{SinkConnector, SinkLane};

use crate::bucket::{Bucket, Server};
use crate::rig::{FIELDS, Running, World, batch, batch_of, config, value};

#[tokio::test]
async fn records_arrive_in_objects_named_by_offset() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let mut running = Running::start(&world, &config(&bucket, &[("flush.size", "10")])).await;
    running.lane.write(batch(0, 25, 1)).await.unwrap();
    world.until("two objects", |world| world.durable() == 20).await;
    let key = |offset: i64| format!("topics/orders/partition=0/orders+0+{offset:020}.json");
    assert_eq!(bucket.keys().await, [key(0), key(10)]);
    let lines: String = (0..10).map(|offset| value(offset, 1) + "\n").collect();
    assert_eq!(bucket.get(&key(0)).await, lines.as_bytes());
    assert_eq!(*world.guarantee.lock(), None);
    running.stop().await;
    assert_eq!(bucket.keys().await.len(), 2, "nothing is cut short by stopping");
}

#[tokio::test]
async fn flush_size_counts_over_all_paths_of_the_partition() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[FIELDS[0], FIELDS[1], ("flush.size", "300")]);
    let mut running = Running::start(&world, &config).await;
    running.lane.write(batch(0, 299, 300)).await.unwrap();
    assert_eq!(bucket.keys().await.len(), 0);
    running.lane.write(batch(299, 301, 300)).await.unwrap();
    world.until("300 objects", |world| world.durable() == 300).await;
    assert_eq!(bucket.keys().await.len(), 300);
    running.stop().await;
}

#[tokio::test]
async fn large_objects_are_sent_in_parts() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[("flush.size", "300"), ("s3.part.size", "5242880")]);
    let mut running = Running::start(&world, &config).await;
    let filler = "x".repeat(60_000);
    let value = |offset: i64| format!(r#"{{"offset":{offset},"filler":"{filler}"}}"#);
    running.lane.write(batch_of((0..300).map(|o| (o, Some(value(o)))), 300)).await.unwrap();
    world.until("the object", |world| world.durable() == 300).await;
    let keys = bucket.keys().await;
    let content: String = (0..300).map(|offset| value(offset) + "\n").collect();
    assert!(bucket.get(&keys[0]).await == content.as_bytes());
    assert_eq!((keys.len(), bucket.uploads().await), (1, 0));
    running.stop().await;
}

#[tokio::test]
async fn objects_are_compressed() {
    for (kind, extension) in [("gzip", ".json.gz"), ("zstd", ".json.zst")] {
        let (bucket, world) = (Bucket::new().await, World::new());
        let config = config(&bucket, &[("flush.size", "5000"), ("s3.compression.type", kind)]);
        let mut running = Running::start(&world, &config).await;
        running.lane.write(batch(0, 5000, 7)).await.unwrap();
        world.until("the object", |world| world.durable() == 5000).await;
        let keys = bucket.keys().await;
        assert!(keys[0].ends_with(extension), "{keys:?}");
        let packed = bucket.get(&keys[0]).await;
        let mut plain = String::new();
        if kind == "gzip" {
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut plain).unwrap();
        } else {
            plain = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
        }
        assert_eq!(plain, (0..5000).map(|offset| value(offset, 7) + "\n").collect::<String>());
        assert!(packed.len() < plain.len() / 4);
        running.stop().await;
    }
}

#[tokio::test]
async fn refused_records_are_handed_back_and_the_rest_goes_on() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[FIELDS[0], FIELDS[1], ("flush.size", "3")]);
    let mut running = Running::start(&world, &config).await;
    let records = [
        (0, Some(value(0, 1))),
        (1, None),
        (2, Some(r#"{"no":"path"}"#.to_owned())),
        (5, Some(value(5, 1))),
        (6, Some(value(6, 1))),
    ];
    running.lane.write(batch_of(records.into_iter(), 9)).await.unwrap();
    world.until("the object", |world| world.durable() == 9).await;
    let rejected = world.rejected.lock().clone();
    assert_eq!(rejected.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2]);
    assert!(rejected[1].1.contains("'path' (partition.field.name) does not exist"), "{rejected:?}");
    assert_eq!(bucket.offsets("").await, [0, 5, 6]);
    running.stop().await;
}

#[tokio::test]
async fn null_values_are_left_out_or_fail_the_task() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let ignoring = config(&bucket, &[("behavior.on.null.values", "ignore")]);
    let mut running = Running::start(&world, &ignoring).await;
    running.lane.write(batch_of([(0, None), (1, None)].into_iter(), 3)).await.unwrap();
    assert_eq!((world.durable(), world.rejected.lock().len()), (3, 0));
    running.stop().await;
    let failing = config(&bucket, &[("report.null.values.to.dlq", "false")]);
    let mut running = Running::start(&World::new(), &failing).await;
    let error = running.lane.write(batch_of([(0, None)].into_iter(), 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn the_schedule_completes_files_by_the_clock() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[("rotate.schedule.interval.ms", "60000")]);
    let guarantee = S3Sink::guarantee(&config);
    assert_eq!(guarantee.delivery, Delivery::AtLeastOnce);
    assert!(guarantee.because.starts_with("rotate.schedule.interval.ms depends on the clock"));
    let mut running = Running::start(&world, &config).await;
    world.clock.set(90_000);
    running.lane.write(batch(0, 3, 1)).await.unwrap();
    for _ in 0..29 {
        world.clock.set(running.lane.wake_at().unwrap().millis());
        running.lane.wake().await.unwrap();
        assert_eq!(world.durable(), 0);
    }
    assert_eq!(running.lane.wake_at().map(|at| at.millis()), Some(120_000));
    world.clock.set(120_000);
    running.lane.wake().await.unwrap();
    world.until("the object", |world| world.durable() == 3).await;
    running.stop().await;
}

#[tokio::test]
async fn a_thousand_paths_stay_within_memory_and_disk() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let bounds = [("buffer.max.bytes", "2097152"), ("spool.max.bytes", "67108864")];
    let config =
        config(&bucket, &[FIELDS[0], FIELDS[1], bounds[0], bounds[1], ("flush.size", "3000")]);
    let mut running = Running::start(&world, &config).await;
    running.lane.write(batch(0, 2999, 1000)).await.unwrap();
    assert!(bucket.spooled() > 0, "1000 buffers do not fit into 2 MiB");
    running.lane.write(batch(2999, 3000, 1000)).await.unwrap();
    world.until("1000 objects", |world| world.durable() == 3000).await;
    assert_eq!(bucket.keys().await.len(), 1000);
    assert_eq!(bucket.offsets("path=p234/").await, [234, 1234, 2234]);
    assert_eq!(world.counts.lock().get("early_cuts"), None);
    running.stop().await;
    assert_eq!(bucket.spooled(), 0, "the spool is removed on stop");
}

#[tokio::test]
async fn a_full_spool_completes_files_early() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let bounds = [("buffer.max.bytes", "1048576"), ("spool.max.bytes", "1048576")];
    let config =
        config(&bucket, &[FIELDS[0], FIELDS[1], bounds[0], bounds[1], ("flush.size", "1000000")]);
    let mut running = Running::start(&world, &config).await;
    running.lane.write(batch(0, 4000, 1000)).await.unwrap();
    world.until("early objects", |world| world.durable() > 0).await;
    assert!(world.counts.lock()["early_cuts"] > 0);
    running.stop().await;
    let durable = world.durable();
    assert_eq!(bucket.offsets("").await.len() as i64, durable);
}

#[tokio::test]
async fn a_missing_bucket_is_waited_for() {
    let (bucket, world) = (Bucket::at(Bucket::server()), World::new());
    let config = config(&bucket, &[("flush.size", "5")]);
    let error = S3Sink::check(Arc::new(config.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let mut running = Running::start(&world, &config).await;
    let write = running.lane.write(batch(0, 5, 1));
    let create = async {
        world.until("a reason", |world| !world.waiting.lock().is_empty()).await;
        bucket.create().await;
    };
    tokio::join!(async { write.await.unwrap() }, create);
    world.until("the object", |world| world.durable() == 5).await;
    let reason = world.waiting.lock()[0].clone();
    let want =
        format!("the bucket '{}' does not exist: create it, or correct its name", bucket.name);
    assert!(reason.contains(&want), "{reason}");
    running.stop().await;
    S3Sink::check(Arc::new(config)).await.unwrap();
}

#[tokio::test]
async fn wrong_credentials_and_an_absent_store_are_told() {
    let bucket = Bucket::new().await;
    let check = async |entries: &[(&str, &str)]| {
        S3Sink::check(Arc::new(config(&bucket, entries))).await.unwrap_err()
    };
    let error = check(&[("aws.secret.access.key", "fake")]).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.to_string().contains("the credentials were refused"), "{error}");
    let error = check(&[("store.url", "http://127.0.0.1:1")]).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("the store can't be reached"), "{error}");
}

#[tokio::test]
async fn a_store_that_asks_for_less_is_obeyed() {
    let server = Server::start(&["--max-requests", "1"]).await;
    let (bucket, world) = (Bucket::at(server.url.clone()), World::new());
    bucket.create().await;
    let fields = [FIELDS[0], FIELDS[1], ("flush.size", "60"), ("s3.part.retries", "0")];
    let mut running = Running::start(&world, &config(&bucket, &fields)).await;
    running.lane.write(batch(0, 180, 30)).await.unwrap();
    world.until("all objects", |world| world.durable() == 180).await;
    let waiting = world.waiting.lock().clone();
    assert!(waiting.iter().any(|reason| reason.contains("the store asks for less")), "{waiting:?}");
    running.stop().await;
    assert_eq!(bucket.offsets("").await.len(), 180);
}

#[tokio::test]
async fn objects_are_tagged_once_they_are_complete() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let tagging = [
        ("flush.size", "4"),
        ("s3.object.tagging", "true"),
        ("s3.object.tagging.key.value.pairs", "team:data"),
        ("s3.object.behavior.on.tagging.error", "fail"),
    ];
    let mut running = Running::start(&world, &config(&bucket, &tagging)).await;
    running.lane.write(batch(6, 10, 1)).await.unwrap();
    world.until("the object", |world| world.durable() == 10).await;
    let key = &bucket.keys().await[0];
    let tags = bucket.tags(key).await;
    let want = [("endOffset", "9"), ("recordCount", "4"), ("startOffset", "6"), ("team", "data")];
    assert_eq!(tags, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
    running.stop().await;
}

#[tokio::test]
async fn without_conditions_less_is_promised() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[("flush.size", "5"), ("enable.conditional.writes", "false")]);
    assert_eq!(S3Sink::guarantee(&config).delivery, Delivery::AtLeastOnce);
    let mut running = Running::start(&world, &config).await;
    running.lane.write(batch(0, 10, 1)).await.unwrap();
    world.until("the objects", |world| world.durable() == 10).await;
    assert_eq!(bucket.offsets("").await, (0..10).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test]
async fn aivens_configuration_works() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let spool = bucket.spool.path().to_str().unwrap();
    let properties = Properties::from([
        ("aws.s3.bucket.name", bucket.name.as_str()),
        ("aws.s3.endpoint", &bucket.url),
        ("aws.s3.region", &bucket.region),
        ("aws.access.key.id", &bucket.access_key),
        ("aws_secret_access_key", &bucket.secret_key),
        (
            "file.name.template",
            "{{topic}}/{{timestamp:unit=dd}}/{{partition:padding=true}}-{{start_offset:padding=true}}.json",
        ),
        ("file.name.timestamp.source", "event"),
        ("file.compression.type", "none"),
        ("file.max.records", "2"),
        ("file.flush.interval.ms", "0"),
        ("format.output.type", "json"),
        ("format.output.fields", "offset,timestamp"),
        ("spool.dir", spool),
    ]);
    let config = aiven::Config::parse(&properties).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(AivenS3Sink::guarantee(&config).delivery, Delivery::ExactlyOnce);
    let task = AivenS3Sink::task(Arc::new(config), world.context()).await.unwrap();
    let mut running = Running::of(&world, task);
    running.lane.write(batch(0, 4, 1)).await.unwrap();
    world.until("two objects", |world| world.durable() == 4).await;
    let key = |offset: i64| format!("orders/01/0000000000-{offset:020}.json");
    assert_eq!(bucket.keys().await, [key(0), key(2)]);
    assert_eq!(
        String::from_utf8(bucket.get(&key(2)).await).unwrap(),
        "[\n{\"offset\":2,\"timestamp\":\"1970-01-01T00:00:02Z\"},\n\
         {\"offset\":3,\"timestamp\":\"1970-01-01T00:00:03Z\"}\n]"
    );
    running.stop().await;
}
