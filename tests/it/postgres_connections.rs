//! Connections to PostgreSQL that hang or break without a sign. Each pool here has one connection, so one that is lost would be
//! missed for good.

use std::time::Duration;

use cruddur_messaging::app::pool;
use cruddur_messaging::live::broker::Broker;
use cruddur_messaging::live::postgres::PostgresBroker;
use cruddur_messaging::users::{Users, UsersError};
use futures::FutureExt;
use serde_json::{Value, json};

use crate::harness::client::code_and_reason;
use crate::harness::postgres_relay::{STATEMENT_TIMEOUT, relayed};
use crate::harness::{World, eventually, shared, test, user_in};

const USER: &str = "query ($handle: String!) { user(handle: $handle) { uuid } }";

/// A query that the server never answers is polled until it waits, and is then dropped.
async fn abandon_a_query(users: &Users, has_begun: impl Fn() -> bool) {
    let mut query = Box::pin(users.by_handle("somebody"));
    eventually("that the query waits", || {
        let answer = query.as_mut().now_or_never();
        assert!(answer.is_none(), "{answer:?}");
        let waits = has_begun().then_some(());
        async move { waits }
    })
    .await;
}

#[test]
fn an_abandoned_query_gives_its_connection_back_although_the_server_hangs() {
    test(async {
        let (_postgres, relay, users) = relayed().await;
        let ana = user_in(&users, "ana").await;
        relay.hold_at_next_select();
        let before = relay.selects();
        abandon_a_query(&users, || relay.selects() > before).await;
        // The server still hangs: only the end of the connection frees the only place of the pool.
        eventually("that the pool has given the connection up", || async { (users.pool().size() == 0).then_some(()) })
            .await;
        relay.hold(false);
        eventually("the user", || async {
            let found = users.by_handle(ana.handle()).await;
            found.is_ok_and(|found| found.is_some_and(|user| user.uuid == ana.uuid())).then_some(())
        })
        .await;
    });
}

#[test]
fn a_network_that_breaks_silently_makes_requests_unavailable_and_recovers() {
    test(async {
        let world = World::new().await;
        let (_postgres, relay, users) = relayed().await;
        let (ana, ben) = (user_in(&users, "ana").await, user_in(&users, "ben").await);
        let server = world.server_with(users.clone(), shared().await.token_issuer.clone()).await;
        let client = server.client(&ana);
        let ask = || client.execute(USER, json!({ "handle": ben.handle() }));
        assert_eq!(ask().await["data"]["user"]["uuid"], json!(ben.uuid().to_string()));
        relay.silence(true);
        // The first request waits for the connection that has broken, later ones for new connections.
        for _ in 0..2 {
            for answer in futures::future::join_all((0..3).map(|_| ask())).await {
                assert_eq!(code_and_reason(&answer), ("UNAVAILABLE".to_owned(), None), "not the limit of the request");
            }
        }
        relay.silence(false);
        eventually("that users are found again", || async {
            (ask().await["data"]["user"]["uuid"] != Value::Null).then_some(())
        })
        .await;
    });
}

#[test]
fn an_idle_connection_that_broke_silently_is_replaced_before_it_is_used() {
    test(async {
        let (_postgres, relay, users) = relayed().await;
        let ana = user_in(&users, "ana").await;
        eventually("that the connection is idle", || async { (users.pool().num_idle() == 1).then_some(()) }).await;
        relay.silence(true);
        relay.silence(false);
        let found = users.by_handle(ana.handle()).await.expect("no error, since a new connection works");
        assert_eq!(found.map(|user| user.uuid), Some(ana.uuid()));
    });
}

#[test]
fn a_query_without_a_response_ends_at_its_limit() {
    test(async {
        let (_postgres, relay, users) = relayed().await;
        relay.hold_at_next_select();
        let error = users.by_handle("somebody").await.expect_err("no response");
        let text = cruddur_messaging::report(&error);
        assert!(text.ends_with("no response in time (DATABASE_STATEMENT_TIMEOUT_MS)"), "{text}");
        relay.hold(false);
        eventually("that users are found again", || async { users.by_handle("somebody").await.ok() }).await;
    });
}

#[test]
fn a_notification_without_a_response_costs_the_pool_no_connection() {
    test(async {
        let (_postgres, relay, users) = relayed().await;
        user_in(&users, "ana").await;
        let broker = PostgresBroker::new(users.pool().clone());
        relay.hold_at_next_select();
        let error = broker.send("{}").await.expect_err("no response");
        assert!(matches!(error, UsersError::Unavailable(_)), "{error:?}");
        // The server still hangs: only the end of the connection frees the only place of the pool.
        eventually("that the pool has given the connection up", || async { (users.pool().size() == 0).then_some(()) })
            .await;
        relay.hold(false);
        eventually("a notification", || async { broker.send("{}").await.ok() }).await;
    });
}

#[test]
fn the_server_cancels_statements_at_their_limit() {
    test(async {
        let (_postgres, relay, users) = relayed().await;
        let limit: String =
            sqlx::query_scalar("SHOW statement_timeout").fetch_one(users.pool()).await.expect("a limit");
        assert_eq!(limit, format!("{}s", STATEMENT_TIMEOUT.as_secs()));
        drop(relay);
        // The embedded PostgreSQL has no timers.
        let Ok(url) = std::env::var("TEST_DATABASE_URL") else { return };
        let pool = pool(&url, 1, Some(Duration::from_millis(100))).expect("TEST_DATABASE_URL");
        let error = sqlx::query("SELECT pg_sleep(600)").execute(&pool).await.expect_err("no result");
        assert!(error.to_string().contains("statement timeout"), "{error}");
        assert!(sqlx::query("SELECT 1").execute(&pool).await.is_ok());
    });
}
