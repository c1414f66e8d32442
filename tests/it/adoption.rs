//! `ddb adopt-legacy`: it adopts every kind of legacy group, in any circumstances, and writes the marker at the right time.

use std::collections::HashSet;

use cruddur_messaging::adoption::{Adopted, Adopter};
use cruddur_messaging::environment::SystemEnvironment;
use cruddur_messaging::messages_table::MessagesTable;
use cruddur_messaging::model::MessageGroupUuid;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::consumer::rows;
use crate::harness::fault_proxy::Fault::Answer;
use crate::harness::fault_proxy::LIST_QUERY;
use crate::harness::legacy::{self, LegacyGroup};
use crate::harness::process::{command_at, run};
use crate::harness::{TestUser, World, eventually, test, user};

/// The exit status of the command, the values that it prints, and what it says beside them.
fn adopt(world: &World) -> (i32, Vec<Value>, String) {
    let mut command = command_at(&world.proxy, &["ddb", "adopt-legacy", "--json", "--units-per-second", "100000"]);
    let output = block_in_place(|| run(&mut command));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let values = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("an exit status"), values, said)
}

fn adopter(table: &MessagesTable) -> Adopter<'_> {
    Adopter { table, environment: &SystemEnvironment, outage_tries: 3, units_per_second: 100_000.0 }
}

/// Reads the marker as a new process does.
async fn has_marker(world: &World) -> bool {
    MessagesTable::new(world.aws.dynamodb.clone(), world.table.name())
        .legacy_is_adopted()
        .await
        .expect("a marker or none")
}

async fn both_rows(world: &World, group: &LegacyGroup, at: &str, one: &TestUser, other: &TestUser) {
    group.row(world, at, one, other, "a row").await;
    group.row(world, at, other, one, "a row").await;
}

/// Writes a group of two new users.
async fn group_of_two(world: &World, number: usize) -> (LegacyGroup, [TestUser; 2]) {
    let (group, one, other) = (LegacyGroup::new(), user("one").await, user("other").await);
    let at = format!("2022-05-04T10:{:02}:{:02}", number / 60 % 60, number % 60);
    group.message(world, &at, &one, "hello").await;
    both_rows(world, &group, &at, &one, &other).await;
    (group, [one, other])
}

async fn pair_group(world: &World, one: &TestUser, other: &TestUser) -> Option<MessageGroupUuid> {
    world.table.group_of_pair(&[one.participant(), other.participant()]).await.expect("a pair item or none")
}

#[test]
fn every_kind_of_legacy_group_is_adopted_and_then_used() {
    test(async {
        let world = World::new().await;
        let (ana, ben, chloe, dmitri) =
            (user("ana").await, user("ben").await, user("chloe").await, user("dmitri").await);
        let (plain, [one, other]) = group_of_two(&world, 1).await;
        // Two groups of one pair. The rows of the older one are newer, but only messages count.
        let (older, newer) = (LegacyGroup::new(), LegacyGroup::new());
        older.message(&world, "2022-05-04T10:00:00", &ana, "old").await;
        newer.message(&world, "2022-05-05T10:00:00", &chloe, "new").await;
        both_rows(&world, &older, "2022-06-01T00:00:00", &ana, &chloe).await;
        both_rows(&world, &newer, "2022-05-05T10:00:00", &ana, &chloe).await;
        // In the list of one participant only.
        let hidden = LegacyGroup::new();
        hidden.message(&world, "2022-05-04T11:00:00", &chloe, "only chloe sees this").await;
        hidden.row(&world, "2022-05-04T11:00:00", &chloe, &ben, "only chloe sees this").await;
        // Two rows in one list.
        let doubled = LegacyGroup::new();
        doubled.message(&world, "2022-05-04T12:00:00", &dmitri, "twice").await;
        both_rows(&world, &doubled, "2022-05-04T12:00:00", &ana, &dmitri).await;
        doubled.row(&world, "2022-05-03T12:00:00", &ana, &dmitri, "stale").await;
        // With oneself, and without messages.
        let (own, empty) = (LegacyGroup::new(), LegacyGroup::new());
        own.message(&world, "2022-05-04T13:00:00", &ana, "note").await;
        own.row(&world, "2022-05-04T13:00:00", &ana, &ana, "note").await;
        both_rows(&world, &empty, "2022-05-04T14:00:00", &ben, &dmitri).await;
        // A row that nobody can read.
        let mut odd = LegacyGroup::new().row_item("2022-05-04T15:00:00", ana.uuid(), &ben.participant(), "odd");
        odd.remove("user_uuid");
        legacy::put(&world, odd).await;

        let (status, values, said) = adopt(&world);
        assert_eq!(status, 3, "a malformed row is left: {values:?} {said}");
        let malformed = values[0]["malformed"].as_str().expect("a malformed row");
        assert!(malformed.contains("attribute user_uuid is missing") && malformed.contains(&ana.uuid().to_string()));
        let summary = &values[1];
        assert_eq!((&summary["adopted"], &summary["groups"], &summary["failed"]), (&json!(7), &json!(7), &json!(0)));
        assert_eq!((&summary["complete"], &summary["malformed"]), (&json!(true), &json!(1)));
        assert!(has_marker(&world).await);
        for (group, participants) in [
            (&plain, [&one, &other]),
            (&older, [&ana, &chloe]),
            (&newer, [&ana, &chloe]),
            (&hidden, [&ben, &chloe]),
            (&doubled, [&ana, &dmitri]),
            (&own, [&ana, &ana]),
            (&empty, [&ben, &dmitri]),
        ] {
            let membership = world.table.membership(group.id()).await.expect("an answer").expect("a membership");
            assert!(membership.is_legacy);
            for participant in participants {
                // The names too: those of chloe are in her message only.
                assert!(membership.participants.contains(&participant.participant()), "{membership:?}");
            }
            assert!(pair_group(&world, participants[0], participants[1]).await.is_some());
        }
        assert_eq!(pair_group(&world, &ana, &chloe).await, Some(newer.id()));

        // A second run writes nothing, and checks each group with one read.
        let writes = world.proxy.calls("PutItem");
        let (status, values, _) = adopt(&world);
        assert_eq!((status, &values[1]["adopted"], &values[1]["complete"]), (3, &json!(0), &json!(true)));
        assert_eq!(world.proxy.calls("PutItem") - writes, 1, "only the attempt to write the marker");
        assert!(values[1]["readUnits"].as_f64().expect("units") <= 7.0 + 2.0, "{values:?}");

        let server = world.server().await;
        let lists = world.proxy.calls(LIST_QUERY);
        for (group, members) in
            [(&older, [&ana, &chloe]), (&newer, [&ana, &chloe]), (&hidden, [&ben, &chloe]), (&doubled, [&ana, &dmitri])]
        {
            for member in members {
                assert_eq!(server.client(member).bodies(&json!(group.uuid)).await.len(), 1);
            }
        }
        let sent = server.client(&chloe).send_to(&ana, "by handle").await;
        assert_eq!(sent["messageGroup"]["uuid"], json!(newer.uuid));
        let sent = server.client(&ben).send_to(&chloe, "by handle").await;
        assert_eq!(sent["messageGroup"]["uuid"], json!(hidden.uuid));
        let query = "query ($uuid: UUID!) { messageGroup(uuid: $uuid) { lastMessage { body } } }";
        let looked = server.client(&dmitri).data(query, json!({ "uuid": empty.uuid })).await;
        assert_eq!(looked["messageGroup"]["lastMessage"]["body"], "a row");
        assert_eq!(world.proxy.calls(LIST_QUERY), lists);
    });
}

#[test]
fn a_run_that_is_interrupted_leaves_no_marker_and_the_next_one_completes() {
    test(async {
        let world = World::new().await;
        let mut groups = Vec::new();
        for number in 0..40 {
            groups.push(group_of_two(&world, number).await.0);
        }
        let adopted = async |wanted: bool| {
            let memberships = join_all(groups.iter().map(|group| world.table.membership(group.id()))).await;
            memberships.iter().filter(|it| it.as_ref().expect("an answer").is_some() == wanted).count()
        };
        let (stop, mut stopped) = tokio::sync::mpsc::unbounded_channel();
        let adopter = adopter(&world.table);
        let run = adopter.all(|done| {
            if done.adopted >= 10 {
                let _ = stop.send(());
            }
        });
        tokio::select! {
            biased;
            _ = stopped.recv() => {}
            _ = run => panic!("it was not interrupted"),
        }
        assert!(adopted(true).await >= 10 && adopted(false).await > 0);
        assert!(!has_marker(&world).await);
        // A permission is missing for some time.
        world.proxy.next("PutItem", [Answer(400, "AccessDeniedException")]);
        let (status, _, said) = adopt(&world);
        assert!(status == 1 && said.contains("PutItem"), "{said}");
        assert!(!has_marker(&world).await);
        // An outage is waited out.
        world.proxy.next("Scan", vec![Answer(500, "InternalServerError"); 4]);
        world.proxy.next("GetItem", vec![Answer(400, "ThrottlingException"); 4]);
        let (status, values, said) = adopt(&world);
        assert_eq!((status, &values[0]["complete"], &values[0]["groups"]), (0, &json!(true), &json!(40)), "{said}");
        assert!(world.proxy.is_spent());
        assert_eq!(adopted(false).await, 0);
        assert!(has_marker(&world).await);
    });
}

/// Adopts while the legacy system writes a group in each of the passes `written_in`.
async fn beside_the_legacy_system(world: &World, written_in: &[usize]) -> (Adopted, Vec<LegacyGroup>) {
    group_of_two(world, 0).await;
    let (mut written, mut seen) = (Vec::new(), HashSet::new());
    let adopter = adopter(&world.table);
    let done = adopter.all(|done| {
        // The rows of the pass are read completely: the index has two for each group.
        let is_read = done.rows == 2 * (written.len() + 1);
        if is_read && written_in.contains(&done.passes) && seen.insert(done.passes) {
            let (group, _) = block_in_place(|| Handle::current().block_on(group_of_two(world, done.passes)));
            written.push(group);
        }
    });
    (done.await.expect("a result"), written)
}

#[test]
fn the_marker_is_written_after_a_pass_that_finds_no_new_group() {
    test(async {
        let world = World::new().await;
        let (done, written) = beside_the_legacy_system(&world, &[1]).await;
        assert_eq!((done.passes, done.adopted, done.is_complete), (3, 2, true));
        assert!(world.table.membership(written[0].id()).await.expect("an answer").is_some());
        assert!(has_marker(&world).await);

        let world = World::new().await;
        let (done, written) = beside_the_legacy_system(&world, &[1, 2, 3, 4, 5]).await;
        assert_eq!((done.is_complete, written.len()), (false, 5));
        assert!(!has_marker(&world).await);
    });
}

#[test]
fn a_group_that_cannot_be_adopted_is_reported_and_prevents_the_marker() {
    test(async {
        let world = World::new().await;
        let (group, [one, other]) = group_of_two(&world, 0).await;
        let (good, _) = group_of_two(&world, 1).await;
        let eve = user("eve").await;
        group.row(&world, "2022-05-04T10:00:00", &eve, &one, "whose?").await;
        let (status, values, said) = adopt(&world);
        assert_eq!(status, 3, "{values:?}");
        assert!(said.contains("1 groups could not be adopted"), "{said}");
        assert_eq!(values[0]["group"], json!(group.uuid));
        let reason = values[0]["failed"].as_str().expect("a reason");
        for user in [&one, &other, &eve] {
            assert!(reason.contains(&user.uuid().to_string()), "{reason}");
        }
        assert_eq!((&values[1]["complete"], &values[1]["adopted"]), (&json!(false), &json!(1)));
        assert!(world.table.membership(group.id()).await.expect("an answer").is_none());
        assert!(world.table.membership(good.id()).await.expect("an answer").is_some());
        assert!(!has_marker(&world).await);
        // Both participants still have access.
        let server = world.server().await;
        for member in [&one, &other] {
            assert_eq!(server.client(member).bodies(&json!(group.uuid)).await, ["hello"]);
        }
    });
}

#[test]
fn a_group_that_is_found_after_the_marker_was_written_is_adopted_by_another_run() {
    test(async {
        let world = World::new().await;
        let (group, [one, _]) = group_of_two(&world, 0).await;
        world.table.put_marker(chrono::Utc::now()).await.expect("a marker");
        let before = world.server().await;
        let query = "query ($uuid: UUID!) { messageGroup(uuid: $uuid) { uuid } }";
        let looked = before.client(&one).data(query, json!({ "uuid": group.uuid })).await;
        assert_eq!(looked["messageGroup"], Value::Null);
        let (status, values, said) = adopt(&world);
        assert_eq!((status, &values[0]["adopted"], &values[0]["complete"]), (0, &json!(1), &json!(true)), "{said}");
        let looked = before.client(&one).data(query, json!({ "uuid": group.uuid })).await;
        assert_eq!(looked["messageGroup"]["uuid"], json!(group.uuid));
    });
}

#[test]
fn it_runs_beside_servers_and_a_consumer() {
    test(async {
        let world = World::new().await;
        let servers = [world.server().await, world.server().await];
        let mut groups = Vec::new();
        for number in 0..20 {
            groups.push(group_of_two(&world, number).await);
        }
        let consumer = world.consumer();
        let sends = groups.iter().enumerate().flat_map(|(number, (group, [one, other]))| {
            let by_uuid = servers[number % 2].client(one);
            let by_handle = servers[(number + 1) % 2].client(other);
            let (to_group, to_user) = (json!({ "messageGroupUuid": group.uuid }), json!({ "handle": one.handle() }));
            [(by_uuid, to_group, group), (by_handle, to_user, group)]
        });
        let sends = sends.map(|(client, to, group)| async move {
            let sent = client.send(to, "new").await;
            assert_eq!(sent["messageGroup"]["uuid"], json!(group.uuid));
        });
        let sends: Vec<_> = sends.collect();
        let adopter = adopter(&world.table);
        let (done, _) = futures::join!(adopter.all(|_| {}), join_all(sends));
        assert!(done.expect("a result").is_complete);
        for (group, [one, other]) in &groups {
            assert_eq!(pair_group(&world, one, other).await, Some(group.id()));
            eventually("the move", || async {
                let listed = servers[0].client(one).groups(10).await;
                (listed.len() == 1 && listed[0]["lastMessage"]["body"] == "new").then_some(())
            })
            .await;
            assert_eq!(servers[0].client(other).bodies(&json!(group.uuid)).await.len(), 3);
        }
        assert!(consumer.finish().await);
        for (_, [one, other]) in &groups {
            assert_eq!((rows(&world, one).await, rows(&world, other).await), (1, 1));
        }
    });
}
