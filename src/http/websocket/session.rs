//! The session of one socket: from `connection_init` to the close handshake.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use tracing::{Instrument, info_span};

use super::close::Close;
use super::operation::{self, Frame, error_text};
use super::protocol::{ClientMessage, ServerMessage, authorization};
use crate::auth::{TokenError, VerifiedToken};
use crate::environment::random_uuid;
use crate::http::api::Api;
use crate::http::authentication::of_token;
use crate::http::lifetime::{End, Lifetime};
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::server::Client;
use crate::instant::format_instant;
use crate::metrics::{self, Limit};
use crate::outcome::Code;
use crate::registration::RegistrationError;
use crate::report;
use crate::task::in_task;
use crate::telemetry;

/// Maximum time for the arrival of `connection_init`.
const INIT_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval at which the server sends a ping.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Time after which the server closes the socket of a client that sends nothing, not even a response to a ping.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for sending a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time for the close frame of the client. Until then, the server reads and discards what the client sends. If it
/// closed the connection with unread bytes, the connection would be reset, and the client might not receive the server's
/// close frame.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60);

/// A WebSocket of a client.
type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The session of a socket.
pub struct Session {
    api: Arc<Api>,
    client: Client,
    socket: Socket,
    phase: Phase,
    operations: SelectAll<Abortable<BoxStream<'static, Frame>>>,
    /// The operations that have not ended, by their ids.
    active: HashMap<Arc<str>, AbortHandle>,
    opened_at: Instant,
    /// Time at which the client last sent something.
    received_at: Instant,
    /// Time at which the next ping is due.
    ping_at: Instant,
    /// Number of messages that the client has sent since `counted_since`.
    messages: u32,
    counted_since: Instant,
    /// Number of operations that were started.
    started: u64,
}

/// The phase of a session.
enum Phase {
    /// No `connection_init` has arrived.
    New,
    /// The token is being verified.
    Verifying(BoxFuture<'static, Result<Box<Admitted>, Close>>),
    /// The client may start operations.
    Open(Box<Admitted>),
}

/// A client whose token was verified and whose connection was counted.
struct Admitted {
    token: VerifiedToken,
    lifetime: Lifetime,
}

/// Why the session ends.
enum Ended {
    /// The server closes the socket.
    Closed(Close),
    /// The connection is lost, the client has closed it, or the server needs it for others. No close frame is sent.
    Lost,
}

/// An event that the session handles.
enum Input {
    Message(Option<Result<Message, Error>>),
    Verified(Result<Box<Admitted>, Close>),
    Frame(Option<Frame>),
    End(End),
    InitTimeout,
    PingDue,
    /// The client has sent nothing for too long.
    Silence,
    /// The server needs the connection for others.
    Evicted,
}

impl From<Close> for Ended {
    fn from(close: Close) -> Self {
        Self::Closed(close)
    }
}

impl Session {
    /// Begins the session of a socket that was just opened.
    pub fn new(api: Arc<Api>, client: Client, socket: Socket) -> Self {
        let now = Instant::now();
        Self {
            api,
            client,
            socket,
            phase: Phase::New,
            operations: SelectAll::new(),
            active: HashMap::new(),
            opened_at: now,
            received_at: now,
            ping_at: now + PING_INTERVAL,
            messages: 0,
            counted_since: now,
            started: 0,
        }
    }

    /// Serves the socket until it is closed. If the client did not offer the subprotocol, closes it with a close code.
    pub async fn run(mut self, has_subprotocol: bool) {
        let later = tracing::field::Empty;
        let span = info_span!("socket", id = %random_uuid(), otel.kind = later, otel.name = later);
        telemetry::begin_operation(&span, "WebSocket connection");
        let session = async {
            let ended = if has_subprotocol { self.serve().await } else { Ended::Closed(Close::subprotocol()) };
            let code = match &ended {
                Ended::Closed(close) => Some(close.code),
                Ended::Lost => None,
            };
            if let Some(code) = code {
                metrics::socket_closed(code);
            }
            let duration_ms = self.opened_at.elapsed().as_secs_f64() * 1000.0;
            tracing::info!(code, operations = self.started, duration_ms, "socket closed");
            // Stops the operations.
            self.operations.clear();
            if let Ended::Closed(close) = ended {
                // Boxed, so that the state of closing takes memory only while a socket is being closed.
                Box::pin(self.close(close)).await;
            }
        };
        session.instrument(span).await;
    }

    async fn serve(&mut self) -> Ended {
        loop {
            let input = self.next().await;
            let handled = match input {
                Input::Message(Some(Ok(message))) => self.receive(message).await,
                Input::Message(Some(Err(error))) => Err(Close::of_error(&error).map_or(Ended::Lost, Ended::Closed)),
                Input::Message(None) | Input::Evicted => Err(Ended::Lost),
                Input::Verified(verified) => self.open(verified).await,
                Input::Frame(None) => Ok(()),
                Input::Frame(Some(frame)) => self.deliver(frame).await,
                Input::End(End::TokenExpired) => Err(Close::forbidden("Token expired").into()),
                Input::End(End::UserDeleted) => Err(Close::forbidden("Forbidden: no user belongs to the token").into()),
                Input::End(End::Stopping) => Err(Close::stopping().into()),
                Input::InitTimeout => Err(Close::init_timeout().into()),
                Input::PingDue => self.ping().await,
                Input::Silence => Err(Close::unresponsive().into()),
            };
            if let Err(ended) = handled {
                return ended;
            }
        }
    }

    /// Waits for the next event. The futures of all other events are dropped, and the next call creates them again.
    async fn next(&mut self) -> Input {
        let Self { api, client, socket, phase, operations, opened_at, ping_at, received_at, .. } = self;
        let is_new = matches!(phase, Phase::New);
        let admission = async {
            match phase {
                Phase::New => {
                    api.shutdown.stopping().await;
                    Input::End(End::Stopping)
                }
                Phase::Verifying(verification) => Input::Verified(verification.await),
                Phase::Open(admitted) => Input::End(admitted.lifetime.ended().await),
            }
        };
        tokio::select! {
            // Messages of the client come first, so that a message that it sent before the acknowledgement is handled before
            // it. They cannot delay the other events for long, because their number is limited. The operations come last,
            // because they can produce any number of messages.
            biased;
            message = socket.next() => Input::Message(message),
            input = admission => input,
            () = sleep_until(*ping_at) => Input::PingDue,
            () = sleep_until(*opened_at + INIT_TIMEOUT), if is_new => Input::InitTimeout,
            () = sleep_until(*received_at + SILENCE_TIMEOUT) => Input::Silence,
            () = client.evicted() => Input::Evicted,
            frame = operations.next(), if !operations.is_empty() => Input::Frame(frame),
        }
    }

    async fn receive(&mut self, message: Message) -> Result<(), Ended> {
        self.received_at = Instant::now();
        self.count_message()?;
        match message {
            Message::Text(text) => match ClientMessage::read(&text) {
                Ok(message) => self.handle(message).await,
                Err(error) => Err(Close::bad_request(&error.to_string()).into()),
            },
            Message::Binary(_) => Err(Close::bad_request("Message must be a text message").into()),
            // The library itself responds to pings and close frames.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        }
    }

    fn count_message(&mut self) -> Result<(), Close> {
        if self.counted_since.elapsed() >= MINUTE {
            (self.messages, self.counted_since) = (0, Instant::now());
        }
        self.messages += 1;
        if self.messages > self.api.live_limits.socket_messages_per_minute {
            metrics::limit_reached(Limit::SocketMessagesPerMinute);
            return Err(Close::too_many_messages());
        }
        Ok(())
    }

    async fn handle(&mut self, message: ClientMessage) -> Result<(), Ended> {
        match message {
            ClientMessage::ConnectionInit(payload) => {
                if !matches!(self.phase, Phase::New) {
                    return Err(Close::second_init().into());
                }
                let authorization = authorization(&payload).map(str::to_owned);
                self.phase = Phase::Verifying(in_task(admit(self.api.clone(), authorization)).boxed());
                Ok(())
            }
            ClientMessage::Ping(payload) => self.send(ServerMessage::Pong { payload }.to_text()).await,
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe { id, parameters } => {
                let token = match &self.phase {
                    Phase::Open(admitted) => admitted.token.clone(),
                    Phase::New | Phase::Verifying(_) => return Err(Close::unauthorized().into()),
                };
                self.start(id.into(), token, parameters).await
            }
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.active.remove(id.as_str()) {
                    operation.abort();
                }
                Ok(())
            }
        }
    }

    async fn start(&mut self, id: Arc<str>, token: VerifiedToken, parameters: Box<Parameters>) -> Result<(), Ended> {
        if self.active.contains_key(&id) {
            return Err(Close::id_in_use(&id).into());
        }
        let maximum = self.api.live_limits.operations_per_socket;
        if self.active.len() >= maximum {
            metrics::limit_reached(Limit::OperationsPerSocket);
            let errors = Refusal::TooManyOperations { maximum }.errors();
            return self.send(error_text(&id, &errors)).await;
        }
        self.started += 1;
        let messages = operation::run(self.api.clone(), token, id.clone(), parameters);
        let (abort, registration) = AbortHandle::new_pair();
        self.operations.push(Abortable::new(messages, registration));
        self.active.insert(id, abort);
        Ok(())
    }

    async fn open(&mut self, verified: Result<Box<Admitted>, Close>) -> Result<(), Ended> {
        let admitted = verified?;
        self.client.accepted();
        let expires_at = DateTime::from_timestamp(admitted.token.expires_at, 0).map(format_instant);
        self.phase = Phase::Open(admitted);
        self.send(ServerMessage::ConnectionAck { payload: json!({ "expiresAt": expires_at }) }.to_text()).await
    }

    /// Sends a message of an operation. After the last message, the client can use the id again.
    async fn deliver(&mut self, frame: Frame) -> Result<(), Ended> {
        let Frame { id, text, is_last } = frame;
        if is_last {
            self.active.remove(&id);
        }
        self.send(text).await
    }

    async fn ping(&mut self) -> Result<(), Ended> {
        self.ping_at = Instant::now() + PING_INTERVAL;
        self.send_message(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, text: String) -> Result<(), Ended> {
        self.send_message(Message::Text(Utf8Bytes::from(text))).await
    }

    /// Sends a message. The session handles no other event until the client has accepted the message, so the next events of the
    /// operations are read only after that.
    async fn send_message(&mut self, message: Message) -> Result<(), Ended> {
        let _sending = self.client.sending(message.len());
        let sent = tokio::select! {
            biased;
            sent = timeout(self.api.connections.write_timeout(), self.socket.send(message)) => sent,
            // The server needs the memory of the message.
            () = self.client.evicted() => return Err(Ended::Lost),
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Lost),
            Err(_) => {
                metrics::limit_reached(Limit::WriteTimeout);
                Err(Close::unresponsive().into())
            }
        }
    }

    /// Sends a close frame, and waits for the close frame of the client.
    async fn close(&mut self, Close { code, reason }: Close) {
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from(reason.into_owned()) };
        let Ok(Ok(())) = timeout(CLOSE_TIMEOUT, self.socket.send(Message::Close(Some(frame)))).await else { return };
        let handshake = async {
            while let Some(Ok(message)) = self.socket.next().await {
                if message.is_close() {
                    return;
                }
            }
            // After an error, the library reads no further frames, so the bytes are read here.
            let mut discarded = [0; 1024];
            while let Ok(1..) = self.socket.get_mut().read(&mut discarded).await {}
        };
        let _ = timeout(HANDSHAKE_TIMEOUT, handshake).await;
    }
}

/// Verifies the token in a `connection_init`, finds its user, and counts the connection. `authorization` is the value of
/// [`authorization`]. Returns the close frame if the client is not admitted.
async fn admit(api: Arc<Api>, authorization: Option<String>) -> Result<Box<Admitted>, Close> {
    let Some(authorization) = authorization else {
        return Err(Close::forbidden("Forbidden: no token in the payload of connection_init"));
    };
    let rejected = |refusal: Refusal| match refusal {
        Refusal::Token(TokenError::Expired) => Close::forbidden("Forbidden: the token has expired"),
        Refusal::Registration(RegistrationError::HandleMissing) => Close::forbidden("Forbidden: handle_missing"),
        Refusal::Registration(RegistrationError::HandleTaken) => Close::forbidden("Forbidden: handle_taken"),
        refusal if refusal.code() == Code::Unavailable => {
            Close::try_again_later("The token cannot be verified at the moment")
        }
        _ => Close::forbidden("Forbidden: the token is not accepted"),
    };
    let bearer = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
    let (_, token) = bearer.ok_or_else(|| rejected(TokenError::Header.into()))?;
    let token = of_token(&api, token.trim()).await.map_err(rejected)?;
    let user = match api.messaging.users().by_cognito_user_id(&token.cognito_user_id).await {
        Ok(user) => user.ok_or(Close::forbidden("Forbidden: no user belongs to the token"))?,
        Err(error) => {
            tracing::warn!(error = report(&error), "looking up the user of a socket failed");
            return Err(Close::try_again_later("The user cannot be found at the moment"));
        }
    };
    match Lifetime::start(&api, user.uuid, token.clone()) {
        Ok(lifetime) => Ok(Box::new(Admitted { token, lifetime })),
        Err(_) => Err(Close::try_again_later("Too many connections")),
    }
}
