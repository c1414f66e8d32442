//! The feed, pulled page by page: every message once and in order, or a reset.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use cruddur_messaging::messages_table::feed::{FedMessage, FedMessages, FeedContent, FeedEntry};
use cruddur_messaging::messages_table::{Applied, Reading, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{FEED, GROUPS, MESSAGES, code_and_reason, text_of};
use crate::harness::fault_proxy::INDEX_QUERY;
use crate::harness::{Client, Pair, Server, TABLE, TestUser, World, test, user};

const DAY_MS: i64 = 24 * 3600 * 1000;

fn null() -> Value {
    Value::Null
}

/// A world with a server, for tests that write the entries of a feed themselves.
pub struct Log {
    pub world: World,
    pub server: Server,
    pub ana: TestUser,
    ben: TestUser,
    group: MessageGroupUuid,
    /// When the entries were written: an hour ago.
    written_at: i64,
}

impl Log {
    pub async fn new() -> Self {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let written_at = Utc::now().timestamp_millis() - 3_600_000;
        Self { world, server, ana, ben, group: MessageGroupUuid(Uuid::new_v4()), written_at }
    }

    pub fn client(&self) -> Client {
        self.server.client(&self.ana)
    }

    /// The content of an entry in ana's feed: messages of ben with these numbers as their bodies.
    pub fn messages(&self, numbers: std::ops::Range<u64>) -> FeedContent {
        let message = |number: u64| {
            let uuid = MessageUuid(Uuid::from_u128(number.into()));
            let sort_key = SortKey::of_message(Utc::now(), uuid);
            FedMessage { sort_key, uuid, body: number.to_string(), is_own: false }
        };
        FeedContent::Messages(
            FedMessages {
                group: self.group,
                other: self.ben.participant(),
                messages: numbers.map(message).collect(),
                newer: None,
                reading: Reading::default(),
            }
            .into(),
        )
    }

    /// Appends entries to ana's feed, which has `events` events in `position` entries.
    pub async fn append(&self, mut position: u64, mut events: u64, contents: Vec<FeedContent>) {
        let mut entries = Vec::new();
        for content in contents {
            position += 1;
            events += content.events();
            let written_at = self.written_at;
            let id = Uuid::new_v4().simple().to_string();
            entries.push(FeedEntry {
                owner: self.ana.uuid(),
                position,
                id,
                events,
                written_at,
                expires_at: None,
                content,
            });
        }
        for some in entries.chunks(50) {
            assert_eq!(self.world.table.apply(&[], some).await.expect("entries"), Applied::Done);
        }
    }

    /// Appends entries with one message each, whose bodies are numbers.
    pub async fn append_singles(&self, numbers: std::ops::Range<u64>) {
        let contents = numbers.clone().map(|number| self.messages(number..number + 1)).collect();
        self.append(numbers.start, numbers.start, contents).await;
    }

    /// Deletes an entry, as DynamoDB does when it has expired.
    pub async fn delete(&self, position: u64) {
        let request = self.world.aws.dynamodb.delete_item().table_name(TABLE);
        let request = request.key("pk", text(format!("FEED#{}", self.ana.uuid())));
        request.key("sk", text(format!("{position:016}"))).send().await.expect("a delete");
    }

    /// The reason of the only event after a cursor. Its cursor is at the end of the feed.
    async fn reset_after(&self, after: &Value) -> String {
        let page = self.client().feed(after, 100).await;
        assert_eq!(page.events.len(), 1, "{:?}", page.events);
        assert_eq!(page.events[0]["__typename"], "FeedReset");
        assert_eq!((&page.events[0]["cursor"], page.has_next), (&page.end, false));
        text_of(&page.events[0]).to_owned()
    }
}

fn text(value: String) -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::S(value)
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// The words of a cursor: kind, user, time, two of the pace, position, events, id.
fn words(cursor: &Value) -> Vec<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.as_str().expect("a cursor")).expect("base64");
    String::from_utf8(bytes).expect("text").split(' ').map(str::to_owned).collect()
}

/// The cursor with another word.
pub fn forged(cursor: &Value, word: usize, value: impl ToString) -> Value {
    let mut words = words(cursor);
    words[word] = value.to_string();
    json!(URL_SAFE_NO_PAD.encode(words.join(" ")))
}

#[test]
fn every_message_is_in_the_feed_of_both_participants_once_and_in_order() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let _consumer = world.consumer();
        let [ana, ben, chloe] = [user("ana").await, user("ben").await, user("chloe").await];
        let [of_ana, of_ben, of_chloe] = [&ana, &ben, &chloe].map(|user| server.client(user));
        let start = of_ana.feed(&null(), 50).await;
        assert_eq!((&start.events, start.has_next), (&vec![], false));

        let group = of_ana.send_to(&ben, "one").await["messageGroup"]["uuid"].clone();
        of_ben.send(json!({ "messageGroupUuid": group }), "two").await;
        of_chloe.send_to(&ana, "three").await;
        of_ana.send(json!({ "messageGroupUuid": group }), "four").await;

        let all = of_ana.next_events(&start.end, 4).await;
        let sent: Vec<&Value> = all.events.iter().map(|event| &event["message"]).collect();
        let history = of_ana.data(MESSAGES, json!({ "group": group })).await["messages"]["nodes"].clone();
        let in_group: Vec<&Value> =
            sent.iter().filter(|it| it["messageGroupUuid"] == group).map(|it| &it["uuid"]).collect();
        let expected: Vec<&Value> = history.as_array().expect("nodes").iter().map(|it| &it["uuid"]).collect();
        assert_eq!(in_group, expected);
        assert_eq!(all.texts().iter().filter(|text| **text == "three").count(), 1);
        assert_eq!(of_ben.next_events(&null(), 3).await.texts(), ["one", "two", "four"]);
        assert_eq!(of_chloe.next_events(&null(), 1).await.texts(), ["three"]);

        // Pages of each size, from each event on, have the same events.
        for size in 1..=5 {
            assert_eq!(of_ana.feed_after(&start.end, size).await.events, all.events, "pages of {size}");
            assert_eq!(of_ana.feed_after(&null(), size).await.events, all.events, "pages of {size}");
        }
        for (index, event) in all.events.iter().enumerate() {
            assert_eq!(of_ana.feed_after(&event["cursor"], 2).await.events, all.events[index + 1..]);
        }

        // At the end, the cursor stays valid, and the next message follows it.
        let end = of_ana.feed(&all.end, 1).await;
        assert_eq!((&end.events, end.has_next), (&vec![], false));
        of_chloe.send_to(&ana, "five").await;
        for after in [&all.end, &end.end] {
            assert_eq!(of_ana.next_events(after, 1).await.texts(), ["five"]);
        }
        // Another server continues from the same cursors.
        let other = world.server().await.client(&ana);
        assert_eq!(other.feed(&all.events[3]["cursor"], 5).await.texts(), ["five"]);
    });
}

#[test]
fn an_event_shows_the_group_after_the_message() {
    test(async {
        let pair = Pair::new().await;
        let Pair { ana, ben, of_ana, of_ben, .. } = &pair;
        let sent = of_ana.send_to(ben, "one").await;
        let first = of_ben.next_events(&null(), 1).await;
        let event = &first.events[0];
        let author = json!({ "handle": ana.handle() });
        let message = &event["message"];
        assert_eq!(message["uuid"], sent["message"]["uuid"]);
        assert_eq!(message["createdAt"], sent["message"]["createdAt"]);
        assert_eq!(message["author"], author);
        let group = &event["messageGroup"];
        let expected = json!({
            "uuid": sent["messageGroup"]["uuid"],
            "unreadCount": 1,
            "readCursor": null,
            "lastMessageAt": sent["message"]["createdAt"],
            "otherParticipant": author,
            "participants": [{ "handle": ben.handle() }, author],
            "lastMessage": { "uuid": sent["message"]["uuid"], "body": "one", "author": author },
        });
        assert_eq!(group, &expected);
        // The author has read it.
        let own = &of_ana.next_events(&null(), 1).await.events[0];
        assert_eq!(own["messageGroup"]["unreadCount"], 0);
        assert_eq!(own["messageGroup"]["readCursor"], own["message"]["cursor"]);
        assert_eq!(own["messageGroup"]["otherParticipant"]["handle"], ben.handle());

        // The event keeps the state of its time.
        of_ben.send_to(ana, "two").await;
        let all = of_ben.next_events(&null(), 2).await;
        assert_eq!(&all.events[0], event);
        assert_eq!(all.events[1]["messageGroup"]["unreadCount"], 0);
        assert_eq!(all.events[1]["messageGroup"]["lastMessage"]["body"], "two");
    });
}

#[test]
fn bad_input_is_rejected() {
    test(async {
        let log = Log::new().await;
        log.append_singles(0..3).await;
        let (of_ana, of_ben) = (log.client(), log.server.client(&log.ben));
        let page = of_ana.feed(&null(), 2).await;
        let group = of_ana.send_to(&log.ben, "hello").await["messageGroup"]["uuid"].clone();
        let of_group = of_ana.data(GROUPS, json!({})).await["messageGroups"]["edges"][0]["cursor"].clone();
        let of_message =
            of_ana.data(MESSAGES, json!({ "group": group })).await["messages"]["edges"][0]["cursor"].clone();
        let cursor = page.events[0]["cursor"].clone();
        let invalid = || ("BAD_USER_INPUT".to_owned(), Some("cursor_invalid".to_owned()));
        let foreign = of_ben.feed(&null(), 2).await.end;
        for after in [
            json!(""),
            json!("nonsense"),
            json!("é"),
            json!(format!("{}=", cursor.as_str().expect("a cursor"))),
            of_group,
            of_message,
            foreign,
            forged(&cursor, 0, "f0"),
            forged(&cursor, 1, log.ben.uuid()),
            forged(&cursor, 2, "yesterday"),
            forged(&cursor, 5, 0),
            forged(&cursor, 5, -1),
            forged(&cursor, 6, 0),
            forged(&cursor, 6, 2),
            forged(&cursor, 6, u64::MAX),
        ] {
            assert_eq!(of_ana.error(FEED, json!({ "after": after })).await, invalid(), "{after}");
        }
        // A cursor of ana is invalid for ben.
        assert_eq!(of_ben.error(FEED, json!({ "after": page.end })).await, invalid());
        for first in [0, 101, -1, i32::MIN, i32::MAX] {
            let error = of_ana.error(FEED, json!({ "first": first })).await;
            assert_eq!(error, ("BAD_USER_INPUT".to_owned(), Some("page_size_invalid".to_owned())), "{first}");
        }
        let anonymous = log.server.anonymous().execute(FEED, json!({})).await;
        assert_eq!(code_and_reason(&anonymous).0, "UNAUTHENTICATED");
        // The default is 50.
        log.append_singles(3..60).await;
        let data = of_ana.data(FEED, json!({})).await;
        assert_eq!(data["feed"]["events"].as_array().map(Vec::len), Some(50));
        assert_eq!(data["feed"]["hasNextPage"], true);
    });
}

#[test]
fn a_page_ends_and_starts_within_an_entry() {
    test(async {
        let log = Log::new().await;
        log.append(0, 0, vec![log.messages(0..1), log.messages(1..51), log.messages(51..53)]).await;
        let client = log.client();
        for size in [1, 7, 49, 50, 51, 52, 53, 54] {
            let all = client.feed_after(&null(), size).await;
            assert_eq!(all.texts(), numbers(0..53), "pages of {size}");
        }
        let page = client.feed(&null(), 30).await;
        assert_eq!((page.texts().len(), page.has_next), (30, true));
        assert_eq!(client.feed(&page.end, 30).await.texts(), numbers(30..53));
        assert_eq!(client.feed(&page.events[9]["cursor"], 5).await.texts(), numbers(10..15));
        // The last page is full, and it is the last one.
        let last = client.feed(&page.end, 23).await;
        assert_eq!((last.texts().len(), last.has_next), (23, false));
        // Every event of an entry shows the group after the entry.
        assert!(page.events[1..].iter().all(|event| event["messageGroup"]["lastMessage"]["body"] == "50"));
    });
}

#[test]
fn a_cursor_whose_entry_is_gone_or_another_one_is_reset() {
    test(async {
        let log = Log::new().await;
        log.append_singles(0..4).await;
        let client = log.client();
        let all = client.feed(&null(), 10).await;
        let cursors: Vec<&Value> = all.events.iter().map(|event| &event["cursor"]).collect();
        log.delete(2).await;
        assert_eq!(log.reset_after(cursors[1]).await, "EXPIRED");
        assert_eq!(client.feed(cursors[2], 10).await.texts(), ["3"]);

        // Another entry has the position: the table was restored, or the positions began again.
        let request = log.world.aws.dynamodb.update_item().table_name(TABLE);
        let request = request.key("pk", text(format!("FEED#{}", log.ana.uuid()))).key("sk", text(format!("{:016}", 4)));
        let request = request.update_expression("SET entry_id = :id");
        request.expression_attribute_values(":id", text("another".to_owned())).send().await.expect("an update");
        for after in [cursors[3], &all.end] {
            assert_eq!(log.reset_after(after).await, "HISTORY_CHANGED");
        }
        // After a reset, the feed continues.
        let reset = client.feed(&all.end, 10).await;
        log.append_singles(4..5).await;
        assert_eq!(client.feed(&reset.end, 10).await.texts(), ["4"]);

        for position in 1..=5 {
            log.delete(position).await;
        }
        assert_eq!(log.reset_after(&reset.end).await, "EXPIRED");
        let reset = client.feed(&reset.end, 10).await;
        assert_eq!(client.feed(&reset.end, 10).await.events, Vec::<Value>::new());
        // The positions begin again.
        log.append_singles(0..1).await;
        assert_eq!(client.feed(&reset.end, 10).await.texts(), ["0"]);
        assert_eq!(log.reset_after(cursors[0]).await, "HISTORY_CHANGED");
    });
}

#[test]
fn a_gap_between_entries_is_a_reset_where_it_is() {
    test(async {
        let log = Log::new().await;
        let client = log.client();
        let empty = client.feed(&null(), 10).await;
        log.append_singles(0..6).await;
        let all = client.feed(&empty.end, 10).await;
        assert_eq!(all.texts(), numbers(0..6));
        log.delete(4).await;
        let after = &all.events[0]["cursor"];
        let page = client.feed(after, 10).await;
        assert_eq!((page.texts(), page.has_next), (vec!["1", "2", "EXPIRED"], false));
        assert_eq!(page.events[2]["cursor"], page.end);
        assert_eq!(client.feed(&page.end, 10).await.events, Vec::<Value>::new(), "the reset is at the end");
        // A page that is full before the gap has a next page, which says it.
        let page = client.feed(after, 2).await;
        assert_eq!((page.texts(), page.has_next), (vec!["1", "2"], true));
        assert_eq!(client.feed(&page.end, 2).await.texts(), ["EXPIRED"]);
        // Without a cursor, nothing is missing.
        assert_eq!(client.feed(&null(), 10).await.texts(), ["4", "5"]);
        // A cursor of the empty feed continues with the first entry only.
        log.delete(1).await;
        assert_eq!(log.reset_after(&empty.end).await, "EXPIRED");
    });
}

#[test]
fn a_cursor_is_reset_a_day_before_entries_after_it_expire() {
    test(async {
        let log = Log::new().await;
        let empty = log.client().feed(&null(), 10).await;
        log.append_singles(0..2).await;
        let all = log.client().feed(&empty.end, 10).await;
        let now = Utc::now().timestamp_millis();
        let expired = now - 29 * DAY_MS - 1;
        let kept = now - 29 * DAY_MS + 600_000;
        let for_ever = log.world.server_where(|parts| parts.feed_retention = None).await.client(&log.ana);
        for (cursor, texts) in [(&empty.end, vec!["0", "1"]), (&all.events[0]["cursor"], vec!["1"]), (&all.end, vec![])]
        {
            assert_eq!(log.reset_after(&forged(cursor, 2, expired)).await, "EXPIRED");
            assert_eq!(log.client().feed(&forged(cursor, 2, kept), 10).await.texts(), texts);
            assert_eq!(for_ever.feed(&forged(cursor, 2, expired), 10).await.texts(), texts);
        }
        // A cursor at the end has the time of its issue, and the cursor of an event that of its entry.
        let since = |cursor: &Value| words(cursor)[2].parse::<i64>().expect("a time");
        assert!(all.events.iter().all(|event| since(&event["cursor"]) == log.written_at));
        let later = log.client().feed(&all.end, 10).await;
        let reset = log.client().feed(&forged(&all.end, 2, expired), 10).await;
        for end in [&empty.end, &all.end, &later.end, &reset.end] {
            assert!(since(end) > log.written_at + 3_500_000, "{end}");
        }
        let page = log.client().feed(&empty.end, 1).await;
        assert_eq!(since(&page.end), since(&page.events[0]["cursor"]), "the page is not at the end");
    });
}

#[test]
fn a_reader_that_is_ten_thousand_events_behind_catches_up_and_one_further_behind_is_reset() {
    test(async {
        let log = Log::new().await;
        let client = log.client();
        let empty = client.feed(&null(), 10).await;
        // 10,050 events in entries of 50 messages.
        let contents = (0..201).map(|entry| log.messages(entry * 50..entry * 50 + 50)).collect();
        log.append(0, 0, contents).await;
        assert_eq!(log.reset_after(&empty.end).await, "TOO_FAR_BEHIND");
        assert_eq!(log.reset_after(&null()).await, "TOO_FAR_BEHIND");

        let first_entry = forged_into(&empty.end, &log, 49).await;
        assert_eq!(log.reset_after(&first_entry).await, "TOO_FAR_BEHIND", "10,001 events behind");
        let start = forged_into(&empty.end, &log, 50).await;
        let (queries, consumed) = (log.world.proxy.calls("Query"), log.world.proxy.read_units());
        let all = client.feed_after(&start, 100).await;
        assert!(all.texts() == numbers(50..10_050), "{} events", all.events.len());
        // A hundred pages. Every thousand events, one of them reads the head of the feed too.
        assert_eq!(log.world.proxy.calls("Query") - queries, 100 + 10);
        let units = log.world.proxy.read_units() - consumed;
        println!("read units to catch up with 10,000 events in entries of 50: {units}");
        // The first page does not know how many events an entry has, and reads 1 MB.
        assert!(units < 2_000.0, "{units}");
        // A reader that stops while it catches up is checked when it continues from an event.
        log.append(201, 10_050, (201..203).map(|entry| log.messages(entry * 50..entry * 50 + 50)).collect()).await;
        assert_eq!(log.reset_after(&all.events[98]["cursor"]).await, "TOO_FAR_BEHIND");
        assert_eq!(client.feed(&all.events[99]["cursor"], 1).await.texts(), ["150"]);
    });
}

/// The cursor after the event `index` of the first entry, made from the cursor of the empty feed.
async fn forged_into(empty: &Value, log: &Log, index: u64) -> Value {
    let (entries, _) = log.world.table.feed_entries(log.ana.uuid(), 1, 1).await.expect("entries");
    let words = words(empty).join(" ");
    json!(URL_SAFE_NO_PAD.encode(format!("{words} 1 {index} {}", entries[0].id)))
}

#[test]
fn a_reset_in_the_feed_is_delivered_at_its_place() {
    test(async {
        let log = Log::new().await;
        let contents = vec![log.messages(0..2), FeedContent::Reset(log.group), log.messages(2..3)];
        log.append(0, 0, contents).await;
        let client = log.client();
        for size in [1, 2, 3, 4] {
            let all = client.feed_after(&null(), size).await;
            assert_eq!(all.texts(), ["0", "1", "HISTORY_CHANGED", "2"], "pages of {size}");
        }
        let all = client.feed(&null(), 10).await;
        assert_eq!(client.feed(&all.events[2]["cursor"], 10).await.texts(), ["2"]);
    });
}

#[test]
fn a_page_of_a_hundred_messages_costs_one_query() {
    test(async {
        let log = Log::new().await;
        log.append_singles(0..150).await;
        let client = log.client();
        // The names of both users are in the caches after this.
        let all = client.feed_after(&null(), 100).await;
        let (calls, after) = (log.world.proxy.all_calls(), &all.events[48]["cursor"]);
        let page = client.feed(after, 100).await;
        assert_eq!((page.events.len(), page.has_next), (100, true));
        assert_eq!(log.world.proxy.all_calls() - calls, 2, "the page, and the head, because more follow");
        let (calls, consumed) = (log.world.proxy.all_calls(), log.world.proxy.read_units());
        let page = client.feed(&all.events[49]["cursor"], 100).await;
        assert_eq!((page.events.len(), page.has_next), (100, false));
        assert_eq!(log.world.proxy.all_calls() - calls, 1);
        assert_eq!((log.world.proxy.calls(INDEX_QUERY), log.world.proxy.lagging_reads()), (0, 0));

        let units = log.world.proxy.read_units() - consumed;
        println!("read units of a page of 100 messages: {units}");
        assert!(units <= 15.0, "{units}");
    });
}
