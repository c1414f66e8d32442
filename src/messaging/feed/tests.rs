use uuid::Uuid;

use super::*;
use crate::model::{MessageGroupUuid, UserUuid};

const DAY: i64 = 24 * 3600 * 1000;

fn owner() -> UserUuid {
    UserUuid(Uuid::from_u128(1))
}

/// Entries at these positions with one event each.
fn entries(positions: impl IntoIterator<Item = u64>) -> Vec<FeedEntry> {
    let entry = |position| FeedEntry {
        owner: owner(),
        position,
        id: format!("id{position}"),
        events: position,
        written_at: 0,
        expires_at: None,
        content: FeedContent::Reset(MessageGroupUuid(Uuid::from_u128(2))),
    };
    positions.into_iter().map(entry).collect()
}

fn cursor(position: u64, id: &str, through: Through) -> FeedCursor {
    let entry = Some(EntryName { position, id: id.to_owned(), through });
    FeedCursor { owner: owner(), entry, since: 0, pace: Pace::default() }
}

fn of_empty_feed() -> FeedCursor {
    FeedCursor::at_end(owner(), None, 0)
}

/// The positions of a page, whether it ends at a gap, and whether it has a next page.
fn page(after: Option<&FeedCursor>, read: &[FeedEntry], more: bool, size: usize) -> (Vec<u64>, bool, bool) {
    let start = start(after, read).expect("a start");
    let Selected { events, ends_at_gap, has_next } = select(&start, more, size);
    (events.iter().map(|(entry, _)| entry.position).collect(), ends_at_gap, has_next)
}

#[test]
fn a_page_starts_after_the_entry_of_its_cursor() {
    let read = entries(7..=10);
    for through in [Through::Events(1), Through::End] {
        let after = cursor(7, "id7", through);
        assert_eq!(start(Some(&after), &read).map(|start| (start.skip, start.events_before)), Ok((1, 7)));
        assert_eq!(page(Some(&after), &read, false, 3), (vec![8, 9, 10], false, false));
        assert_eq!(page(Some(&after), &read, false, 2), (vec![8, 9], false, true));
        assert_eq!(page(Some(&after), &read[..1], false, 2), (vec![], false, false));
    }
    assert_eq!(page(Some(&of_empty_feed()), &entries(1..=2), false, 2), (vec![1, 2], false, false));
    assert_eq!(page(None, &read, false, 2), (vec![7, 8], false, true));
    for after in [None, Some(&of_empty_feed())] {
        assert_eq!(page(after, &[], false, 2), (vec![], false, false));
    }
}

#[test]
fn a_page_does_not_start_after_an_entry_that_is_gone_or_replaced() {
    let stop = |after: &FeedCursor, positions: &[u64]| start(Some(after), &entries(positions.iter().copied())).err();
    let expired = Some(Stop::Reset(FeedResetReason::Expired));
    assert_eq!(stop(&cursor(7, "id7", Through::End), &[8, 9]), expired);
    assert_eq!(stop(&cursor(7, "id7", Through::End), &[]), expired);
    assert_eq!(stop(&of_empty_feed(), &[2, 3]), expired);
    let changed = Some(Stop::Reset(FeedResetReason::HistoryChanged));
    assert_eq!(stop(&cursor(7, "other", Through::End), &[7, 8]), changed);
    assert_eq!(stop(&cursor(7, "id7", Through::Events(2)), &[7, 8]), Some(Stop::CursorInvalid));
}

#[test]
fn a_page_ends_at_a_gap_if_it_has_room_to_say_so() {
    let after = cursor(7, "id7", Through::End);
    let read = entries([7, 8, 9, 11]);
    assert_eq!(page(Some(&after), &read, true, 3), (vec![8, 9], true, false));
    assert_eq!(page(Some(&after), &read, true, 2), (vec![8, 9], false, true));
    assert_eq!(page(Some(&after), &read, true, 1), (vec![8], false, true));
    let after = cursor(9, "id9", Through::End);
    assert_eq!(page(Some(&after), &read[2..], false, 2), (vec![], true, false));
}

#[test]
fn without_a_cursor_the_feed_begins_after_the_last_gap() {
    let read = entries([3, 5, 6, 9, 10, 11]);
    assert_eq!(page(None, &read, false, 5), (vec![9, 10, 11], false, false));
    assert_eq!(start(None, &read).map(|start| start.events_before), Ok(8));
}

#[test]
fn a_short_read_has_a_next_page_if_entries_follow() {
    let after = cursor(7, "id7", Through::End);
    assert_eq!(page(Some(&after), &entries([7, 8]), true, 5), (vec![8], false, true));
}

#[test]
fn a_cursor_expires_a_day_before_the_entries_after_it() {
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
    for (retention, age, expected) in [
        (days(30), 29 * DAY, false),
        (days(30), 29 * DAY + 1, true),
        (days(1), DAY / 2, false),
        (days(1), DAY / 2 + 1, true),
        (days(30), -DAY, false),
        (None, 10_000 * DAY, false),
        (days(36_500), i64::MAX, true),
    ] {
        assert_eq!(is_expired(0, age, retention), expected, "{retention:?} {age}");
    }
    assert!(!is_expired(i64::MAX, i64::MIN, days(1)));
}

#[test]
fn a_page_of_a_feed_has_an_event_and_at_most_a_hundred() {
    for (first, expected) in [(None, Some(50)), (Some(1), Some(1)), (Some(100), Some(100))] {
        assert_eq!(page_size(first).ok(), expected);
    }
    for size in [0, 101, -1, i32::MIN, i32::MAX] {
        assert_eq!(page_size(Some(size)).map_err(|error| error.reason()), Err("page_size_invalid"), "{size}");
    }
    let error = page_size(Some(0)).map_err(|error| error.to_string());
    assert_eq!(error, Err("`first` must be between 1 and 100, got 0.".to_owned()));
}
