//! What requests and the stream consumer read to find legacy groups: nothing after `ddb adopt-legacy`, and little before.

use std::time::Duration;

use cruddur_messaging::messages_table::items::from_group_row;
use cruddur_messaging::messages_table::schema::{Billing, load_messages_table};
use cruddur_messaging::messages_table::{Fed, GroupRow, Membership, MessagesTable, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, NameCopy, Participant, UserUuid};
use cruddur_messaging::stream::effect::Effect;
use serde_json::json;
use uuid::Uuid;

use crate::consumer::{arrive, later, stored};
use crate::harness::client::{CREATE, MESSAGES, code_and_reason};
use crate::harness::fault_proxy::Fault::Body;
use crate::harness::fault_proxy::{INDEX_QUERY, LIST_QUERY};
use crate::harness::legacy::{LegacyGroup, without_marker};
use crate::harness::process::{Running, command_at, run};
use crate::harness::{TABLE, TestUser, World, test, user};
use crate::stopping::{served_with, wait_for};

/// Number of conversations of a user who has many.
const MANY: usize = 10_000;
/// An empty response to a Query.
const NOTHING: &str = r#"{"Items":[],"Count":0,"ScannedCount":0}"#;
const ONE: &str = "query ($uuid: UUID!) { messageGroup(uuid: $uuid) { uuid } }";

fn stranger() -> Participant {
    let names = NameCopy { handle: "stranger".to_owned(), display_name: "A stranger with a name".to_owned() };
    Participant { uuid: UserUuid(Uuid::new_v4()), names: names.into() }
}

/// Fills the list of `owner` with conversations of the legacy system.
fn fill_with_legacy_rows(world: &World, owner: &TestUser, count: usize, text: &str) {
    let row = |number: usize| {
        let at = format!("2022-05-{:02}T{:02}:10:{:02}", 1 + number / 1440, number / 60 % 24, number % 60);
        LegacyGroup::new().row_item(&at, owner.uuid(), &stranger(), text)
    };
    world.dynamodb.import(TABLE, (0..count).map(row)).expect("rows");
}

/// Fills the list of `owner` with conversations of this system.
fn fill(world: &World, owner: &TestUser, count: usize) {
    let row = |number: usize| {
        let uuid = MessageUuid(Uuid::new_v4());
        let created_at = chrono::DateTime::from_timestamp(1_700_000_000 + number as i64, 0).expect("a time");
        from_group_row(&GroupRow {
            owner: owner.uuid(),
            group: MessageGroupUuid(Uuid::new_v4()),
            other: stranger(),
            body: "some text ".repeat(20),
            author: Some(owner.uuid()),
            sort_key: SortKey::of_message(created_at, uuid),
            fed: Fed::default(),
            reading: None,
        })
    };
    world.dynamodb.import(TABLE, (0..count).map(row)).expect("rows");
}

/// What a request reads.
#[derive(Debug, PartialEq)]
struct Cost {
    read_units: f64,
    queries: usize,
    list_queries: usize,
}

/// The cost of an unknown group, and of a first contact of two users whose lists `fill` fills.
async fn costs(world: World, fill: impl Fn(&World, &TestUser)) -> [Cost; 2] {
    let (ana, ben) = (user("ana").await, user("ben").await);
    fill(&world, &ana);
    fill(&world, &ben);
    let server = world.server().await;
    let client = server.client(&ana);
    let unknown = async || drop(client.data(ONE, json!({ "uuid": Uuid::new_v4() })).await);
    // The first request of a process reads the marker.
    unknown().await;
    let cost = async |request: &dyn Fn() -> futures::future::BoxFuture<'static, ()>| {
        let proxy = &world.proxy;
        let before = (proxy.read_units(), proxy.calls("Query"), proxy.calls(LIST_QUERY));
        request().await;
        let list_queries = proxy.calls(LIST_QUERY) - before.2;
        Cost { read_units: proxy.read_units() - before.0, queries: proxy.calls("Query") - before.1, list_queries }
    };
    let (asking, sending, ben) = (client.clone(), client.clone(), ben.clone());
    let ask = move || {
        let client = asking.clone();
        Box::pin(async move { drop(client.data(ONE, json!({ "uuid": Uuid::new_v4() })).await) }) as _
    };
    let send = move || {
        let (client, ben) = (sending.clone(), ben.clone());
        Box::pin(async move { drop(client.send_to(&ben, "first").await) }) as _
    };
    [cost(&ask).await, cost(&send).await]
}

#[test]
fn after_adoption_the_cost_does_not_grow_with_the_number_of_conversations() {
    test(async {
        for count in [1, MANY] {
            let [unknown, first_contact] = costs(World::new().await, |world, owner| fill(world, owner, count)).await;
            let one_read = Cost { read_units: 1.0, queries: 0, list_queries: 0 };
            assert_eq!(unknown, one_read, "unknown group, {count} conversations");
            assert_eq!(first_contact, one_read, "first contact, {count} conversations");
        }
    });
}

#[test]
fn before_adoption_an_unknown_group_costs_the_same_and_a_first_contact_a_limited_number_of_units() {
    test(async {
        for count in [1, MANY] {
            let world = World::new().await;
            without_marker(&world).await;
            let [unknown, first_contact] =
                costs(world, |world, owner| fill_with_legacy_rows(world, owner, count, &"some text ".repeat(20))).await;
            // Two reads of the membership and one of the index.
            assert_eq!(unknown, Cost { read_units: 2.5, queries: 1, list_queries: 0 }, "{count} conversations");
            println!(
                "first contact of two users with {count} legacy conversations: {} read units",
                first_contact.read_units
            );
            assert!(first_contact.read_units < 2.0 * 2_000.0, "{first_contact:?}");
        }
    });
}

#[test]
fn an_index_that_lags_neither_admits_nor_refuses_anyone() {
    test(async {
        let world = World::new().await;
        without_marker(&world).await;
        let (ana, ben, eve, group) = (user("ana").await, user("ben").await, user("eve").await, LegacyGroup::new());
        // The index shows a row that the table does not have.
        let attribute = |name: &str, value: String| format!(r#""{name}":{{"S":"{value}"}}"#);
        let row = [
            attribute("pk", format!("GRP#{}", eve.uuid())),
            attribute("sk", "2022-05-04T10:00:00".to_owned()),
            attribute("message_group_uuid", group.uuid.to_string()),
            attribute("message", "gone".to_owned()),
            attribute("user_uuid", ana.uuid().to_string()),
        ];
        let stale = format!(r#"{{"Items":[{{{}}}],"Count":1,"ScannedCount":1}}"#, row.join(","));
        world.proxy.next("Query", [Body(200, stale.leak())]);
        let server = world.server().await;
        let refused = server.client(&eve).error(MESSAGES, json!({ "group": group.uuid })).await;
        assert_eq!(refused, ("NOT_FOUND".to_owned(), None));
        assert!(world.proxy.is_spent());
        // The group is adopted and its rows move after the first read of the membership.
        group.message(&world, "2022-05-04T10:00:00", &ben, "hello").await;
        let membership =
            Membership { is_legacy: true, ..Membership::begin(group.id(), [&ana, &ben].map(|it| it.participant())) };
        world.table.put_membership(&membership).await.expect("a membership");
        let server = world.server().await;
        world.proxy.next("GetItem", [Body(200, "{}"), Body(200, "{}")]);
        world.proxy.next("Query", [Body(200, NOTHING)]);
        assert_eq!(server.client(&ana).bodies(&json!(group.uuid)).await, ["hello"]);
        assert!(world.proxy.is_spent());
    });
}

#[test]
fn fields_and_requests_share_the_search_for_a_group() {
    test(async {
        let world = World::new().await;
        without_marker(&world).await;
        let server = world.server().await;
        let client = server.client(&user("ana").await);
        let fields: Vec<String> = (0..32).map(|it| format!("f{it}: messageGroup(uuid: $uuid) {{ uuid }}")).collect();
        let query = format!("query ($uuid: UUID!) {{ {} }}", fields.join(" "));
        let variables = json!({ "uuid": Uuid::new_v4() });
        let data = client.data(&query, variables).await;
        assert!(data.as_object().expect("fields").values().all(|group| group.is_null()));
        assert_eq!((world.proxy.calls(INDEX_QUERY), world.proxy.calls(LIST_QUERY)), (1, 0));
    });
}

#[test]
fn first_contacts_read_each_list_once() {
    test(async {
        let world = World::new().await;
        without_marker(&world).await;
        let server = world.server().await;
        let (ana, friends) = (user("ana").await, [user("one").await, user("two").await, user("three").await]);
        for friend in &friends {
            server.client(&ana).send_to(friend, "hello").await;
        }
        assert_eq!(world.proxy.calls(LIST_QUERY), 4);
    });
}

#[test]
fn a_first_contact_of_a_user_whose_list_is_too_long_is_unavailable_until_the_groups_are_adopted() {
    test(async {
        let world = World::new().await;
        without_marker(&world).await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        // More than a megabyte, which is the size of a page.
        fill_with_legacy_rows(&world, &ana, 1_200, &"x".repeat(1_024));
        let server = world.server_where(|parts| parts.requests.http.legacy_read_units = 200).await;
        let send = json!({ "to": { "handle": ben.handle() }, "body": "hello" });
        let mut reads = Vec::new();
        for _ in 0..2 {
            let answer =
                server.client(&ben).execute(CREATE, json!({ "to": { "handle": ana.handle() }, "body": "hi" })).await;
            assert_eq!(code_and_reason(&answer), ("UNAVAILABLE".to_owned(), None), "{answer}");
            assert_eq!(answer["errors"][0]["extensions"].get("outcome"), None, "{answer}");
            let answer = server.client(&ana).execute(CREATE, send.clone()).await;
            assert_eq!(code_and_reason(&answer).0, "UNAVAILABLE", "{answer}");
            reads.push(world.proxy.read_units());
        }
        // A page is read completely, and it can cost 256 units.
        assert!(reads[0] < 300.0, "{reads:?}");
        assert!(reads[1] - reads[0] <= 4.0, "the list is not read again: {reads:?}");
        let mut command = command_at(&world.proxy, &["ddb", "adopt-legacy", "--units-per-second", "1000000"]);
        let output = tokio::task::block_in_place(|| run(&mut command));
        assert!(output.status.success(), "{output:?}");
        let server = world.server_where(|parts| parts.requests.http.legacy_read_units = 200).await;
        let lists = world.proxy.calls(LIST_QUERY);
        server.client(&ana).send_to(&ben, "hello").await;
        assert_eq!(world.proxy.calls(LIST_QUERY), lists);
    });
}

#[test]
fn the_log_and_the_metrics_name_the_limit_and_the_command() {
    test(async {
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let settings = [("MAX_LEGACY_READ_UNITS", "200"), ("METRICS_ADDR", &*address.to_string())];
        let mut served = served_with(&settings).await;
        // Only the check at the start has read the marker.
        without_marker(&served.world).await;
        fill_with_legacy_rows(&served.world, &served.ben, 1_200, &"x".repeat(1_024));
        let variables = json!({ "to": { "handle": served.ben.handle() }, "body": "hello" });
        let (code, _) = served.client.error(CREATE, variables).await;
        assert_eq!(code, "UNAVAILABLE");
        let line = wait_for(&mut served.process, "the cause", |line| {
            line.contains("MAX_LEGACY_READ_UNITS").then(|| line.to_owned())
        });
        let user = served.ben.uuid().to_string();
        for part in ["run `ddb adopt-legacy`", "200 read units", &user, "request{id="] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let numbers = reqwest::get(format!("http://{address}/metrics")).await.expect("metrics").text().await;
        let counted = "limits_reached_total{limit=\"MAX_LEGACY_READ_UNITS\"} 1";
        assert!(numbers.as_ref().is_ok_and(|numbers| numbers.contains(counted)), "{numbers:?}");

        let mut worker = command_at(&served.world.proxy, &["worker"]);
        worker.env("METRICS_ADDR", "127.0.0.1:0");
        worker.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
        let mut worker = Running::start(&mut worker);
        wait_for(&mut worker, "the command to run", |line| line.contains("until `ddb adopt-legacy`").then_some(()));
    });
}

/// The index shows nothing in the first reads, as after a move of another process.
#[test]
fn a_lagging_index_makes_the_consumer_read_single_rows_and_no_list() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (group, first) = stored(&world, &ana, &ben).await;
        fill(&world, &ana, 100);
        let next = later(&first, 1, "next");
        world.table.put_message(&next).await.expect("a message");
        world.proxy.next("Query", [Body(200, NOTHING), Body(200, NOTHING)]);
        assert_eq!(arrive(&world, 9, &next).await.expect("an effect"), Effect::Moved);
        assert!(world.proxy.is_spent());
        assert_eq!(world.proxy.calls(LIST_QUERY), 0);
        for owner in [&ana, &ben] {
            let rows = world.table.own_rows_of_group(owner.uuid(), group).await.expect("rows");
            assert_eq!((rows.len(), &rows[0].sort_key), (1, &next.sort_key));
        }
    });
}

/// A message without a group: the legacy system stopped between its writes, say.
#[test]
fn after_adoption_the_consumer_does_not_look_for_rows_of_an_unknown_group() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        let (_, first) = stored(&world, &ana, &user("ben").await).await;
        let lost = cruddur_messaging::messages_table::Message { group: MessageGroupUuid(Uuid::new_v4()), ..first };
        let effect = arrive(&world, 9, &lost).await.expect("an effect");
        assert_eq!((effect, world.proxy.calls(LIST_QUERY)), (Effect::NoParticipants, 0));
        // Two reads of the index, as for every group.
        assert_eq!(world.proxy.calls("Query") - world.proxy.calls(INDEX_QUERY), 1, "the read of `stored`");
    });
}

#[test]
fn the_marker_is_read_again_after_a_minute_while_it_is_missing_and_never_after_that() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new().await;
        without_marker(&world).await;
        let table = MessagesTable::new(world.aws.dynamodb.clone(), TABLE);
        let read = async || table.legacy_is_adopted().await.expect("a marker or none");
        let wait = async || {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(60)).await;
            tokio::time::resume();
        };
        assert!(!read().await);
        table.put_marker(chrono::Utc::now()).await.expect("a marker");
        assert!(!read().await);
        assert_eq!(world.proxy.calls("GetItem"), 2, "one of them by the load of the table");
        wait().await;
        assert!(read().await);
        wait().await;
        assert!(read().await);
        assert_eq!(world.proxy.calls("GetItem"), 3);
    });
}

#[test]
fn only_a_new_or_empty_table_gets_the_marker_with_its_schema() {
    test(async {
        let world = World::new().await;
        let load = async || {
            let loaded = load_messages_table(&world.aws.dynamodb, TABLE, Billing::FREE_TIER).await;
            loaded.expect("a table").legacy_is_adopted
        };
        assert!(load().await, "it was new");
        without_marker(&world).await;
        assert!(load().await, "it is empty");
        let (ana, ben) = (user("ana").await, user("ben").await);
        LegacyGroup::new().row(&world, "2022-05-04T10:00:00", &ana, &ben, "hello").await;
        assert!(!load().await, "it has a row");
        let table = MessagesTable::new(world.aws.dynamodb.clone(), TABLE);
        assert!(!table.legacy_is_adopted().await.expect("no marker"));
    });
}
