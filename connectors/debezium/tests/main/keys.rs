//! Every key of every transform of this crate has an effect that can be seen, or is refused, or its
//! setter is told that it has nothing to tune.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use towpath_sdk::config::{Properties, testing};
use towpath_sdk::plugin::BuildFor;
use towpath_testkit::KeyWalk;

use crate::records::Records;

/// What is logged meanwhile.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a transform makes of some records, and what it logs.
fn observe(records: &Records, name: &str, of: &[&str], properties: &Properties) -> String {
    let transform = (records.transform(name).build)(properties, BuildFor::Chain).unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .without_time()
        .with_ansi(false)
        .finish();
    let outcomes = tracing::subscriber::with_default(subscriber, || {
        of.iter().map(|of| records.apply(&*transform, of)).collect::<Vec<_>>()
    });
    format!("{outcomes:?} {}", String::from_utf8_lossy(&log.0.lock()))
}

#[test]
fn every_transform_has_its_walk() {
    let records = Records::new();
    let names: Vec<_> = records.transforms().iter().map(|p| p.info.names[0].name).collect();
    assert_eq!(
        names,
        [
            "io.debezium.transforms.ExtractNewRecordState",
            "io.debezium.transforms.outbox.EventRouter"
        ]
    );
    testing::assert_definition::<towpath_connector_debezium::unwrap::Config>();
    testing::assert_definition::<towpath_connector_debezium::outbox::Config>();
}

#[test]
fn every_key_of_extract_new_record_state_has_its_effect() {
    const OF: &[&str] =
        &["create", "nulls", "delete", "tombstone", "drop-key", "drop-required", "drop-name"];
    let records = Records::new();
    let plugin = records.transform("ExtractNewRecordState");
    let observe = |p: &Properties| observe(&records, "ExtractNewRecordState", OF, p);
    let rewrite = ("delete.tombstone.handling.mode", "rewrite");
    let drop = ("drop.fields.header.name", "drop");
    KeyWalk::new((plugin.definition)(), Properties::new(), plugin.validate, observe)
        .changes("delete.tombstone.handling.mode", "tombstone", "drop")
        .changes("delete.tombstone.handling.mode", "tombstone", "delete-to-tombstone")
        .changes("delete.tombstone.handling.mode", "drop", "rewrite")
        .changes("delete.tombstone.handling.mode", "rewrite", "rewrite-with-tombstone")
        .refuses("delete.tombstone.handling.mode", "none")
        .changes("route.by.field", "", "route")
        .changes("add.fields", "", "op")
        .refuses("add.fields", "op:a:b")
        .changes_with("add.fields.prefix", "__", "x", &[("add.fields", "op")])
        .changes("add.headers", "", "op")
        .refuses("add.headers", ":")
        .changes_with("add.headers.prefix", "__", "x", &[("add.headers", "op")])
        .changes("drop.fields.header.name", None, "drop")
        .changes_with(
            "drop.fields.from.key",
            "true",
            "false",
            &[drop, ("drop.fields.keep.schema.compatible", "false")],
        )
        .changes_with("drop.fields.keep.schema.compatible", "true", "false", &[drop])
        .changes_with("replace.null.with.default", "true", "false", &[rewrite])
        .finish();
}

#[test]
fn every_key_of_event_router_has_its_effect() {
    const OF: &[&str] = &["o", "o-nulls", "o-empty", "o-update", "j0", "j1", "j2", "j-null"];
    let records = Records::new();
    let plugin = records.transform("EventRouter");
    let observe = |p: &Properties| observe(&records, "EventRouter", OF, p);
    let expand = ("table.expand.json.payload", "true");
    let nope = ("table.fields.additional.placement", "nope:header");
    let beside = ("table.fields.additional.placement", "type:envelope");
    KeyWalk::new((plugin.definition)(), Properties::new(), plugin.validate, observe)
        .changes("table.field.event.id", "id", "type")
        .changes("table.field.event.key", "aggregateid", "type")
        .tells("table.field.event.type", "type")
        .changes("table.field.event.payload", "payload", "type")
        .changes("table.field.event.timestamp", None, "at_us")
        .changes("table.fields.additional.placement", None, "type:header")
        .changes("table.fields.additional.placement", "type:header", "type:header:eventType")
        .changes("table.fields.additional.placement", "type:header", "type:envelope")
        .changes("table.fields.additional.placement", None, "part:partition")
        .refuses("table.fields.additional.placement", "type")
        .refuses("table.fields.additional.placement", "type:nowhere")
        .changes_with("table.field.additional.missing", "error", "ignore", &[nope])
        .changes_with("table.field.event.schema.version", None, "v", &[beside])
        .changes("table.op.invalid.behavior", "warn", "error")
        .changes("table.op.invalid.behavior", "error", "fatal")
        .changes("table.expand.json.payload", "false", "true")
        .changes_with("table.json.payload.null.behavior", "ignore", "optional_bytes", &[expand])
        .changes_with(
            "table.json.payload.empty.array.behavior",
            "ignore",
            "optional_string",
            &[expand],
        )
        .changes("route.by.field", "aggregatetype", "type")
        .changes("route.topic.regex", "(?<routedByValue>.*)", "(?<routedByValue>x.*)")
        .refuses("route.topic.regex", "(")
        .changes("route.topic.replacement", "outbox.event.${routedByValue}", "all")
        .refuses("route.topic.replacement", "${nobody}")
        .changes("route.tombstone.on.empty.payload", "true", "false")
        .refuses("field.name.adjustment.mode", "avro")
        .tells("tracing.span.context.field", "tracingspancontext")
        .tells("tracing.operation.name", "debezium-read")
        .tells("tracing.with.context.field.only", "true")
        .finish();
}
