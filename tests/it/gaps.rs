//! Records that the consumer has lost: reconciling, by a command or by a repair, moves the groups to their newest messages.

use aws_sdk_dynamodb::types::{AttributeValue, StreamSpecification, StreamViewType};
use cruddur_messaging::messages_table::schema::leases_table_name;
use cruddur_messaging::stream::consumer_table::ConsumerTable;
use cruddur_messaging::stream::dynamodb::DynamoDbStream;
use cruddur_messaging::stream::lease::LeaseTable;
use cruddur_messaging::stream::repair::{Repair, RepairTable};
use cruddur_messaging::stream::set_aside::SetAsideTable;
use cruddur_messaging::stream::source::StreamSource;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::consumer::in_order;
use crate::consumer_faults::group_uuid;
use crate::harness::client::text_of;
use crate::harness::process::{command_at, run};
use crate::harness::{Client, DEADLINE, Server, TABLE, TestUser, World, eventually, eventually_within, test, user};

const LIST: &str = "{ messageGroups { nodes { uuid unreadCount } } }";

/// Two conversations of one user: message 1 with ben, and message 2 with chloe. No consumer runs yet.
struct Conversations {
    server: Server,
    client: Client,
    ben: TestUser,
    chloe: TestUser,
    with_ben: Value,
    with_chloe: Value,
}

async fn conversations(world: &World) -> Conversations {
    let server = world.server().await;
    let (ana, ben, chloe) = (user("ana").await, user("ben").await, user("chloe").await);
    let client = server.client(&ana);
    let with_ben = client.send_to(&ben, "1").await["messageGroup"]["uuid"].clone();
    let with_chloe = client.send_to(&chloe, "2").await["messageGroup"]["uuid"].clone();
    Conversations { server, client, ben, chloe, with_ben, with_chloe }
}

/// The output of `stream reconcile`, and whether it succeeds.
fn reconcile(world: &World, arguments: &[&str]) -> (bool, String) {
    let mut command = command_at(&world.proxy, &["stream", "reconcile"]);
    let output = tokio::task::block_in_place(|| run(command.args(arguments)));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn reconciling_moves_groups_to_their_newest_messages() {
    test(async {
        let world = World::new().await;
        let Conversations { server: _server, client, ben, chloe, with_ben, with_chloe } = conversations(&world).await;
        client.send_to(&ben, "3").await;
        client.send_to(&chloe, "4").await;
        let reconcile = |arguments: &[&str]| {
            let (success, text) = reconcile(&world, arguments);
            assert!(success, "{text}");
            text
        };
        let one = with_ben.as_str().expect("a uuid");
        assert!(reconcile(&["--group", one]).ends_with("moved\n"));
        in_order(&client, &[&with_ben, &with_chloe]).await;
        assert!(reconcile(&[]).contains("2 groups checked, 1 moved"));
        in_order(&client, &[&with_chloe, &with_ben]).await;
        assert!(reconcile(&[]).contains("2 groups checked, 0 moved"));
    });
}

#[test]
fn reconciling_resets_feeds_and_counts_unread_messages_again() {
    test(async {
        let world = World::new().await;
        let Conversations { server, client, ben, with_ben, .. } = conversations(&world).await;
        let of_ben = server.client(&ben);
        let consumer = world.consumer();
        let end = of_ben.next_events(&Value::Null, 1).await.end;
        assert!(consumer.finish().await);
        let row = of_ben.data(LIST, json!({})).await["messageGroups"]["nodes"][0].clone();
        assert_eq!(row, json!({ "uuid": with_ben, "unreadCount": 1 }));
        let keys = world.aws.dynamodb.query().table_name(TABLE).key_condition_expression("pk = :pk");
        let pk = AttributeValue::S(format!("GRP#{}", ben.uuid()));
        let rows = keys.expression_attribute_values(":pk", pk.clone()).send().await.expect("rows");
        let update = world.aws.dynamodb.update_item().table_name(TABLE).key("pk", pk);
        let update = update.key("sk", rows.items()[0]["sk"].clone()).update_expression("SET received_count = :wrong");
        let wrong = AttributeValue::N("7".to_owned());
        update.expression_attribute_values(":wrong", wrong).send().await.expect("a wrong count");
        assert_eq!(of_ben.data(LIST, json!({})).await["messageGroups"]["nodes"][0]["unreadCount"], 7);

        let one = with_ben.as_str().expect("a uuid");
        let (_, text) = reconcile(&world, &["--group", one]);
        assert!(text.ends_with("already up to date\n"), "{text}");
        assert_eq!(of_ben.feed(&end, 10).await.events, Vec::<Value>::new());
        let (_, text) = reconcile(&world, &["--group", one, "--reset-feeds"]);
        assert!(text.ends_with("already up to date, feeds reset\n"), "{text}");
        assert_eq!(of_ben.data(LIST, json!({})).await["messageGroups"]["nodes"][0]["unreadCount"], 1);
        for client in [&of_ben, &client] {
            let events = client.feed(&Value::Null, 10).await.events;
            assert_eq!(events.last().map(text_of), Some("HISTORY_CHANGED"), "{events:?}");
        }
    });
}

#[test]
fn stream_status_counts_what_waits_and_shows_the_head_of_a_feed() {
    test(async {
        let world = World::new().await;
        let Conversations { server: _server, client, ben, .. } = conversations(&world).await;
        let consumer = world.consumer();
        client.next_events(&Value::Null, 2).await;
        assert!(consumer.finish().await);
        client.send_to(&ben, "3").await;
        client.send_to(&ben, "4").await;
        let feed_of = ben.uuid().to_string();
        let mut command = command_at(&world.proxy, &["stream", "status", "--json", "--feed", &feed_of]);
        let output = tokio::task::block_in_place(|| run(&mut command));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!((&lines[0]["messagesWaiting"], &lines[0]["moreWait"]), (&json!(2), &json!(false)), "{text}");
        let feed = json!({ "feed": ben.uuid().to_string(), "position": 1, "events": 1 });
        assert_eq!(lines.last(), Some(&feed), "{text}");
    });
}

#[test]
fn a_group_that_cannot_be_reconciled_is_reported_and_does_not_stop_the_others() {
    test(async {
        let world = World::new().await;
        let Conversations { server: _server, client, ben, chloe, with_ben, with_chloe } = conversations(&world).await;
        // The row of ben is at the key of the newest message, and it is malformed.
        let row = &world.table.own_rows_of_group(ben.uuid(), group_uuid(&with_ben)).await.expect("rows")[0];
        let key = |name, value: String| (name, AttributeValue::S(value));
        let update = world.aws.dynamodb.update_item().table_name(TABLE).update_expression("REMOVE user_uuid");
        let (pk, sk) = (key("pk", format!("GRP#{}", ben.uuid())), key("sk", row.sort_key.as_str().to_owned()));
        update.key(pk.0, pk.1).key(sk.0, sk.1).send().await.expect("a spoiled row");
        client.send_to(&chloe, "3").await;
        let (success, text) = reconcile(&world, &[]);
        assert!(!success && text.contains("1 groups could not be reconciled"), "{text}");
        assert!(text.contains(with_ben.as_str().expect("a uuid")), "{text}");
        in_order(&client, &[&with_chloe, &with_ben]).await;
        assert_eq!(client.groups(1).await[0]["lastMessage"]["body"], "3");
        let (success, text) = reconcile(&world, &["--group", &Uuid::new_v4().to_string()]);
        assert!(!success && text.contains("has no message"), "{text}");
    });
}

#[test]
fn messages_that_were_written_while_the_stream_was_off_are_repaired() {
    test(async {
        let world = World::new().await;
        let Conversations { server: _server, client, ben, chloe, with_ben, with_chloe } = conversations(&world).await;
        let consumer = world.consumer();
        client.send_to(&ben, "3").await;
        in_order(&client, &[&with_ben, &with_chloe]).await;
        assert!(consumer.finish().await);
        let stream = async |on: bool| {
            let view = on.then_some(StreamViewType::NewAndOldImages);
            let wanted = StreamSpecification::builder().stream_enabled(on).set_stream_view_type(view).build();
            let update = world.aws.dynamodb.update_table().table_name(TABLE);
            update.stream_specification(wanted.expect("a specification")).send().await.expect("a stream");
        };
        let arn = async || {
            let table = world.aws.dynamodb.describe_table().table_name(TABLE).send().await.expect("a table").table;
            table.and_then(|table| table.latest_stream_arn)
        };
        let before = arn().await;
        stream(false).await;
        client.send_to(&chloe, "4").await;
        eventually("a stream of another name", || async {
            stream(true).await;
            let differs = arn().await != before;
            if !differs {
                stream(false).await;
            }
            differs.then_some(())
        })
        .await;
        let consumer = world.consumer();
        let repaired = finished_repair(&world).await;
        assert_eq!((repaired.requested, repaired.tally.groups, repaired.tally.failed), (1, 2, 0));
        in_order(&client, &[&with_chloe, &with_ben]).await;
        assert!(consumer.finish().await);
        let table = ConsumerTable::new(world.aws.dynamodb.clone(), TABLE);
        assert_eq!(SetAsideTable::list(&table).await.expect("a list"), []);
        let mut command = command_at(&world.proxy, &["stream", "status", "--json"]);
        let output = tokio::task::block_in_place(|| run(&mut command)).stdout;
        let lines: Vec<Value> =
            String::from_utf8_lossy(&output).lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
        let status = lines.iter().find_map(|line| line.get("repair")).expect("the repair");
        assert_eq!((&status["state"], &status["groups"]), (&json!("finished"), &json!(2)));
        assert!(status["completeSince"].is_string(), "{status}");
    });
}

/// Waits until a repair is finished.
async fn finished_repair(world: &World) -> Repair {
    let table = ConsumerTable::new(world.aws.dynamodb.clone(), TABLE);
    eventually_within(DEADLINE * 3, "the repair", || async {
        let repair = table.repair().await.ok()?;
        (repair.complete.is_some() && !repair.is_pending()).then_some(repair)
    })
    .await
}

/// The shards of the embedded engine do not end. A shard that was read to its end just now is still in the stream, although a
/// listing lacks it.
#[test]
fn the_lease_of_a_finished_shard_is_removed_when_the_stream_has_forgotten_the_shard() {
    test(async {
        let world = World::new().await;
        let source = DynamoDbStream::new(world.aws.dynamodb.clone(), world.aws.streams.clone(), TABLE);
        let stream = source.stream().await.expect("a stream");
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let number = |number: i64| AttributeValue::N(number.to_string());
        let now = chrono::Utc::now();
        let two_days_ago = now - chrono::TimeDelta::days(2);
        // The consumer sees them in this order.
        for (shard, handled_until) in [("shardId-1-young", now), ("shardId-2-old", two_days_ago)] {
            let put = world.aws.dynamodb.put_item().table_name(leases_table_name(TABLE));
            let put = put.item("pk", text(&format!("LEASE#{stream}"))).item("sk", text(shard));
            let put =
                put.item("feed_epoch", number(1)).item("counter", number(1)).item("checkpoint", text("SHARD_END"));
            put.item("handled_until", number(handled_until.timestamp_millis())).send().await.expect("a lease");
        }
        let consumer = world.consumer();
        let table = ConsumerTable::new(world.aws.dynamodb.clone(), TABLE);
        eventually("the removal", || async {
            let lease = table.get(&stream, &"shardId-2-old".into()).await.expect("a lease or none");
            lease.is_none().then_some(())
        })
        .await;
        let young = table.get(&stream, &"shardId-1-young".into()).await.expect("a lease or none");
        assert!(young.is_some_and(|lease| lease.is_finished()));
        assert!(consumer.finish().await);
    });
}

/// A lease as earlier versions wrote it. They repaired a gap themselves before they wrote `TRIM_HORIZON`.
#[test]
fn leases_of_earlier_versions_are_understood() {
    test(async {
        for (checkpoint, is_repaired) in [("BEHIND_GAP", true), ("TRIM_HORIZON", false)] {
            let world = World::new().await;
            let Conversations { server: _server, client, ben, with_ben, with_chloe, .. } = conversations(&world).await;
            let source = DynamoDbStream::new(world.aws.dynamodb.clone(), world.aws.streams.clone(), TABLE);
            let stream = source.stream().await.expect("a stream");
            let shard = source.shards(&stream).await.expect("shards").remove(0).id;
            let put = world.aws.dynamodb.put_item().table_name(leases_table_name(TABLE));
            let text = |text: &str| AttributeValue::S(text.to_owned());
            let number = |number: i64| AttributeValue::N(number.to_string());
            let put = put.item("pk", text(&format!("LEASE#{stream}"))).item("sk", text(&shard));
            let put = put.item("checkpoint", text(checkpoint)).item("epoch", number(3)).item("counter", number(70));
            let now = chrono::Utc::now().timestamp_millis();
            put.item("created_at", number(now)).item("handled_until", number(now)).send().await.expect("a lease");
            client.send_to(&ben, "3").await;
            let consumer = world.consumer();
            in_order(&client, &[&with_ben, &with_chloe]).await;
            let table = ConsumerTable::new(world.aws.dynamodb.clone(), TABLE);
            if is_repaired {
                assert_eq!(finished_repair(&world).await.requested, 1);
            } else {
                assert_eq!(table.repair().await.expect("a read"), Repair::default());
            }
            assert!(consumer.finish().await);
        }
    });
}
