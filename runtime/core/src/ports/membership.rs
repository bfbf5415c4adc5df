//! Who is in the fleet.

use futures::future::BoxFuture;

use super::PortResult;

/// What happens to the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipEvent {
    /// A generation began.
    Joined {
        /// Its number; grows.
        generation: i32,
        /// Whether this worker leads it.
        leader: bool,
    },
    /// This worker is out, and must stop its tasks, until the next `Joined`.
    Left {
        /// Why, for people.
        reason: String,
    },
}

/// A seat in the fleet.
///
/// Today a fleet has one worker: a second one with the same group id gets
/// [`super::PortErrorKind::Occupied`] from [`super::Cluster::join`], which names the first.
pub trait Membership: Send + 'static {
    /// The next change. May be dropped at any await.
    ///
    /// # Errors
    /// Only for what ends this membership for good.
    fn next(&mut self) -> BoxFuture<'_, PortResult<MembershipEvent>>;

    /// Leaves.
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()>;
}
