//! Kafka Connect's formats as pure data: internal topics, REST shapes, dead letter headers, properties.
