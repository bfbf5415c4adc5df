//! Recovery: crashes, orphans, and names that others have taken.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use towpath_connector_s3::config::confluent::Config;
use towpath_sdk::error::Action;
use towpath_sdk::sink::SinkLane;

use crate::bucket::Bucket;
use crate::rig::{Running, World, batch, batch_of, config, large, value};

fn key(offset: i64) -> String {
    format!("topics/orders/partition=0/orders+0+{offset:020}.json")
}

async fn write_all(world: &std::sync::Arc<World>, config: &Config, from: i64, to: i64, paths: i64) {
    let mut running = Running::start(world, config).await;
    running.lane.write(batch(from, to, paths)).await.expect("a batch is taken");
    world.until("all to be durable", |world| world.durable() == to).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_in_the_bucket_is_not_written_again() {
    let (bucket, world) = (Bucket::new().await, World::new());
    write_all(&world, &config(&bucket, &[("flush.size", "10")]), 0, 40, 1).await;
    // The offsets of the last three objects were not committed, and the bounds are others now.
    *world.durable.lock() = 0;
    write_all(&world, &config(&bucket, &[("flush.size", "7")]), 10, 52, 1).await;
    assert_eq!(bucket.offsets("").await, (0..52).collect::<Vec<_>>());
    assert_eq!(bucket.keys().await, [0, 10, 20, 30, 40, 45].map(key));
    assert_eq!(world.counts.lock()["records_found_in_bucket"], 30);
}

#[tokio::test]
async fn reading_may_go_on_in_the_middle_of_an_object() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let fields = [
        ("partitioner.class", "FieldPartitioner"),
        ("partition.field.name", "path"),
        ("flush.size", "10"),
    ];
    let config = config(&bucket, &fields);
    write_all(&world, &config, 0, 40, 3).await;
    *world.durable.lock() = 0;
    write_all(&world, &config, 15, 55, 3).await;
    for path in 0..3 {
        let want: Vec<_> = (0..55).filter(|offset| offset % 3 == path).collect();
        assert_eq!(bucket.offsets(&format!("path=p{path}/")).await, want);
    }
}

#[tokio::test]
async fn a_strangers_object_is_stepped_over() {
    let (bucket, world) = (Bucket::new().await, World::new());
    bucket.put(&key(10), "not ours").await;
    write_all(&world, &config(&bucket, &[("flush.size", "10")]), 0, 20, 1).await;
    let stepped = format!("topics/orders/partition=0/orders+0+{:020}+1.json", 10);
    assert_eq!(bucket.keys().await, [key(0), stepped, key(10)]);
    assert_eq!(bucket.get(&key(10)).await, b"not ours");
    assert_eq!(bucket.offsets("").await, (0..20).collect::<Vec<_>>());
    // A replay finds ours behind the stranger's.
    *world.durable.lock() = 0;
    write_all(&world, &config(&bucket, &[("flush.size", "10")]), 0, 20, 1).await;
    assert_eq!(bucket.offsets("").await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn objects_of_an_earlier_topic_of_the_same_name_hide_nothing() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[("flush.size", "10")]);
    write_all(&world, &config, 0, 20, 1).await;
    *world.durable.lock() = 0;
    let mut running = Running::start(&world, &config).await;
    let other = |offset: i64| (offset, Some(value(offset + 1000, 1)));
    running.lane.write(batch_of((0..20).map(other), 20)).await.unwrap();
    world.until("the new records", |world| world.durable() == 20).await;
    let mut offsets = bucket.offsets("").await;
    offsets.sort_unstable();
    assert_eq!(offsets, (0..20).chain(1000..1020).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_its_states_everything_arrives_once_more() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[("flush.size", "10")]);
    write_all(&world, &config, 0, 20, 1).await;
    *world.durable.lock() = 0;
    world.states.lock().clear();
    write_all(&world, &config, 0, 20, 1).await;
    let mut offsets = bucket.offsets("").await;
    offsets.sort_unstable();
    assert_eq!(offsets, (0..20).flat_map(|n| [n, n]).collect::<Vec<_>>());
}

const PARTS: [(&str, &str); 2] = [("flush.size", "200"), ("s3.part.size", "5242880")];

#[tokio::test]
async fn a_stranger_that_comes_in_between_is_stepped_over() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let mut running = Running::start(&world, &config(&bucket, &PARTS)).await;
    running.lane.write(large(0, 150)).await.unwrap();
    bucket.until_uploads(1).await;
    bucket.put(&key(0), "not ours").await;
    running.lane.write(large(150, 200)).await.unwrap();
    // The upload can't be renamed: the lane fails, and the partition is read again.
    let error = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Err(error) = running.lane.wake().await {
            break error;
        }
    };
    assert_eq!(error.action(), Action::Retry, "{error}");
    assert_eq!(world.durable(), 0);
    running.renew();
    running.lane.write(large(0, 200)).await.unwrap();
    world.until("the object", |world| world.durable() == 200).await;
    assert_eq!(bucket.offsets("").await, (0..200).collect::<Vec<_>>());
    assert_eq!(bucket.get(&key(0)).await, b"not ours");
    running.stop().await;
    assert_eq!(bucket.uploads().await, 0);
}

#[tokio::test]
async fn abandoned_uploads_of_ours_are_aborted() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &PARTS);
    let mut running = Running::start(&world, &config).await;
    running.lane.write(large(0, 100)).await.unwrap();
    bucket.until_uploads(1).await;
    running.kill();
    bucket.begin_upload("topics/orders/partition=1/orders+1+00000000000000000000.json").await;
    let mut running = Running::start(&world, &config).await;
    running.lane.write(large(0, 10)).await.unwrap();
    assert_eq!(bucket.uploads().await, 1, "only that of another partition");
    running.stop().await;
}

#[tokio::test]
async fn an_open_upload_is_aborted_on_stop() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let mut running = Running::start(&world, &config(&bucket, &PARTS)).await;
    running.lane.write(large(0, 100)).await.unwrap();
    bucket.until_uploads(1).await;
    running.stop().await;
    assert_eq!((bucket.uploads().await, world.durable()), (0, 0));
}

/// One life after the other, each cut short at a random moment, with other bounds each time.
async fn killed_at_random(seed: u64, large_values: bool) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (bucket, world) = (Bucket::new().await, World::new());
    let (end, paths) = if large_values { (600, 1) } else { (900, 4) };
    let records = |from, to| if large_values { large(from, to) } else { batch(from, to, paths) };
    for _life in 0..8 {
        let flush = random.random_range(20..300).to_string();
        let fields = [
            ("flush.size", &*flush),
            ("s3.part.size", "5242880"),
            (
                "partitioner.class",
                if large_values { "DefaultPartitioner" } else { "FieldPartitioner" },
            ),
            ("partition.field.name", "path"),
        ];
        let mut running = Running::start(&world, &config(&bucket, &fields)).await;
        let life = Duration::from_millis(random.random_range(0..400));
        let mut from = world.durable();
        let lived = tokio::time::timeout(life, async {
            while from < end {
                let to = (from + random.random_range(1..120)).min(end);
                running.lane.write(records(from, to)).await.expect("a batch is taken");
                from = to;
            }
            std::future::pending::<()>().await;
        });
        assert!(lived.await.is_err(), "it lives until it is killed");
        running.kill();
    }
    // The last life completes what is left.
    let fields = [
        ("flush.size", "50"),
        ("partitioner.class", if large_values { "DefaultPartitioner" } else { "FieldPartitioner" }),
        ("partition.field.name", "path"),
        ("rotate.schedule.interval.ms", "1000"),
    ];
    let mut running = Running::start(&world, &config(&bucket, &fields)).await;
    running.lane.write(records(world.durable(), end)).await.expect("a batch is taken");
    world.clock.set(1_000_000);
    running.lane.wake().await.expect("files are handed over");
    world.until("the rest", |world| world.durable() == end).await;
    running.stop().await;
    for path in 0..paths {
        let want: Vec<_> = (0..end).filter(|offset| offset % paths == path).collect();
        let part = if large_values { String::new() } else { format!("path=p{path}/") };
        assert_eq!(bucket.offsets(&part).await, want, "seed {seed}, path {path}");
    }
}

#[tokio::test]
async fn kills_lose_and_double_nothing() {
    for seed in 0..6 {
        killed_at_random(seed, false).await;
    }
}

#[tokio::test]
async fn kills_during_multipart_uploads_lose_and_double_nothing() {
    for seed in 100..104 {
        killed_at_random(seed, true).await;
    }
}
