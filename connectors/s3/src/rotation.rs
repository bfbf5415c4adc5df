//! When the open files of a partition are completed.
//!
//! Duty: a pure machine that is told of each record and of the time, and answers whether the open
//! files must be completed before it, after it, or now. All open files of a Kafka partition are
//! completed together, since an offset can only be committed when everything before it is durable.
//!
//! Invariant: without a wall clock in the settings ([`Settings::clock`]) the answers depend on the
//! records alone, so that a replay cuts at the same places.

use crate::joda::Zone;

const DAY_MS: i64 = 86_400_000;

/// What decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Records over all open files.
    pub flush_size: Option<u64>,
    /// Records in any one open file.
    pub file_records: Option<u64>,
    /// The span of record time that a set of files may cover, in milliseconds.
    pub interval_ms: Option<i64>,
    /// The interval counts the wall clock, because the records' time is the wall clock.
    pub interval_by_clock: bool,
    /// With an interval, a record for another path than the one before it starts new files.
    pub on_path_change: bool,
    /// Complete at fixed times of the day.
    pub schedule: Option<Schedule>,
    /// Complete so long after the first record by the wall clock, in milliseconds.
    pub age_ms: Option<i64>,
    /// The most files open at once.
    pub max_open: Option<usize>,
}

/// Times of the day that are multiples of an interval after midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The interval, in milliseconds.
    pub interval_ms: i64,
    /// Where midnight is.
    pub zone: Zone,
}

impl Schedule {
    /// The next such time after `now`; midnight is always one, however long the day is.
    #[must_use]
    pub fn next(&self, now: i64) -> i64 {
        let (midnight, tomorrow) = self.day_of(now).unwrap_or((now, now.saturating_add(DAY_MS)));
        let periods = (now - midnight).div_euclid(self.interval_ms) + 1;
        let next = midnight.saturating_add(periods.saturating_mul(self.interval_ms));
        next.min(tomorrow).max(now.saturating_add(1))
    }

    /// Midnight before and after `now`.
    fn day_of(&self, now: i64) -> Option<(i64, i64)> {
        let local = now.checked_add(self.zone.offset_millis_at(now)?)?;
        let midnight = local.div_euclid(DAY_MS) * DAY_MS;
        Some((self.zone.local_to_utc(midnight)?, self.zone.local_to_utc(midnight + DAY_MS)?))
    }
}

impl Settings {
    /// Which setting makes the bounds of files depend on the wall clock, if one does.
    #[must_use]
    pub fn clock(&self) -> Option<Clocked> {
        if self.schedule.is_some() {
            Some(Clocked::Schedule)
        } else if self.age_ms.is_some() {
            Some(Clocked::Age)
        } else if self.interval_by_clock && self.interval_ms.is_some() {
            Some(Clocked::Interval)
        } else {
            None
        }
    }
}

/// A setting that looks at the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocked {
    /// [`Settings::schedule`].
    Schedule,
    /// [`Settings::age_ms`].
    Age,
    /// [`Settings::interval_ms`] with [`Settings::interval_by_clock`].
    Interval,
}

/// A record that is about to be written.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its file, if that is open.
    pub file: Option<usize>,
    /// Its own time, if the partitioner knows it.
    pub time: Option<i64>,
    /// The wall clock.
    pub now: i64,
    /// How many files are open.
    pub open: usize,
}

/// The machine of one partition.
#[derive(Debug)]
pub struct Rotation {
    settings: Settings,
    records: u64,
    base: Option<i64>,
    current: Option<usize>,
    scheduled: Option<i64>,
    first_at: Option<i64>,
}

impl Rotation {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, records: 0, base: None, current: None, scheduled: None, first_at: None }
    }

    /// Whether the open files must be completed before the record of `arrival` is written.
    #[must_use]
    pub fn before(&self, arrival: &Arrival) -> bool {
        if self.records == 0 {
            return false;
        }
        let interval = self.settings.interval_ms.is_some_and(|interval| {
            let time =
                if self.settings.interval_by_clock { Some(arrival.now) } else { arrival.time };
            let passed = time.zip(self.base).is_some_and(|(time, base)| time - base >= interval);
            let changed = self.settings.on_path_change
                && arrival.time.is_some()
                && (arrival.file.is_none() || arrival.file != self.current);
            passed || changed
        });
        let full = arrival.file.is_none()
            && self.settings.max_open.is_some_and(|most| arrival.open >= most);
        interval || full || self.due(arrival.now)
    }

    /// The record of `arrival` was written to `file`, which now has `file_records`. Answers whether
    /// the open files must be completed.
    #[must_use]
    pub fn after(&mut self, arrival: &Arrival, file: usize, file_records: u64) -> bool {
        self.records += 1;
        self.current = Some(file);
        if self.records == 1 {
            self.base =
                if self.settings.interval_by_clock { Some(arrival.now) } else { arrival.time };
            self.first_at = Some(arrival.now);
            self.scheduled = self.settings.schedule.as_ref().map(|s| s.next(arrival.now));
        }
        self.settings.flush_size.is_some_and(|most| self.records >= most)
            || self.settings.file_records.is_some_and(|most| file_records >= most)
    }

    /// Whether the wall clock says that the open files must be completed.
    #[must_use]
    pub fn due(&self, now: i64) -> bool {
        self.wake_at().is_some_and(|at| now >= at)
    }

    /// When [`Rotation::due`] becomes true, if no record comes before.
    #[must_use]
    pub fn wake_at(&self) -> Option<i64> {
        let after_first = |ms: Option<i64>| Some(self.first_at?.saturating_add(ms?));
        let interval = self.settings.interval_ms.filter(|_| self.settings.interval_by_clock);
        [self.scheduled, after_first(self.settings.age_ms), after_first(interval)]
            .into_iter()
            .flatten()
            .min()
    }

    /// The open files were handed over to be completed.
    pub fn reset(&mut self) {
        (self.records, self.base, self.current) = (0, None, None);
        (self.scheduled, self.first_at) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    /// Feeds (path, record time, wall clock) and gives the cuts: how many records each set of files
    /// holds.
    fn cuts(settings: &Settings, records: &[(usize, Option<i64>, i64)]) -> Vec<u64> {
        let mut rotation = Rotation::new(settings.clone());
        let mut files: Vec<(usize, u64)> = Vec::new();
        let mut cuts = Vec::new();
        for (path, time, now) in records {
            let place = |files: &[(usize, u64)]| files.iter().position(|(p, _)| p == path);
            let arrival =
                Arrival { file: place(&files), time: *time, now: *now, open: files.len() };
            if rotation.before(&arrival) {
                cuts.push(files.drain(..).map(|(_, n)| n).sum());
                rotation.reset();
            }
            let file = place(&files).unwrap_or_else(|| {
                files.push((*path, 0));
                files.len() - 1
            });
            files[file].1 += 1;
            if rotation.after(&arrival, file, files[file].1) {
                cuts.push(files.drain(..).map(|(_, n)| n).sum());
                rotation.reset();
            }
        }
        cuts.push(files.drain(..).map(|(_, n)| n).sum());
        cuts
    }

    fn timed(times: &[i64]) -> Vec<(usize, Option<i64>, i64)> {
        times.iter().map(|t| (0, Some(*t), 0)).collect()
    }

    #[test]
    fn flush_size_counts_over_all_open_files() {
        let settings = Settings { flush_size: Some(3), ..Settings::default() };
        let records: Vec<_> = [0, 1, 2, 0, 0, 1, 1].map(|p| (p, None, 0)).into();
        assert_eq!(cuts(&settings, &records), [3, 3, 1]);
    }

    #[test]
    fn one_full_file_completes_all() {
        let settings = Settings { file_records: Some(2), ..Settings::default() };
        let records: Vec<_> = [0, 1, 2, 1, 0].map(|p| (p, None, 0)).into();
        assert_eq!(cuts(&settings, &records), [4, 1]);
    }

    #[test]
    fn interval_follows_the_time_of_records() {
        let settings = Settings { interval_ms: Some(10), ..Settings::default() };
        assert_eq!(cuts(&settings, &timed(&[0, 9, 5, 10, 12, 19, 20, 40])), [3, 3, 1, 1]);
    }

    #[test]
    fn a_change_of_path_cuts_only_with_an_interval() {
        let records: Vec<_> = [0, 0, 1, 1, 0].map(|p| (p, Some(0), 0)).into();
        let mut settings = Settings { on_path_change: true, ..Settings::default() };
        assert_eq!(cuts(&settings, &records), [5]);
        settings.interval_ms = Some(10);
        assert_eq!(cuts(&settings, &records), [2, 2, 1]);
        settings.on_path_change = false;
        assert_eq!(cuts(&settings, &records), [5]);
    }

    #[test]
    fn max_open_files_cuts_before_one_more() {
        let settings = Settings { max_open: Some(2), ..Settings::default() };
        let records: Vec<_> = [0, 1, 0, 2, 2, 0, 1].map(|p| (p, None, 0)).into();
        assert_eq!(cuts(&settings, &records), [3, 3, 1]);
    }

    #[test]
    fn the_clock_cuts_by_schedule_age_and_interval() {
        let records: Vec<_> = [1, 5, 10, 11, 35].map(|now| (0, Some(0), now * MINUTE)).into();
        let schedule = Schedule { interval_ms: 10 * MINUTE, zone: Zone::UTC };
        let settings = Settings { schedule: Some(schedule), ..Settings::default() };
        assert_eq!(cuts(&settings, &records), [2, 2, 1]);
        let settings = Settings { age_ms: Some(10 * MINUTE), ..Settings::default() };
        assert_eq!(cuts(&settings, &records), [3, 1, 1]);
        let settings = Settings {
            interval_ms: Some(9 * MINUTE),
            interval_by_clock: true,
            ..Settings::default()
        };
        assert_eq!(cuts(&settings, &records), [2, 2, 1]);
        let mut rotation = Rotation::new(settings);
        assert_eq!(rotation.wake_at(), None);
        let arrival = Arrival { file: None, time: Some(0), now: 7, open: 0 };
        assert!(!rotation.after(&arrival, 0, 1));
        assert_eq!(rotation.wake_at(), Some(7 + 9 * MINUTE));
    }

    #[test]
    fn schedules_start_at_midnight_of_the_zone() {
        let kolkata = Zone::for_id("Asia/Kolkata").unwrap();
        let next = |minutes: i64, now: i64, zone| {
            Schedule { interval_ms: minutes * MINUTE, zone }.next(now * MINUTE)
        };
        assert_eq!(next(60, 0, Zone::UTC), 60 * MINUTE);
        assert_eq!(next(60, 60, Zone::UTC), 120 * MINUTE);
        // 05:30 local at the epoch: the next full hour is half an hour away.
        assert_eq!(next(60, 0, kolkata), 30 * MINUTE);
        // The last period of a day ends at midnight however short it is.
        assert_eq!(next(7 * 60, 22 * 60, Zone::UTC), 24 * 60 * MINUTE);
        // Longer than a day is a day.
        assert_eq!(next(48 * 60, 22 * 60, Zone::UTC), 24 * 60 * MINUTE);
        assert_eq!(next(i64::MAX / MINUTE, 1, Zone::UTC), 24 * 60 * MINUTE);
    }

    /// Days on which clocks are changed have 23 or 25 hours; the original counts them from midnight to
    /// midnight.
    #[test]
    fn schedules_know_how_long_a_day_is() {
        const HOUR: i64 = 60 * MINUTE;
        let new_york = Zone::for_id("America/New_York").unwrap();
        let next =
            |hours: i64, now: i64| Schedule { interval_ms: hours * HOUR, zone: new_york }.next(now);
        // 2024-11-03T00:00-04:00, and 25 hours later.
        let (long, after) = (1_730_606_400_000, 1_730_696_400_000);
        assert_eq!(next(1, after - HOUR / 2), after);
        assert_eq!(next(1, after - 1), after);
        assert_eq!(next(7, long + 22 * HOUR), after);
        assert_eq!(next(24, long + HOUR), long + 24 * HOUR);
        assert_eq!(next(1, after), after + HOUR);
        // 2024-03-10T00:00-05:00, and 23 hours later.
        let (short, after) = (1_710_046_800_000, 1_710_129_600_000);
        assert_eq!(next(7, short + 22 * HOUR), after);
        assert_eq!(next(24, short), after);
        // In Beirut, 2024-03-31 began at one o'clock.
        let beirut = Zone::for_id("Asia/Beirut").unwrap();
        let schedule = Schedule { interval_ms: 6 * HOUR, zone: beirut };
        let one = 1_711_836_000_000;
        assert_eq!(schedule.next(one - 1), one);
        assert_eq!(schedule.next(one), one + 6 * HOUR);
    }

    proptest! {
        #[test]
        fn every_record_is_in_exactly_one_set(
            flush in prop::option::of(1..9_u64),
            interval in prop::option::of(1..40_i64),
            change: bool,
            max_open in prop::option::of(1..4_usize),
            records in prop::collection::vec((0..5_usize, 0..100_i64), 0..80),
        ) {
            let settings = Settings {
                flush_size: flush, interval_ms: interval, on_path_change: change, max_open,
                ..Settings::default()
            };
            prop_assert_eq!(settings.clock(), None);
            let records: Vec<_> = records.into_iter().map(|(p, t)| (p, Some(t), 0)).collect();
            let cut = cuts(&settings, &records);
            prop_assert_eq!(cut.iter().sum::<u64>(), records.len() as u64);
            if let Some(flush) = flush {
                prop_assert!(cut.iter().all(|n| *n <= flush));
            }
            // A replay from any cut goes on with the same cuts, whatever the clock says.
            let first = usize::try_from(cut[0]).unwrap();
            let later: Vec<_> = records[first..].iter().map(|(p, t, _)| (*p, *t, 77)).collect();
            if cut.len() > 1 {
                prop_assert_eq!(&cuts(&settings, &later)[..], &cut[1..]);
            }
        }

        #[test]
        fn the_next_time_is_later_and_within_a_day(now in 0..2_000_000_000_000_i64, hours in 1..30_i64) {
            for id in ["UTC", "America/New_York", "Australia/Lord_Howe", "+05:45"] {
                let zone = Zone::for_id(id).unwrap();
                let next = Schedule { interval_ms: hours * 60 * MINUTE, zone }.next(now);
                prop_assert!(next > now && next <= now + DAY_MS + 2 * 60 * MINUTE);
            }
        }
    }
}
