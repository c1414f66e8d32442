//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, within the limits of [`ConnectionLimits`]. `axum::serve` is
//! not used, because it has neither time limits nor a maximum number of connections
//! (<https://github.com/tokio-rs/axum/issues/2741>).
//!
//! A response can be a stream of any duration, as long as the client reads what the server sends. A handler that upgrades
//! its connection must apply its own time limits.
//!
//! [`ConnectionLimits`]: crate::config::ConnectionLimits

mod connection;
mod connections;
mod descriptors;
mod detached;
mod io;
mod peer;
mod protocol;
#[cfg(test)]
mod tests;
mod unread;

use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
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
use self::detached::Detachment;
pub use self::detached::LongLived;
use self::io::Watched;
pub use self::peer::Peer;
use self::unread::ResponseBody;

/// How often the time limits and the memory limits are checked.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// Time for which the server waits after an error of `accept`, such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval at which the server sends a PING frame to an HTTP/2 client, and maximum time for the client's response.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the head of a request in bytes. It equals the limit of AWS's load balancers, so that a GET request that
/// they accept, with its document in the head, is accepted here too.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Number of bytes that an HTTP/2 client may send on a connection, and on one stream of it, before the server has read them.
/// Limits the memory of a connection.
const CONNECTION_WINDOW: u32 = 128 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;

/// The state that the tasks of all connections share.
struct Shared {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    router: Router,
}

/// Serves `router` until `stop`. After that, finishes the unfinished requests and closes connections without a request.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Connections>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let shared = Arc::new(Shared { http1: http1(), http2: http2(connections.streams()), router });
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

/// Whether an error of `accept` concerns only one connection, which failed before it was accepted.
fn is_of_connection(error: &Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn http1() -> http1::Builder {
    let mut http1 = http1::Builder::new();
    // hyper's own time limit starts after the first bytes (<https://github.com/hyperium/hyper/issues/3756>), and it
    // includes the wait for the next request (<https://github.com/hyperium/hyper/pull/3828>). So `Connection::check`
    // applies the time limits instead.
    http1.header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
    http1
}

fn http2(streams: u32) -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(streams)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW);
    http2
}

async fn serve_connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, registered: Registered) {
    // Without `TCP_NODELAY`, the last part of a response would wait until the client has acknowledged the previous
    // part.
    let _ = stream.set_nodelay(true);
    detect_lost_client(&stream, registered.write_timeout());
    let connection = registered.connection().clone();
    let is_http2 = tokio::select! {
        is_http2 = protocol::is_http2(&stream) => is_http2,
        _ = connection.commanded(Command::Serve) => return,
    };
    // On an error, the client has already closed the connection.
    let Ok(is_http2) = is_http2 else { return };
    let io = TokioIo::new(Watched::new(stream, registered));
    // The states of HTTP are boxed, so that a connection that is taken over does not keep their memory.
    if is_http2 {
        let service = service_fn(|request| respond(shared.router.clone(), &connection, peer, request));
        let mut http = Box::pin(shared.http2.serve_connection(io, service));
        let _ = drive(&connection, http.as_mut(), http2::Connection::graceful_shutdown).await;
        return;
    }
    if let Some((stream, response)) = serve_http1(&shared, io, peer, &connection).await {
        detached::serve(stream, response, &connection).await;
    }
}

/// Serves HTTP/1.1 on a connection. Returns the stream if the connection is taken over for a long-lived response.
async fn serve_http1(
    shared: &Shared,
    io: TokioIo<Watched>,
    peer: SocketAddr,
    connection: &Arc<Connection>,
) -> Option<(Watched, Box<Response<ResponseBody>>)> {
    let detachment = Detachment::default();
    let service = service_fn(|request: Request<Incoming>| {
        let version = request.version();
        let response = respond(shared.router.clone(), connection, peer, request);
        detachment.clone().detach_long_lived(connection.clone(), version, response)
    });
    let mut http = Box::new(shared.http1.serve_connection(io, service).with_upgrades());
    if !drive(connection, Pin::new(&mut *http), UpgradeableConnection::graceful_shutdown).await {
        return None;
    }
    let Some(response) = detachment.take() else {
        connection.end_http();
        return None;
    };
    http.into_parts().map(|parts| (parts.io.into_inner(), response))
}

/// Serves HTTP on a connection, and executes its commands. Returns `true` when HTTP has ended, and `false` if the connection
/// must be closed at once.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: &Connection,
    mut http: Pin<&mut C>,
    drain: impl Fn(Pin<&mut C>),
) -> bool {
    let mut command = Command::Serve;
    loop {
        tokio::select! {
            biased;
            // Errors of connections are not logged, because clients and networks cause them.
            _ = http.as_mut() => return true,
            next = connection.commanded(command) => command = next,
        }
        match command {
            Command::Serve => {}
            Command::Drain => drain(http.as_mut()),
            Command::Close => return false,
        }
    }
}

/// Lets the operating system close a connection if the client does not acknowledge sent bytes within `timeout`. Otherwise, an
/// event stream of a client that has lost its network would stay open for a quarter of an hour, because the buffers of the
/// operating system accept the keep-alive comments.
#[cfg(target_os = "linux")]
fn detect_lost_client(stream: &TcpStream, timeout: Duration) {
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    // If this fails, a lost client is detected later.
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
