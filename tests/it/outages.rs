//! Stores that are slow, reject requests, become unreachable and come back. What does not need them keeps working, readiness
//! follows, no acknowledged message is lost, and none is stored twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::messages_table::{Direction, SortKeyRange};
use cruddur_messaging::users::Users;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::consumer_faults::group_uuid;
use crate::harness::client::code_and_reason;
use crate::harness::event_stream::EventStream;
use crate::harness::fault_proxy::Fault::{Answer, Body};
use crate::harness::live::{FEED, ready};
use crate::harness::postgres_relay::relayed;
use crate::harness::process::{command, one_line, run};
use crate::harness::{
    Client, DEADLINE, Server, TestUser, World, embedded_postgres, eventually, shared, test, user, user_in,
};
use crate::stopping::{ask_and_hold, served_with, wait_for};

const SEND: &str = "mutation ($to: MessageRecipient!, $body: String!) {
    createMessage(input: { to: $to, body: $body }) { message { uuid } messageGroup { uuid } } }";

async fn is_ready(client: &Client) -> bool {
    let url = client.url.replace("/graphql", "/health/ready");
    client.http.get(url).send().await.is_ok_and(|answer| answer.status().as_u16() == 200)
}

/// Four writers send messages to one conversation until `trouble` ends. Then every acknowledged message is stored once, and
/// nothing is stored twice. A message with an unknown outcome may be stored, once.
async fn assert_nothing_is_lost_or_duplicated(
    world: &World,
    server: &Server,
    trouble: impl AsyncFnOnce(&Client, &TestUser),
) {
    let (ana, ben) = (user("ana").await, user("ben").await);
    let group = server.client(&ana).send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
    let stop = Arc::new(AtomicBool::new(false));
    let writers = (0..4).map(|writer| {
        let (client, group, stop) =
            (server.client(if writer % 2 == 0 { &ana } else { &ben }), group.clone(), stop.clone());
        tokio::spawn(async move {
            let mut stored = Vec::new();
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let body = format!("{writer}-{number}");
                let answer = client.execute(SEND, json!({ "to": { "messageGroupUuid": group }, "body": body })).await;
                if answer["data"]["createMessage"].is_object() {
                    stored.push(body);
                } else {
                    assert_eq!(code_and_reason(&answer).0, "UNAVAILABLE", "{answer}");
                }
            }
            stored
        })
    });
    let writers: Vec<_> = writers.collect();
    trouble(&server.client(&ana), &ana).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("a writer"));
    }
    let group = group_uuid(&group);
    let all = world.table.messages(group, &SortKeyRange::all(), Direction::Ascending, usize::MAX - 1, |_| true).await;
    let mut bodies: HashMap<String, usize> = HashMap::new();
    for message in all.expect("messages").items {
        *bodies.entry(message.body).or_default() += 1;
    }
    assert!(!acknowledged.is_empty());
    for body in acknowledged {
        assert!(bodies.contains_key(&body), "{body} was answered with success and is lost");
    }
    assert!(bodies.values().all(|count| *count == 1), "stored twice: {bodies:?}");
}

#[test]
fn an_outage_of_dynamodb_under_load_loses_and_duplicates_nothing() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        assert_nothing_is_lost_or_duplicated(&world, &server, async |client, ana| {
            for _ in 0..2 {
                world.proxy.cut(true);
                eventually("that it is not ready", || async { (!is_ready(client).await).then_some(()) }).await;
                // Requests that do not need DynamoDB succeed.
                assert_eq!(client.data("{ me { handle } }", json!({})).await["me"]["handle"], ana.handle());
                world.proxy.cut(false);
                eventually("that it is ready again", || async { is_ready(client).await.then_some(()) }).await;
            }
        })
        .await;
    });
}

#[test]
fn a_slow_dynamodb_under_load_loses_and_duplicates_nothing() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        assert_nothing_is_lost_or_duplicated(&world, &server, async |client, ana| {
            // Up to twice the time limit of a try: some calls time out while the engine still executes them.
            world.proxy.slow(Duration::from_secs(4));
            let before = world.proxy.calls("PutItem");
            eventually("that many were sent meanwhile", || async {
                assert_eq!(client.data("{ me { handle } }", json!({})).await["me"]["handle"], ana.handle());
                (world.proxy.calls("PutItem") > before + 20).then_some(())
            })
            .await;
            world.proxy.slow(Duration::ZERO);
        })
        .await;
    });
}

#[test]
fn a_nullable_field_that_fails_is_null_and_its_siblings_have_values() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
        world.proxy.next("Query", vec![Answer(500, "InternalServerError"); 3]);
        let query = "query ($uuid: UUID!) { messageGroup(uuid: $uuid) { uuid } me { handle } }";
        let answer = client.execute(query, json!({ "uuid": group })).await;
        assert_eq!(answer["data"], json!({ "messageGroup": null, "me": { "handle": ana.handle() } }), "{answer}");
        assert_eq!(code_and_reason(&answer).0, "UNAVAILABLE", "{answer}");
        assert_eq!(answer["errors"][0]["path"], json!(["messageGroup"]), "{answer}");
    });
}

#[test]
fn a_slow_or_rejecting_dynamodb_is_unavailable_and_recovers() {
    test(async {
        let world = World::new().await;
        // Only the delayed request below uses this server, because a busy machine could also reach its short limit.
        let hurried = world.server_where(|parts| parts.requests.http.request_timeout_ms = 2_000).await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        client.send_to(&ben, "first").await;
        world.proxy.gather("Query", 10);
        let answer = hurried.client(&ana).execute("{ messageGroups { nodes { uuid } } }", json!({})).await;
        assert_eq!(
            code_and_reason(&answer),
            ("UNAVAILABLE".to_owned(), Some("request_timeout".to_owned())),
            "{answer}"
        );
        world.proxy.gather("Query", 0);
        for (status, code) in [(500, "InternalServerError"), (400, "ProvisionedThroughputExceededException")] {
            world.proxy.next("Query", vec![Answer(status, code); 3]);
            let answer = client.execute("{ me { handle } messageGroups { nodes { uuid } } }", json!({})).await;
            assert_eq!(code_and_reason(&answer).0, "UNAVAILABLE", "{answer}");
        }
        // Another server responds in place of DynamoDB.
        for body in ["<html>", "", "{\"Items\":7}"] {
            world.proxy.next("Query", [Body(200, body)]);
            let answer = client.execute("{ messageGroups { nodes { uuid } } }", json!({})).await;
            assert_eq!(code_and_reason(&answer).0, "UNAVAILABLE", "{body}: {answer}");
        }
        let answer = client.data("{ messageGroups { nodes { lastMessage { body } } } }", json!({})).await;
        assert_eq!(answer["messageGroups"]["nodes"][0]["lastMessage"]["body"], "first");
    });
}

#[test]
fn a_postgres_that_does_not_respond_is_unavailable_within_the_limit_and_recovers() {
    test(async {
        let world = World::new().await;
        let (_postgres, relay, users) = relayed().await;
        let (ana, ben) = (user_in(&users, "ana").await, user_in(&users, "ben").await);
        let server = world.server_with(users.clone(), shared().await.token_issuer.clone()).await;
        let client = server.client(&ana);
        client.send_to(&ben, "first").await;
        relay.hold(true);
        eventually("that it is not ready", || async { (!is_ready(&client).await).then_some(()) }).await;
        let ask = || {
            client.execute(
                "query ($handle: String!) { user(handle: $handle) { uuid } }",
                json!({ "handle": ben.handle() }),
            )
        };
        // One request waits for the response, the others for the connection. None waits longer than the limit of a request.
        for answer in futures::future::join_all((0..3).map(|_| ask())).await {
            assert_eq!(code_and_reason(&answer).0, "UNAVAILABLE", "{answer}");
        }
        assert_eq!(server.anonymous().data("{ __typename }", json!({})).await["__typename"], "Query");
        relay.hold(false);
        eventually("that users are found again", || async {
            let answer = ask().await;
            (answer["data"]["user"]["uuid"] == json!(ben.uuid().to_string())).then_some(())
        })
        .await;
        eventually("that it is ready again", || async { is_ready(&client).await.then_some(()) }).await;
    });
}

/// The names then come from the copies in the items.
#[test]
fn events_arrive_while_postgres_does_not_respond() {
    test(async {
        let world = World::new().await;
        let _consumer = world.consumer();
        let (_postgres, relay, users) = relayed().await;
        let (ana, ben) = (user_in(&users, "ana").await, user_in(&users, "ben").await);
        let issuer = &shared().await.token_issuer;
        let other = world.server_with(users.clone(), issuer.clone()).await;
        let (of_ana, of_ben) = (other.client(&ana), other.client(&ben));
        let group = of_ben.send_to(&ana, "first").await["messageGroup"]["uuid"].clone();
        let first = || async {
            let page = of_ana.data("{ feed { events { cursor } } }", json!({})).await;
            page["feed"]["events"][0].is_object().then_some(())
        };
        eventually("the first event", first).await;
        // A server that has not cached Ben's names.
        let server = world.server_with(Users::new(users.pool().clone()), issuer.clone()).await;
        let mut stream = EventStream::start(&server.client(&ana), FEED, json!({})).await;
        ready(&stream.event().await);
        relay.hold(true);
        of_ben.send(json!({ "messageGroupUuid": group }), "meanwhile").await;
        let event = stream.event().await;
        assert_eq!(event["message"]["body"], "meanwhile", "{event}");
        assert_eq!(event["message"]["author"]["handle"], ben.handle(), "{event}");
    });
}

/// The names of the author are cached then. Those of the other participant need not be.
#[test]
fn an_error_after_a_stored_message_says_so() {
    test(async {
        let world = World::new().await;
        let (_postgres, relay, users) = relayed().await;
        let (ana, ben) = (user_in(&users, "ana").await, user_in(&users, "ben").await);
        let issuer = &shared().await.token_issuer;
        let first = world.server_with(users.clone(), issuer.clone()).await.client(&ana).send_to(&ben, "first").await;
        let group = &first["messageGroup"]["uuid"];
        // Two users who are not affected by the outage.
        let (chloe, dmitri) = (user("chloe").await, user("dmitri").await);
        let others = world.server().await.client(&chloe);
        let elsewhere = others.send_to(&dmitri, "hello").await["messageGroup"]["uuid"].clone();
        for (payload, is_answered) in [
            ("message { body author { handle } }", true),
            ("message { body } messageGroup { otherParticipant { handle } }", false),
        ] {
            // A server that has not cached the other participant.
            let server = world.server_with(Users::new(users.pool().clone()), issuer.clone()).await;
            let send = format!(
                "mutation($to: MessageRecipient!, $body: String!) {{ createMessage(input: {{ to: $to, body: $body }}) {{ {payload} }} }}"
            );
            let before = world.proxy.calls("PutItem");
            world.proxy.gather("PutItem", 2);
            let client = server.client(&ana);
            let sending =
                async { client.execute(&send, json!({ "to": { "messageGroupUuid": group }, "body": payload })).await };
            let cutting = async {
                eventually("the write", || async { (world.proxy.calls("PutItem") > before).then_some(()) }).await;
                relay.hold(true);
                others.send(json!({ "messageGroupUuid": elsewhere }), "now both are written").await;
            };
            let (answer, ()) = futures::join!(sending, cutting);
            relay.hold(false);
            if is_answered {
                let author = &answer["data"]["createMessage"]["message"]["author"];
                assert_eq!(author["handle"], ana.handle(), "{answer}");
            } else {
                let error = &answer["errors"][0];
                assert_eq!(code_and_reason(&answer).0, "UNAVAILABLE", "{answer}");
                assert_eq!(error["extensions"]["outcome"], "STORED", "{answer}");
                let message = error["message"].as_str().unwrap_or_default();
                assert!(message.ends_with("A message of this request has been stored."), "{answer}");
            }
        }
        let client = world.server_with(users.clone(), issuer.clone()).await.client(&ana);
        eventually("that users are found again", || async {
            (client.execute("{ me { uuid } }", json!({})).await["data"] != Value::Null).then_some(())
        })
        .await;
        assert_eq!(client.bodies(group).await.len(), 3, "each once");
    });
}

#[test]
fn an_outage_of_postgres_needs_no_restart() {
    test(async {
        let world = World::new().await;
        let folder = tempfile::tempdir().expect("a folder");
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let start = async || {
            let listener = TcpListener::bind(address).await.expect("the port");
            let postgres = EmbeddedPostgres::start(Some(folder.path().join("pg")), listener).await;
            postgres.expect("an embedded PostgreSQL")
        };
        let postgres = start().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        users.migrate().await.expect("migrations");
        let (ana, ben) = (user_in(&users, "ana").await, user_in(&users, "ben").await);
        let server = world.server_with(users.clone(), shared().await.token_issuer.clone()).await;
        let client = server.client(&ana);
        client.send_to(&ben, "first").await;
        assert!(is_ready(&client).await);
        postgres.stop().await;
        eventually("that it is not ready", || async { (!is_ready(&client).await).then_some(()) }).await;
        let unavailable = |answer: &Value| code_and_reason(answer).0 == "UNAVAILABLE";
        let handle = json!({ "handle": ben.handle() });
        let answer =
            client.execute("query ($handle: String!) { user(handle: $handle) { uuid } }", handle.clone()).await;
        assert!(unavailable(&answer), "{answer}");
        assert_eq!(server.anonymous().data("{ __typename }", json!({})).await["__typename"], "Query");
        let postgres = start().await;
        let begin = std::time::Instant::now();
        loop {
            let answer =
                client.execute("query ($handle: String!) { user(handle: $handle) { uuid } }", handle.clone()).await;
            if answer["data"]["user"]["uuid"] == json!(ben.uuid().to_string()) {
                break;
            }
            assert!(unavailable(&answer) && begin.elapsed() < DEADLINE, "{answer}");
        }
        eventually("that it is ready again", || async { is_ready(&client).await.then_some(()) }).await;
        drop(postgres);
    });
}

/// The operation may continue or not. The operator sees that a client sent a request and closed the connection.
#[test]
fn a_cancelled_request_is_logged_and_counted() {
    test(async {
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let mut served = served_with(&[("METRICS_ADDR", &address.to_string())]).await;
        ask_and_hold(&served, 100).await.abort();
        let line = wait_for(&mut served.process, "its line", |line| {
            line.contains("request finished").then(|| line.to_owned())
        });
        for part in ["outcome=\"CANCELLED\"", "fields=\"messageGroups\"", "request{id="] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let numbers = reqwest::get(format!("http://{address}/metrics")).await.expect("metrics").text().await;
        let counted = "graphql_requests_total{field=\"messageGroups\",outcome=\"CANCELLED\"} 1";
        assert!(numbers.as_ref().is_ok_and(|numbers| numbers.contains(counted)), "{numbers:?}");
    });
}

/// What container engines run. It follows no proxy, and names what it requested.
#[test]
fn the_command_health_shows_whether_a_process_responds() {
    test(async {
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let mut served = served_with(&[("METRICS_ADDR", &address.to_string())]).await;
        let health = |arguments: &[&str]| {
            let mut health = command();
            health.arg("health").args(arguments).env("METRICS_ADDR", format!("0.0.0.0:{}", address.port()));
            health.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
            tokio::task::block_in_place(|| run(&mut health))
        };
        let output = health(&[]);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"live\n"[..]), "{output:?}");
        let ready = served.client.url.replace("/graphql", "/health/ready");
        let is_ready = || async { (health(&[&ready]).status.code() == Some(0)).then_some(()) };
        eventually("that it is ready", is_ready).await;

        served.world.proxy.cut(true);
        let unready = || async {
            let output = health(&[&ready]);
            (output.status.code() == Some(1)).then(|| one_line(&output))
        };
        let line = eventually("that it is not ready", unready).await;
        assert!(line.contains(&ready) && line.contains("503") && line.contains("\"dynamodb\":false"), "{line}");
        assert_eq!(health(&[]).status.code(), Some(0), "it is alive");

        served.process.signal("KILL");
        tokio::task::block_in_place(|| served.process.wait());
        let output = health(&[]);
        let url = format!("http://{address}/health/live");
        let line = one_line(&output);
        assert!(output.status.code() == Some(1) && line.contains(&url) && line.contains("METRICS_ADDR"), "{line}");
        let output = health(&["nonsense"]);
        assert_eq!(output.status.code(), Some(2), "{}", one_line(&output));
    });
}

/// The database of `dev` keeps working after invalid connections to its port.
#[test]
fn the_embedded_postgres_survives_reset_and_invalid_connections() {
    test(async {
        let postgres = embedded_postgres().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        users.migrate().await.expect("migrations");
        let ana = user_in(&users, "ana").await;
        let address = postgres.url().split('@').nth(1).and_then(|it| it.split('/').next()).expect("an address");
        for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\0\0\0\x08\x04\xd2\x16\x2f", &[0xff; 64]] {
            for reset in [true, false] {
                let mut connection = TcpStream::connect(address).await.expect("a connection");
                connection.write_all(sent).await.expect("sent");
                if reset {
                    connection.set_zero_linger().expect("no lingering");
                }
                drop(connection);
                eventually("the user", || async {
                    let found = users.by_handle(ana.handle()).await;
                    found.is_ok_and(|found| found.is_some_and(|user| user.uuid == ana.uuid())).then_some(())
                })
                .await;
            }
        }
    });
}
