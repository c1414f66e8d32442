//! Stopping `serve`: current requests are finished within the grace period, and a second signal ends the process at once.

use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::users::Users;
use serde_json::{Value, json};

use crate::harness::process::{Running, configured, listening, token_for};
use crate::harness::recorder::API;
use crate::harness::{Client, TABLE, TestUser, World, embedded_postgres, eventually, shared, test, user_in};

const LIST: &str = "{ messageGroups { nodes { uuid } } }";

pub struct Served {
    pub world: World,
    _postgres: EmbeddedPostgres,
    pub process: Running,
    pub ana: TestUser,
    pub ben: TestUser,
    /// A client that is signed in as ana.
    pub client: Client,
}

async fn served() -> Served {
    served_with(&[]).await
}

/// A process `serve` with additional settings, and a client.
pub async fn served_with(settings: &[(&str, &str)]) -> Served {
    let (world, postgres, shared) = (World::new().await, embedded_postgres().await, shared().await);
    let users = Users::new(postgres.pool().expect("a pool"));
    users.migrate().await.expect("migrations");
    let (ana, ben) = (user_in(&users, "ana").await, user_in(&users, "ben").await);
    users.close().await;
    let jwks_url = &shared.token_issuer.jwks_url;
    let mut command = configured(&["serve", "--no-worker"], &world.proxy.url_of(API), postgres.url(), jwks_url);
    command.env("DDB_MESSAGE_TABLE", TABLE).env("RUST_LOG", "info").envs(settings.iter().copied());
    let mut process = Running::start(&mut command);
    let address = wait_for(&mut process, "its address", listening).parse().expect("an address");
    let client = Client::new(address, Some(token_for(&shared.issuer, &ana.cognito_user_id)));
    Served { world, _postgres: postgres, process, ana, ben, client }
}

pub fn wait_for<T>(process: &mut Running, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
    tokio::task::block_in_place(|| process.wait_for(what, wanted))
}

fn stopping(line: &str) -> Option<()> {
    line.contains("stopping").then_some(())
}

/// Sends a request whose calls the engine holds until `calls` of them have arrived; the SDK retries every two seconds.
pub async fn ask_and_hold(served: &Served, calls: usize) -> tokio::task::JoinHandle<Result<Value, reqwest::Error>> {
    let before = served.world.proxy.calls("Query");
    served.world.proxy.gather("Query", calls);
    let request = served.client.post().json(&json!({ "query": LIST }));
    let asked = tokio::spawn(async move { request.send().await?.json().await });
    eventually("the call to the engine", || async { (served.world.proxy.calls("Query") > before).then_some(()) }).await;
    asked
}

#[test]
fn after_a_signal_current_requests_are_finished_and_new_ones_refused() {
    test(async {
        let mut served = served().await;
        let asked = ask_and_hold(&served, 2).await;
        served.process.signal("TERM");
        wait_for(&mut served.process, "that it stops", stopping);
        eventually("that nothing new is taken", || async {
            let fresh = reqwest::Client::new();
            fresh.get(&served.client.url).send().await.is_err_and(|error| error.is_connect()).then_some(())
        })
        .await;
        let answer = asked.await.expect("a task").expect("a response");
        assert_eq!(answer, json!({ "data": { "messageGroups": { "nodes": [] } } }));
        assert_eq!(tokio::task::block_in_place(|| served.process.wait()).code(), Some(0));
    });
}

#[test]
fn a_half_sent_request_does_not_keep_the_process_alive() {
    test(async {
        use tokio::io::AsyncWriteExt;
        let mut served = served().await;
        let address = served.client.url.trim_start_matches("http://").trim_end_matches("/graphql").to_owned();
        let mut held = Vec::new();
        for part in [
            "",
            "POST /graphql HTTP/1.1\r\n",
            "POST /graphql HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        ] {
            let mut connection = tokio::net::TcpStream::connect(&address).await.expect("a connection");
            connection.write_all(part.as_bytes()).await.expect("sent");
            held.push(connection);
        }
        served.process.signal("TERM");
        assert_eq!(tokio::task::block_in_place(|| served.process.wait()).code(), Some(0));
        drop(held);
    });
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    test(async {
        let mut served = served().await;
        let asked = ask_and_hold(&served, 100).await;
        served.process.signal("TERM");
        wait_for(&mut served.process, "that it stops", stopping);
        served.process.signal("TERM");
        assert_eq!(tokio::task::block_in_place(|| served.process.wait()).code(), Some(130));
        assert!(asked.await.expect("a task").is_err(), "what ran was cut");
    });
}
