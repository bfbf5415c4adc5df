//! The connectors as the engine sees them: through the registry, on real files.

#[cfg(test)]
mod acceptance;
#[cfg(test)]
mod host;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod sink;
#[cfg(test)]
mod source;
#[cfg(test)]
mod source_model;
#[cfg(test)]
mod stream_sink;
#[cfg(test)]
mod stream_source;
