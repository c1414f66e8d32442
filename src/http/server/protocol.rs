//! Finds out whether a client speaks HTTP/1.1 or HTTP/2.
//!
//! hyper-util can do that too, but it reads the first 24 bytes and replays them. As hyper then receives the head of a request in
//! two parts, its read buffer grows from 8 KB to 16 KB for as long as the connection is open.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long the server waits if only a part of the preface has arrived, which is rare. Nothing notifies it of further bytes,
/// because it reads none.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for the first bytes, which stay unread, and returns whether they are those of HTTP/2.
pub async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 || first[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        sleep(PAUSE).await;
    }
}
