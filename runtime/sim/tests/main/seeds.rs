//! Running a test for many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The variable that names one seed (`SIM_SEED=17`).
const ONE: &str = "SIM_SEED";
/// The variable that multiplies the number of seeds (`SIM_RUNS=100`).
const MANY: &str = "SIM_RUNS";

/// Runs `test` for seeds from 0 on, each on a runtime of its own with a paused clock. A failure names
/// its seed.
pub(crate) fn for_each_seed<F: Future<Output = ()>>(count: u64, test: impl Fn(u64) -> F) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number(ONE) {
        Some(seed) => seed..seed + 1,
        None => 0..count * number(MANY).unwrap_or(1),
    };
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| simulate(test(seed))));
        if let Err(panic) = run {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            panic!("seed {seed} (run it alone with {ONE}={seed}): {}", text.unwrap_or_default());
        }
    }
}

/// The variable that shows what the engine logs (`SIM_LOG=1`), with simulated seconds.
const LOG: &str = "SIM_LOG";

/// Runs `test` in simulated time.
pub(crate) fn simulate<T>(test: impl Future<Output = T>) -> T {
    let _shown = std::env::var_os(LOG).map(|_| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_timer(Simulated)
            .with_ansi(false)
            .finish();
        tracing::subscriber::set_default(subscriber)
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs no more than memory");
    runtime.block_on(test)
}

/// Seconds since the runtime began.
struct Simulated;

thread_local! {
    static BEGAN: std::cell::OnceCell<tokio::time::Instant> = const { std::cell::OnceCell::new() };
}

impl tracing_subscriber::fmt::time::FormatTime for Simulated {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let began = BEGAN.with(|began| *began.get_or_init(tokio::time::Instant::now));
        write!(w, "{:9.3}", began.elapsed().as_secs_f64())
    }
}
