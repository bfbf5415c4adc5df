//! Each decision alone. What they make together is simulated in `tests/main/sim.rs`.

use super::*;

fn intent(path: &str, start: i64, end: i64, nonce: &str) -> Intent {
    Intent { path: path.into(), start, end, step: 0, nonce: nonce.into(), first: 7 }
}

fn mark(writer: &str, nonce: &str, start: i64, end: Option<i64>, first: u32) -> Mark {
    Mark { writer: writer.into(), nonce: nonce.into(), start, end, first }
}

#[test]
fn a_group_is_stored_and_read_back_in_chunks() {
    let of = TopicPartition::new("t", 3);
    let long = "x".repeat(900);
    let intents: Vec<_> =
        (0..1000).map(|n| intent(&format!("{long}/{n}"), n, n + 5, &format!("n{n}"))).collect();
    let group = Group { writer: "w".into(), turn: 6, end: 1005, span: 1005, intents };
    let states = group.to_states(&of);
    assert!(states.len() > 4, "{}", states.len());
    let stored: Vec<(OffsetMap, OffsetMap)> = states;
    let get = |key: &OffsetMap| stored.iter().find(|(k, _)| k == key).map(|(_, v)| v);
    let head = get(&Group::head_key(&of, 6)).unwrap();
    let (mut read, chunks) = Group::from_head(&of, head).unwrap();
    for key in &chunks {
        read.add_chunk(head, get(key).unwrap());
    }
    assert_eq!(read, group);
    let other = Group { intents: vec![intent("p", 0, 1, "other")], ..group };
    let mut read = Group::from_head(&of, head).unwrap().0;
    read.add_chunk(head, &other.to_states(&of)[0].1);
    assert_eq!(read.intents, []);
}

#[test]
fn links_are_stored_and_bounded() {
    let mut links = Links::default();
    for n in 0..2 * LINKS as i64 {
        links.add(&format!("n{n}").into(), n);
    }
    let read = Links::from_state(&links.to_state(3)).unwrap();
    assert_eq!((read.turn, &read.ends), (3, &links.ends));
    assert_eq!(read.end_of("n0"), None);
    assert_eq!(read.end_of("n1023"), Some(1023));
    let later: [(&str, i64); 1] = [("v", 2)];
    assert!(Links::from_state(&OffsetMap::of(later)).is_err());
}

#[test]
fn a_name_is_judged_by_writer_start_and_first_record() {
    let mut links = Links::default();
    links.add(&"big".into(), 40);
    let writer: Arc<str> = "w".into();
    let front = Front { writer: &writer, start: 10, first: 7 };
    let judge = |mark: Option<Mark>, exists| judge_name(mark.as_ref(), exists, &front, &links);
    assert_eq!(judge(None, false), Verdict::Free);
    assert_eq!(judge(None, true), Verdict::Taken);
    assert_eq!(judge(Some(mark("w", "n", 10, Some(20), 7)), true), Verdict::Held(20));
    assert_eq!(judge(Some(mark("w", "big", 10, None, 7)), true), Verdict::Held(40));
    for other in [
        mark("other", "n", 10, Some(20), 7),
        mark("w", "n", 9, Some(20), 7),
        mark("w", "n", 10, Some(20), 8),
    ] {
        assert_eq!(judge(Some(other.clone()), true), Verdict::Taken, "{other:?}");
    }
    let unknown = mark("w", "unknown", 10, None, 7);
    assert_eq!(judge(Some(unknown), true), Verdict::HeldSomehow);
}

#[test]
fn an_unclear_outcome_is_judged_by_the_nonce() {
    let links = Links::default();
    let writer: Arc<str> = "w".into();
    let front = Front { writer: &writer, start: 10, first: 7 };
    let intent = intent("p", 10, 20, "mine");
    let judge =
        |mark: Option<Mark>, exists| judge_outcome(mark.as_ref(), exists, &intent, &front, &links);
    assert_eq!(judge(None, false), Outcome::Absent);
    assert_eq!(judge(None, true), Outcome::Taken);
    assert_eq!(judge(Some(mark("w", "mine", 10, None, 7)), true), Outcome::Complete);
    assert_eq!(judge(Some(mark("w", "late", 10, Some(20), 7)), true), Outcome::Complete);
    assert_eq!(judge(Some(mark("w", "late", 10, Some(15), 7)), true), Outcome::Overtaken);
    assert_eq!(judge(Some(mark("w", "late", 10, None, 7)), true), Outcome::Overtaken);
    assert_eq!(judge(Some(mark("other", "late", 10, Some(20), 7)), true), Outcome::Taken);
}

#[test]
fn what_is_held_depends_on_the_first_record_if_that_comes_by() {
    let path: Arc<str> = "p".into();
    let mut held = Held::default();
    held.add(&path, 10, 20, Some(7));
    assert!(!held.holds("p", 9, || 0) && !held.holds("p", 20, || 0) && !held.holds("q", 10, || 7));
    assert!(held.holds("p", 10, || 7));
    assert!(held.holds("p", 15, || 0));
    held.add(&path, 30, 40, Some(7));
    assert!(!held.holds("p", 30, || 8), "the record of another topic");
    assert!(!held.holds("p", 35, || 0));
    // Another topic may have no record of this path at the offset.
    held.add(&path, 50, 60, Some(7));
    assert!(!held.holds("p", 55, || 7));
    // Reading goes on behind the first record: there is nothing to compare.
    held.add(&path, 70, 80, None);
    assert!(held.holds("p", 75, || 0));
}

#[test]
fn instances_take_turns_and_know_what_all_have_stored() {
    let group = |turn: i64, end: i64, span: i64, nonce: &str| {
        let intents = vec![intent("p", end - 1, end, nonce)];
        Group { writer: format!("w{turn}").into(), turn, end, span, intents }
    };
    let first = Group::next_turn(None, "new".into());
    assert_eq!((&*first.writer, first.turn, first.end), ("new", 1, 0));
    let of = TopicPartition::new("t", 0);
    let (key, claim) = first.to_claim(&of, "me");
    assert_eq!((key, claim.get_str("id")), (Group::claim_key(&of, 1 + TURNS), Some("me")));
    assert_eq!(Group::from_head(&of, &claim).unwrap(), (first, Vec::new()));
    let all = Group::merged([group(5, 10, 3, "a"), group(2, 40, 9, "b"), group(3, 20, 4, "c")]);
    let all = all.unwrap();
    assert_eq!((&*all.writer, all.turn, all.end, all.span), ("w5", 5, 40, 9));
    assert_eq!(all.intents.len(), 3);
    let next = Group::next_turn(Some(&all), "new".into());
    assert_eq!((&*next.writer, next.turn, next.end, next.span), ("w5", 6, 40, 9));
    assert_eq!(Group::merged([]), None);
    let keys: Vec<_> = (0..TURNS).map(|turn| Group::head_key(&of, turn)).collect();
    assert!(keys.contains(&Group::head_key(&of, 7)) && keys[0] != keys[1]);
    let mut links = Links::default();
    links.add(&"a".into(), 1);
    let mut later = Links::default();
    later.add(&"a".into(), 1);
    later.add(&"b".into(), 2);
    let stored = |links: &Links, turn| Links::from_state(&links.to_state(turn)).unwrap();
    let merged = Links::merged(vec![stored(&later, 9), stored(&links, 8)]);
    assert_eq!(merged.ends, later.ends);
}
