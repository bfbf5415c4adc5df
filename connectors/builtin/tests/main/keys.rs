//! Every key of every plug-in of this crate has an effect that can be seen, or is refused.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use towpath_builtin::providers::{EnvVarConfigProviderConfig, FilesConfig};
use towpath_sdk::config::{ConfigDef, ConnectorConfig, FieldErrors, Properties};
use towpath_sdk::converter::Part;
use towpath_sdk::decimal::{DECIMAL, SCALE};
use towpath_sdk::plugin::{BuildFor, ConverterPlugin, Registry, validate_as};
use towpath_sdk::record::{Header, Record};
use towpath_sdk::schema::{Kind, Schema};
use towpath_sdk::value::{Datum, Json, Struct, Value};
use towpath_testkit::KeyWalk;

fn registry() -> Registry {
    let mut registry = Registry::default();
    towpath_builtin::register(&mut registry);
    registry
}

/// Values that show what a converter does.
fn data() -> Vec<Datum> {
    let decimal = Schema::new(Kind::Bytes).named(DECIMAL).parameter(SCALE, "2");
    let with_default = Schema::new(Kind::Int32).optional().with_default(Value::Int32(7));
    let of_field = Arc::new(Schema::structure([("a", Arc::new(with_default))]));
    let structure = Struct::new(Arc::clone(&of_field), vec![Value::Null]).unwrap();
    vec![
        Datum::new(Arc::new(Schema::new(Kind::String)), Value::String("zwölf €".into())),
        Datum::new(Arc::new(decimal), Value::Bytes(Bytes::from_static(&[4, 210]))),
        Datum::new(of_field, Value::Struct(structure)),
    ]
}

/// What a converter makes of some values and documents.
fn observe_converter(plugin: &ConverterPlugin, properties: &Properties) -> String {
    let converter = (plugin.build)(properties, BuildFor::Convert(Part::Value)).unwrap();
    let mut seen = String::new();
    for datum in data() {
        let bytes = converter.encode("t", &datum, &mut BytesMut::new());
        writeln!(seen, "{bytes:?}").unwrap();
    }
    let with_default = r#"{"schema":{"type":"struct","fields":[{"type":"int32","optional":true,"default":7,"field":"a"}]},"payload":{"a":null}}"#;
    let documents: [&[u8]; 4] =
        [b"z\xf6lf", b"5", br#"{"schema":{"type":"int32"},"payload":5}"#, with_default.as_bytes()];
    for document in documents {
        let decode = || converter.decode("t", Some(Bytes::from(document)));
        let (one, other) = (decode(), decode());
        let schemas = one.as_ref().ok().zip(other.as_ref().ok());
        let is_cached = schemas.and_then(|(a, b)| a.schema.as_ref().zip(b.schema.as_ref()));
        let is_cached = is_cached.map(|(a, b)| Arc::ptr_eq(a, b));
        writeln!(seen, "{one:?} {is_cached:?}").unwrap();
    }
    seen
}

#[test]
fn every_key_of_the_converters_has_its_effect() {
    for plugin in registry().header_converters() {
        let name = plugin.info.names[0].name;
        let definition = (plugin.definition)();
        let walk = KeyWalk::new(definition, Properties::new(), plugin.validate, |properties| {
            observe_converter(plugin, properties)
        });
        let walk = match name.rsplit('.').next().unwrap() {
            "SimpleHeaderConverter" => walk,
            "StringConverter" => walk
                .refuses("converter.type", "neither")
                .changes("converter.encoding", "UTF-8", "ISO-8859-1")
                .refuses("converter.encoding", "EBCDIC"),
            "JsonConverter" => walk
                .refuses("converter.type", "neither")
                .changes("schemas.enable", "true", "false")
                .changes("schemas.cache.size", "1000", "0")
                .changes("schema.content", None, r#"{"type":"int32"}"#)
                .refuses("schema.content", "{")
                .changes("decimal.format", "BASE64", "NUMERIC")
                .changes("replace.null.with.default", "true", "false"),
            // The plain ones, which know nothing but what they are for.
            _ => walk.refuses("converter.type", "neither"),
        };
        walk.finish();
    }
}

#[test]
fn every_key_of_the_transforms_has_its_effect() {
    let registry = registry();
    assert_eq!(registry.transforms().len(), 2, "a new transform needs its walk");
    for plugin in registry.transforms() {
        let observe = |properties: &Properties| {
            let transform = (plugin.build)(properties, BuildFor::Chain).unwrap();
            let json = Json::new(Bytes::from_static(br#"{"a":{"b":1},"b":2,"a.b":3}"#)).unwrap();
            let json = Datum::schemaless(Value::Json(json));
            let mut records = vec![Record::new("t", json.clone()).with_key(json)];
            let structure = data().pop().unwrap();
            records.push(Record::new("t", structure.clone()).with_key(structure));
            let mut seen = String::new();
            for mut record in records {
                let outcome = transform.apply(&mut record).map(drop);
                writeln!(seen, "{outcome:?} {:?} {:?}", record.key, record.value).unwrap();
            }
            seen
        };
        let base = Properties::from([("field", "a")]);
        KeyWalk::new((plugin.definition)(), base, plugin.validate, observe)
            .changes("field", "a", "b")
            .refuses_with("field", "`a", &[("field.syntax.version", "V2")])
            .changes("replace.null.with.default", "true", "false")
            .changes_with("field.syntax.version", "V1", "V2", &[("field", "a.b")])
            .finish();
    }
}

#[test]
fn every_key_of_the_predicates_has_its_effect() {
    for plugin in registry().predicates() {
        let observe = |properties: &Properties| {
            let predicate = (plugin.build)(properties, BuildFor::Chain).unwrap();
            let mut record = Record::new("orders", Datum::null());
            record.headers.push(Header { key: "h".into(), value: Datum::null() });
            predicate.test(&record).unwrap()
        };
        let name = plugin.info.names[0].name;
        let (key, one, other) = match name.rsplit('.').next().unwrap() {
            "HasHeaderKey" => ("name", "h", "x"),
            "TopicNameMatches" => ("pattern", "o.*", "x.*"),
            "RecordIsTombstone" => {
                KeyWalk::new((plugin.definition)(), Properties::new(), plugin.validate, observe)
                    .finish();
                continue;
            }
            new => panic!("{new} needs its walk"),
        };
        let base = Properties::from([(key, one)]);
        KeyWalk::new((plugin.definition)(), base, plugin.validate, observe)
            .changes(key, one, other)
            .refuses(key, "")
            .finish();
    }
}

fn walk_provider(
    name: &str,
    definition: &ConfigDef,
    validate: fn(&Properties) -> FieldErrors,
    reference: (&str, &str),
    (key, one, other): (&str, &str, &str),
) {
    let registry = registry();
    let plugin = registry.find_provider(name).unwrap();
    let observe = |properties: &Properties| {
        let provider = (plugin.build)(properties).ok().unwrap();
        let found = provider.get(reference.0, reference.1);
        found.map(|value| value.expose().clone()).map_err(|error| error.to_string())
    };
    KeyWalk::new(definition, Properties::new(), validate, observe)
        .changes(key, one, other)
        .changes(key, None, other)
        .finish();
}

#[test]
fn every_key_of_the_providers_has_its_effect() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(folder.path().join("other")).unwrap();
    std::fs::write(folder.path().join("a.properties"), "key=value\n").unwrap();
    let (here, other) = (path(""), path("other"));
    let variables = ("allowlist.pattern", "CARGO_.*", "X.*");
    let definition = EnvVarConfigProviderConfig::definition();
    let validate = validate_as::<EnvVarConfigProviderConfig>;
    walk_provider("EnvVarConfigProvider", definition, validate, ("", "CARGO_PKG_NAME"), variables);
    let paths = ("allowed.paths", here.as_str(), other.as_str());
    let (definition, validate) = (FilesConfig::definition(), validate_as::<FilesConfig>);
    let file = path("a.properties");
    walk_provider("FileConfigProvider", definition, validate, (&file, "key"), paths);
    let directory = Path::new(&here).to_str().unwrap();
    let reference = (directory, "a.properties");
    walk_provider("DirectoryConfigProvider", definition, validate, reference, paths);
}
