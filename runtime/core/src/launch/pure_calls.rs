//! Calls of plug-ins that have no home: validation, guarantees, offsets that a person sets.
//!
//! Duty: they run where blocking is allowed, and whoever asked stops waiting in time; but one that
//! never comes back keeps its thread. Count those of each class, so that a class whose calls hang
//! soon gets no more threads and everybody else does.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Calls of one class that may be under way.
const PER_CLASS_MAX: usize = 16;

/// The calls under way, by class.
#[derive(Default)]
pub(super) struct PureCalls(Mutex<HashMap<&'static str, usize>>);

/// A call under way.
pub(super) struct PureCall<'c> {
    calls: &'c PureCalls,
    class: &'static str,
}

impl PureCalls {
    /// A call of `class` begins, unless too many of them have not come back.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn begin(&self, class: &'static str) -> Result<PureCall<'_>, String> {
        let mut calls = self.0.lock();
        let under_way = calls.entry(class).or_default();
        if *under_way >= PER_CLASS_MAX {
            return Err(format!(
                "{PER_CLASS_MAX} validations of {class} have not come back; the plug-in hangs, restart the \
                 worker once it is mended"
            ));
        }
        *under_way += 1;
        Ok(PureCall { calls: self, class })
    }
}

impl Drop for PureCall<'_> {
    fn drop(&mut self) {
        if let Some(under_way) = self.calls.0.lock().get_mut(self.class) {
            *under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_hangs_gets_no_more_threads_and_others_do() {
        let calls = PureCalls::default();
        let mut hanging: Vec<_> = (0..PER_CLASS_MAX).map(|_| calls.begin("a").unwrap()).collect();
        assert!(calls.begin("a").is_err());
        assert!(calls.begin("b").is_ok());
        hanging.pop();
        assert!(calls.begin("a").is_ok());
    }
}
