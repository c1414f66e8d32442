//! Limits of connections: clients that are slow, idle or too many, and what others notice of them.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Instant;

use bytes::Bytes;
use cruddur_messaging::config::{ConnectionLimits, HttpLimits};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::harness::client::code_and_reason;
use crate::harness::connections::{Http2, LONG_QUERY, PARTS, QUERY, Raw, read};
use crate::harness::process::{Running, configured, listening};
use crate::harness::{DEADLINE, Server, World, eventually, test, user};
use crate::stopping::{Served, served_with, wait_for};

const NEVER: u32 = 600_000;
const LIMITS: ConnectionLimits = ConnectionLimits {
    header_timeout_ms: NEVER,
    idle_timeout_ms: NEVER,
    write_timeout_ms: NEVER,
    ..ConnectionLimits::DEFAULT
};

async fn server(world: &World, limits: ConnectionLimits) -> Server {
    world.server_where(|parts| parts.requests.connections = limits).await
}

fn address_of(served: &Served) -> SocketAddr {
    let address = served.client.url.trim_start_matches("http://").trim_end_matches("/graphql");
    address.parse().expect("an address")
}

/// Status, code and reason of a response.
fn refusal(response: Option<(u16, String)>) -> Option<(u16, String, Option<String>)> {
    let (status, body) = response?;
    let (code, reason) = code_and_reason(&serde_json::from_str(&body).expect("JSON"));
    Some((status, code, reason))
}

fn lost_place() -> Option<(u16, String, Option<String>)> {
    Some((503, "UNAVAILABLE".to_owned(), Some("max_receiving_exceeded".to_owned())))
}

#[test]
fn clients_that_send_only_heads_take_no_permit() {
    test(async {
        let world = World::new().await;
        let http = HttpLimits { concurrent_requests: 1, ..HttpLimits::default() };
        let server = world.server_where(|parts| parts.requests.http = http).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut connection = Http2::connect(server.address, 65_535).await;
            for _ in 0..50 {
                held.push(connection.send_head().await);
            }
            // The response to a complete request shows that the server has read the heads.
            let response = connection.unread(QUERY).await;
            assert_eq!(read(response).await.expect("a body"), b"{\"data\":{\"__typename\":\"Query\"}}");
        }
        let client = server.client(&user("ana").await);
        for _ in 0..10 {
            client.data("{ me { handle } }", json!({})).await;
        }
    });
}

#[test]
fn slow_requests_lose_their_places_to_others_and_quick_ones_do_not() {
    test(async {
        let world = World::new().await;
        for limits in
            [ConnectionLimits { receiving: 5, ..LIMITS }, ConnectionLimits { receiving_per_peer: 5, ..LIMITS }]
        {
            let server = server(&world, limits).await;
            let mut slow = Vec::new();
            for _ in 0..8 {
                let mut connection = Raw::connect(server.address).await;
                connection.begin().await;
                slow.push(connection);
            }
            for connection in &mut slow[..3] {
                assert_eq!(refusal(connection.response().await), lost_place());
            }
            let mut quick = Raw::connect(server.address).await;
            for _ in 0..20 {
                assert_eq!(quick.status().await, Some(200));
            }
            assert_eq!(refusal(slow[3].response().await), lost_place(), "its place was the quick one's");
            for connection in &mut slow[4..] {
                connection.send(PARTS.1).await;
                assert_eq!(connection.response().await.map(|(status, _)| status), Some(200));
            }
        }
    });
}

#[test]
fn bodies_that_arrive_slowly_take_limited_memory() {
    test(async {
        let world = World::new().await;
        let receiving_bytes = 3 * QUERY.len();
        let server = server(&world, ConnectionLimits { receiving_bytes, ..LIMITS }).await;
        let mut slow = Vec::new();
        for _ in 0..8 {
            let mut connection = Raw::connect(server.address).await;
            connection.begin().await;
            slow.push(connection);
        }
        let mut quick = Raw::connect(server.address).await;
        for _ in 0..5 {
            assert_eq!(quick.status().await, Some(200));
        }
        let ends = futures::future::join_all(slow.iter_mut().map(Raw::response)).await;
        let lost = ends.into_iter().map(refusal).filter(|end| *end == lost_place()).count();
        assert!(lost >= 5, "{lost} of 8 requests have lost their places");
    });
}

#[test]
#[cfg(target_os = "linux")]
fn requests_lose_their_places_to_requests_of_the_same_peer_first() {
    test(async {
        let world = World::new().await;
        let server = server(&world, ConnectionLimits { receiving: 3, ..LIMITS }).await;
        let mut first = Raw::connect_from("127.0.0.2", server.address).await;
        first.begin().await;
        let mut others = Vec::new();
        for _ in 0..6 {
            let mut connection = Raw::connect_from("127.0.0.3", server.address).await;
            connection.begin().await;
            others.push(connection);
        }
        for connection in &mut others[..4] {
            assert_eq!(refusal(connection.response().await), lost_place());
        }
        first.send(PARTS.1).await;
        assert_eq!(first.response().await.map(|(status, _)| status), Some(200), "it was the oldest one");
    });
}

#[test]
fn connections_without_a_complete_head_are_closed_and_idle_ones_are_not() {
    test(async {
        let world = World::new().await;
        let server = server(&world, ConnectionLimits { header_timeout_ms: 300, ..LIMITS }).await;
        let mut idle = Raw::connect(server.address).await;
        assert_eq!(idle.status().await, Some(200));
        let mut later = Raw::connect(server.address).await;
        assert_eq!(later.status().await, Some(200));
        later.send("POST /graphql HTT").await;
        let half = Raw::sent(server.address, "POST /graphql HTTP/1.1\r\nhost: here\r\n").await;
        let half_of_http2 = Raw::sent(server.address, "PRI * HTTP/2.0\r\n\r\nSM").await;
        let silent_http2 = Raw::sent(server.address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        for mut connection in [Raw::connect(server.address).await, later, half, half_of_http2, silent_http2] {
            // An HTTP/2 client has got the settings of the server.
            let mut received = Vec::new();
            let closed = tokio::time::timeout(DEADLINE, connection.0.read_to_end(&mut received));
            let _ = closed.await.expect("it is closed");
        }
        assert_eq!(idle.status().await, Some(200));
    });
}

#[test]
fn heads_that_arrive_slowly_take_limited_memory() {
    test(async {
        let world = World::new().await;
        let server = server(&world, ConnectionLimits { receiving_bytes: 100_000, ..LIMITS }).await;
        let long_head = format!("POST /graphql HTTP/1.1\r\nhost: here\r\nx: {}", "x".repeat(30_000));
        let mut half = Vec::new();
        for _ in 0..6 {
            half.push(Raw::sent(server.address, &long_head).await);
        }
        let closed = futures::future::select_all(half.iter_mut().map(|it| Box::pin(it.response())));
        let (response, _, _) = tokio::time::timeout(DEADLINE, closed).await.expect("one is closed");
        assert_eq!(response, None);
        assert_eq!(Raw::connect(server.address).await.status().await, Some(200));
    });
}

#[test]
fn idle_connections_are_closed() {
    test(async {
        let world = World::new().await;
        let server = server(&world, ConnectionLimits { idle_timeout_ms: 300, ..LIMITS }).await;
        let mut http1 = Raw::connect(server.address).await;
        assert_eq!(http1.status().await, Some(200));
        let mut http2 = Http2::connect(server.address, 65_535).await;
        read(http2.unread(QUERY).await).await.expect("a body");
        assert_eq!(http1.response().await, None);
        http2.closed().await.expect("it is closed in good order");
    });
}

#[test]
fn too_many_connections_end_those_that_wait_and_not_those_with_a_request() {
    test(async {
        let world = World::new().await;
        let server = server(&world, ConnectionLimits { connections: 3, ..LIMITS }).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let mut connection = Raw::connect(server.address).await;
            assert_eq!(connection.status().await, Some(200));
            waiting.push(connection);
        }
        let mut silent = Raw::connect(server.address).await;
        // The one that has waited longest. The server can notice the end of a response after the client does, so which one
        // that is does not follow from the order of the requests.
        let responses = waiting.iter_mut().map(|connection| Box::pin(connection.response()));
        let (ended, index, others) = futures::future::select_all(responses).await;
        drop(others);
        assert_eq!(ended, None);
        waiting.remove(index);
        assert_eq!(waiting[0].status().await, Some(200));
        let mut another = Raw::connect(server.address).await;
        assert_eq!(silent.response().await, None, "it has never had a request");
        assert_eq!(another.status().await, Some(200));
        assert_eq!(waiting[0].status().await, Some(200));
        assert_eq!(waiting[1].status().await, Some(200));

        // A request that was rejected does not keep its connection, although its body is unfinished.
        let mut rejected = waiting.remove(0);
        rejected
            .send("POST /graphql HTTP/1.1\r\nhost: here\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nhalf")
            .await;
        assert_eq!(rejected.response().await.map(|(status, _)| status), Some(415));
        let mut busy = [waiting.remove(0), another];
        for connection in &mut busy {
            connection.begin().await;
        }
        let mut another = Raw::connect(server.address).await;
        assert_eq!(another.status().await, Some(200));
        assert_eq!(rejected.response().await, None);

        // All are busy: a further connection is closed.
        another.begin().await;
        let [one, two] = busy;
        let mut busy = [one, two, another];
        assert_eq!(Raw::connect(server.address).await.status().await, None);
        for connection in &mut busy {
            connection.send(PARTS.1).await;
            assert_eq!(connection.response().await.map(|(status, _)| status), Some(200));
        }
    });
}

#[test]
fn a_client_that_does_not_read_a_response_is_disconnected_after_its_other_requests() {
    test(async {
        let world = World::new().await;
        let server = server(&world, ConnectionLimits { write_timeout_ms: 1_500, ..LIMITS }).await;
        let mut stalled = Http2::connect(server.address, 100).await;
        let unread = stalled.unread(LONG_QUERY).await;
        let (response, mut rest) = stalled.send_head().await;
        rest.send_data(Bytes::from_static(PARTS.0.as_bytes()), false).expect("sent");
        eventually("that the server accepts no further requests on the connection", || async {
            stalled.requests.clone().ready().await.is_err().then_some(())
        })
        .await;
        rest.send_data(Bytes::from_static(PARTS.1.as_bytes()), true).expect("sent");
        let response = response.await.expect("another user's response");
        assert_eq!(read(response.into_body()).await.expect("a body"), b"{\"data\":{\"__typename\":\"Query\"}}");
        let _ = stalled.closed().await;
        read(unread).await.expect_err("the rest of the long response was not sent");
    });
}

#[test]
fn responses_that_are_not_read_take_limited_memory() {
    test(async {
        let world = World::new().await;
        let server = server(&world, ConnectionLimits { unread_bytes: 150_000, ..LIMITS }).await;
        let mut stalled = Vec::new();
        for _ in 0..8 {
            let mut connection = Http2::connect(server.address, 100).await;
            let response = connection.unread(LONG_QUERY).await;
            stalled.push((connection, response));
        }
        let (last, response) = stalled.pop().expect("the last one");
        let (first, _unread) = stalled.remove(0);
        // It has waited longest.
        let _ = first.closed().await;
        let whole = read(response).await.expect("a body");
        assert!(whole.len() > 30_000, "{} bytes", whole.len());
        assert!(serde_json::from_slice::<Value>(&whole).expect("JSON")["data"]["d"]["types"].is_array());
        drop(last);
    });
}

#[test]
fn readiness_is_probed_once_for_many_requests_also_if_their_clients_are_gone() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        server.client(&user("ana").await).data("{ me { handle } }", json!({})).await;
        let (http, url) = (reqwest::Client::new(), format!("http://{}/health/ready", server.address));
        let (begin, before) = (Instant::now(), world.proxy.calls("GetItem"));
        // A probe is valid for a second.
        let probes = || (world.proxy.calls("GetItem") - before, begin.elapsed().as_secs() as usize + 2);
        let all = futures::future::join_all((0..200).map(|_| http.get(&url).send())).await;
        for response in all {
            assert_eq!(response.expect("a response").status(), StatusCode::OK);
        }
        let (done, maximum) = probes();
        assert!(done <= maximum, "{done} probes");
        // Calls wait for others that do not come.
        world.proxy.gather("GetItem", 1_000);
        eventually("a probe that waits", || async {
            let request = Raw::sent(server.address, "GET /health/ready HTTP/1.1\r\nhost: here\r\n\r\n").await;
            drop(request);
            (world.proxy.calls("GetItem") - before > done).then_some(())
        })
        .await;
        for _ in 0..200 {
            Raw::sent(server.address, "GET /health/ready HTTP/1.1\r\nhost: here\r\n\r\n").await;
        }
        assert_eq!(Raw::connect(server.address).await.status().await, Some(200), "the server has read the requests");
        let (done, maximum) = probes();
        assert!(done <= maximum + 2, "{done} probes");
    });
}

#[test]
fn connections_that_wait_do_not_delay_the_end_of_the_process() {
    test(async {
        let metrics = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let mut served = served_with(&[("METRICS_ADDR", &metrics.to_string())]).await;
        let api = address_of(&served);
        let mut held = Vec::new();
        for address in [api, metrics] {
            // Nothing, half a head, and the start of an HTTP/2 client that never responds.
            for part in ["", "GET /metrics HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
                held.push(Raw::sent(address, part).await);
            }
        }
        let mut idle = Raw::connect(api).await;
        assert_eq!(idle.status().await, Some(200));
        served.process.signal("TERM");
        let lines = tokio::task::block_in_place(|| served.process.lines_without("some tasks did not finish"));
        assert!(lines.is_some(), "the connections delay the end");
        assert_eq!(tokio::task::block_in_place(|| served.process.wait()).code(), Some(0));
        drop((held, idle));
    });
}

#[test]
fn limits_that_are_reached_are_counted() {
    test(async {
        let metrics = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let metrics_addr = metrics.to_string();
        let settings = [("METRICS_ADDR", &*metrics_addr), ("MAX_CONNECTIONS", "3"), ("HEADER_TIMEOUT_MS", "200")];
        let served = served_with(&settings).await;
        let api: SocketAddr =
            served.client.url.trim_start_matches("http://").trim_end_matches("/graphql").parse().expect("an address");
        for _ in 0..4 {
            Raw::connect(api).await.response().await;
        }
        let silent = futures::future::join_all((0..5).map(|_| Raw::connect(api))).await;
        eventually("the counters", || async {
            let numbers = reqwest::get(format!("http://{metrics}/metrics")).await.ok()?.text().await.ok()?;
            let is_counted = |limit: &str| {
                let name = format!("limits_reached_total{{limit=\"{limit}\"}} ");
                numbers.lines().any(|line| line.strip_prefix(&name).is_some_and(|count| count != "0"))
            };
            assert!(numbers.contains("http_connections{state=\"waiting\"}"), "{numbers}");
            (is_counted("MAX_CONNECTIONS") && is_counted("HEADER_TIMEOUT_MS")).then_some(())
        })
        .await;
        drop(silent);
    });
}

/// The process `serve` under limits of the shell.
#[cfg(target_os = "linux")]
fn serve_under(ulimit: &str) -> Running {
    let nowhere = "127.0.0.1:9";
    let (dynamodb, postgres) = (format!("http://{nowhere}"), format!("postgresql://x@{nowhere}/x"));
    let serve = configured(&["serve", "--no-worker"], &dynamodb, &postgres, &format!("http://{nowhere}/keys"));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("{ulimit} && exec \"$0\" \"$@\"")]).arg(serve.get_program()).args(serve.get_args());
    command.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("RUST_LOG", "info");
    Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

#[test]
#[cfg(target_os = "linux")]
fn connections_are_limited_by_the_files_that_the_process_may_open() {
    test(async {
        let mut few = serve_under("ulimit -n 700");
        let warning = "MAX_CONNECTIONS is 350 instead of 10000, because the process may open only 700 files";
        wait_for(&mut few, "the warning", |line| line.contains(warning).then_some(()));
        // The hard limit of the shell that runs the tests is higher.
        let mut raised = serve_under("ulimit -S -n 700");
        wait_for(&mut raised, "its address", listening);
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", raised.id())).expect("limits");
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line");
        assert_eq!(files.split_whitespace().next(), Some("10512"), "{files}");
    });
}
