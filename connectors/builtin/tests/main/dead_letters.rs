//! Records that genuine Kafka Connect 4.3.1 sent to a dead letter queue, with the stage, the class and
//! the message that it put into the headers.

use bytes::Bytes;
use towpath_sdk::config::Properties;
use towpath_sdk::converter::Part;
use towpath_sdk::plugin::{BuildFor, Registry};
use towpath_sdk::record::Record;

const DATA: &str = "org.apache.kafka.connect.errors.DataException";
const MALFORMED: &str =
    "Converting byte[] to Kafka Connect data failed due to serialization error: ";
const NO_ENVELOPE: &str = "JsonConverter with schemas.enable requires \"schema\" and \"payload\" fields and may not contain additional fields. If you are trying to deserialize plain JSON data, set schemas.enable=false in your converter configuration.";

#[test]
fn plain_json() {
    check("false", b"{bad json", "VALUE_CONVERTER", DATA, MALFORMED);
    check("false", b"nope", "VALUE_CONVERTER", DATA, MALFORMED);
    check("false", b"\xff\xfe\0", "VALUE_CONVERTER", DATA, MALFORMED);
}

#[test]
fn json_with_schemas() {
    check("true", br#"{"a":1}"#, "VALUE_CONVERTER", DATA, NO_ENVELOPE);
    check("true", b"{bad json", "VALUE_CONVERTER", DATA, MALFORMED);
    check("true", b"nope", "VALUE_CONVERTER", DATA, MALFORMED);
    check("true", b"", "VALUE_CONVERTER", DATA, NO_ENVELOPE);
    check("true", b"\xff\xfe\0", "VALUE_CONVERTER", DATA, MALFORMED);
    check(
        "true",
        br#"{"schema":{"type":"int32","optional":false},"payload":null}"#,
        "VALUE_CONVERTER",
        DATA,
        "Invalid null value for required INT32 field",
    );
}

#[test]
fn a_field_that_can_not_be_extracted() {
    check(
        "true",
        br#"{"schema":{"type":"string"},"payload":5}"#,
        "TRANSFORMATION",
        DATA,
        "Cannot look up fields on non-struct type",
    );
    check(
        "true",
        br#"{"schema":{"type":"string","optional":false},"payload":"str"}"#,
        "TRANSFORMATION",
        DATA,
        "Only Struct objects supported for [field extraction], found: java.lang.String",
    );
    check(
        "true",
        br#"{"schema":{"type":"struct","fields":[{"field":"b","type":"string"}]},"payload":{"b":"x"}}"#,
        "TRANSFORMATION",
        "java.lang.IllegalArgumentException",
        "Unknown field: a",
    );
}

fn check(schemas: &str, value: &'static [u8], stage: &str, class: &str, message: &str) {
    let mut registry = Registry::default();
    towpath_builtin::register(&mut registry);
    let converter = registry.find_converter("JsonConverter").unwrap();
    let properties = Properties::from([("schemas.enable", schemas)]);
    let converter = (converter.build)(&properties, BuildFor::Convert(Part::Value)).unwrap();
    let transform = registry.find_transform("ExtractField$Value").unwrap();
    let properties = Properties::from([("field", "a")]);
    let transform = (transform.build)(&properties, BuildFor::Chain).unwrap();
    let (at, error) = match converter.decode("dlq-in", Some(Bytes::from_static(value))) {
        Err(error) => ("VALUE_CONVERTER", error),
        Ok(datum) => {
            ("TRANSFORMATION", transform.apply(&mut Record::new("dlq-in", datum)).unwrap_err())
        }
    };
    assert_eq!((at, error.class(), error.to_string().as_str()), (stage, class, message));
}
