//! A connector's object, called in its home.
//!
//! Duty: the engine owns tasks of connectors but never runs their code: for each call the object
//! travels to the home and back. A caller that stops waiting loses nothing: the call goes on, and the
//! next one waits for the object.

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use towpath_sdk::{Error, Result};

use super::{Place, Tenant, broken};

/// An object of a connector. Dropped in its home too, since that may run foreign code.
pub(crate) struct Lent<T: Send + 'static> {
    place: Place,
    tenant: Tenant,
    state: State<T>,
}

enum State<T> {
    Here(T),
    Away(&'static str, JoinHandle<T>),
    /// A call panicked, or was cut off.
    Gone,
}

/// The answer of a call.
pub(crate) type Answer<R> = oneshot::Receiver<R>;

impl<T: Send + 'static> Lent<T> {
    pub(crate) fn new(place: Place, tenant: Tenant, object: T) -> Self {
        Self { place, tenant, state: State::Here(object) }
    }

    /// Calls `method` and waits for the answer.
    ///
    /// # Errors
    /// The call's own, or that it panicked; the object is gone then.
    pub(crate) async fn call<R: Send + 'static>(
        &mut self,
        what: &'static str,
        method: impl for<'a> FnOnce(&'a mut T) -> BoxFuture<'a, Result<R>> + Send + 'static,
    ) -> Result<R> {
        let answer = self.begin(what, method).await?;
        match answer.await {
            Ok(result) => {
                self.back().await?;
                result
            }
            Err(_unanswered) => Err(self.lost(what).await),
        }
    }

    /// Begins a call whose answer comes later. No other call can begin before it is over.
    ///
    /// # Errors
    /// If the former call panicked.
    pub(crate) async fn begin<R: Send + 'static>(
        &mut self,
        what: &'static str,
        method: impl for<'a> FnOnce(&'a mut T) -> BoxFuture<'a, R> + Send + 'static,
    ) -> Result<Answer<R>> {
        self.back().await?;
        let State::Here(mut object) = std::mem::replace(&mut self.state, State::Gone) else {
            return Err(gone());
        };
        let (send, answer) = oneshot::channel();
        let call = async move {
            let result = method(&mut object).await;
            // Whoever asked may not want to know any more.
            let _heard = send.send(result).is_ok();
            object
        };
        self.state = State::Away(what, self.place.spawn(&self.tenant, what, call));
        Ok(answer)
    }

    /// Waits until no call is under way.
    ///
    /// # Errors
    /// If the call panicked.
    pub(crate) async fn back(&mut self) -> Result<()> {
        let State::Away(what, handle) = &mut self.state else { return Ok(()) };
        let what = *what;
        match handle.await {
            Ok(object) => {
                self.state = State::Here(object);
                Ok(())
            }
            Err(error) => {
                self.state = State::Gone;
                Err(broken(error, what))
            }
        }
    }

    /// Why a call gave no answer.
    pub(crate) async fn lost(&mut self, what: &str) -> Error {
        match self.back().await {
            Err(error) => error,
            Ok(()) => Error::internal(format!("{what} gave no answer")),
        }
    }

    /// Calls `method`, which consumes the object.
    ///
    /// # Errors
    /// As [`Lent::call`].
    pub(crate) async fn end<R: Send + 'static>(
        mut self,
        what: &'static str,
        method: impl FnOnce(T) -> BoxFuture<'static, Result<R>> + Send + 'static,
    ) -> Result<R> {
        self.back().await?;
        let State::Here(object) = std::mem::replace(&mut self.state, State::Gone) else {
            return Err(gone());
        };
        self.place.run(&self.tenant, what, async move { method(object).await }).await
    }
}

fn gone() -> Error {
    Error::internal("the connector's object was lost when a call panicked")
}

impl<T: Send + 'static> Drop for Lent<T> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Here(object) => {
                let dropping = async move { drop(object) };
                drop(self.place.spawn(&self.tenant, "dropping it", dropping));
            }
            State::Away(_, call) => call.abort(),
            State::Gone => {}
        }
    }
}
