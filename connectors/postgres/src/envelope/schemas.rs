//! The schemas of everything around a row.

use std::sync::{Arc, LazyLock};

use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;

fn shared(schema: Schema) -> SchemaRef {
    Arc::new(schema)
}

fn of(kind: Kind) -> SchemaRef {
    shared(Schema::new(kind))
}

fn maybe(kind: Kind) -> SchemaRef {
    shared(Schema::new(kind).optional())
}

/// The block `source`.
pub(crate) static SOURCE: LazyLock<SchemaRef> = LazyLock::new(|| {
    let snapshot = Schema::new(Kind::String)
        .optional()
        .named("io.debezium.data.Enum")
        .versioned(1)
        .parameter(
            "allowed",
            "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental",
        )
        .with_default(Value::String("false".into()));
    shared(
        Schema::structure([
            ("version", of(Kind::String)),
            ("connector", of(Kind::String)),
            ("name", of(Kind::String)),
            ("ts_ms", of(Kind::Int64)),
            ("snapshot", shared(snapshot)),
            ("db", of(Kind::String)),
            ("sequence", maybe(Kind::String)),
            ("ts_us", maybe(Kind::Int64)),
            ("ts_ns", maybe(Kind::Int64)),
            ("schema", of(Kind::String)),
            ("table", of(Kind::String)),
            ("txId", maybe(Kind::Int64)),
            ("lsn", maybe(Kind::Int64)),
            ("xmin", maybe(Kind::Int64)),
            ("origin", maybe(Kind::String)),
            ("origin_lsn", maybe(Kind::Int64)),
        ])
        .named("io.debezium.connector.postgresql.Source")
        .versioned(1),
    )
});

/// The block `transaction` of a change.
pub(crate) static TRANSACTION: LazyLock<SchemaRef> = LazyLock::new(|| {
    shared(
        Schema::structure([
            ("id", of(Kind::String)),
            ("total_order", of(Kind::Int64)),
            ("data_collection_order", of(Kind::Int64)),
        ])
        .optional()
        .named("event.block")
        .versioned(1),
    )
});

/// A change of a table whose rows are `row`.
pub(crate) fn envelope(name: Arc<str>, row: &SchemaRef) -> Schema {
    Schema::structure([
        ("before", Arc::clone(row)),
        ("after", Arc::clone(row)),
        ("source", Arc::clone(&SOURCE)),
        ("transaction", Arc::clone(&TRANSACTION)),
        ("op", of(Kind::String)),
        ("ts_ms", maybe(Kind::Int64)),
        ("ts_us", maybe(Kind::Int64)),
        ("ts_ns", maybe(Kind::Int64)),
    ])
    .named(name)
    .versioned(2)
}

/// The key of a logical message.
pub(crate) static MESSAGE_KEY: LazyLock<SchemaRef> = LazyLock::new(|| {
    shared(
        Schema::structure([("prefix", maybe(Kind::String))])
            .named("io.debezium.connector.postgresql.MessageKey")
            .versioned(1),
    )
});

/// A logical message's own fields; `content` is shown as bytea is.
pub(crate) fn message_block(content: SchemaRef) -> SchemaRef {
    shared(
        Schema::structure([("prefix", maybe(Kind::String)), ("content", content)])
            .named("io.debezium.connector.postgresql.Message")
            .versioned(1),
    )
}

/// A logical message.
pub(crate) fn message(block: &SchemaRef) -> SchemaRef {
    shared(
        Schema::structure([
            ("op", of(Kind::String)),
            ("ts_ms", maybe(Kind::Int64)),
            ("source", Arc::clone(&SOURCE)),
            ("transaction", Arc::clone(&TRANSACTION)),
            ("message", Arc::clone(block)),
        ])
        .named("io.debezium.connector.postgresql.MessageValue")
        .versioned(1),
    )
}

/// The key of a transaction's begin and end.
pub(crate) static TRANSACTION_KEY: LazyLock<SchemaRef> = LazyLock::new(|| {
    shared(
        Schema::structure([("id", of(Kind::String))])
            .named("io.debezium.connector.common.TransactionMetadataKey")
            .versioned(1),
    )
});

/// The key of a heartbeat.
pub(crate) static HEARTBEAT_KEY: LazyLock<SchemaRef> = LazyLock::new(|| {
    shared(
        Schema::structure([("serverName", of(Kind::String))])
            .named("io.debezium.connector.common.ServerNameKey"),
    )
});

/// A heartbeat.
pub(crate) static HEARTBEAT: LazyLock<SchemaRef> = LazyLock::new(|| {
    shared(
        Schema::structure([("ts_ms", of(Kind::Int64))])
            .named("io.debezium.connector.common.Heartbeat"),
    )
});

/// How many changes of a table a transaction had.
pub(crate) static COLLECTION: LazyLock<SchemaRef> = LazyLock::new(|| {
    shared(
        Schema::structure([
            ("data_collection", of(Kind::String)),
            ("event_count", of(Kind::Int64)),
        ])
        .named("event.collection")
        .versioned(1),
    )
});

/// The begin or end of a transaction.
pub(crate) static TRANSACTION_VALUE: LazyLock<SchemaRef> = LazyLock::new(|| {
    let collections = Schema::new(Kind::Array(Arc::clone(&COLLECTION))).optional();
    shared(
        Schema::structure([
            ("status", of(Kind::String)),
            ("id", of(Kind::String)),
            ("event_count", maybe(Kind::Int64)),
            ("data_collections", shared(collections)),
            ("ts_ms", of(Kind::Int64)),
        ])
        .named("io.debezium.connector.common.TransactionMetadataValue")
        .versioned(1),
    )
});
