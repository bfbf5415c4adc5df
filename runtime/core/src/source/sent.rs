//! Records on their way into a transaction.
//!
//! Duty: what was given to the producer, and what the broker made of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use towpath_sdk::error::Error;

use super::convert::{Converted, Converter, refused_together};
use super::exactly_once::Broken;
use crate::ports::{OutBatch, OutRecord, PortError, PortErrorKind, Receipt, TransactionalProducer};

/// What was given to the producer in one call.
pub(super) struct Sent {
    pub(super) records: OutBatch,
    pub(super) as_sent: As,
    pub(super) receipt: Receipt,
}

/// What records were given to the producer as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// Many at once.
    Batch,
    /// By itself.
    Alone,
    /// Dead letters.
    Letters,
}

/// Gives `records` to the producer one by one, each after the broker has answered for the one before.
/// What comes behind a refused one is not sent: its transaction can't be committed. Returns whether
/// there was one.
pub(super) async fn send_alone(
    producer: &dyn TransactionalProducer,
    records: Vec<OutRecord>,
    sent: &mut Vec<Sent>,
) -> Result<bool, PortError> {
    let mut refused = false;
    for record in records {
        let records: OutBatch = vec![record].into();
        let failures = match refused {
            false => producer.send(Arc::clone(&records)).await?.await,
            true => Vec::new(),
        };
        refused |= !failures.is_empty();
        let receipt: Receipt = Box::pin(std::future::ready(failures));
        sent.push(Sent { records, as_sent: As::Alone, receipt });
    }
    Ok(refused)
}

/// Waits until the broker has answered for all records of a transaction. If it will never take some,
/// the first reason and what is left without them.
pub(super) async fn await_records(
    converter: &Converter,
    sent: Vec<Sent>,
) -> Result<Option<(PortError, Converted)>, Broken> {
    let mut answered = Vec::with_capacity(sent.len());
    let mut refused = None;
    for Sent { records, as_sent, receipt } in sent {
        let failures = receipt.await;
        let letters = as_sent == As::Letters;
        if let Some(other) = failures.iter().find(|f| letters || !of_record(f.error.kind)) {
            let error = other.error.clone();
            return Err(match Broken::from(error.clone()) {
                Broken::Unknown(error) if !of_record(error.kind) => Broken::Again(error),
                _ => Broken::Fatal(Error::from(error).context("produce")),
            });
        }
        if let Some(first) = failures.first() {
            refused.get_or_insert_with(|| first.error.clone());
        }
        answered.push((records, as_sent, failures));
    }
    let Some(refused) = refused else { return Ok(None) };
    let mut without = Converted::default();
    for (records, as_sent, failures) in answered {
        if as_sent == As::Letters {
            without.letters.extend(Arc::unwrap_or_clone(records));
            continue;
        }
        without.alone |= as_sent == As::Alone;
        if refused_together(&failures) {
            without.alone = true;
            without.records.extend(Arc::unwrap_or_clone(records));
            continue;
        }
        let failed: BTreeSet<usize> = failures.iter().map(|f| f.index).collect();
        without.letters.extend(converter.refused(&records, failures)?);
        let records = Arc::unwrap_or_clone(records).into_iter().enumerate();
        let taken = records.filter(|(i, _)| !failed.contains(i));
        without.records.extend(taken.map(|(_, record)| record));
    }
    Ok(Some((refused, without)))
}

/// Whether an error concerns one record rather than the producer.
fn of_record(kind: PortErrorKind) -> bool {
    matches!(kind, PortErrorKind::TooLarge | PortErrorKind::Invalid)
}
