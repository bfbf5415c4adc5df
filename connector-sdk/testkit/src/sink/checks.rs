//! The checks, each on a fresh place of the outside system.

use towpath_sdk::sink::SinkConnector;

use super::run::Run;
use super::{SinkCheck, SinkDriver};
use crate::config_checks;
use crate::stage::{Problem, descriptors};

/// How many units of records a check writes to each partition.
const UNITS: usize = 5;
const PARTITIONS: usize = 3;

type Config<D> = <<D as SinkDriver>::Connector as SinkConnector>::Config;

pub(super) fn check<D: SinkDriver>(
    driver: &mut D,
    check: SinkCheck,
    seed: u64,
) -> Result<(), Problem> {
    let mut run = Run::new(driver, seed)?;
    match check {
        SinkCheck::Definition => config_checks::definition::<Config<D>>(D::Connector::plugin()),
        SinkCheck::WrongConfig => config_checks::wrong_config::<Config<D>>(&run.config),
        SinkCheck::Secrets => config_checks::secrets::<Config<D>>(&run.config),
        SinkCheck::Reaches => reaches(&run),
        SinkCheck::Delivers => delivers(&mut run),
        SinkCheck::Crashes => crashes(&mut run),
        SinkCheck::Reassigned => reassigned(&mut run),
        SinkCheck::Poison => poison(&mut run),
        SinkCheck::EmptyBatch => empty_batch(&mut run),
        SinkCheck::Wakes => wakes(&mut run),
        SinkCheck::Drains => drains(&mut run),
        SinkCheck::Releases => releases(&mut run),
    }
}

fn reaches<D: SinkDriver>(run: &Run<'_, D>) -> Result<(), Problem> {
    let guarantee = run.plugin.guarantee(&run.config).map_err(|e| format!("{e:?}"))?;
    if guarantee.because.trim().is_empty() {
        return Err("the guarantee has no reason".to_owned());
    }
    let check = run.stage.inside("the check", run.plugin.check(run.config.clone()))?;
    check.map_err(|e| format!("a good configuration is refused: {e:?}"))
}

/// Records for several partitions, a multiple of the unit in each.
fn produce<D: SinkDriver>(run: &mut Run<'_, D>) -> usize {
    let unit = run.driver.unit().max(1);
    for partition in 0..PARTITIONS as i32 {
        run.produce(partition, unit * UNITS);
        if run.chance.once_in(2) {
            run.produce_nothing(partition);
        }
    }
    unit
}

/// One of many small steps: a write, time that passes, or a look at the outside system.
fn step<D: SinkDriver>(run: &mut Run<'_, D>, unit: usize) -> Result<(), Problem> {
    let partition = run.chance.below(PARTITIONS) as i32;
    let most = 1 + run.chance.below(2 * unit + 2);
    match run.chance.below(6) {
        0 => run.pass_time(),
        1 => run.verify(),
        _ => run.write(partition, most, None).map(drop),
    }
}

fn delivers<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let unit = produce(run);
    run.open()?;
    for _ in 0..4 * UNITS {
        step(run, unit)?;
    }
    run.settle()?;
    run.stop()?;
    run.verify()
}

fn crashes<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let unit = produce(run);
    for _ in 0..6 {
        run.open()?;
        for _ in 0..run.chance.below(3 * UNITS) {
            step(run, unit)?;
        }
        let partition = run.chance.below(PARTITIONS) as i32;
        let (most, waits) = (1 + run.chance.below(3 * unit), 1 + run.chance.below(4));
        match run.chance.below(5) {
            0 => {}
            1 => run.drain()?,
            _ => drop(run.write(partition, most, Some(waits))?),
        }
        run.crash()?;
        run.verify()?;
    }
    run.open()?;
    run.settle()?;
    run.stop()?;
    run.verify()
}

fn reassigned<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let unit = produce(run);
    run.open()?;
    for _ in 0..3 {
        for _ in 0..run.chance.below(2 * UNITS) {
            step(run, unit)?;
        }
        run.revoke()?;
        run.verify()?;
        run.open()?;
    }
    run.settle()?;
    run.stop()?;
    run.verify()
}

fn poison<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    if run.driver.poison().is_none() {
        return Ok(());
    }
    let unit = run.driver.unit().max(1);
    let before = run.chance.below(2 * unit);
    run.produce(0, before);
    let offset = run.produce_poison(0);
    run.produce(0, 2 * unit - before % unit);
    run.open()?;
    run.settle()?;
    let rejected: Vec<i64> = run.logs.0[&0].rejected.iter().copied().collect();
    if rejected != [offset] {
        return Err(format!("the outside system refuses offset {offset}; rejected: {rejected:?}"));
    }
    run.stop()
}

fn empty_batch<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let unit = produce(run);
    run.open()?;
    run.settle()?;
    for partition in 0..PARTITIONS as i32 {
        run.produce_nothing(partition);
    }
    run.settle().map_err(|why| format!("after a batch without records {why}"))?;
    run.produce(0, unit);
    run.settle()?;
    run.stop()
}

fn wakes<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    produce(run);
    run.produce(0, 1);
    run.open()?;
    for partition in 0..PARTITIONS as i32 {
        run.write(partition, 1, None)?;
    }
    for _ in 0..10 {
        if !run.wake_next()? {
            break;
        }
        run.verify()?;
    }
    run.stop()
}

fn drains<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    produce(run);
    run.open()?;
    for partition in 0..PARTITIONS as i32 {
        let most = 1 + run.chance.below(4);
        run.write(partition, most, None)?;
    }
    run.revoke()?;
    run.verify()?;
    // What could not be made durable is delivered again.
    run.open()?;
    run.settle()?;
    run.stop()?;
    run.verify()
}

fn releases<D: SinkDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let mark = run.driver.descriptor_mark();
    let open = || mark.as_deref().and_then(descriptors);
    let before = open();
    let unit = produce(run);
    run.open()?;
    for _ in 0..2 * UNITS {
        step(run, unit)?;
    }
    run.stop()?;
    let tasks = run.stage.tasks_left()?;
    if tasks > 0 {
        return Err(format!("{tasks} spawned tasks go on after stop"));
    }
    match (before, open()) {
        (Some(before), Some(after)) if after > before => {
            Err(format!("{} files stay open after stop", after - before))
        }
        _ => Ok(()),
    }
}
