//! Values which must not be seen.

use std::fmt;

use zeroize::Zeroize;

/// What is shown in place of a secret, in Kafka Connect and here.
pub const HIDDEN: &str = "[hidden]";

/// A value that no log, error or answer may show.
///
/// `Debug` and `Display` print [`HIDDEN`], nothing serializes it, and its memory is overwritten
/// when it is dropped. (Copies made through [`expose`](Self::expose), and the
/// [`Properties`](super::Properties) it was parsed from, are their holder's to look after.)
///
/// ```
/// use towpath_sdk::config::Secret;
///
/// let password = Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{password} {password:?}"), "[hidden] [hidden]");
/// assert_eq!(password.expose(), "hunter2");
/// ```
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that sends it to where it is needed.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use zeroize::Zeroize;

    use super::Secret;

    struct Spy(Rc<Cell<bool>>);

    impl Zeroize for Spy {
        fn zeroize(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn overwrites_its_memory_when_dropped() {
        let wiped = Rc::new(Cell::new(false));
        let secret = Secret::new(Spy(Rc::clone(&wiped)));
        assert!(!wiped.get());
        drop(secret);
        assert!(wiped.get());
    }

    #[test]
    fn prints_nothing_of_the_value() {
        #[derive(Debug)]
        struct Login {
            _password: Secret<String>,
        }
        let login = Login { _password: "hunter2".to_owned().into() };
        assert_eq!(format!("{login:?}"), "Login { _password: [hidden] }");
    }
}
