//! Keys that change at their source, with a clock that the test moves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::keys::{COOLDOWN, KeySource};
use super::{TokenError, Verifier};
use crate::embedded::issuer::LocalIssuer;
use crate::environment::{Environment, SystemEnvironment};

const GRACE: Duration = Duration::from_secs(600);

/// The monotonic clock goes on only when the test moves it.
struct Clock(Mutex<Instant>);

impl Clock {
    fn advance(&self, by: Duration) {
        *self.0.lock().expect("no panic while locked") += by;
    }
}

impl Environment for Clock {
    fn now(&self) -> DateTime<Utc> {
        SystemEnvironment.now()
    }

    fn new_uuid(&self) -> Uuid {
        SystemEnvironment.new_uuid()
    }

    fn random(&self) -> f64 {
        SystemEnvironment.random()
    }

    fn monotonic(&self) -> Instant {
        *self.0.lock().expect("no panic while locked")
    }
}

/// A verifier whose key source publishes what the test says.
struct World {
    clock: Arc<Clock>,
    published: Arc<Mutex<Value>>,
    verifier: Verifier,
}

impl World {
    async fn new(published: Value) -> Self {
        let published = Arc::new(Mutex::new(published));
        let answer = published.clone();
        let keys = get(async move || Json(answer.lock().expect("no panic while locked").clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/keys", keys)).await });
        let clock = Arc::new(Clock(Mutex::new(Instant::now())));
        let keys = KeySource::new(url, COOLDOWN, GRACE, clock.clone()).expect("an HTTP client");
        let claims = LocalIssuer::claims("x", Utc::now());
        let text = |name: &str| claims[name].as_str().expect("a text");
        let verifier = Verifier::new(text("iss"), text("client_id"), keys, clock.clone());
        Self { clock, published, verifier }
    }

    /// Publishes another key set and fetches it, as a token with an unknown `kid` does after the cooldown.
    async fn publish(&self, keys: Value) -> Result<(), TokenError> {
        *self.published.lock().expect("no panic while locked") = keys;
        self.clock.advance(COOLDOWN);
        self.verifier.verify(&token(&LocalIssuer::generate().expect("a key"))).await.map(|_| ())
    }
}

fn token(issuer: &LocalIssuer) -> String {
    issuer.token(&Uuid::new_v4().to_string()).expect("a token")
}

fn set(issuers: &[&LocalIssuer]) -> Value {
    json!({ "keys": issuers.iter().flat_map(|it| it.key_set().keys).collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_key_set_without_usable_keys_is_a_failure_and_the_old_keys_stay_valid() {
    let issuer = LocalIssuer::generate().expect("a key");
    let world = World::new(set(&[&issuer])).await;
    let accepted = token(&issuer);
    assert!(world.verifier.verify(&accepted).await.is_ok());
    let symmetric = json!({ "keys": [{ "kty": "oct", "kid": "x", "k": "AAAA" }] });
    for unusable in [json!({ "keys": [] }), symmetric, json!({}), json!("nonsense")] {
        // The key of the token may be one that the failed fetch would have returned.
        assert_eq!(world.publish(unusable.clone()).await, Err(TokenError::KeysUnavailable), "{unusable}");
        world.clock.advance(GRACE * 2);
        for token in [&accepted, &token(&issuer)] {
            assert!(world.verifier.verify(token).await.is_ok(), "{unusable}");
        }
    }
    assert_eq!(world.publish(set(&[&issuer])).await, Err(TokenError::UnknownKey), "the source is back");
}

#[tokio::test]
async fn a_key_that_vanishes_stays_valid_for_the_grace_period() {
    let [old, new] = [(); 2].map(|()| LocalIssuer::generate().expect("a key"));
    let world = World::new(set(&[&old])).await;
    let accepted = token(&old);
    assert!(world.verifier.verify(&accepted).await.is_ok());
    assert_eq!(world.publish(set(&[&new])).await, Err(TokenError::UnknownKey));
    assert!(world.verifier.verify(&token(&new)).await.is_ok());
    // A later fetch without the key does not begin the period anew.
    world.clock.advance(GRACE - COOLDOWN * 2);
    assert_eq!(world.publish(set(&[&new])).await, Err(TokenError::UnknownKey));
    world.clock.advance(COOLDOWN - Duration::from_secs(1));
    for token in [&accepted, &token(&old)] {
        assert!(world.verifier.verify(token).await.is_ok());
    }
    world.clock.advance(Duration::from_secs(1));
    for token in [&accepted, &token(&old)] {
        assert_eq!(world.verifier.verify(token).await, Err(TokenError::UnknownKey));
    }
    assert!(world.verifier.verify(&token(&new)).await.is_ok());
}

#[tokio::test]
async fn a_key_that_comes_back_in_time_is_valid_for_good() {
    let [first, second] = [(); 2].map(|()| LocalIssuer::generate().expect("a key"));
    let world = World::new(set(&[&first, &second])).await;
    let accepted = token(&first);
    assert!(world.verifier.verify(&accepted).await.is_ok());
    for keys in [set(&[&second]), set(&[&first, &second])] {
        assert_eq!(world.publish(keys).await, Err(TokenError::UnknownKey));
    }
    world.clock.advance(GRACE * 2);
    assert!(world.verifier.verify(&accepted).await.is_ok());
}
