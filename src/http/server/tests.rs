//! Tests with clients that misbehave, and with clients that only seem to. The sockets are real. To test that a limit does not
//! close a connection, a test waits until the limit has closed another connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::routing::any;
use futures::{FutureExt, StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::config::ConnectionLimits;

/// Detects a test that hangs.
const DEADLINE: Duration = Duration::from_secs(30);
const NEVER: u32 = 600_000;
const LIMITS: ConnectionLimits = ConnectionLimits {
    header_timeout_ms: NEVER,
    idle_timeout_ms: 300,
    write_timeout_ms: 300,
    ..ConnectionLimits::DEFAULT
};

struct Served {
    address: SocketAddr,
    connections: Arc<Connections>,
}

async fn served(router: Router, limits: ConnectionLimits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections = Connections::new(limits);
    tokio::spawn(serve(listener, router, connections.clone(), CancellationToken::new()));
    Served { address, connections }
}

impl Served {
    /// A connection that has sent `request`.
    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream
    }

    /// Waits until the server closes a connection because it is idle.
    async fn outlast_an_idle_connection(&self) {
        let mut idle = self.send("GET /here HTTP/1.1\r\nhost: here\r\n\r\n").await;
        let mut response = Vec::new();
        timeout(DEADLINE, idle.read_to_end(&mut response)).await.expect("it is closed").expect("in good order");
        assert!(response.starts_with(b"HTTP/1.1 200"));
    }
}

async fn wait_until(mut check: impl FnMut() -> bool) {
    let waiting = async {
        while !check() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("it becomes true");
}

/// Reads until `text` has arrived.
async fn until(stream: &mut TcpStream, text: &str) {
    let mut received = Vec::new();
    let arrived = async {
        while !String::from_utf8_lossy(&received).contains(text) {
            let read = stream.read_buf(&mut received).await.expect("bytes");
            assert!(read > 0, "closed before `{text}`");
        }
    };
    timeout(DEADLINE, arrived).await.expect("the text");
}

#[tokio::test]
async fn a_stream_outlives_the_time_limits_as_long_as_the_client_reads_it() {
    let (events, receiver) = mpsc::unbounded_channel::<&str>();
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let stream = async move || {
        let events = stream::unfold(receiver, async |receiver| {
            let event = receiver.lock().await.recv().await?;
            Some((Ok::<_, Infallible>(event), receiver))
        });
        Body::from_stream(events)
    };
    let router = Router::new().route("/stream", any(stream)).route("/here", any(async || "here"));
    let served = served(router, LIMITS).await;
    let mut client = served.send("GET /stream HTTP/1.1\r\nhost: here\r\n\r\n").await;
    for event in ["first", "second", "third"] {
        events.send(event).expect("the stream is open");
        until(&mut client, event).await;
        served.outlast_an_idle_connection().await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_has_no_time_limits_and_is_evicted_only_before_it_is_accepted() {
    let upgrade = async |mut request: Request<Body>| {
        let upgraded = hyper::upgrade::on(&mut request);
        let client = request.extensions().get::<Client>().cloned().expect("a client");
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.expect("an upgrade"));
            let mut buffer = [0; 100];
            loop {
                let read = tokio::select! {
                    read = io.read(&mut buffer) => read,
                    () = client.evicted() => return,
                };
                let Ok(read @ 1..) = read else { return };
                client.accepted();
                io.write_all(&buffer[..read]).await.expect("written");
            }
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        response.body(Body::empty()).expect("a response")
    };
    let router = Router::new().route("/upgrade", any(upgrade)).route("/here", any(async || "here"));
    let served = served(router, ConnectionLimits { connections: 2, ..LIMITS }).await;
    let request = "GET /upgrade HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut client = served.send(request).await;
    until(&mut client, "\r\n\r\n").await;
    for text in ["first", "second"] {
        client.write_all(text.as_bytes()).await.expect("sent");
        until(&mut client, text).await;
        served.outlast_an_idle_connection().await;
        assert_eq!(served.connections.count(), (1, 0), "it is not idle");
    }
    let mut not_accepted = served.send(request).await;
    until(&mut not_accepted, "\r\n\r\n").await;
    let mut other = served.send("GET /here HTTP/1.1\r\nhost: here\r\n\r\n").await;
    until(&mut other, "here").await;
    assert!(not_accepted.read_to_end(&mut Vec::new()).await.is_ok(), "it made room");
    client.write_all(b"third").await.expect("sent");
    until(&mut client, "third").await;
    drop((client, other));
    wait_until(|| served.connections.count().0 == 0).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_disconnected_and_its_response_is_freed() {
    let held = Arc::new(());
    let dropped = Arc::downgrade(&held);
    let response = stream::repeat(held).map(|_| Ok::<_, Infallible>(vec![b'x'; 1_000_000]));
    let response = Arc::new(std::sync::Mutex::new(Some(Body::from_stream(response))));
    let endless = async move || response.lock().expect("the response").take().expect("one request");
    let served = served(Router::new().route("/endless", any(endless)), LIMITS).await;
    let client = served.send("GET /endless HTTP/1.1\r\nhost: here\r\n\r\n").await;
    wait_until(|| dropped.strong_count() == 0).await;
    wait_until(|| served.connections.count().0 == 0).await;
    drop(client);
}

/// Sends requests whose responses have no body, and reads nothing. hyper produces each of these responses before it has
/// written the previous ones.
async fn flood(mut client: TcpStream) -> Result<(), Error> {
    let requests = "HEAD /here HTTP/1.1\r\nhost: here\r\n\r\n".repeat(10_000);
    for _ in 0..1_000 {
        client.write_all(requests.as_bytes()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_sends_requests_and_reads_no_responses_is_disconnected() {
    let served = served(Router::new().route("/here", any(async || "here")), LIMITS).await;
    let client = TcpStream::connect(served.address).await.expect("a connection");
    let sent = timeout(DEADLINE, flood(client)).await.expect("an end");
    assert!(sent.is_err(), "the server has read everything");
}

#[tokio::test]
async fn nothing_is_read_from_a_client_that_reads_nothing() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let router = Router::new().route("/here", any(async move || count.fetch_add(1, Ordering::SeqCst).to_string()));
    let served = served(router, ConnectionLimits { write_timeout_ms: NEVER, ..LIMITS }).await;
    let client = TcpStream::connect(served.address).await.expect("a connection");
    let sent = tokio::spawn(flood(client));
    let mut before = 0;
    let stopped = async {
        // The request of each idle connection is counted too.
        while requests.load(Ordering::SeqCst) > before + 1 {
            before = requests.load(Ordering::SeqCst);
            served.outlast_an_idle_connection().await;
        }
    };
    wait_until(|| requests.load(Ordering::SeqCst) > 1).await;
    timeout(DEADLINE, stopped).await.expect("the server stops reading");
    assert!(!sent.is_finished(), "the server has read everything");
}

/// Reads the response of an HTTP/2 stream slowly.
async fn read_slowly(response: h2::client::ResponseFuture, pause: Duration) -> Result<usize, h2::Error> {
    let mut body = response.await?.into_body();
    let (mut read, mut unpaused) = (0, 0);
    while let Some(data) = body.data().await {
        let length = data?.len();
        (read, unpaused) = (read + length, unpaused + length);
        if unpaused >= 16 * 1024 {
            unpaused = 0;
            sleep(pause).await;
        }
        body.flow_control().release_capacity(length)?;
    }
    Ok(read)
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_a_long_response() {
    const LENGTH: usize = 200_000;
    let router = Router::new().route("/long", any(async || vec![b'x'; LENGTH]));
    let served = served(router, ConnectionLimits { write_timeout_ms: 1_500, ..LIMITS }).await;
    let stream = TcpStream::connect(served.address).await.expect("a connection");
    let (mut client, connection) =
        h2::client::Builder::new().initial_window_size(1_000).handshake::<_, Bytes>(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::get("http://here/long").body(()).expect("a request");
    let (response, _) = client.send_request(request, true).expect("sent");
    // More than the time limit in total, much less for each part.
    let read = timeout(DEADLINE, read_slowly(response, Duration::from_millis(200))).await.expect("an end");
    assert_eq!(read.expect("the whole response"), LENGTH);
}

/// Whether the connection has the command to close.
fn is_closed(registered: &Registered) -> bool {
    registered.connection().commanded(Command::Drain).now_or_never() == Some(Command::Close)
}

#[test]
fn of_the_connections_that_wait_one_of_the_busiest_peer_is_closed_first() {
    let [quiet, busy] = ["192.0.2.1", "192.0.2.2"].map(|address| Peer::of(address.parse().expect("an address")));
    let connections = Connections::new(ConnectionLimits { connections: 5, ..LIMITS });
    let begin = Instant::now();
    let admit = |peer, second| connections.admit(peer, begin + Duration::from_secs(second)).expect("a place");
    let oldest = admit(quiet, 0);
    let served = admit(busy, 1);
    drop(served.connection().begin_request(false));
    let (first, second, third) = (admit(busy, 2), admit(busy, 3), admit(busy, 4));
    assert!(!is_closed(&first), "there are five places");
    let later = admit(quiet, 5);
    assert!(is_closed(&first) && !is_closed(&second), "of those that never had a request, the one that waited longest");
    let _ = admit(quiet, 6);
    assert!(is_closed(&second) && ![&oldest, &served, &third].into_iter().any(is_closed));
    let _other = (admit(quiet, 7), admit(quiet, 8));
    // Now the other peer has more connections.
    assert!(is_closed(&oldest) && ![&served, &third, &later].into_iter().any(is_closed));
}

#[tokio::test]
async fn an_http2_connection_has_a_maximum_of_streams() {
    let router = Router::new().route("/here", any(async || "here"));
    let served = served(router, ConnectionLimits { streams: 3, ..LIMITS }).await;
    let stream = TcpStream::connect(served.address).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    wait_until(|| client.current_max_send_streams() == 3).await;
}
