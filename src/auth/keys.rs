//! The public keys of the issuer. They are fetched at the first use, by a timer, and when a token has an unknown key id.
//!
//! At most one fetch runs at a time. An unknown `kid` causes a fetch at most once in each cooldown, so that a client with invented
//! key ids cannot overload the issuer. Fetched keys stay valid while the source is unavailable.
//!
//! A key set without usable keys is a failed fetch: no issuer has no keys, and accepting the set would sign everybody out. A key
//! that vanishes from the set stays valid for a grace period, because the set may be incomplete for a moment, and because tokens
//! that were signed before a rotation are still in use.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;

/// How often the keys are refreshed. Cognito rotates its keys rarely and publishes new ones in advance.
const REFRESH_EVERY: Duration = Duration::from_secs(3600);
/// Time limit of a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Time after a failed fetch during which no request causes another fetch.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Time after a fetch during which an unknown `kid` causes no other fetch.
pub const COOLDOWN: Duration = Duration::from_secs(30);

/// The result of the lookup of a `kid`.
pub enum KeyLookup {
    /// The issuer has this key.
    Found(Arc<DecodingKey>),
    /// The issuer has no such key.
    Unknown,
    /// The issuer is unreachable.
    Unavailable,
}

/// The keys of one issuer, from its JSON Web Key Set (RFC 7517).
pub struct KeySource {
    url: String,
    client: reqwest::Client,
    cooldown: Duration,
    grace: Duration,
    environment: Arc<dyn Environment>,
    keys: RwLock<Keys>,
    fetches: Mutex<Fetches>,
}

/// By `kid`.
type Keys = HashMap<String, KnownKey>;

#[derive(Clone)]
struct KnownKey {
    published: serde_json::Value,
    /// A key that is published unchanged stays the same `Arc`.
    key: Arc<DecodingKey>,
    /// When a fetch first returned a key set without this key.
    vanished: Option<Instant>,
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    #[error("the key set has no usable key")]
    NoKeys,
}

#[derive(Default)]
struct Fetches {
    last_success: Option<Instant>,
    last_failure: Option<Instant>,
}

#[derive(Deserialize)]
struct KeySet {
    /// Each key is read separately, because a key of an unknown kind must not make the others unusable.
    keys: Vec<serde_json::Value>,
}

impl KeySource {
    /// The keys at `url`. An unknown `kid` causes a fetch at most once in each `cooldown`. A key that vanishes stays valid for
    /// `grace`.
    ///
    /// # Errors
    /// The TLS root certificates of the machine cannot be read.
    pub fn new(
        url: impl Into<String>,
        cooldown: Duration,
        grace: Duration,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).build()?;
        let keys = RwLock::default();
        Ok(Self { url: url.into(), client, cooldown, grace, environment, keys, fetches: Mutex::default() })
    }

    /// The key with this id.
    pub async fn get(&self, kid: &str) -> KeyLookup {
        if let Some(key) = self.known(kid) {
            return KeyLookup::Found(key);
        }
        let mut fetches = self.fetches.lock().await;
        // The previous holder of the lock may have fetched it.
        if let Some(key) = self.known(kid) {
            return KeyLookup::Found(key);
        }
        let now = self.environment.monotonic();
        let within = |at: Option<Instant>, span: Duration| at.is_some_and(|at| now.duration_since(at) < span);
        if within(fetches.last_failure, PAUSE_AFTER_FAILURE) {
            return KeyLookup::Unavailable;
        }
        if within(fetches.last_success, self.cooldown) {
            return KeyLookup::Unknown;
        }
        if !self.fetch(&mut fetches).await {
            return KeyLookup::Unavailable;
        }
        self.known(kid).map_or(KeyLookup::Unknown, KeyLookup::Found)
    }

    /// Whether the keys were fetched at least once.
    pub fn is_loaded(&self) -> bool {
        !self.read().is_empty()
    }

    /// Refreshes the keys until `stop`, more often while the source is unavailable.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        loop {
            let fetched = self.fetch(&mut *self.fetches.lock().await).await;
            let wait = if fetched { REFRESH_EVERY } else { PAUSE_AFTER_FAILURE * 5 };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The key with this id, if it has been fetched and did not vanish longer ago than the grace period.
    pub fn known(&self, kid: &str) -> Option<Arc<DecodingKey>> {
        self.read().get(kid).filter(|known| self.is_valid(known)).map(|known| known.key.clone())
    }

    fn is_valid(&self, known: &KnownKey) -> bool {
        known.vanished.is_none_or(|at| self.environment.monotonic().duration_since(at) < self.grace)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        // A writer only replaces the map, so the map of a poisoned lock is complete.
        self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn fetch(&self, fetches: &mut Fetches) -> bool {
        match self.request().await {
            Ok(keys) => {
                *self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner) = keys;
                fetches.last_success = Some(self.environment.monotonic());
                fetches.last_failure = None;
                true
            }
            Err(error) => {
                tracing::warn!(url = self.url, error = crate::report(&error), "fetching the token keys failed");
                fetches.last_failure = Some(self.environment.monotonic());
                false
            }
        }
    }

    /// The fetched keys, and the vanished ones that are still valid.
    async fn request(&self) -> Result<Keys, FetchError> {
        let set: KeySet = self.client.get(&self.url).send().await?.error_for_status()?.json().await?;
        let before = self.read();
        let kept = |(kid, published, key): (String, _, _)| {
            let same = before.get(&kid).filter(|before| before.published == published).map(|before| before.key.clone());
            (kid, KnownKey { published, key: same.unwrap_or(key), vanished: None })
        };
        let mut keys: Keys = set.keys.into_iter().filter_map(signing_key).map(kept).collect();
        if keys.is_empty() {
            return Err(FetchError::NoKeys);
        }
        for (kid, known) in before.iter() {
            let vanished = Some(known.vanished.unwrap_or_else(|| self.environment.monotonic()));
            let known = KnownKey { vanished, ..known.clone() };
            if !keys.contains_key(kid) && self.is_valid(&known) {
                keys.insert(kid.clone(), known);
            }
        }
        Ok(keys)
    }
}

/// An RSA key for RS256 with its id. Other keys of the set are ignored.
fn signing_key(published: serde_json::Value) -> Option<(String, serde_json::Value, Arc<DecodingKey>)> {
    let key: Jwk = serde_json::from_value(published.clone()).ok()?;
    let for_signatures = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let for_rs256 = matches!(key.common.key_algorithm, None | Some(KeyAlgorithm::RS256));
    let is_rsa = matches!(key.algorithm, AlgorithmParameters::RSA(_));
    let decoding = DecodingKey::from_jwk(&key).ok().filter(|_| for_signatures && for_rs256 && is_rsa)?;
    Some((key.common.key_id?, published, Arc::new(decoding)))
}
