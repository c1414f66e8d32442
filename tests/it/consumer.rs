//! The stream consumer: a conversation moves to the top of both lists, once.

use std::collections::HashSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use cruddur_messaging::environment::SystemEnvironment;
use cruddur_messaging::messages_table::feed::{FeedContent, FeedEntry};
use cruddur_messaging::messages_table::{GroupRow, Message, SortKey, TableError};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid};
use cruddur_messaging::stream::appender::Appender;
use cruddur_messaging::stream::arrivals::Arrival;
use cruddur_messaging::stream::consumer_table::ConsumerTable;
use cruddur_messaging::stream::effect::{Cause, Effect, EffectError, Writer};
use cruddur_messaging::stream::origin::Origin;
use cruddur_messaging::stream::set_aside::SetAsideTable;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::fault_proxy::Fault::{Answer, LoseAnswer};
use crate::harness::fault_proxy::INDEX_QUERY;
use crate::harness::process::{Running, command_at, run};
use crate::harness::{Client, TABLE, TestUser, World, eventually, test, user};

/// Waits until the list of the client has this order.
pub(crate) async fn in_order(client: &Client, wanted: &[&Value]) {
    let wanted: Vec<Value> = wanted.iter().map(|uuid| (*uuid).clone()).collect();
    eventually("the order of the list", || async {
        let found: Vec<Value> = client.groups(100).await.iter().map(|group| group["uuid"].clone()).collect();
        (found == wanted).then_some(())
    })
    .await;
}

/// Waits until the list of the client shows `body` as the last message of `group`.
async fn shows(client: &Client, group: &Value, body: &str) {
    eventually("the newest message in the list", || async {
        let groups = client.groups(100).await;
        let rows: Vec<&Value> = groups.iter().filter(|it| &it["uuid"] == group).collect();
        assert!(rows.len() <= 1, "a group stands twice: {groups:?}");
        (rows.first()?["lastMessage"]["body"] == body).then_some(())
    })
    .await;
}

#[test]
fn a_message_moves_its_conversation_to_the_top_for_both() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let consumer = world.consumer();
        let (ana, ben, chloe) = (user("ana").await, user("ben").await, user("chloe").await);
        let client = server.client(&ana);
        let with_ben = client.send_to(&ben, "to ben").await["messageGroup"]["uuid"].clone();
        let with_chloe = client.send_to(&chloe, "to chloe").await["messageGroup"]["uuid"].clone();
        in_order(&client, &[&with_chloe, &with_ben]).await;
        let reply = server.client(&ben).send(json!({ "messageGroupUuid": with_ben }), "reply").await;
        in_order(&client, &[&with_ben, &with_chloe]).await;
        for client in [&client, &server.client(&ben)] {
            shows(client, &with_ben, "reply").await;
            let top = &client.groups(1).await[0];
            assert_eq!(top["lastMessage"]["uuid"], reply["message"]["uuid"]);
            assert_eq!(top["lastMessageAt"], reply["message"]["createdAt"]);
            assert_eq!(top["lastMessage"]["author"]["handle"], ben.handle());
        }
        assert!(consumer.finish().await);
    });
}

#[test]
fn a_consumer_that_is_stopped_and_started_again_loses_and_repeats_no_move() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben, chloe) = (user("ana").await, user("ben").await, user("chloe").await);
        let client = server.client(&ana);
        let consumer = world.consumer();
        let with_ben = client.send_to(&ben, "0").await["messageGroup"]["uuid"].clone();
        let with_chloe = client.send_to(&chloe, "0").await["messageGroup"]["uuid"].clone();
        client.send_to(&ben, "1").await;
        shows(&client, &with_ben, "1").await;
        assert!(consumer.finish().await);
        // Without a consumer the messages can be read, and the list does not change.
        client.send_to(&chloe, "2").await;
        client.send_to(&ben, "3").await;
        assert_eq!(client.bodies(&with_ben).await.last().map(String::as_str), Some("3"));
        shows(&client, &with_ben, "1").await;
        let consumer = world.consumer();
        shows(&client, &with_chloe, "2").await;
        shows(&client, &with_ben, "3").await;
        in_order(&client, &[&with_ben, &with_chloe]).await;
        assert!(consumer.finish().await);

        // A repeated move would write nothing, but it would read the rows.
        let looks = world.proxy.calls(INDEX_QUERY);
        let reads = world.proxy.calls("GetRecords");
        let consumer = world.consumer();
        eventually("a read after the restart", || async {
            (world.proxy.calls("GetRecords") > reads + 1).then_some(())
        })
        .await;
        assert!(consumer.finish().await);
        assert_eq!(world.proxy.calls(INDEX_QUERY), looks, "what is behind the checkpoint is not done again");
    });
}

#[test]
fn many_messages_of_a_group_in_a_batch_are_one_move() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
        for number in 0..50 {
            client.send_to(&ben, &number.to_string()).await;
        }
        let before = world.proxy.calls("TransactWriteItems");
        let consumer = world.consumer();
        shows(&client, &group, "49").await;
        assert!(consumer.finish().await);
        assert_eq!(world.proxy.calls("TransactWriteItems") - before, 1);
    });
}

#[test]
fn two_consumers_at_once_leave_one_row_each() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let consumers = [world.consumer(), world.consumer()];
        let ana = user("ana").await;
        let client = server.client(&ana);
        let mut friends = Vec::new();
        for _ in 0..5 {
            friends.push(user("friend").await);
        }
        let mut groups = HashSet::new();
        for number in 0..40 {
            let friend = &friends[number % friends.len()];
            groups.insert(client.send_to(friend, &number.to_string()).await["messageGroup"]["uuid"].to_string());
        }
        for (number, friend) in friends.iter().enumerate() {
            let client = server.client(friend);
            let group = client.groups(10).await[0]["uuid"].clone();
            shows(&client, &group, &(35 + number).to_string()).await;
        }
        eventually("the newest of all on top", || async {
            (client.groups(1).await[0]["lastMessage"]["body"] == "39").then_some(())
        })
        .await;
        for consumer in consumers {
            assert!(consumer.finish().await);
        }
        let listed = client.groups(100).await;
        assert_eq!(listed.len(), groups.len());
        assert_eq!(rows(&world, &ana).await, groups.len(), "no row is left behind");
    });
}

#[test]
fn the_consumer_waits_during_an_outage() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
        client.send_to(&ben, "second").await;
        world.proxy.next("TransactWriteItems", vec![Answer(500, "InternalServerError"); 9]);
        world.proxy.next("Query", vec![Answer(400, "ProvisionedThroughputExceededException"); 9]);
        world.proxy.next("GetRecords", vec![Answer(400, "LimitExceededException"), LoseAnswer]);
        world.proxy.next("UpdateItem", vec![LoseAnswer; 4]);
        let consumer = world.consumer();
        eventually("the faults", || async { world.proxy.is_spent().then_some(()) }).await;
        shows(&client, &group, "second").await;
        assert!(consumer.finish().await);
    });
}

#[test]
fn a_move_whose_response_is_lost_is_made_once() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
        client.send_to(&ben, "second").await;
        // All tries of the SDK fail. Then the consumer reads the rows again and finds its own move.
        world.proxy.next("TransactWriteItems", vec![LoseAnswer; 3]);
        let consumer = world.consumer();
        shows(&client, &group, "second").await;
        eventually("the faults", || async { world.proxy.is_spent().then_some(()) }).await;
        assert!(consumer.finish().await);
        assert_eq!((rows(&world, &ana).await, rows(&world, &ben).await), (1, 1));
    });
}

/// Number of rows in the partition of a user.
pub(crate) async fn rows(world: &World, user: &TestUser) -> usize {
    let answer = world
        .aws
        .dynamodb
        .query()
        .table_name(TABLE)
        .consistent_read(true)
        .key_condition_expression("pk = :pk")
        .expression_attribute_values(":pk", AttributeValue::S(format!("GRP#{}", user.uuid())))
        .send()
        .await
        .expect("rows");
    usize::try_from(answer.count()).expect("a count")
}

async fn delete_row(world: &World, row: &GroupRow) {
    let key = |text: String| AttributeValue::S(text);
    let request = world.aws.dynamodb.delete_item().table_name(TABLE);
    let request = request.key("pk", key(format!("GRP#{}", row.owner))).key("sk", key(row.sort_key.to_string()));
    request.send().await.expect("a row less");
}

pub(crate) async fn stored(world: &World, ana: &TestUser, ben: &TestUser) -> (MessageGroupUuid, Message) {
    let server = world.server().await;
    let sent = server.client(ana).send_to(ben, "stored").await;
    let group = MessageGroupUuid(sent["messageGroup"]["uuid"].as_str().expect("a uuid").parse().expect("a uuid"));
    (group, world.table.newest_message(group).await.expect("a read").expect("a message"))
}

pub(crate) fn later(message: &Message, seconds: i64, body: &str) -> Message {
    let uuid = MessageUuid(Uuid::new_v4());
    let created_at = message.created_at + chrono::TimeDelta::seconds(seconds);
    let sort_key = SortKey::of_message(created_at, uuid);
    Message { uuid, created_at, sort_key, body: body.into(), ..message.clone() }
}

/// A shard under a lease that is never lost.
struct OneShard;

#[async_trait]
impl Origin for OneShard {
    fn name(&self) -> &str {
        "stream/shard"
    }

    async fn is_held(&self) -> Result<bool, TableError> {
        Ok(true)
    }

    async fn is_finished(&self, _: &str) -> Result<bool, TableError> {
        Ok(false)
    }
}

/// The message arrives as the record `number`.
pub(crate) async fn arrive(world: &World, number: u32, message: &Message) -> Result<Effect, EffectError> {
    let arrivals = [Arrival { sequence_number: number.to_string().into(), message: message.clone() }];
    let (appender, environment) = (Appender::new(None), &SystemEnvironment);
    let writer = Writer { table: &world.table, appender: &appender, environment };
    writer.apply(Cause::Arrived { origin: &OneShard, arrivals: &arrivals, may_be_lost: false }).await
}

/// The texts in a user's feed, each with the position of its entry.
async fn fed(world: &World, user: &TestUser) -> Vec<(u64, String)> {
    let (entries, more) = world.table.feed_entries(user.uuid(), 1, 1000).await.expect("a feed");
    assert!(!more);
    let texts = |entry: FeedEntry| match entry.content {
        FeedContent::Messages(fed) => fed.messages.iter().map(|it| (entry.position, it.body.clone())).collect(),
        FeedContent::Reset(_) => vec![(entry.position, "reset".to_owned())],
    };
    entries.into_iter().flat_map(texts).collect()
}

#[test]
fn the_newest_message_wins_in_any_order_and_after_repetitions() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (group, first) = stored(&world, &ana, &ben).await;
        let [second, third, fourth] = [1, 2, 3].map(|seconds| later(&first, seconds, &seconds.to_string()));
        let (moved, stays) = (Effect::Moved, Effect::Fed);
        for (number, message, effect) in
            [(10, &third, moved), (11, &second, stays), (100, &first, stays), (101, &fourth, moved)]
        {
            for expected in [effect, Effect::UpToDate] {
                assert_eq!(arrive(&world, number, message).await.expect("an effect"), expected, "{number}");
            }
        }
        assert_eq!(arrive(&world, 99, &second).await.expect("an effect"), Effect::UpToDate);
        for (owner, other) in [(&ana, &ben), (&ben, &ana)] {
            let rows = world.table.own_rows_of_group(owner.uuid(), group).await.expect("rows");
            assert_eq!(rows.len(), 1);
            assert_eq!((&rows[0].sort_key, rows[0].body.as_str()), (&fourth.sort_key, "3"));
            assert_eq!(rows[0].other, other.participant());
            assert_eq!(rows[0].author, Some(ana.uuid()));
            let positions = (1..).zip(["2", "1", "stored", "3"].map(str::to_owned)).collect::<Vec<(u64, String)>>();
            assert_eq!(fed(&world, owner).await, positions);
        }
    });
}

#[test]
fn a_missing_row_is_put_once_by_any_number_of_consumers() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (group, first) = stored(&world, &ana, &ben).await;
        let rows_of = async |user: &TestUser| world.table.own_rows_of_group(user.uuid(), group).await.expect("rows");
        for (missing, round) in [(vec![&ana], 1_u32), (vec![&ben], 2), (vec![&ana, &ben], 3)] {
            for user in missing {
                delete_row(&world, &rows_of(user).await[0]).await;
            }
            let messages: Vec<Message> =
                (0..2).map(|it| later(&first, i64::from(round * 10 + it), &it.to_string())).collect();
            // Both have found the row missing before one of them puts it.
            world.proxy.gather("TransactWriteItems", 2);
            let moves = messages.iter().zip(round * 10..).map(|(message, number)| arrive(&world, number, message));
            for moved in futures::future::join_all(moves).await {
                assert_ne!(moved.expect("an effect"), Effect::NoParticipants);
            }
            for user in [&ana, &ben] {
                let rows = rows_of(user).await;
                assert_eq!(rows.len(), 1, "round {round}: {rows:?}");
                assert_eq!(rows[0].sort_key, messages[1].sort_key);
            }
        }
    });
}

#[test]
fn a_message_without_participants_and_malformed_items_do_not_stop_others() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
        let put = async |pk: String, sk: &str, with_text: bool| {
            let text = |it: &str| AttributeValue::S(it.to_owned());
            let mut request =
                world.aws.dynamodb.put_item().table_name(TABLE).item("pk", text(&pk)).item("sk", text(sk));
            if with_text {
                request = request
                    .item("message", text("lost"))
                    .item("message_uuid", text(&Uuid::new_v4().to_string()))
                    .item("user_uuid", text(&ana.uuid().to_string()));
            }
            request.send().await.expect("an item");
        };
        put(format!("MSG#{}", Uuid::new_v4()), "2026-11-22T10:42:39.123456Z#x", true).await;
        put(format!("MSG#{}", Uuid::new_v4()), "2026-11-22T10:42:39.123456Z", false).await;
        put("MSG#nonsense".into(), "2026-11-22T10:42:39.123456Z", true).await;
        put(format!("MSG#{}", group.as_str().expect("a uuid")), "yesterday", true).await;
        put(format!("GRP#{}", ana.uuid()), "yesterday", true).await;
        put("SOMETHING".into(), "ELSE", false).await;
        client.send_to(&ben, "second").await;
        let consumer = world.consumer();
        shows(&client, &group, "second").await;
        assert_eq!(client.bodies(&group).await, ["first", "second"]);
        let table = ConsumerTable::new(world.aws.dynamodb.clone(), TABLE);
        eventually("all that is set aside", || async {
            (SetAsideTable::list(&table).await.expect("a list").len() == 4).then_some(())
        })
        .await;
        assert!(consumer.finish().await);
        // Each of them is set aside.
        let stream = |arguments: &[&str]| {
            let output = tokio::task::block_in_place(|| run(command_at(&world.proxy, &["stream"]).args(arguments)));
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (_, listed) = stream(&["set-aside", "list"]);
        assert!(listed.ends_with("4 records set aside\n"), "{listed}");
        for reason in [
            "the participants of the group are unknown",
            "attribute message_uuid is missing",
            "does not end in a uuid",
            "is not a time",
        ] {
            assert!(listed.contains(reason), "{reason}: {listed}");
        }
        let (_, status) = stream(&["status"]);
        assert!(status.contains("shardId-") && status.ends_with("4 records set aside\n"), "{status}");
        assert!(!stream(&["set-aside", "replay"]).0, "they fail for the same reasons");
        assert!(stream(&["set-aside", "list"]).1.ends_with("4 records set aside\n"));
        for aside in SetAsideTable::list(&table).await.expect("a list") {
            let delete =
                world.aws.dynamodb.delete_item().table_name(TABLE).key("pk", AttributeValue::S(aside.message_pk));
            delete.key("sk", AttributeValue::S(aside.message_sk)).send().await.expect("a deleted message");
        }
        let (success, replayed) = stream(&["set-aside", "replay"]);
        assert!(success && replayed.contains("the message is gone, nothing to do"), "{replayed}");
        assert!(stream(&["set-aside", "list"]).1.ends_with("0 records set aside\n"));
    });
}

/// Two workers under load: one is killed, one is stopped, both are replaced, `CHAOS_ROUNDS` times (default 1). Then every list
/// is compared with the messages.
#[test]
fn workers_that_are_killed_or_stopped_lose_and_duplicate_nothing() {
    test(async {
        let rounds = std::env::var("CHAOS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let world = World::new().await;
        let server = world.server().await;
        let mut users = Vec::new();
        for _ in 0..5 {
            users.push(user("chaos").await);
        }
        let worker = || {
            let mut command = command_at(&world.proxy, &["worker"]);
            command.env("METRICS_ADDR", "127.0.0.1:0");
            command.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
            let mut process = Running::start(&mut command);
            let consumes = |line: &str| line.contains("stream consumer started").then_some(());
            tokio::task::block_in_place(|| process.wait_for("that it consumes", consumes));
            process
        };
        let mut workers = std::collections::VecDeque::from([worker(), worker()]);
        let mut sent = 0;
        let mut load = async |messages: usize| {
            for _ in 0..messages {
                let (author, recipient) = (sent % users.len(), (sent + 1 + sent / users.len() % 4) % users.len());
                server.client(&users[author]).send_to(&users[recipient], &sent.to_string()).await;
                sent += 1;
            }
            sent
        };
        for _ in 0..rounds {
            load(30).await;
            let mut killed = workers.pop_front().expect("a worker");
            killed.signal("KILL");
            tokio::task::block_in_place(|| killed.wait());
            load(30).await;
            workers.push_back(worker());
            let mut stopped = workers.pop_front().expect("a worker");
            stopped.signal("TERM");
            load(30).await;
            assert!(tokio::task::block_in_place(|| stopped.wait()).success());
            workers.push_back(worker());
        }
        let all = load(10).await;
        for user in &users {
            let client = server.client(user);
            eventually("the list as the messages say", || async {
                let groups = client.groups(3).await;
                let mut newest = Vec::new();
                for group in &groups {
                    let bodies = client.bodies(&group["uuid"]).await;
                    let last = bodies.last().expect("a message");
                    if group["lastMessage"]["body"] != *last {
                        return None;
                    }
                    newest.push(last.parse::<usize>().expect("a number"));
                }
                let unique: HashSet<String> = groups.iter().map(|group| group["uuid"].to_string()).collect();
                assert_eq!(unique.len(), groups.len(), "a group stands twice");
                assert!(newest.is_sorted_by(|a, b| a > b), "not last reply first: {newest:?}");
                (groups.len() == users.len() - 1).then_some(())
            })
            .await;
            assert_eq!(rows(&world, user).await, users.len() - 1, "no row is left behind");
        }
        assert_eq!(all, rounds * 90 + 10);
    });
}
