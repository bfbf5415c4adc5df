//! Columns' values in Debezium's mapping.
