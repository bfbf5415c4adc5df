//! What converters and sinks rely on beyond what is written.

use std::sync::Arc;

use towpath_sdk::config::Properties;
use towpath_sdk::plugin::BuildFor;
use towpath_sdk::record::{Header, Record};
use towpath_sdk::schema::SchemaRef;
use towpath_sdk::transform::Transform;
use towpath_sdk::value::{Datum, Json, Value};

use crate::records::Records;

fn transform(records: &Records, name: &str, config: &[(&str, &str)]) -> Arc<dyn Transform> {
    let config: Properties = config.iter().copied().collect();
    (records.transform(name).build)(&config, BuildFor::Chain).unwrap()
}

fn value_schema(transform: &dyn Transform, mut record: Record) -> SchemaRef {
    transform.apply(&mut record).unwrap();
    record.value.schema.unwrap()
}

/// Converters know a schema again by its address.
#[test]
fn records_of_one_schema_share_the_new_one() {
    let records = Records::new();
    let check = |name: &str, of: &str, config: &[(&str, &str)]| {
        let transform = transform(&records, name, config);
        // Envelopes of one schema, as a source makes them.
        let first = records.read(of);
        let (one, other) = (first.clone(), first);
        let one = value_schema(&*transform, one);
        assert!(Arc::ptr_eq(&one, &value_schema(&*transform, other)), "{name} {config:?}");
    };
    let unwrap = "ExtractNewRecordState";
    check(unwrap, "create", &[("add.fields", "op")]);
    check(unwrap, "drop-name", &[("drop.fields.header.name", "drop")]);
    let outbox = "EventRouter";
    let beside = ("table.fields.additional.placement", "type:envelope");
    let expand = ("table.expand.json.payload", "true");
    check(outbox, "o", &[]);
    check(outbox, "o", &[beside]);
    check(outbox, "o", &[expand]);
    check(outbox, "o", &[expand, beside]);
}

#[test]
fn events_of_each_topic_have_a_schema_of_their_own() {
    let records = Records::new();
    let beside = [("table.fields.additional.placement", "type:envelope")];
    let router = transform(&records, "EventRouter", &beside);
    let name = |of| value_schema(&*router, records.read(of)).name.clone().unwrap().to_string();
    for _ in 0..2 {
        assert_eq!(name("o"), "t.s.outbox.order.Value");
        assert_eq!(name("o-other"), "t.s.outbox.user.eu.Value");
    }
}

/// A column that an UPDATE did not touch is no null, which would take a default.
#[test]
fn what_is_unchanged_stays_so() {
    let records = Records::new();
    let config = [("delete.tombstone.handling.mode", "rewrite")];
    let unwrap = transform(&records, "ExtractNewRecordState", &config);
    let mut record = records.read("update");
    let Value::Struct(envelope) = &mut record.value.value else { panic!("{record:?}") };
    let Value::Struct(row) = &mut envelope.values_mut()[1] else { panic!("{record:?}") };
    let name = row.schema().field_index("name").unwrap();
    assert!(row.schema().fields()[name].schema.default.is_some());
    row.values_mut()[name] = Value::Unchanged;
    unwrap.apply(&mut record).unwrap();
    assert_eq!(record.value.value.member("name"), Some(Value::Unchanged));
}

/// As a sink's header converter reads a list.
#[test]
fn fields_to_leave_out_may_come_without_a_schema() {
    let records = Records::new();
    let config = [("drop.fields.header.name", "unchanged")];
    let unwrap = transform(&records, "ExtractNewRecordState", &config);
    let mut record = records.read("create");
    let names = Json::new(bytes::Bytes::from_static(br#"["note", "tags"]"#)).unwrap();
    let value = Datum::schemaless(Value::Json(names));
    record.headers.push(Header { key: "unchanged".into(), value });
    unwrap.apply(&mut record).unwrap();
    assert_eq!(record.value.value.member("note"), None);
    assert_eq!(record.value.value.member("name"), Some(Value::String("Ann".into())));
}
