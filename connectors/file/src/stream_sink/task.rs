//! Writes batches as lines.

use std::sync::Arc;

use towpath_sdk::Result;
use towpath_sdk::context::{LaneContext, SinkTaskContext};
use towpath_sdk::java_text::write_java_text;
use towpath_sdk::sink::{SinkBatch, SinkLane, SinkTask};
use towpath_sdk::value::Datum;

use super::client::{Chunk, Output};

/// A buffer that has grown beyond this is not kept for the next batch.
const KEPT_BUFFER: usize = 4 * 1024 * 1024;

/// The task of a `FileStreamSink`.
#[derive(Debug)]
pub struct FileStreamSinkTask {
    output: Arc<Output>,
}

/// One partition's way into the file.
pub struct FileStreamSinkLane {
    output: Arc<Output>,
    cx: LaneContext,
    buffer: String,
    /// The lines that are being written.
    current: Option<Arc<Chunk>>,
}

impl FileStreamSinkTask {
    pub(super) fn new(output: Arc<Output>, _cx: SinkTaskContext) -> Self {
        Self { output }
    }
}

impl SinkTask for FileStreamSinkTask {
    type Lane = FileStreamSinkLane;

    fn lane(&mut self, cx: LaneContext) -> Self::Lane {
        let output = Arc::clone(&self.output);
        FileStreamSinkLane { output, cx, buffer: String::new(), current: None }
    }
}

impl SinkLane for FileStreamSinkLane {
    async fn write(&mut self, batch: SinkBatch) -> Result<()> {
        let mut lines = std::mem::take(&mut self.buffer);
        lines.clear();
        for record in &batch.records {
            let Datum { schema, value } = &record.value;
            write_java_text(&mut lines, value, schema.as_deref());
            lines.push('\n');
        }
        if !lines.is_empty() {
            let chunk = Chunk::new(lines);
            self.current = Some(Arc::clone(&chunk));
            let append = || Arc::clone(&self.output).append(Arc::clone(&chunk));
            self.cx.retry("write lines", append).await?;
            self.current = None;
            self.buffer = chunk.into_buffer();
            self.buffer.shrink_to(KEPT_BUFFER);
        }
        self.cx.progress.durable(batch.end);
        Ok(())
    }
}

impl Drop for FileStreamSinkLane {
    fn drop(&mut self) {
        if let Some(chunk) = &self.current {
            chunk.abandon();
        }
    }
}
