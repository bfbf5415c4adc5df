//! The membership port.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use towpath_core::ports::{Membership, MembershipEvent, PortResult};

use crate::broker::Broker;
use crate::seats::Seat;

/// See the module's head.
pub(crate) struct LocalMembership {
    broker: Arc<Broker>,
    fleet: String,
    advertised: String,
    wake: Arc<Notify>,
    state: State,
}

enum State {
    /// The seat was taken, and nobody was told yet.
    Taken(Seat),
    Seated(Seat),
    Out,
    Left,
}

impl LocalMembership {
    pub(crate) fn join(broker: Arc<Broker>, fleet: String, advertised: String) -> PortResult<Self> {
        let wake = Arc::new(Notify::new());
        let seat = broker.seats.lock().take(&fleet, &advertised, &wake)?;
        Ok(Self { broker, fleet, advertised, wake, state: State::Taken(seat) })
    }

    async fn next_event(&mut self) -> PortResult<MembershipEvent> {
        loop {
            match self.state {
                State::Taken(seat) => {
                    self.state = State::Seated(seat);
                    return Ok(MembershipEvent::Joined {
                        generation: seat.generation,
                        leader: true,
                    });
                }
                State::Seated(seat) => {
                    if !self.broker.seats.lock().holds(&self.fleet, seat.id) {
                        self.state = State::Out;
                        let reason = "the session in the fleet ended".to_owned();
                        return Ok(MembershipEvent::Left { reason });
                    }
                    self.wake.notified().await;
                }
                State::Out => {
                    let mut seats = self.broker.seats.lock();
                    seats.refuse_twin(&self.fleet)?;
                    self.state =
                        State::Taken(seats.take(&self.fleet, &self.advertised, &self.wake)?);
                }
                State::Left => std::future::pending().await,
            }
        }
    }

    const fn seat(&self) -> Option<u64> {
        match &self.state {
            State::Taken(seat) | State::Seated(seat) => Some(seat.id),
            State::Out | State::Left => None,
        }
    }
}

impl Membership for LocalMembership {
    fn next(&mut self) -> BoxFuture<'_, PortResult<MembershipEvent>> {
        self.next_event().boxed()
    }

    fn leave(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        if let Some(seat) = self.seat() {
            self.broker.seats.lock().give_up(&self.fleet, seat);
        }
        self.state = State::Left;
        futures::future::ready(()).boxed()
    }
}

impl Drop for LocalMembership {
    fn drop(&mut self) {
        if let Some(seat) = self.seat() {
            let session = self.broker.options.session_timeout;
            self.broker.seats.lock().vanish(&self.fleet, seat, session);
        }
    }
}
