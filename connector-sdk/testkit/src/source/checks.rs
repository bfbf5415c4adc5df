//! The checks, each on a fresh place of the outside system.

use std::num::NonZeroU32;
use std::pin::pin;

use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::plugin::erased::DynSourceTask;
use towpath_sdk::source::{Budget, SourceConnector};

use super::run::{Polled, ROOM, Run, size_of};
use super::{SourceCheck, SourceDriver};
use crate::config_checks;
use crate::item::{Item, each_end, each_once, remaining};
use crate::stage::{Problem, cut, descriptors};

/// How many records a check puts.
const SOME: usize = 25;

type Config<D> = <<D as SourceDriver>::Connector as SourceConnector>::Config;

pub(super) fn check<D: SourceDriver>(
    driver: &mut D,
    check: SourceCheck,
    seed: u64,
) -> Result<(), Problem> {
    let mut run = Run::new(driver, seed)?;
    match check {
        SourceCheck::Definition => config_checks::definition::<Config<D>>(D::Connector::plugin()),
        SourceCheck::WrongConfig => config_checks::wrong_config::<Config<D>>(&run.config),
        SourceCheck::Secrets => config_checks::secrets::<Config<D>>(&run.config),
        SourceCheck::Reaches => reaches(&run),
        SourceCheck::Delivers => delivers(&mut run),
        SourceCheck::Budget => budget(&mut run),
        SourceCheck::CancelSafe => cancel_safe(&mut run),
        SourceCheck::Resumes => resumes(&mut run),
        SourceCheck::Rewinds => rewinds(&mut run),
        SourceCheck::Waits => waits(&mut run),
        SourceCheck::Plans => plans(&mut run),
        SourceCheck::OwnOffsets => own_offsets(&mut run),
        SourceCheck::Releases => releases(&mut run),
    }
}

fn reaches<D: SourceDriver>(run: &Run<'_, D>) -> Result<(), Problem> {
    let guarantee = run.plugin.guarantee(&run.config).map_err(|e| format!("{e:?}"))?;
    if guarantee.because.trim().is_empty() {
        return Err("the guarantee has no reason".to_owned());
    }
    let check = run.stage.inside("the check", run.plugin.check(run.config.clone()))?;
    check.map_err(|e| format!("a good configuration is refused: {e:?}"))
}

fn delivers<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let mut expected = run.put(SOME);
    let mut task = run.start_one(&StoredOffsets::default())?;
    let mut polled = Polled::default();
    run.collect(&mut *task, &expected, &mut polled)?;
    // What comes later is delivered too.
    expected.extend(run.put(SOME / 3));
    run.collect(&mut *task, &expected, &mut polled)?;
    if !run.driver.is_endless() && !polled.is_covered() {
        // The mark that covers the last records may take another poll.
        run.poll(&mut *task, ROOM, &mut polled)
            .map_err(|why| format!("no mark covers the last records: {why}"))?;
    }
    each_once(&expected, &polled.items)?;
    if run.driver.is_endless() || polled.is_covered() {
        run.stop(task)
    } else {
        Err("no mark covers the last records".to_owned())
    }
}

fn budget<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let expected = run.put(SOME);
    let mut task = run.start_one(&StoredOffsets::default())?;
    let mut polled = Polled::default();
    while polled.items.len() < expected.len() {
        let room = Budget { records: 1 + run.chance.below(4), bytes: 1 + run.chance.below(100) };
        let batch = run.poll_for(&mut *task, room, &expected, &mut polled)?;
        let bytes: usize = batch.records.iter().map(size_of).sum();
        let records = batch.records.len();
        if records > room.records || (bytes > room.bytes && records > 1) {
            return Err(format!(
                "a poll with {room:?} returned {records} records of {bytes} bytes"
            ));
        }
    }
    run.stop(task)
}

fn cancel_safe<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let expected = run.put(SOME);
    let mut task = run.start_one(&StoredOffsets::default())?;
    let mut polled = Polled::default();
    while polled.items.len() < expected.len() {
        let room = run.some_room(expected.len() - polled.items.len());
        if run.chance.once_in(4) {
            run.poll_for(&mut *task, room, &expected, &mut polled)?;
            continue;
        }
        let waits = run.chance.below(4);
        let poll = run.stage.within(run.driver.quiet(), cut(waits, task.poll(room)))?;
        if let Some(batch) = poll.flatten() {
            run.take(batch, &mut polled)?;
        }
    }
    each_once(&expected, &polled.items)?;
    run.stop(task)
}

/// Delivers everything once, to know the marks.
fn whole<D: SourceDriver>(
    run: &mut Run<'_, D>,
    task: &mut dyn DynSourceTask,
) -> Result<(Vec<Item>, Polled), Problem> {
    let expected = run.put(SOME);
    let mut polled = Polled::default();
    run.collect(task, &expected, &mut polled)?;
    each_once(&expected, &polled.items)?;
    Ok((expected, polled))
}

/// How many records came before one of the marks.
fn some_mark<D: SourceDriver>(run: &mut Run<'_, D>, polled: &Polled) -> Result<usize, Problem> {
    match polled.marks.len() {
        0 => Err("there was no mark".to_owned()),
        marks => Ok(polled.marks[run.chance.below(marks)].0),
    }
}

/// The task stands where the first `at` records had been polled, and gives the rest.
fn follows<D: SourceDriver>(
    run: &mut Run<'_, D>,
    task: &mut dyn DynSourceTask,
    expected: &[Item],
    polled: &Polled,
    at: usize,
) -> Result<(), Problem> {
    let required = remaining(expected, &polled.items[..at]);
    let mut again = Polled::default();
    if polled.has_one_partition() {
        run.collect(task, &required, &mut again)?;
        return each_once(&required, &again.items);
    }
    // Records that no mark of their own partition covers come again.
    while !required.iter().all(|item| again.items.contains(item)) {
        run.poll(task, Budget { records: 3, ..ROOM }, &mut again)?;
    }
    each_end(expected, &required, &again.items)
}

fn resumes<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let mut task = run.start_one(&StoredOffsets::default())?;
    let (expected, polled) = whole(run, &mut *task)?;
    run.stop(task)?;
    for _ in 0..4 {
        let at = some_mark(run, &polled)?;
        let offsets = polled.offsets_at(at);
        let mut task = run.start_one(&offsets)?;
        follows(run, &mut *task, &expected, &polled, at)
            .map_err(|why| format!("after a restart at {offsets:?}: {why}"))?;
        run.stop(task)?;
    }
    Ok(())
}

fn rewinds<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let mut task = run.start_one(&StoredOffsets::default())?;
    let (expected, polled) = whole(run, &mut *task)?;
    for _ in 0..4 {
        // To the very beginning once in a while.
        let at = if run.chance.once_in(4) { 0 } else { some_mark(run, &polled)? };
        let offsets = polled.offsets_at(at);
        let after = |why| format!("after a rewind to {offsets:?}: {why}");
        let rewound = run.stage.inside("rewind", task.rewind(&offsets))?;
        rewound.map_err(|e| after(format!("it failed: {e:?}")))?;
        follows(run, &mut *task, &expected, &polled, at).map_err(after)?;
    }
    run.stop(task)
}

fn waits<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let mut expected = run.put(3);
    let mut task = run.start_one(&StoredOffsets::default())?;
    let mut polled = Polled::default();
    run.collect(&mut *task, &expected, &mut polled)?;
    let quiet = run.driver.quiet();
    let batch = {
        let mut poll = pin!(task.poll(ROOM));
        let early = run.stage.within(quiet, poll.as_mut())?;
        expected.extend(run.stage.outside(run.driver.put(1)));
        match early {
            // A last mark may come by itself.
            Some(batch) => batch,
            None => run.stage.inside("a poll that waits while a record comes", poll)?,
        }
    };
    run.take(batch, &mut polled)?;
    run.collect(&mut *task, &expected, &mut polled)?;
    each_once(&expected, &polled.items)?;
    run.stop(task)
}

fn plans<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let expected = run.put(SOME);
    let max = NonZeroU32::MIN.saturating_add(run.chance.below(3) as u32);
    let mut tasks = run.start(&StoredOffsets::default(), max)?;
    let count = tasks.len();
    if count == 0 || count > max.get() as usize {
        return Err(format!("a plan for at most {max} tasks has {count}"));
    }
    let mut polled = Polled::default();
    let (quiet, patience) = (run.driver.quiet(), run.driver.patience());
    let mut idle = std::time::Duration::ZERO;
    while polled.items.len() < expected.len() && idle < patience {
        for task in &mut tasks {
            match run.stage.within(quiet, task.poll(Budget { records: 2, ..ROOM }))? {
                Some(batch) => {
                    run.take(batch, &mut polled)?;
                    idle = std::time::Duration::ZERO;
                }
                None => idle += quiet,
            }
        }
    }
    if run.driver.is_endless() {
        polled.items.retain(|item| expected.contains(item));
    }
    each_once(&expected, &polled.items).map_err(|why| format!("of {count} tasks: {why}"))?;
    tasks.into_iter().try_for_each(|task| run.stop(task))
}

fn own_offsets<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let mut task = run.start_one(&StoredOffsets::default())?;
    let (_, polled) = whole(run, &mut *task)?;
    for (_, partition, offset) in &polled.marks {
        run.plugin
            .check_offset(&run.config, partition, offset.as_ref())
            .map_err(|e| format!("{partition:?} at {offset:?} is refused: {e:?}"))?;
    }
    run.stop(task)
}

fn releases<D: SourceDriver>(run: &mut Run<'_, D>) -> Result<(), Problem> {
    let mark = run.driver.descriptor_mark();
    let open = || mark.as_deref().and_then(descriptors);
    let before = open();
    let expected = run.put(SOME);
    let mut task = run.start_one(&StoredOffsets::default())?;
    run.collect(&mut *task, &expected[..expected.len() / 2], &mut Polled::default())?;
    run.stop(task)?;
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
