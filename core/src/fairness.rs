//! Shares out two limited resources between the owners of subscriptions: watcher processes (one per
//! database) and places (entries of the watchers' shared memory, one per subscription). One owner
//! with many subscriptions cannot push out the others. The same input gives the same answer, so
//! nothing is reassigned back and forth.

use std::collections::{BTreeMap, BTreeSet};

/// The databases that get a watcher, at most `limit`. Owners take turns, and each contributes its
/// database with the lowest oid first. `wanted` holds a pair of a database and an owner for each
/// enabled subscription.
pub fn databases(wanted: &BTreeSet<(u32, u32)>, limit: usize) -> BTreeSet<u32> {
    let mut by_owner = BTreeMap::<u32, Vec<u32>>::new();
    for (database, owner) in wanted {
        by_owner.entry(*owner).or_default().push(*database);
    }
    let turns = by_owner.values().map(Vec::len).max().unwrap_or(0);
    let mut chosen = BTreeSet::new();
    for turn in 0..turns {
        // Another owner may have chosen the same database already.
        for databases in by_owner.values().filter_map(|databases| databases.get(turn)) {
            if chosen.len() < limit {
                chosen.insert(*databases);
            }
        }
    }
    chosen
}

/// A subscription that has a place, or asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupant {
    pub subscription: u32,
    pub owner: u32,
    pub enabled: bool,
}

/// The place that is reassigned to `applicant` if none is free. A place of a disabled subscription
/// goes first, because nothing new happens there. Otherwise, if the applicant's owner has at least
/// two places fewer than another owner, the owner with most places gives one up. A disabled
/// applicant gets no place from others.
pub fn place_to_reassign(places: &[Occupant], applicant: Occupant) -> Option<usize> {
    if !applicant.enabled {
        return None;
    }
    let count = |owner| places.iter().filter(|place| place.owner == owner).count();
    let candidates = places.iter().enumerate();
    let (at, victim) = candidates.max_by_key(|(_, place)| {
        (!place.enabled, count(place.owner), place.owner, place.subscription)
    })?;
    let is_fair = !victim.enabled || count(victim.owner) >= count(applicant.owner) + 2;
    is_fair.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(u32, u32)]) -> BTreeSet<(u32, u32)> {
        pairs.iter().copied().collect()
    }

    fn chosen(pairs: &[(u32, u32)], limit: usize) -> Vec<u32> {
        databases(&wanted(pairs), limit).into_iter().collect()
    }

    #[test]
    fn all_databases_are_chosen_if_the_limit_allows() {
        assert!(chosen(&[], 3).is_empty());
        assert_eq!(chosen(&[(5, 10), (6, 10), (5, 11)], 3), [5, 6]);
    }

    #[test]
    fn owners_take_turns() {
        let many: Vec<_> = (1..=50).map(|database| (database, 10)).collect();
        let all = [many, vec![(60, 11), (61, 11), (62, 12)]].concat();
        assert_eq!(chosen(&all, 3), [1, 60, 62]);
        assert_eq!(chosen(&all, 5), [1, 2, 60, 61, 62]);
        assert!(chosen(&all, 0).is_empty());
    }

    #[test]
    fn more_databases_of_one_owner_take_no_turn_from_others() {
        let before = [(1, 10), (2, 10), (9, 11)];
        let after = [&before[..], &[(3, 10), (4, 10), (5, 10)]].concat();
        assert_eq!(chosen(&before, 2), [1, 9]);
        assert_eq!(chosen(&after, 2), [1, 9]);
    }

    fn occupant(subscription: u32, owner: u32, enabled: bool) -> Occupant {
        Occupant { subscription, owner, enabled }
    }

    /// Reassigns a place as the watcher does, and returns the subscription that had it.
    fn apply(places: &mut [Occupant], applicant: Occupant) -> Option<u32> {
        let at = place_to_reassign(places, applicant)?;
        Some(std::mem::replace(&mut places[at], applicant).subscription)
    }

    #[test]
    fn a_disabled_subscription_gives_its_place_to_an_enabled_one_of_any_owner() {
        let mut places: Vec<_> = (1..=64).map(|number| occupant(number, 10, false)).collect();
        assert_eq!(apply(&mut places, occupant(100, 11, true)), Some(64));
        assert_eq!(apply(&mut places, occupant(101, 10, true)), Some(63));
        assert_eq!(apply(&mut places, occupant(102, 11, false)), None);
    }

    #[test]
    fn an_owner_with_two_places_fewer_gets_one_of_the_owner_with_most() {
        let mut places: Vec<_> = (1..=8).map(|number| occupant(number, 10, true)).collect();
        places.push(occupant(20, 12, true));
        let taken = [101, 102, 103, 104, 105].map(|n| apply(&mut places, occupant(n, 11, true)));
        assert_eq!(taken, [Some(8), Some(7), Some(6), Some(5), None]);
        assert!(places.contains(&occupant(20, 12, true)), "who has least loses nothing");
    }

    /// All subscriptions ask again and again. Some places are reassigned at first, then none.
    #[test]
    fn no_place_is_reassigned_back_and_forth() {
        let mut all: Vec<_> = (0..90).map(|n| occupant(n, n / 40, n % 7 != 0)).collect();
        all.extend((90..100).map(|n| occupant(n, n, true)));
        let mut places = all[..64].to_vec();
        let mut moves = 0;
        for _ in 0..20 {
            moves = 0;
            for applicant in &all {
                if !places.contains(applicant) && apply(&mut places, *applicant).is_some() {
                    moves += 1;
                }
            }
        }
        assert_eq!(moves, 0);
        let count = |owner| places.iter().filter(|place| place.owner == owner).count();
        assert!((90..100).all(|owner| count(owner) == 1));
        assert!(places.iter().all(|place| place.enabled));
    }
}
