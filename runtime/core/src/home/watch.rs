//! Notices threads that are not given back.
//!
//! Duty: every future of a home notes when one of its polls begins and ends ([`Watched`]). One thread,
//! which runs nothing else, looks at these notes and asks every home for a sign of life. A poll that
//! lasts too long is named in the log, in the task's status and in `towpath_task_stalls`; a home that
//! gives no sign is given up.
//!
//! The question itself helps: a runtime polls for I/O and timers on a thread that has nothing else to
//! do, and when the thread that did so gets stuck, a task from outside wakes another one, which then
//! takes over.
//!
//! Invariants: the cost is two clock reads and two stores a poll; the thread is there only while homes
//! are; when the whole machine stands still (the thread itself comes late), nobody is blamed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use towpath_sdk::clock::{Clock, SystemClock};

use super::{Home, Loss, Open, Tenant};
use crate::task::status::Wait;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A poll that lasts longer shows in the task's status.
    pub stall: Duration,
    /// A home that gives no sign of life for longer is given up.
    pub loss: Duration,
}

impl Default for Patience {
    /// Long enough that a machine with too much to do is not mistaken for a broken connector.
    fn default() -> Self {
        Self { stall: Duration::from_secs(3), loss: Duration::from_secs(10) }
    }
}

/// Notes about the futures of one home.
pub(super) struct Watch {
    patience: Patience,
    slots: Mutex<Vec<Weak<Slot>>>,
    probe: Mutex<Option<Probe>>,
}

/// A question for a sign of life.
struct Probe {
    asked: Instant,
    answered: Arc<AtomicBool>,
}

/// Notes about one future.
pub(super) struct Slot {
    /// Names it in the task's status.
    number: u64,
    tenant: Tenant,
    what: Cow<'static, str>,
    /// When the poll in progress began, in ms after [`START`] plus one; 0: none is.
    since: AtomicU64,
    /// The thread that it runs on.
    thread: AtomicU64,
    /// CPU ticks of that thread when it was last looked at.
    ticks: AtomicU64,
    told: AtomicBool,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
}

thread_local! {
    static THREAD: u64 = thread_id().unwrap_or(0);
}

/// The operating system's number of this thread, where `/proc` tells it.
fn thread_id() -> Option<u64> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// CPU ticks that a thread of this process has used.
fn cpu_ticks(thread: u64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th field behind it.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

impl Slot {
    pub(super) fn new(tenant: Tenant, what: Cow<'static, str>) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            number: LAST.fetch_add(1, Ordering::Relaxed),
            tenant,
            what,
            since: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// How long the poll in progress has lasted.
    fn held(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Acquire).checked_sub(1)?;
        Some(Duration::from_millis(now_ms().saturating_sub(since)))
    }

    /// Whether the thread computes or waits.
    fn doing(&self) -> &'static str {
        let Some(ticks) = cpu_ticks(self.thread.load(Ordering::Relaxed)) else {
            return "does not come back";
        };
        let before = self.ticks.swap(ticks, Ordering::Relaxed);
        if before == 0 {
            "does not come back"
        } else if ticks > before {
            "burns the core"
        } else {
            "blocks"
        }
    }

    /// Says that a poll lasts too long, again and again while it does.
    fn complain(&self, held: Duration) {
        let doing = self.doing();
        let Tenant { who, status, metrics } = &self.tenant;
        let what = &*self.what;
        if !self.told.swap(true, Ordering::Relaxed) {
            metrics.stalls.inc();
            tracing::warn!(
                %who, what, ?held,
                "the connector {doing} and has not given its thread back; its own code must yield"
            );
        }
        // Whole tens, so that the status does not change with every look.
        let seconds = held.as_secs();
        let seconds = if seconds < 10 { seconds } else { seconds / 10 * 10 };
        let reason = format!(
            "{what} {doing}: it has held its thread for {seconds} s or more; restart or delete the \
             connector if it does not come back"
        );
        let wait = Wait::Thread(self.number);
        status.waiting(wait, reason, SystemClock.now() - held, None);
    }

    fn came_back(&self, held: Duration) {
        tracing::info!(who = %self.tenant.who, what = &*self.what, ?held, "the connector gave its thread back");
        self.tenant.status.resumed(&Wait::Thread(self.number));
    }
}

/// A future that notes its polls.
pub(super) struct Watched<F> {
    slot: Option<Arc<Slot>>,
    future: Pin<Box<F>>,
}

impl<F: Future> Watched<F> {
    pub(super) fn new(slot: Option<Arc<Slot>>, future: F) -> Self {
        Self { slot, future: Box::pin(future) }
    }
}

/// Notes the end of a poll, also of one that panics.
struct Polling<'s>(&'s Slot);

impl<'s> Polling<'s> {
    fn begin(slot: &'s Slot) -> Self {
        slot.thread.store(THREAD.with(|id| *id), Ordering::Relaxed);
        slot.since.store(now_ms() + 1, Ordering::Release);
        Self(slot)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let held = self.0.told.swap(false, Ordering::Relaxed).then(|| self.0.held()).flatten();
        self.0.since.store(0, Ordering::Release);
        if let Some(held) = held {
            self.0.came_back(held);
        }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { slot, future } = &mut *self;
        let _polling = slot.as_deref().map(Polling::begin);
        future.as_mut().poll(cx)
    }
}

impl Watch {
    pub(super) const fn new(patience: Patience) -> Self {
        Self { patience, slots: Mutex::new(Vec::new()), probe: Mutex::new(None) }
    }

    pub(super) const fn patience(&self) -> Patience {
        self.patience
    }

    pub(super) fn add(&self, slot: &Arc<Slot>) {
        self.slots.lock().push(Arc::downgrade(slot));
    }

    /// Futures whose poll lasts too long.
    fn stalled(&self) -> Vec<(Arc<Slot>, Duration)> {
        let mut slots = self.slots.lock();
        slots.retain(|slot| slot.strong_count() > 0);
        let stalled = slots.iter().filter_map(Weak::upgrade).filter_map(|slot| {
            let held = slot.held().filter(|held| *held >= self.patience.stall)?;
            Some((slot, held))
        });
        stalled.collect()
    }

    /// How long the home has given no sign of life; asks for the next one.
    fn silence(&self, home: &Home) -> Duration {
        let mut probe = self.probe.lock();
        if let Some(probe) = probe.as_ref().filter(|p| !p.answered.load(Ordering::Acquire)) {
            return probe.asked.elapsed();
        }
        let answered = Arc::new(AtomicBool::new(false));
        let answer = Arc::clone(&answered);
        drop(home.place.handle.spawn(async move { answer.store(true, Ordering::Release) }));
        *probe = Some(Probe { asked: Instant::now(), answered });
        Duration::ZERO
    }

    /// Forgives what happened while the machine itself stood still.
    fn forgive(&self) {
        if let Some(probe) = &mut *self.probe.lock() {
            probe.asked = Instant::now();
        }
    }
}

impl Home {
    fn inspect(&self, name: &str) {
        let Some(watch) = &self.place.watch else { return };
        let stalled = watch.stalled();
        for (slot, held) in &stalled {
            slot.complain(*held);
        }
        if watch.silence(self) < watch.patience.loss || self.lost.borrow().is_some() {
            return;
        }
        let culprits: BTreeSet<_> =
            stalled.iter().map(|(slot, _)| slot.tenant.who.clone()).collect();
        let reason = if culprits.is_empty() {
            format!("work that connector {name} spawned by itself holds all its threads")
        } else {
            let named: Vec<String> = stalled
                .iter()
                .map(|(slot, _)| format!("{} in {}", slot.tenant.who, slot.what))
                .collect();
            format!("all threads of connector {name} are held by {}", named.join(", "))
        };
        tracing::error!(connector = name, reason, "the connector gets other threads");
        self.lost.send_replace(Some(Loss { culprits: culprits.into_iter().collect(), reason }));
    }
}

/// Whether the one thread runs, by the homes that it looks after.
static KEPT: Mutex<Vec<Weak<Open>>> = Mutex::new(Vec::new());

/// Sees to it that a thread looks after these homes while there are any.
pub(super) fn keep(open: Weak<Open>, patience: Patience) {
    let mut kept = KEPT.lock();
    if kept.iter().any(|other| other.ptr_eq(&open)) {
        return;
    }
    kept.push(open.clone());
    drop(kept);
    let tick = (patience.stall / 8).clamp(Duration::from_millis(10), Duration::from_millis(500));
    let forget = open.clone();
    let started = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
        look_after(&open, tick);
    });
    if let Err(error) = started {
        tracing::error!(%error, "no thread watches over connectors, since it could not be started");
        KEPT.lock().retain(|other| !other.ptr_eq(&forget));
    }
}

fn look_after(open: &Weak<Open>, tick: Duration) {
    loop {
        let before = Instant::now();
        std::thread::sleep(tick);
        let late = before.elapsed() > tick * 3;
        let homes: Vec<(Arc<str>, Arc<Home>)> = {
            let mut kept = KEPT.lock();
            let all = open.upgrade();
            let homes = all.iter().flat_map(|open| {
                let open = open.lock();
                let homes = open.iter().flat_map(|(name, homes)| {
                    homes.iter().filter_map(|home| Some((Arc::clone(name), home.upgrade()?)))
                });
                homes.collect::<Vec<_>>()
            });
            let homes: Vec<_> = homes.collect();
            if homes.is_empty() {
                kept.retain(|other| !other.ptr_eq(open));
                return;
            }
            homes
        };
        for (name, home) in homes {
            match (late, &home.place.watch) {
                (true, Some(watch)) => watch.forgive(),
                _ => home.inspect(&name),
            }
        }
    }
}
