//! One thing that runs: a connector's planner, or a task.
//!
//! Duty: at most one run at a time; a run that fails is restarted with growing pauses, or stays failed,
//! as its error's [`Action`] says; a user's restart begins from scratch.
//!
//! Invariants: a run is started only where no other is live or stopping. A failure is always followed
//! by a wait with a time, or by [`Phase::Failed`] with a reason.
//!
//! Deliberately absent: why something is wanted.

use std::time::Duration;

use towpath_sdk::clock::Timestamp;
use towpath_sdk::error::Action;

use super::event::{Failure, Run};
use super::options::RestartPolicy;
use crate::task::Wanted;
use crate::task::status::Activity;

/// What a unit does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing.
    Idle,
    /// It runs.
    Live { run: Run, since: Timestamp, activity: Activity, restarted: bool },
    /// It was told to stop.
    Stopping { run: Run, since: Timestamp, restart: bool },
    /// It could not go on for a reason that may heal, and is started again at a time.
    Waiting { failure: Failure, attempt: u32, since: Timestamp, at: Timestamp },
    /// It failed and is restarted at a time.
    Restarting { failure: Failure, attempt: u32, since: Timestamp, at: Timestamp },
    /// It failed, and a restart would not help, or was tried often enough.
    Failed { failure: Failure, since: Timestamp },
}

/// What is wanted of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Desire<S> {
    /// It runs as this.
    Run(S, Wanted),
    /// It does not run now; a failure stays visible.
    Rest,
    /// It does not run, and has no past.
    Nothing,
}

/// What the driver has to do for a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Do<S> {
    Nothing,
    Start(Run, S, Wanted),
    Set(Run, Wanted),
    Stop(Run),
}

/// A planner or task that is started with an `S`.
#[derive(Debug, Clone)]
pub(crate) struct Unit<S> {
    pub(crate) phase: Phase,
    /// How often it was started again after a failure.
    pub(crate) restarts: u64,
    /// What the live run, or the one that failed, was started with.
    spec: Option<S>,
    wanted: Wanted,
    attempts: u32,
    /// Since when it has not been well.
    unwell: Option<Timestamp>,
    /// A user's restart awaits its start.
    asked: bool,
}

impl<S> Default for Unit<S> {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            restarts: 0,
            spec: None,
            wanted: Wanted::Running,
            attempts: 0,
            unwell: None,
            asked: false,
        }
    }
}

impl<S: Clone + PartialEq> Unit<S> {
    /// Whether a run is live or stopping.
    pub(crate) fn is_occupied(&self) -> bool {
        matches!(self.phase, Phase::Live { .. } | Phase::Stopping { .. })
    }

    /// The live run's specification.
    pub(crate) fn live(&self) -> Option<(Run, &S)> {
        match &self.phase {
            Phase::Live { run, .. } => Some((*run, self.spec.as_ref()?)),
            _ => None,
        }
    }

    /// Whether it failed, be it that it is restarted by itself later.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Failed { .. } | Phase::Restarting { .. } | Phase::Waiting { .. }
        )
    }

    /// When it must be looked at again.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Waiting { at, .. } | Phase::Restarting { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Brings the unit closer to what is desired. `next` makes a new run's number.
    pub(crate) fn reconcile(
        &mut self,
        now: Timestamp,
        desire: Desire<S>,
        next: impl FnOnce() -> Run,
    ) -> Do<S> {
        let (spec, wanted) = match desire {
            Desire::Run(spec, wanted) => (spec, wanted),
            Desire::Rest | Desire::Nothing => return self.rest(now, desire == Desire::Rest),
        };
        let same = self.spec.as_ref() == Some(&spec);
        match &self.phase {
            Phase::Live { run, .. } if same => {
                let run = *run;
                if self.wanted == wanted {
                    return Do::Nothing;
                }
                self.wanted = wanted;
                Do::Set(run, wanted)
            }
            Phase::Live { .. } => self.stop(now, false),
            Phase::Stopping { .. } => Do::Nothing,
            Phase::Failed { .. } if same => Do::Nothing,
            Phase::Waiting { at, .. } | Phase::Restarting { at, .. } if same && *at > now => {
                Do::Nothing
            }
            Phase::Waiting { .. } | Phase::Restarting { .. } if same => {
                self.restarts += 1;
                self.start(now, spec, wanted, next())
            }
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Restarting { .. }
            | Phase::Failed { .. } => {
                if !same {
                    self.forget();
                }
                self.start(now, spec, wanted, next())
            }
        }
    }

    fn rest(&mut self, now: Timestamp, keep_failure: bool) -> Do<S> {
        match self.phase {
            Phase::Live { .. } => return self.stop(now, false),
            Phase::Failed { .. } if keep_failure => {}
            Phase::Stopping { .. } | Phase::Idle => {}
            Phase::Failed { .. } | Phase::Waiting { .. } | Phase::Restarting { .. } => {
                self.phase = Phase::Idle;
                self.spec = None;
                self.forget();
            }
        }
        self.asked = false;
        Do::Nothing
    }

    fn start(&mut self, now: Timestamp, spec: S, wanted: Wanted, run: Run) -> Do<S> {
        let restarted = std::mem::take(&mut self.asked);
        self.phase = Phase::Live { run, since: now, activity: Activity::Starting, restarted };
        self.spec = Some(spec.clone());
        self.wanted = wanted;
        Do::Start(run, spec, wanted)
    }

    fn stop(&mut self, now: Timestamp, restart: bool) -> Do<S> {
        let Phase::Live { run, .. } = self.phase else { return Do::Nothing };
        self.phase = Phase::Stopping { run, since: now, restart };
        Do::Stop(run)
    }

    /// A user wants it restarted: at once, with a clean slate.
    pub(crate) fn restart(&mut self, now: Timestamp) -> Do<S> {
        self.forget();
        self.asked = true;
        match &mut self.phase {
            Phase::Live { .. } => return self.stop(now, true),
            Phase::Stopping { restart, .. } => *restart = true,
            Phase::Idle => {}
            Phase::Waiting { .. } | Phase::Restarting { .. } | Phase::Failed { .. } => {
                self.phase = Phase::Idle;
            }
        }
        Do::Nothing
    }

    /// The live run says what it is doing. `false`: nothing changed.
    pub(crate) fn active(&mut self, run: Run, now: Activity) -> bool {
        let Phase::Live { run: live, activity, .. } = &mut self.phase else { return false };
        if *live != run || *activity == now {
            return false;
        }
        if matches!(now, Activity::Running | Activity::Paused) {
            self.unwell = None;
        }
        *activity = now;
        true
    }

    /// The run is over. `false`: it was not this unit's run.
    pub(crate) fn ended(
        &mut self,
        run: Run,
        now: Timestamp,
        result: Result<(), Failure>,
        policy: &RestartPolicy,
    ) -> bool {
        match self.phase {
            Phase::Stopping { run: stopping, .. } if stopping == run => {
                self.phase = Phase::Idle;
                true
            }
            Phase::Live { run: live, since, .. } if live == run => {
                let failure = result.err().unwrap_or_else(Failure::unasked);
                if now.since(since) >= policy.healthy_after {
                    self.attempts = 0;
                }
                self.fail(now, failure, policy, run);
                true
            }
            _ => false,
        }
    }

    /// The unit fails, for a reason that no run reports.
    pub(crate) fn fail(
        &mut self,
        now: Timestamp,
        failure: Failure,
        policy: &RestartPolicy,
        salt: Run,
    ) {
        let since = *self.unwell.get_or_insert(now);
        let attempt = self.attempts + 1;
        let at = now + policy.pause(self.attempts, salt);
        self.phase = match failure.action {
            Action::Retry => Phase::Waiting { failure, attempt, since, at },
            Action::Restart if policy.limit.is_none_or(|limit| attempt <= limit) => {
                Phase::Restarting { failure, attempt, since, at }
            }
            Action::Restart | Action::Reject | Action::Fail => {
                Phase::Failed { failure, since: now }
            }
        };
        self.attempts = attempt;
    }

    fn forget(&mut self) {
        self.attempts = 0;
        self.unwell = None;
    }
}

impl Failure {
    fn unasked() -> Self {
        let reason = "it ended without being told to".to_owned();
        let trace = format!("org.apache.kafka.connect.errors.ConnectException: {reason}");
        Self { trace, reason, action: Action::Restart }
    }
}

impl RestartPolicy {
    /// The pause before try number `attempt` (from 0), shortened by up to a quarter so that units which
    /// failed together do not come back together.
    fn pause(&self, attempt: u32, salt: Run) -> Duration {
        let full = self.first.saturating_mul(1_u32 << attempt.min(20)).min(self.longest);
        let spread = salt.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        let full_ms = u64::try_from(full.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(full_ms - full_ms / 1024 * spread)
    }
}
