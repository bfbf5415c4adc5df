//! What is held: memory and disk are measured while it is written.

use std::io::Read;

use towpath_sdk::sink::{SinkBatch, SinkLane};

use crate::bucket::Bucket;
use crate::rig::{FIELDS, Running, World, batch, batch_of, config};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn thousands_of_open_paths_stay_within_memory_and_disk() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let bounds = [("buffer.max.bytes", "2097152"), ("spool.max.bytes", "268435456")];
    let config =
        config(&bucket, &[FIELDS[0], FIELDS[1], bounds[0], bounds[1], ("flush.size", "1000000")]);
    let mut running = Running::start(&world, &config).await;
    let (mut memory, mut disk) = (0, 0);
    for at in (0..12_000).step_by(100) {
        running.lane.write(batch(at, at + 100, 4000)).await.unwrap();
        memory = memory.max(running.task.memory());
        disk = disk.max(bucket.spooled());
    }
    // 4000 buffers of the least size would be 16 MiB.
    assert!((MIB..=2 * MIB).contains(&(memory as u64)), "{memory} bytes of memory");
    assert!((64 * MIB..=256 * MIB).contains(&disk), "{disk} bytes of disk");
    assert_eq!(world.counts.lock().get("early_cuts"), None);
    assert_eq!(bucket.keys().await.len(), 0);
    running.stop().await;
    assert_eq!(bucket.spooled(), 0);
}

#[tokio::test]
async fn a_lane_without_records_lets_go_of_memory() {
    let (bucket, world) = (Bucket::new().await, World::new());
    let config = config(&bucket, &[("buffer.max.bytes", "2097152"), ("flush.size", "1000000")]);
    let mut running = Running::start(&world, &config).await;
    let mut at = 0;
    while running.task.memory() as u64 <= 2 * MIB / 4 * 3 {
        running.lane.write(batch(at, at + 500, 1)).await.unwrap();
        at += 500;
    }
    assert_eq!(bucket.spooled(), 0, "it fits");
    let wake_at = running.lane.wake_at().expect("it looks after its memory");
    world.clock.set(wake_at.millis());
    running.lane.wake().await.unwrap();
    assert!(running.task.memory() as u64 <= 2 * MIB / 4 * 3);
    assert!(bucket.spooled() > 0);
    running.stop().await;
}

/// Values that hardly compress, more than a part of them.
fn noise(from: i64, to: i64) -> SinkBatch {
    batch_of((from..to).map(|offset| (offset, Some(noisy(offset)))), to)
}

fn noisy(offset: i64) -> String {
    let mut state = offset as u64 + 1;
    let mut text = String::with_capacity(120_000);
    while text.len() < 120_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push(char::from(b'!' + (state >> 40) as u8 % 64));
    }
    serde_json::json!({"offset": offset, "text": text}).to_string()
}

#[tokio::test]
async fn compressed_objects_in_several_parts_are_whole() {
    for kind in ["gzip", "zstd"] {
        let (bucket, world) = (Bucket::new().await, World::new());
        let entries = [
            ("flush.size", "90"),
            ("s3.part.size", "5242880"),
            ("s3.compression.type", kind),
            ("s3.compression.level", "1"),
            // What is spilled in between cuts blocks short.
            ("buffer.max.bytes", "1048576"),
        ];
        let mut running = Running::start(&world, &config(&bucket, &entries)).await;
        for at in (0..90).step_by(10) {
            running.lane.write(noise(at, at + 10)).await.unwrap();
        }
        world.until("the object", |world| world.durable() == 90).await;
        let key = &bucket.keys().await[0];
        let packed = bucket.get(key).await;
        assert!(packed.len() > 5 << 20, "more than a part");
        let head = bucket.s3.head_object().bucket(&bucket.name).key(key).send().await.unwrap();
        assert!(head.e_tag().is_some_and(|tag| tag.contains('-')), "{:?}", head.e_tag());
        let mut plain = Vec::new();
        match kind {
            // Readers that know one member only must read all of it.
            "gzip" => drop(flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain)),
            _ => plain = zstd::decode_all(&packed[..]).unwrap(),
        }
        let want: String = (0..90).map(|offset| noisy(offset) + "\n").collect();
        assert!(plain == want.as_bytes(), "{kind}");
        running.stop().await;
    }
}
