//! Finds out whether a client speaks HTTP/1.1 or HTTP/2.
//!
//! hyper-util can do this too, but it reads the first 24 bytes and replays them. hyper then receives the head of a request in
//! two parts, so its read buffer grows from 8 KB to 16 KB for as long as the connection is open.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Wait between two checks if only a part of the preface has arrived, which is rare. The server has to check again, because
/// it is not notified of further bytes while it leaves the first ones unread.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for the first bytes and returns whether they are those of HTTP/2. The bytes stay unread.
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
