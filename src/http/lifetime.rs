//! Decides when a WebSocket or an event stream of a signed-in user ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::api::Api;
use super::refusal::Refusal;
use crate::auth::VerifiedToken;
use crate::live::hub::Signals;
use crate::metrics::{self, Limit};
use crate::model::UserUuid;

/// Time over which the ends of connections are spread when the process stops, so that clients do not all reconnect at the
/// same moment.
const STOP_SPREAD: Duration = Duration::from_secs(3);
/// How often the server checks that the issuer still has the key of the token.
const KEY_INTERVAL: Duration = Duration::from_secs(30);

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The token has expired, or the issuer has withdrawn its key.
    TokenExpired,
    /// The user was deleted.
    UserDeleted,
    /// The process stops.
    Stopping,
}

/// The lifetime of a connection, which counts towards the limit of its user until this value is dropped.
pub struct Lifetime {
    api: Arc<Api>,
    token: VerifiedToken,
    signals: Signals,
    expires_at: Instant,
    key_checked_at: Instant,
    /// When the connection ends, if the process stops.
    stops_at: Option<Instant>,
}

impl Lifetime {
    /// Begins the lifetime of a new connection of `user`. Returns a refusal if the user has too many connections.
    pub fn start(api: &Arc<Api>, user: UserUuid, token: VerifiedToken) -> Result<Self, Refusal> {
        let maximum = api.live_limits.sockets_per_user;
        let Some(signals) = api.live.hub().connect(user, maximum) else {
            metrics::limit_reached(Limit::SocketsPerUser);
            return Err(Refusal::TooManySockets { maximum });
        };
        let now = Instant::now();
        // The clock cannot represent the expiry of some tokens. A year is longer than any connection lasts.
        let far = || now + Duration::from_secs(365 * 24 * 3600);
        let expires_at = now.checked_add(api.verifier.remaining(&token)).unwrap_or_else(far);
        Ok(Self { api: api.clone(), token, signals, expires_at, key_checked_at: now, stops_at: None })
    }

    /// Waits until the connection must end. The returned future can be dropped, and the method called again.
    pub async fn ended(&mut self) -> End {
        loop {
            let stops_at = self.stops_at;
            tokio::select! {
                () = sleep_until(self.expires_at) => return End::TokenExpired,
                () = self.signals.gone() => return End::UserDeleted,
                () = self.api.shutdown.stopping(), if stops_at.is_none() => {
                    let part = self.api.messaging.environment().random();
                    self.stops_at = Some(Instant::now() + STOP_SPREAD.mul_f64(part));
                }
                () = sleep_until(stops_at.unwrap_or(self.expires_at)), if stops_at.is_some() => return End::Stopping,
                () = sleep_until(self.key_checked_at + KEY_INTERVAL) => {
                    self.key_checked_at = Instant::now();
                    if !self.api.verifier.has_key_of(&self.token) {
                        return End::TokenExpired;
                    }
                }
            }
        }
    }
}
