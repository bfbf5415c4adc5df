//! Which worker runs what.
//!
//! Duty: one pure function, [`assign`], for fleets of any size.
//!
//! Invariants: every unit is placed on a worker that is there, if there is any. A unit stays where it is
//! unless its worker is gone, or moving it pays: the gap between the fullest and the emptiest worker
//! must shrink. The same input gives the same placement on every worker.
//!
//! Deliberately absent: measuring load, and waiting for a worker that may come back.

use std::collections::BTreeMap;

/// How much of a worker a unit takes.
pub(crate) type Weight = u64;

/// Places `units` on `workers`, keeping `current` where it can.
pub(crate) fn assign<W, U>(
    workers: &[W],
    units: &BTreeMap<U, Weight>,
    current: &BTreeMap<U, W>,
) -> BTreeMap<U, W>
where
    W: Clone + Ord,
    U: Clone + Ord,
{
    let mut held: BTreeMap<W, (Weight, BTreeMap<U, Weight>)> =
        workers.iter().map(|worker| (worker.clone(), Default::default())).collect();
    let mut homeless: Vec<(&U, Weight)> = Vec::new();
    for (unit, weight) in units {
        match current.get(unit).and_then(|worker| held.get_mut(worker)) {
            Some((load, kept)) => {
                *load += weight;
                kept.insert(unit.clone(), *weight);
            }
            None => homeless.push((unit, *weight)),
        }
    }
    // The heaviest first, so that the light ones level the rest.
    homeless.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    for (unit, weight) in homeless {
        if let Some((load, kept)) = held.values_mut().min_by_key(|(load, _)| *load) {
            *load += weight;
            kept.insert(unit.clone(), weight);
        }
    }
    while level(&mut held) {}
    held.into_iter()
        .flat_map(|(worker, (_, kept))| kept.into_keys().map(move |unit| (unit, worker.clone())))
        .collect()
}

/// Moves one unit from the fullest worker to the emptiest, if that narrows the gap between them.
fn level<W: Clone + Ord, U: Clone + Ord>(
    held: &mut BTreeMap<W, (Weight, BTreeMap<U, Weight>)>,
) -> bool {
    let fullest = held.iter().max_by_key(|(_, (load, _))| *load).map(|(w, (l, _))| (w.clone(), *l));
    let emptiest =
        held.iter().min_by_key(|(_, (load, _))| *load).map(|(w, (l, _))| (w.clone(), *l));
    let (Some((from, most)), Some((to, least))) = (fullest, emptiest) else { return false };
    let gap = most - least;
    // What comes closest to half the gap levels best; less than the whole gap, or nothing is won.
    let best = held[&from]
        .1
        .iter()
        .filter(|(_, weight)| **weight > 0 && **weight < gap)
        .min_by_key(|(_, weight)| (2 * **weight).abs_diff(gap))
        .map(|(unit, weight)| (unit.clone(), *weight));
    let Some((unit, weight)) = best else { return false };
    for (worker, (load, kept)) in held.iter_mut() {
        if *worker == from {
            *load -= weight;
            kept.remove(&unit);
        } else if *worker == to {
            *load += weight;
            kept.insert(unit.clone(), weight);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Placement = BTreeMap<u16, u8>;

    fn load(placement: &Placement, units: &BTreeMap<u16, Weight>, worker: u8) -> Weight {
        placement.iter().filter(|(_, w)| **w == worker).map(|(unit, _)| units[unit]).sum()
    }

    #[test]
    fn one_worker_gets_all_and_none_gets_nothing() {
        let units = BTreeMap::from([(1_u16, 1), (2, 5)]);
        assert_eq!(assign(&[7_u8], &units, &BTreeMap::new()), BTreeMap::from([(1, 7), (2, 7)]));
        assert_eq!(assign::<u8, _>(&[], &units, &BTreeMap::new()), BTreeMap::new());
    }

    #[test]
    fn a_new_worker_takes_its_part_and_a_lost_one_leaves_the_rest_alone() {
        let units: BTreeMap<u16, Weight> = (0..6).map(|unit| (unit, 10)).collect();
        let two = assign(&[1_u8, 2], &units, &BTreeMap::new());
        let three = assign(&[1, 2, 3], &units, &two);
        let moved = units.keys().filter(|unit| two[unit] != three[unit]).count();
        assert_eq!(moved, 2);
        let back = assign(&[1, 2], &units, &three);
        assert!(units.keys().all(|unit| three[unit] == 3 || three[unit] == back[unit]));
    }

    proptest! {
        #[test]
        fn placements_are_whole_sticky_and_level(
            workers in prop::collection::btree_set(0_u8..6, 1..5),
            weights in prop::collection::vec(1_u64..20, 0..30),
            current in prop::collection::vec(0_u8..6, 0..30),
        ) {
            let workers: Vec<u8> = workers.into_iter().collect();
            let units: BTreeMap<u16, Weight> = (0_u16..).zip(weights).collect();
            let current: Placement = (0_u16..).zip(current).collect();
            let placed = assign(&workers, &units, &current);
            prop_assert!(placed.keys().eq(units.keys()));
            prop_assert!(placed.values().all(|worker| workers.contains(worker)));
            let loads: Vec<_> = workers.iter().map(|w| load(&placed, &units, *w)).collect();
            let gap = loads.iter().max().unwrap() - loads.iter().min().unwrap();
            prop_assert!(gap <= *units.values().max().unwrap_or(&0), "{loads:?}");
            // Nothing changed, so nothing moves.
            prop_assert_eq!(&assign(&workers, &units, &placed), &placed);
        }
    }
}
