//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, within the limits of [`ConnectionLimits`]. `axum::serve` has
//! neither time limits nor a maximum of connections (github.com/tokio-rs/axum/issues/2741).
//!
//! A response can be a stream of any duration, as long as the client reads what the server sends. A handler can upgrade
//! its connection. It must then apply its own time limits.
//!
//! [`ConnectionLimits`]: crate::config::ConnectionLimits

mod connection;
mod connections;
mod descriptors;
mod io;
mod peer;
#[cfg(test)]
mod tests;
mod unread;

use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

pub use self::connection::Client;
use self::connection::{Command, Connection};
pub use self::connections::Connections;
use self::connections::Registered;
pub use self::descriptors::affordable;
use self::io::Watched;
pub use self::peer::Peer;
use self::unread::ResponseBody;

/// How often the time limits and the memory limits are checked.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// How long the server waits after an error of `accept`, such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval at which the server sends a PING frame to an HTTP/2 client, and maximum time for the response.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the head of a request in bytes. It equals the limit of AWS's load balancers, because a GET request
/// has its document in the head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Number of bytes that an HTTP/2 client may send before the server has read them. Limits the memory of a connection.
const CONNECTION_WINDOW: u32 = 128 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;

struct Shared {
    protocol: Builder<TokioExecutor>,
    router: Router,
}

/// Serves `router` until `stop`. The server then finishes running requests and closes connections without a request.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Connections>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let shared = Arc::new(Shared { protocol: protocol(connections.streams()), router });
    let tasks = TaskTracker::new();
    let mut sweep = interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            _ = sweep.tick() => {
                connections.sweep(Instant::now());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(registered) = connections.admit(Peer::of(peer.ip()), Instant::now()) {
                    tasks.spawn(serve_connection(shared.clone(), stream, peer, registered));
                }
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.drain(Instant::now());
    tasks.close();
    loop {
        tokio::select! {
            () = tasks.wait() => return Ok(()),
            _ = sweep.tick() => connections.sweep(Instant::now()),
        }
    }
}

/// Whether the error is about one connection, which failed before it was accepted. Other errors are about the listener.
fn is_of_connection(error: &Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn protocol(streams: u32) -> Builder<TokioExecutor> {
    let mut protocol = Builder::new(TokioExecutor::new());
    // hyper's own time limit starts after the first bytes (github.com/hyperium/hyper/issues/3756), and it includes the
    // wait for the next request (github.com/hyperium/hyper/pull/3828). So `Connection::check` applies the time limits
    // instead.
    protocol.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(streams)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW);
    protocol
}

async fn serve_connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, registered: Registered) {
    // Without `TCP_NODELAY`, the last part of a response would wait until the client has acknowledged the previous
    // part.
    let _ = stream.set_nodelay(true);
    detect_lost_client(&stream, registered.write_timeout());
    let connection = registered.connection().clone();
    let io = TokioIo::new(Watched::new(stream, registered));
    let service = service_fn(|request| respond(shared.router.clone(), &connection, peer, request));
    let mut http = pin!(shared.protocol.serve_connection_with_upgrades(io, service));
    let mut command = Command::Serve;
    loop {
        tokio::select! {
            biased;
            // Errors of connections are not logged, because clients and networks cause them.
            _ = http.as_mut() => return connection.end_http(),
            next = connection.commanded(command) => command = next,
        }
        match command {
            Command::Serve => {}
            Command::Drain => http.as_mut().graceful_shutdown(),
            Command::Close => return,
        }
    }
}

/// Lets the operating system end a connection whose client does not confirm what the server has sent. Otherwise, an event
/// stream of a client that has lost its network would stay open for a quarter of an hour, because the buffers of the operating
/// system accept the comments that keep it alive.
#[cfg(target_os = "linux")]
fn detect_lost_client(stream: &TcpStream, timeout: Duration) {
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    // Without it, a lost client is found later.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
}

#[cfg(not(target_os = "linux"))]
fn detect_lost_client(_: &TcpStream, _: Duration) {}

fn respond(
    mut router: Router,
    connection: &Arc<Connection>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let unfinished = connection.begin_request(request.version() == Version::HTTP_2);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Client::new(peer.ip(), unfinished.clone()));
    let response = router.call(request);
    async move { Ok(response.await?.map(|body| ResponseBody::new(body, unfinished))) }
}
