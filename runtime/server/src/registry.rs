//! The plug-ins of this binary: one line a connector.

use towpath_sdk::plugin::Registry;

/// All of them.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    towpath_builtin::register(&mut registry);
    towpath_connector_debezium::register(&mut registry);
    registry
        .source::<towpath_connector_datagen::Datagen>()
        .source::<towpath_connector_file::source::FileSource>()
        .source::<towpath_connector_file::stream_source::FileStreamSource>()
        .sink::<towpath_connector_file::stream_sink::FileStreamSink>()
        .sink::<towpath_connector_file::sink::FileSink>()
        .sink::<towpath_connector_null::NullSink>()
        .source::<towpath_connector_postgres::PostgresSource>()
        .sink::<towpath_connector_s3::S3Sink>()
        .sink::<towpath_connector_s3::AivenS3Sink>();
    registry
}
