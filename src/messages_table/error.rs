//! Errors of DynamoDB calls, classified by what the caller can do: retry later, or report a fault.

use std::sync::Arc;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::attributes::ItemError;
use crate::metrics::{self, Target};
use crate::model::UserUuid;

/// The cause of an error. It is shared, so that several callers of one transaction can get its error.
type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TableError {
    /// DynamoDB was unreachable or overloaded or throttled the call, or the call timed out. A retry can succeed. A write may
    /// have been executed.
    #[error("{operation}: DynamoDB is unavailable")]
    Unavailable {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code. `None` if there was no response, or if the response contains no readable code.
        code: Option<String>,
        /// Error of the SDK.
        #[source]
        source: Source,
    },
    /// DynamoDB rejected the call for a reason that does not depend on the item: a permission is missing, the table is
    /// missing or differs, or the program has a defect. A retry fails too.
    #[error("{operation}: DynamoDB rejected the call")]
    Refused {
        /// The API operation.
        operation: &'static str,
        /// DynamoDB's error code. `None` if there was no response, or if the response contains no readable code.
        code: Option<String>,
        /// Error of the SDK.
        #[source]
        source: Source,
    },
    /// DynamoDB rejected the items of this call as invalid. Calls with other items can succeed.
    #[error("{operation}: DynamoDB rejected an item as invalid")]
    Invalid {
        /// The API operation.
        operation: &'static str,
        /// Error of the SDK.
        #[source]
        source: Source,
    },
    /// A stored item that the call needs is malformed.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// To find the legacy groups of the user, the user's list must be read, and the list is longer than a request may read.
    #[error(
        "finding the legacy groups of user {user} takes more than {read_units} read units (MAX_LEGACY_READ_UNITS): \
         run `ddb adopt-legacy`"
    )]
    ListTooLong {
        /// Owner of the list.
        user: UserUuid,
        /// The limit.
        read_units: u32,
    },
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

/// Classifies an error of a call to the messages table, and counts it in the metrics. Callers must handle the errors that they
/// expect, such as failed conditions, before they call this function.
pub fn classify<E>(
    operation: &'static str,
    error: SdkError<E, aws_sdk_dynamodb::config::http::HttpResponse>,
) -> TableError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    classify_call(Target::Messages, operation, error)
}

/// Like [`classify`], for a call to `target`.
pub fn classify_call<E>(
    target: Target,
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
    metrics::failed(target, operation, code.as_deref().unwrap_or("unreachable"));
    let source = Arc::new(error);
    if transient {
        TableError::Unavailable { operation, code, source }
    } else {
        TableError::Refused { operation, code, source }
    }
}
