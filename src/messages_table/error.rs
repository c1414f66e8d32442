//! What a call to DynamoDB can end in, sorted by what a caller can do about it.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::items::ItemError;
use crate::metrics;

/// The end of a call that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Throttled, timed out, refused or cut off: nobody's fault, worth another try later. A write may have happened.
    #[error("{operation}: DynamoDB is unavailable")]
    Unavailable {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code; none when no answer came at all.
        code: Option<String>,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// DynamoDB answered that it will not do this: a fault of the program, its rights or the table, whatever item it was
    /// asked for.
    #[error("{operation}: DynamoDB refused")]
    Refused {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code, where it answered.
        code: Option<String>,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// DynamoDB will not write these very items.
    #[error("{operation}: DynamoDB takes no such item")]
    Invalid {
        /// The API operation.
        operation: &'static str,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An item that a single answer depends on is malformed.
    #[error(transparent)]
    Item(#[from] ItemError),
}

impl TableError {
    /// Whether the same call may succeed later without anybody mending anything.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Error codes behind which another try can succeed. Source: "Error handling with DynamoDB", developer guide.
const PASSING: [&str; 9] = [
    "InternalServerError",
    "InternalServerErrorException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Sorts an error of the SDK. Calls that expect particular errors look at them before.
pub fn classify<E>(
    operation: &'static str,
    error: SdkError<E, aws_sdk_dynamodb::config::http::HttpResponse>,
) -> TableError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let passing = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(context) => {
            context.raw().status().is_server_error() || context.err().code().is_some_and(|code| PASSING.contains(&code))
        }
        _ => false,
    };
    let code = error.code().map(str::to_owned);
    metrics::failed(operation, code.as_deref().unwrap_or("unreachable"));
    let source = Box::new(error);
    if passing {
        TableError::Unavailable { operation, code, source }
    } else {
        TableError::Refused { operation, code, source }
    }
}
