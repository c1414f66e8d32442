//! The messages of the subprotocol `graphql-transport-ws`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::http::parameters::{Parameters, ParametersError, read_payload};

/// A message of a client.
pub enum ClientMessage {
    /// Opens the session.
    ConnectionInit(Map<String, Value>),
    /// Requests a `pong` with the same payload.
    Ping(Option<Value>),
    /// The response to a `ping`.
    Pong,
    /// Starts an operation.
    Subscribe { id: String, parameters: Box<Parameters> },
    /// Stops an operation.
    Complete { id: String },
}

/// An error in a message of a client.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("Message is not JSON")]
    NotJson,
    #[error("Message must be a JSON object")]
    NotObject,
    #[error("`type` must be connection_init, ping, pong, subscribe or complete")]
    Type,
    #[error("`id` must be a non-empty string")]
    Id,
    #[error("`payload` must be a JSON object")]
    Payload,
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

/// A message of the server.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a, T> {
    /// The session is open.
    ConnectionAck { payload: T },
    /// The response to a `ping`.
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<T>,
    },
    /// A result of an operation.
    Next { id: &'a str, payload: T },
    /// The operation was not executed. The payload is a list of errors.
    Error { id: &'a str, payload: T },
    /// The operation has ended.
    Complete { id: &'a str },
}

impl<T: Serialize> ServerMessage<'_, T> {
    /// The text of the message.
    pub fn to_text(&self) -> String {
        // This never fails: messages have only values that JSON can represent, and their keys are strings.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl ClientMessage {
    /// Reads a message.
    pub fn read(text: &str) -> Result<Self, MessageError> {
        let value: Value = serde_json::from_str(text).map_err(|_| MessageError::NotJson)?;
        let Value::Object(mut message) = value else { return Err(MessageError::NotObject) };
        let payload = message.remove("payload");
        let object = |payload| match payload {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(payload)) => Ok(payload),
            Some(_) => Err(MessageError::Payload),
        };
        match message.get("type").and_then(Value::as_str) {
            Some("connection_init") => Ok(Self::ConnectionInit(object(payload)?)),
            Some("ping") => {
                object(payload.clone())?;
                Ok(Self::Ping(payload.filter(Value::is_object)))
            }
            Some("pong") => object(payload).map(|_| Self::Pong),
            Some("subscribe") => {
                let id = id(&mut message)?;
                let payload = payload.filter(Value::is_object).ok_or(MessageError::Payload)?;
                Ok(Self::Subscribe { id, parameters: Box::new(read_payload(payload)?) })
            }
            Some("complete") => id(&mut message).map(|id| Self::Complete { id }),
            _ => Err(MessageError::Type),
        }
    }
}

fn id(message: &mut Map<String, Value>) -> Result<String, MessageError> {
    match message.remove("id") {
        Some(Value::String(id)) if !id.is_empty() => Ok(id),
        _ => Err(MessageError::Id),
    }
}

/// Returns the value of `Authorization` in the payload of `connection_init`. Some clients send it as a field of the payload,
/// others as a field of `headers` in the payload.
pub fn authorization(payload: &Map<String, Value>) -> Option<&str> {
    let headers = payload.get("headers").and_then(Value::as_object);
    [Some(payload), headers]
        .into_iter()
        .flatten()
        .find_map(|object| object.get("Authorization").or_else(|| object.get("authorization")).and_then(Value::as_str))
}
