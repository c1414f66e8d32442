//! Errors of DynamoDB calls, classified by what the caller can do: retry later, or report a fault.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::items::ItemError;
use crate::metrics;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// DynamoDB was unreachable, overloaded or throttled the call, or the call timed out. A retry can succeed. A write may
    /// have happened.
    #[error("{operation}: DynamoDB is unavailable")]
    Unavailable {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code. `None` when there was no response.
        code: Option<String>,
        /// Error of the SDK.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// DynamoDB rejected the call whatever the item: a permission is missing, the table is missing or differs, or the
    /// program has a defect. A retry fails too.
    #[error("{operation}: DynamoDB rejected the call")]
    Refused {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code. `None` when there was no response.
        code: Option<String>,
        /// Error of the SDK.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// DynamoDB rejected the items of this call as invalid. Calls with other items can succeed.
    #[error("{operation}: DynamoDB rejected an item as invalid")]
    Invalid {
        /// The API operation.
        operation: &'static str,
        /// Error of the SDK.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored item that the call needs is malformed.
    #[error(transparent)]
    Item(#[from] ItemError),
}

impl TableError {
    /// Whether a retry can succeed without a change of the program, its permissions or the table.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Error codes after which a retry can succeed. Source: "Error handling with DynamoDB", developer guide.
const TRANSIENT: [&str; 9] = [
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

/// Classifies an error of the SDK and counts it in the metrics. Callers handle the errors that they expect before.
pub fn classify<E>(
    operation: &'static str,
    error: SdkError<E, aws_sdk_dynamodb::config::http::HttpResponse>,
) -> TableError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let transient = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(context) => {
            context.raw().status().is_server_error()
                || context.err().code().is_some_and(|code| TRANSIENT.contains(&code))
        }
        _ => false,
    };
    let code = error.code().map(str::to_owned);
    metrics::failed(operation, code.as_deref().unwrap_or("unreachable"));
    let source = Box::new(error);
    if transient {
        TableError::Unavailable { operation, code, source }
    } else {
        TableError::Refused { operation, code, source }
    }
}
