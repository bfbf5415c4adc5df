//! Faults between the sink and the real server: what the store can't do, answers that are lost, races.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use towpath_sdk::error::{Action, ErrorKind};
use towpath_sdk::guarantee::Delivery;
use towpath_sdk::sink::{SinkBatch, SinkLane};

use crate::bucket::Bucket;
use crate::proxy::{Proxy, Treat, Wish};
use crate::rig::{FIELDS, Running, World, batch, config, large};

/// A proxy that does this to the first `count` requests that complete an object.
async fn first(bucket: &Bucket, count: u32, treat: Treat) -> (Proxy, Arc<AtomicU32>) {
    let seen = Arc::new(AtomicU32::new(0));
    let proxy = Proxy::start(bucket, {
        let seen = Arc::clone(&seen);
        move |wish: &Wish| {
            let concerned = wish.completes() && seen.fetch_add(1, Ordering::Relaxed) < count;
            if concerned { treat } else { Treat::Pass }
        }
    })
    .await;
    (proxy, seen)
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let ignore = |wish: &Wish| if wish.conditional { Treat::IgnoreCondition } else { Treat::Pass };
    let proxy = Proxy::start(&bucket, ignore).await;
    let store = ("store.url", &*proxy.url);
    let mut running =
        Running::start(&world, &config(&bucket, &[("flush.size", "10"), store])).await;
    running.lane.write(batch(0, 20, 1)).await.unwrap();
    world.until("two objects", |world| world.durable() == 20).await;
    let guarantee = world.guarantee.lock().clone().expect("a guarantee");
    assert_eq!(guarantee.delivery, Delivery::AtLeastOnce);
    assert!(
        guarantee.because.starts_with("the store does not honour If-None-Match"),
        "{guarantee:?}"
    );
    assert_eq!(bucket.offsets("").await, (0..20).collect::<Vec<_>>());
    running.stop().await;
    // Whoever insists is refused.
    let required = [("exactly.once", "required"), store];
    let mut running = Running::start(&World::new(), &config(&bucket, &required)).await;
    let error = running.lane.write(batch(20, 21, 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.action()), (ErrorKind::Unsupported, Action::Fail), "{error}");
    assert!(error.chain().contains("exactly.once=required can't be had"), "{error:?}");
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let (proxy, seen) = first(&bucket, 3, Treat::LoseAnswer).await;
    let entries = [
        FIELDS[0],
        FIELDS[1],
        ("flush.size", "30"),
        ("s3.part.retries", "0"),
        ("store.url", &*proxy.url),
    ];
    let mut running = Running::start(&world, &config(&bucket, &entries)).await;
    running.lane.write(batch(0, 30, 30)).await.unwrap();
    world.until("the objects", |world| world.durable() == 30).await;
    assert_eq!(bucket.keys().await.len(), 30, "none was stepped over");
    assert!(seen.load(Ordering::Relaxed) >= 33);
    running.stop().await;
}

/// Writes what is left, with a new lane whenever one fails, as the engine does.
async fn until_done(running: &mut Running, to: i64, records: impl Fn(i64, i64) -> SinkBatch) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    'lanes: while running.world.durable() < to {
        let mut at = running.world.durable();
        loop {
            assert!(tokio::time::Instant::now() < deadline, "it stands still");
            let done = if at < to {
                let next = (at + 20).min(to);
                let written = running.lane.write(records(at, next)).await;
                at = next;
                written
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.lane.wake().await
            };
            if let Err(error) = done {
                assert_eq!(error.action(), Action::Retry, "{error:?}");
                running.renew();
                continue 'lanes;
            }
            if running.world.durable() >= to {
                return;
            }
        }
    }
}

#[tokio::test]
async fn an_upload_whose_completion_is_unclear_is_looked_up() {
    let conflict = Treat::Answer(409, "ConditionalRequestConflict");
    for treat in [Treat::LoseAnswer, conflict, Treat::Answer(503, "SlowDown")] {
        let (bucket, world) = (Bucket::new().await, World::new());
        let (proxy, _) = first(&bucket, 1, treat).await;
        let entries = [
            ("flush.size", "100"),
            ("s3.part.size", "5242880"),
            ("s3.part.retries", "0"),
            ("store.url", &*proxy.url),
        ];
        let mut running = Running::start(&world, &config(&bucket, &entries)).await;
        until_done(&mut running, 200, large).await;
        // What a lane that failed had begun goes when the next one starts.
        running.renew();
        running.lane.write(large(200, 200)).await.unwrap();
        running.stop().await;
        assert_eq!(bucket.offsets("").await, (0..200).collect::<Vec<_>>(), "{treat:?}");
        assert_eq!((bucket.keys().await.len(), bucket.uploads().await), (2, 0), "{treat:?}");
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let (proxy, seen) = first(&bucket, 2, Treat::Answer(409, "OperationAborted")).await;
    let entries = [("flush.size", "10"), ("s3.part.retries", "0"), ("store.url", &*proxy.url)];
    let mut running = Running::start(&world, &config(&bucket, &entries)).await;
    running.lane.write(batch(0, 20, 1)).await.unwrap();
    world.until("two objects", |world| world.durable() == 20).await;
    assert_eq!(bucket.offsets("").await, (0..20).collect::<Vec<_>>());
    assert_eq!(seen.load(Ordering::Relaxed), 4);
    running.stop().await;
}

/// Two lanes of one partition, as when the former owner has not heard that it lost it.
#[tokio::test]
async fn two_owners_at_once_write_everything_once() {
    for flush in ["7", "30"] {
        let (bucket, world) = (Bucket::new().await, World::new());
        let with = |size| config(&bucket, &[FIELDS[0], FIELDS[1], ("flush.size", size)]);
        let mut former = Running::start(&world, &with(flush)).await;
        let mut owner = Running::start(&world, &with("30")).await;
        former.disown();
        let late = async {
            for at in 0..20 {
                if former.lane.write(batch(at * 15, at * 15 + 15, 4)).await.is_err() {
                    break;
                }
            }
        };
        tokio::join!(late, until_done(&mut owner, 300, |from, to| batch(from, to, 4)));
        former.kill();
        for path in 0..4 {
            let want: Vec<_> = (0..300).filter(|offset| offset % 4 == path).collect();
            assert_eq!(bucket.offsets(&format!("path=p{path}/")).await, want, "{flush}, {path}");
        }
        owner.stop().await;
    }
}

#[tokio::test]
async fn several_strangers_in_a_row_are_stepped_over_up_to_the_limit() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let key = |step: &str| format!("topics/orders/partition=0/orders+0+{:020}{step}.json", 0);
    for step in ["", "+1", "+2"] {
        bucket.put(&key(step), "not ours").await;
    }
    let limit = [("flush.size", "5"), ("max.files.scan.limit", "2")];
    let mut running = Running::start(&world, &config(&bucket, &limit)).await;
    running.lane.write(batch(0, 5, 1)).await.unwrap();
    let error = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Err(error) = running.lane.wake().await {
            break error;
        }
    };
    assert_eq!(error.action(), Action::Fail, "{error}");
    assert!(error.chain().contains("give this connector a directory of its own"), "{error:?}");
    let mut running = Running::start(&world, &config(&bucket, &limit[..1])).await;
    running.lane.write(batch(0, 5, 1)).await.unwrap();
    world.until("the object", |world| world.durable() == 5).await;
    assert_eq!(bucket.offsets("orders+0+00000000000000000000+3").await, [0, 1, 2, 3, 4]);
    for step in ["", "+1", "+2"] {
        assert_eq!(bucket.get(&key(step)).await, b"not ours");
    }
    running.stop().await;
}
