//! Frames of WebSocket: messages in several frames, frames that RFC 6455 forbids, text that is not UTF-8, and messages that
//! are too large.

use cruddur_messaging::app::ApiParts;
use cruddur_messaging::config::HttpLimits;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::client::CREATE;
use crate::harness::websocket::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, Socket, TEXT, frame, frame_head, init, ping, pong, subscribe, text, texts,
};
use crate::harness::{DEADLINE, Server, TestUser, World, test, user};

/// The first reserved bit of a frame. An extension could define it.
const RESERVED: u8 = 0x40;
/// Maximum size of a message in these tests.
const MAX_BYTES: usize = 2_000;

struct Limited {
    world: World,
    server: Server,
    ana: TestUser,
    ben: TestUser,
}

impl Limited {
    async fn new() -> Self {
        let world = World::new().await;
        let http = HttpLimits { body_bytes: MAX_BYTES, ..HttpLimits::default() };
        let change = |parts: &mut ApiParts| {
            parts.requests.http = http;
            parts.requests.live.sockets_per_user = 100;
        };
        let server = world.server_where(change).await;
        Self { world, server, ana: user("ana").await, ben: user("ben").await }
    }

    async fn socket(&self) -> Socket {
        Socket::acknowledged(self.server.address, &self.ana.token).await
    }

    /// Sends frames, first alone, then on another socket in one write with later messages. Returns the code of the close frame.
    async fn code(&self, frames: &[Vec<u8>]) -> u16 {
        let variables = json!({ "to": { "handle": self.ben.handle() }, "body": "too late" });
        let later = texts(&[ping(1), subscribe("1", CREATE, variables), init("nonsense")]);
        let code = async |bytes: Vec<u8>| {
            let mut socket = self.socket().await;
            socket.send_bytes(&bytes).await;
            let end = socket.rest(DEADLINE).await;
            assert_eq!(end.messages, Vec::<Value>::new());
            end.code
        };
        let (alone, followed) = tokio::join!(code(frames.concat()), code([frames.concat(), later].concat()));
        assert_eq!(alone, followed);
        assert_eq!(self.world.proxy.calls("TransactWriteItems"), 0, "no later message was executed");
        alone
    }

    /// Checks the code for each of several offences, which have names. Each of them has sockets of its own.
    async fn all_have_code(&self, code: u16, offences: &[(&str, Vec<Vec<u8>>)]) {
        let codes = join_all(offences.iter().map(|(_, frames)| self.code(frames))).await;
        for (found, (name, _)) in codes.into_iter().zip(offences) {
            assert_eq!(found, code, "{name}");
        }
    }
}

/// A ping of the subprotocol that has this number of bytes, and its response.
fn sized(bytes: usize) -> (Value, Value) {
    let message = |kind: &str, text: &str| json!({ "type": kind, "payload": { "text": text } });
    let padding = "x".repeat(bytes - message("ping", "").to_string().len());
    (message("ping", &padding), message("pong", &padding))
}

#[test]
fn a_message_can_arrive_in_several_frames_and_several_messages_in_one_write() {
    test(async {
        let limited = Limited::new().await;
        let mut socket = limited.socket().await;
        let message = json!({ "type": "ping", "payload": { "text": "é€𐍈" } }).to_string();
        let pong_of_message = json!({ "type": "pong", "payload": { "text": "é€𐍈" } });
        // A frame may end within a character.
        for at in 0..=message.len() {
            let (start, end) = message.as_bytes().split_at(at);
            let frames = [frame(TEXT, start), frame(FIN | CONTINUATION, end)];
            socket.send_bytes(&frames.concat()).await;
            assert_eq!(socket.receive().await, pong_of_message, "split at {at}");
        }
        let mut bytes = frame(TEXT, b"");
        for byte in message.as_bytes() {
            bytes.extend(frame(CONTINUATION, &[*byte]));
            // Control frames may stand between the frames of a message.
            bytes.extend(frame(FIN | PING, b"alive?"));
        }
        bytes.extend(frame(FIN | CONTINUATION, b""));
        bytes.extend(texts(&[ping(1), ping(2), ping(3)]));
        let mut next = text(&ping(4));
        let rest = next.split_off(3);
        bytes.extend(next);
        socket.send_bytes(&bytes).await;
        assert_eq!(socket.receive().await, pong_of_message);
        for number in 1..=3 {
            assert_eq!(socket.receive().await, pong(number));
        }
        socket.send_bytes(&rest).await;
        assert_eq!(socket.receive().await, pong(4));
    });
}

#[test]
fn binary_messages_are_invalid_also_in_several_frames() {
    test(async {
        let limited = Limited::new().await;
        let bytes = ping(1).to_string().into_bytes();
        let (start, end) = bytes.split_at(10);
        assert_eq!(limited.code(&[frame(BINARY, start), frame(FIN | CONTINUATION, end)]).await, 4400);
        assert_eq!(limited.code(&[frame(FIN | BINARY, &bytes)]).await, 4400);
    });
}

#[test]
fn text_that_is_not_utf_8_closes_the_socket() {
    test(async {
        let limited = Limited::new().await;
        let message = b"{\"type\":\"ping\",\"payload\":{\"text\":\"\xc3\"}}";
        let surrogate = b"{\"type\":\"ping\",\"payload\":{\"text\":\"\xed\xa0\x80\"}}";
        let (start, end) = message.split_at(20);
        let offences = [
            ("one byte", vec![frame(FIN | TEXT, b"\xff")]),
            ("a string in JSON", vec![frame(FIN | TEXT, message)]),
            ("half of a surrogate pair", vec![frame(FIN | TEXT, surrogate)]),
            ("an incomplete character", vec![frame(FIN | TEXT, b"\xe2\x82")]),
            ("several frames", vec![frame(TEXT, start), frame(FIN | CONTINUATION, end)]),
            ("a character that ends wrongly", vec![frame(TEXT, b"\xc3"), frame(FIN | CONTINUATION, b"x")]),
        ];
        limited.all_have_code(1007, &offences).await;
    });
}

#[test]
fn frames_that_websocket_forbids_close_the_socket() {
    test(async {
        let limited = Limited::new().await;
        let message = ping(1).to_string();
        let message = message.as_bytes();
        let unmasked = [vec![FIN | TEXT, u8::try_from(message.len()).expect("a short message")], message.to_vec()];
        let offences = [
            ("not masked", vec![unmasked.concat()]),
            ("a reserved bit", vec![frame(FIN | RESERVED | TEXT, message)]),
            ("an unknown opcode", vec![frame(FIN | 3, message)]),
            ("an unknown control frame", vec![frame(FIN | 11, b"")]),
            ("a continuation of nothing", vec![frame(FIN | CONTINUATION, message)]),
            ("a message within a message", vec![frame(TEXT, b"{"), frame(FIN | TEXT, message)]),
            ("a ping in several frames", vec![frame(PING, b"x")]),
            ("a ping that is too long", vec![frame(FIN | PING, &[b'x'; 126])]),
            ("half a close code", vec![frame(FIN | CLOSE, &[3])]),
        ];
        limited.all_have_code(1002, &offences).await;
    });
}

#[test]
fn messages_that_are_too_large_close_the_socket() {
    test(async {
        let limited = Limited::new().await;
        let mut socket = limited.socket().await;
        let (largest, response) = sized(MAX_BYTES);
        assert_eq!(largest.to_string().len(), MAX_BYTES);
        socket.send(&largest).await;
        assert_eq!(socket.receive().await, response);
        let bytes = largest.to_string().into_bytes();
        let (start, end) = bytes.split_at(MAX_BYTES / 2);
        socket.send_bytes(&[frame(TEXT, start), frame(FIN | CONTINUATION, end)].concat()).await;
        assert_eq!(socket.receive().await, response);

        let (larger, _) = sized(MAX_BYTES + 1);
        let bytes = larger.to_string().into_bytes();
        let parts: Vec<Vec<u8>> = bytes.chunks(300).map(|part| frame(CONTINUATION, part)).collect();
        let parts = [vec![frame(TEXT, b"")], parts, vec![frame(FIN | CONTINUATION, b"")]].concat();
        let offences = [
            ("one frame", vec![text(&larger)]),
            ("several frames", parts),
            ("a binary message", vec![frame(FIN | BINARY, &bytes)]),
            ("much too large", vec![frame(FIN | TEXT, &vec![b' '; 1_000_000])]),
            ("only the head of a frame", vec![frame_head(FIN | TEXT, 1 << 40), vec![1, 2, 3, 4]]),
        ];
        limited.all_have_code(1009, &offences).await;
        socket.nothing_more().await;
    });
}
