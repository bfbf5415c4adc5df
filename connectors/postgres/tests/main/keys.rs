//! Every key is read into something else under another value and has a test that shows its effect, or
//! is refused, or its setter is told that it has nothing to tune; and every key of Debezium 3.7 is
//! declared.

use std::fs;
use std::path::Path;

use towpath_connector_postgres::config::Config;
use towpath_sdk::config::{ConnectorConfig, Properties};
use towpath_sdk::plugin::validate_as;
use towpath_testkit::KeyWalk;

/// A key, two values of it, further keys that it takes, and the test that shows what it does.
type Effect = (
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const CERT: &[(&str, &str)] = &[("database.sslcert", "c.pem"), ("database.sslkey", "k.pem")];
const QUERY: (&str, &str) = ("snapshot.select.statement.overrides.s.t", "select * from s.t");
const BASED: &[(&str, &str)] = &[
    ("snapshot.mode", "configuration_based"),
    ("snapshot.mode.configuration.based.snapshot.data", "true"),
    ("snapshot.mode.configuration.based.start.stream", "true"),
];

const EFFECTS: &[Effect] = &[
    ("topic.prefix", Some("a"), Some("b"), &[], "records_have_the_form_that_is_asked_for"),
    ("database.hostname", Some("a"), Some("b"), &[], "records_are_as_debeziums"),
    ("database.port", Some("1"), Some("2"), &[], "records_are_as_debeziums"),
    ("database.user", Some("a"), Some("b"), &[], "scram_and_its_errors"),
    ("database.password", Some("a"), Some("b"), &[], "scram_and_its_errors"),
    ("database.dbname", Some("a"), Some("b"), &[], "records_are_as_debeziums"),
    ("database.sslmode", Some("disable"), Some("verify-full"), &[], "tls_by_mode"),
    ("database.sslcert", Some("a"), Some("b"), CERT, "client_certificates"),
    ("database.sslkey", Some("a"), Some("b"), CERT, "client_certificates"),
    ("database.sslpassword", Some("a"), Some("b"), &[], "certificates_as_people_make_them"),
    ("database.sslrootcert", None, Some("ca.pem"), &[], "tls_by_mode"),
    // What TCP does of it is the kernel's.
    ("database.tcpKeepAlive", Some("true"), Some("false"), &[], "every_key_has_its_effect"),
    ("database.initial.statements", None, Some("set a.b = 'c'"), &[], "sessions_are_prepared"),
    ("database.query.timeout.ms", Some("0"), Some("1"), &[], "sessions_are_prepared"),
    ("slot.name", Some("a"), Some("b"), &[], "publications_are_made_as_asked"),
    ("slot.drop.on.stop", Some("true"), Some("false"), &[], "a_slot_may_go_with_the_task"),
    ("slot.drop.on.delete", Some("true"), Some("false"), &[], "a_slot_may_go_with_the_connector"),
    (
        "slot.loss.policy",
        Some("fail"),
        Some("backfill"),
        &[],
        "a_slot_that_is_dropped_while_running_is_noticed",
    ),
    (
        "slot.loss.keys.max.bytes",
        Some("65536"),
        Some("131072"),
        &[],
        "a_search_is_bounded_and_survives_crashes",
    ),
    (
        "slot.wal.budget.bytes",
        Some("0"),
        Some("1000"),
        &[],
        "what_is_held_back_is_held_against_the_budget",
    ),
    ("slot.failover", Some("true"), Some("false"), &[], "old_servers_are_asked_in_their_words"),
    ("slot.retry.delay.ms", Some("1"), Some("2"), &[], "a_slot_in_use_is_waited_for"),
    ("slot.stream.params", None, Some("origin=none"), &[], "options_go_to_the_plug_in"),
    ("publication.name", Some("a"), Some("b"), &[], "publications_are_made_as_asked"),
    (
        "publication.autocreate.mode",
        Some("filtered"),
        Some("disabled"),
        &[],
        "publications_are_made_as_asked",
    ),
    ("publish.via.partition.root", Some("true"), None, &[], "publications_are_made_as_asked"),
    ("status.update.interval.ms", Some("100"), Some("200"), &[], "the_server_is_told_so_often"),
    (
        "lsn.flush.mode",
        Some("connector"),
        Some("manual"),
        &[],
        "nothing_is_written_where_only_reading_is_wanted",
    ),
    (
        "offset.mismatch.strategy",
        None,
        Some("trust_slot"),
        &[],
        "a_slot_that_was_moved_is_a_gap_unless_it_is_trusted",
    ),
    (
        "replica.identity.autoset.values",
        None,
        Some("s.t:FULL"),
        &[],
        "tables_get_their_replica_identities",
    ),
    ("read.only", Some("true"), None, &[], "nothing_is_written_where_only_reading_is_wanted"),
    ("heartbeat.interval.ms", None, Some("1"), &[], "heartbeats_are_records_and_queries"),
    ("heartbeat.action.query", None, Some("select 1"), &[], "heartbeats_are_records_and_queries"),
    ("topic.heartbeat.prefix", None, Some("x"), &[], "an_idle_database_keeps_the_slot_moving"),
    ("topic.heartbeat.name", None, Some("x"), &[], "heartbeats_are_records_and_queries"),
    ("streaming.delay.ms", None, Some("1"), &[], "pauses_are_made_and_shown"),
    ("schema.include.list", None, Some("s"), &[], "filters_choose_tables_and_columns"),
    ("schema.exclude.list", None, Some("s"), &[], "filters_choose_tables_and_columns"),
    ("table.include.list", None, Some("s.t"), &[], "publications_are_made_as_asked"),
    ("table.exclude.list", None, Some("s.t"), &[], "filters_choose_tables_and_columns"),
    ("column.include.list", None, Some("s.t.c"), &[], "filters_choose_tables_and_columns"),
    ("column.exclude.list", None, Some("s.t.c"), &[], "keys_may_be_of_other_columns"),
    ("message.prefix.include.list", None, Some("x"), &[], "changes_that_show_nothing_are_left_out"),
    ("message.prefix.exclude.list", None, Some("x"), &[], "filters_choose_tables_and_columns"),
    ("skipped.operations", Some("t"), Some("u,d"), &[], "publications_are_made_as_asked"),
    ("decimal.handling.mode", Some("precise"), Some("string"), &[], "records_are_as_debeziums"),
    ("time.precision.mode", Some("adaptive"), Some("structured"), &[], "records_are_as_debeziums"),
    ("interval.handling.mode", Some("numeric"), Some("string"), &[], "records_are_as_debeziums"),
    ("hstore.handling.mode", Some("json"), Some("map"), &[], "records_are_as_debeziums"),
    ("binary.handling.mode", Some("bytes"), Some("hex"), &[], "records_are_as_debeziums"),
    ("money.fraction.digits", Some("2"), Some("3"), &[], "money_in_all_modes"),
    ("include.unknown.datatypes", Some("true"), None, &[], "types_without_a_mapping_by_mode"),
    ("unknown.datatypes", Some("text"), Some("drop"), &[], "types_without_a_mapping_by_mode"),
    ("message.key.columns", None, Some("s.t:c"), &[], "keys_may_be_of_other_columns"),
    (
        "skip.messages.without.change",
        Some("true"),
        None,
        &[],
        "changes_that_show_nothing_are_left_out",
    ),
    (
        "unavailable.value.placeholder",
        None,
        Some("x"),
        &[],
        "what_is_not_known_is_shown_as_one_wishes",
    ),
    ("column.truncate.to.3.chars", None, Some("s.t.c"), &[], "texts_are_masked_and_cut"),
    ("column.mask.with.3.chars", None, Some("s.t.c"), &[], "texts_are_masked_and_cut"),
    ("column.mask.hash.MD5.with.salt.x", None, Some("s.t.c"), &[], "texts_are_masked_and_cut"),
    ("column.propagate.source.type", None, Some("s.t.c"), &[], "schemas_tell_of_the_columns_types"),
    (
        "datatype.propagate.source.type",
        None,
        Some("s.t.c"),
        &[],
        "schemas_tell_of_the_columns_types",
    ),
    ("schema.name.adjustment.mode", None, Some("avro"), &[], "names_fit_avro"),
    ("field.name.adjustment.mode", None, Some("avro"), &[], "names_fit_avro"),
    ("snapshot.mode", Some("initial"), Some("always"), &[], "snapshots_read_what_is_chosen"),
    (
        "snapshot.mode.configuration.based.snapshot.data",
        Some("true"),
        Some("false"),
        BASED,
        "a_snapshots_mode_may_be_put_together",
    ),
    (
        "snapshot.mode.configuration.based.start.stream",
        Some("true"),
        Some("false"),
        BASED,
        "a_snapshots_mode_may_be_put_together",
    ),
    (
        "snapshot.mode.configuration.based.snapshot.on.data.error",
        Some("true"),
        Some("false"),
        BASED,
        "a_snapshots_mode_may_be_put_together",
    ),
    ("snapshot.max.threads", Some("1"), Some("2"), &[], "snapshots_read_what_is_chosen"),
    ("snapshot.include.collection.list", None, Some("s.t"), &[], "snapshots_read_what_is_chosen"),
    ("snapshot.locking.mode", Some("none"), Some("shared"), &[], "locks_are_waited_for_so_long"),
    ("snapshot.lock.timeout.ms", Some("1"), Some("2"), &[], "locks_are_waited_for_so_long"),
    ("snapshot.delay.ms", Some("1"), Some("2"), &[], "pauses_are_made_and_shown"),
    (
        "snapshot.tables.order.by.row.count",
        None,
        Some("ascending"),
        &[],
        "tables_are_begun_by_their_size",
    ),
    (
        "snapshot.select.statement.overrides",
        Some("s.t"),
        Some("s.t,s.t"),
        &[QUERY],
        "rows_may_come_from_ones_own_query",
    ),
    (
        "snapshot.select.statement.overrides.s.t",
        Some("a"),
        Some("b"),
        &[("snapshot.select.statement.overrides", "s.t")],
        "rows_may_come_from_ones_own_query",
    ),
    (
        "tombstones.on.delete",
        Some("true"),
        Some("false"),
        &[],
        "records_have_the_form_that_is_asked_for",
    ),
    (
        "provide.transaction.metadata",
        Some("true"),
        None,
        &[],
        "records_have_the_form_that_is_asked_for",
    ),
    ("topic.transaction", Some("a"), Some("b"), &[], "records_have_the_form_that_is_asked_for"),
    ("topic.delimiter", Some("."), Some("_"), &[], "records_have_the_form_that_is_asked_for"),
    (
        "extended.headers.enabled",
        Some("true"),
        Some("false"),
        &[],
        "records_have_the_form_that_is_asked_for",
    ),
    ("max.batch.size", Some("1"), Some("2"), &[], "snapshots_read_what_is_chosen"),
    (
        "max.queue.size.in.bytes",
        Some("1"),
        Some("2"),
        &[],
        "the_bound_holds_and_a_piece_larger_than_it_passes",
    ),
    ("spill.dir", Some("/a"), Some("/b"), &[], "big_transactions_are_kept_in_files"),
    ("spill.max.bytes", Some("1"), Some("2"), &[], "beyond_the_bound_the_server_keeps_them"),
    ("errors.max.retries", Some("-1"), Some("3"), &[], "retries_may_be_bounded"),
    ("guardrail.collections.max", Some("0"), Some("3"), &[], "tables_may_be_too_many"),
    (
        "guardrail.collections.limit.action",
        Some("warn"),
        Some("fail"),
        &[],
        "tables_may_be_too_many",
    ),
    (
        "signal.data.collection",
        None,
        Some("s.signals"),
        &[],
        "a_signal_in_the_table_reads_tables_beside_the_stream",
    ),
    ("signal.enabled.channels", Some("source"), Some("kafka"), &[], "signals_come_from_a_topic"),
    ("signal.kafka.topic", None, Some("t"), &[], "signals_come_from_a_topic"),
    (
        "notification.enabled.channels",
        Some(""),
        Some("log"),
        &[],
        "people_are_told_how_far_snapshots_are",
    ),
    ("notification.sink.topic.name", None, Some("t"), &[], "people_are_told_how_far_snapshots_are"),
    (
        "incremental.snapshot.chunk.size",
        Some("1024"),
        Some("2"),
        &[],
        "people_are_told_how_far_snapshots_are",
    ),
    (
        "snapshot.new.tables",
        Some("none"),
        Some("incremental"),
        &[],
        "tables_that_are_new_are_read_beside_the_stream",
    ),
];

/// Keys that are refused at these values.
const REFUSED: &[(&str, &str)] = &[
    ("plugin.name", "wal2json"),
    ("snapshot.mode", "custom"),
    ("snapshot.locking.mode", "custom"),
    ("database.connection.factory.class", "com.example.Mine"),
    ("database.sslfactory", "org.postgresql.ssl.NonValidatingFactory"),
    ("database.include.list", "x"),
    ("database.exclude.list", "x"),
    ("table.ignore.builtin", "false"),
    ("xmin.fetch.interval.ms", "100"),
    ("signal.file", "signals.txt"),
    ("signal.enabled.channels", "file"),
    ("notification.enabled.channels", "jmx"),
    ("converters", "isbn"),
    ("post.processors", "reselector"),
    ("topic.naming.strategy", "com.example.Mine"),
    ("transaction.metadata.factory", "com.example.Mine"),
    ("sourceinfo.struct.maker", "com.example.Mine"),
    ("snapshot.mode.custom.name", "mine"),
    ("snapshot.locking.mode.custom.name", "mine"),
    ("snapshot.query.mode", "custom"),
    ("snapshot.query.mode.custom.name", "mine"),
    ("include.schema.comments", "true"),
    ("event.processing.failure.handling.mode", "skip"),
    ("event.converting.failure.handling.mode", "warn"),
    ("openlineage.integration.enabled", "true"),
    ("driver.loggerLevel", "TRACE"),
];

/// Keys that have nothing to tune.
const TOLD: &[&str] = &[
    "flush.lsn.source",
    "poll.interval.ms",
    "poll.dispatch.interval.ms",
    "max.queue.size",
    "snapshot.fetch.size",
    "query.fetch.size",
    "snapshot.max.threads.multiplier",
    "legacy.snapshot.max.threads",
    "snapshot.isolation.mode",
    "snapshot.mode.configuration.based.snapshot.schema",
    "snapshot.mode.configuration.based.snapshot.on.schema.error",
    "schema.refresh.mode",
    "topic.cache.size",
    "slot.max.retries",
    "retriable.restart.connector.wait.ms",
    "lsn.flush.timeout.ms",
    "lsn.flush.timeout.action",
    "connection.validation.timeout.ms",
    "executor.shutdown.timeout.ms",
    "custom.sanitize.pattern",
    "custom.metric.tags",
    "statistics.metrics.enabled",
    "memory.management.tables.class",
    "incremental.snapshot.watermarking.strategy",
    "signal.poll.interval.ms",
    "notification.http.url",
    "openlineage.integration.job.namespace",
    "internal.log.position.check.enable",
];

/// What Debezium 3.7.0 answers to be validated, and what its documentation names beside that.
const DEBEZIUM: &str = "
    database.hostname database.port database.user database.password database.dbname
    database.query.timeout.ms skip.messages.without.change database.initial.statements
    database.tcpKeepAlive topic.prefix topic.naming.strategy tombstones.on.delete
    binary.handling.mode schema.name.adjustment.mode field.name.adjustment.mode
    event.converting.failure.handling.mode decimal.handling.mode time.precision.mode
    include.schema.comments hstore.handling.mode interval.handling.mode
    message.prefix.include.list message.prefix.exclude.list publish.via.partition.root
    lsn.flush.mode flush.lsn.source unavailable.value.placeholder skipped.operations
    provide.transaction.metadata converters post.processors
    incremental.snapshot.allow.schema.changes signal.data.collection signal.enabled.channels
    notification.enabled.channels notification.sink.topic.name notification.http.url
    notification.http.timeout.ms notification.http.retries
    notification.http.allow.private.networks transaction.metadata.factory message.key.columns
    column.mask.hash.SHA-256.with.salt.x column.mask.hash.v2.SHA-256.with.salt.x
    column.mask.with.5.chars column.truncate.to.5.chars column.propagate.source.type
    datatype.propagate.source.type memory.management.schemas.class
    memory.management.tables.class schema.refresh.mode include.unknown.datatypes
    sourceinfo.struct.maker snapshot.delay.ms snapshot.fetch.size
    snapshot.include.collection.list snapshot.mode.custom.name
    snapshot.mode.configuration.based.snapshot.data
    snapshot.mode.configuration.based.snapshot.schema
    snapshot.mode.configuration.based.start.stream
    snapshot.mode.configuration.based.snapshot.on.schema.error
    snapshot.mode.configuration.based.snapshot.on.data.error snapshot.max.threads
    snapshot.max.threads.multiplier legacy.snapshot.max.threads
    internal.legacy.snapshot.max.threads streaming.delay.ms query.fetch.size
    incremental.snapshot.watermarking.strategy snapshot.lock.timeout.ms
    snapshot.select.statement.overrides snapshot.select.statement.overrides.s.t
    internal.snapshot.scan.all.columns.force snapshot.tables.order.by.row.count snapshot.mode
    snapshot.isolation.mode snapshot.query.mode snapshot.query.mode.custom.name
    snapshot.locking.mode snapshot.locking.mode.custom.name incremental.snapshot.chunk.size
    retriable.restart.connector.wait.ms max.queue.size max.batch.size poll.interval.ms
    poll.dispatch.interval.ms max.queue.size.in.bytes event.processing.failure.handling.mode
    errors.max.retries internal.log.position.check.enable internal.advanced.metrics.enable
    connection.validation.timeout.ms executor.shutdown.timeout.ms
    openlineage.integration.enabled openlineage.integration.config.file.path
    openlineage.integration.job.namespace openlineage.integration.job.description
    openlineage.integration.job.tags openlineage.integration.job.owners
    openlineage.integration.dataset.kafka.bootstrap.servers extended.headers.enabled
    guardrail.collections.max guardrail.collections.limit.action custom.sanitize.pattern
    signal.emit.failure.max.retries signal.emit.failure.backoff.ms statistics.metrics.enabled
    internal.offset.activity.monitor.interval.ms custom.metric.tags
    internal.signal.synchronous.batch.size internal.signal.processor.semaphore.wait.ms
    heartbeat.interval.ms heartbeat.topics.prefix signal.poll.interval.ms
    heartbeat.action.query table.include.list table.exclude.list table.ignore.builtin
    column.exclude.list column.include.list schema.include.list schema.exclude.list
    database.include.list database.exclude.list database.sslmode database.sslcert
    database.sslkey database.sslpassword database.sslrootcert database.sslfactory plugin.name
    slot.name publication.name publication.autocreate.mode replica.identity.autoset.values
    slot.drop.on.stop slot.failover slot.stream.params slot.max.retries slot.retry.delay.ms
    status.update.interval.ms lsn.flush.timeout.ms lsn.flush.timeout.action
    xmin.fetch.interval.ms offset.mismatch.strategy read.only money.fraction.digits
    topic.delimiter topic.cache.size topic.heartbeat.prefix topic.heartbeat.name
    topic.transaction database.connection.factory.class signal.kafka.topic
    signal.kafka.bootstrap.servers signal.file driver.loggerLevel";

fn base() -> Properties {
    Properties::from([
        ("topic.prefix", "p"),
        ("database.hostname", "h"),
        ("database.user", "u"),
        ("database.dbname", "d"),
    ])
}

/// All that was read.
fn show(properties: &Properties) -> String {
    let config = Config::parse(properties).expect("a valid configuration");
    let secrets = [&config.database.password, &config.database.sslpassword];
    let secrets = secrets.map(|secret| secret.as_ref().map(|secret| secret.expose().clone()));
    let prefixed = [&config.columns.truncate, &config.columns.mask_with, &config.columns.mask_hash];
    let prefixed = prefixed.map(|keys| format!("{:?}", keys.iter().collect::<Vec<_>>()));
    let selects: Vec<_> = config.snapshot.selects.iter().collect();
    format!("{config:?} {secrets:?} {prefixed:?} {selects:?}")
}

#[test]
fn every_key_has_its_effect() {
    let definition = Config::definition();
    let mut walk = KeyWalk::new(definition, base(), validate_as::<Config>, show);
    for (key, one, other, with, _) in EFFECTS {
        walk = walk.changes_with(key, *one, *other, with);
    }
    for (key, value) in REFUSED {
        walk = walk.refuses(key, value);
    }
    for key in TOLD {
        walk = walk.tells(key, "false");
    }
    walk.finish();
}

#[test]
fn effects_are_shown_by_tests_that_exist() {
    let mut sources = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests"] {
        read_all(&root.join(folder), &mut sources);
    }
    for (key, _, _, _, test) in EFFECTS {
        assert!(sources.contains(&format!("fn {test}(")), "{key}: there is no test {test}");
    }
}

fn read_all(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_key_of_debezium_is_declared() {
    let definition = Config::definition();
    let missing: Vec<&str> =
        DEBEZIUM.split_whitespace().filter(|key| definition.resolve(key).is_none()).collect();
    assert!(missing.is_empty(), "not declared: {missing:?}");
}

#[test]
fn debeziums_own_defaults_are_accepted() {
    for (key, value) in [
        ("snapshot.query.mode", "SELECT_ALL"),
        ("signal.enabled.channels", "source"),
        ("topic.naming.strategy", "io.debezium.schema.SchemaTopicNamingStrategy"),
        ("snapshot.mode", "INITIAL"),
        ("heartbeat.topics.prefix", "__debezium-heartbeat"),
        ("publication.autocreate.mode", "ALL_TABLES"),
    ] {
        let mut properties = base();
        properties.insert(key, value);
        assert!(validate_as::<Config>(&properties).is_empty(), "{key}");
    }
}
