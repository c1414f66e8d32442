//! Implements the [source](super::source) with DynamoDB Streams.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodbstreams::types::{self as streams, OperationType, ShardFilter, ShardFilterType, ShardIteratorType};

use super::ids::{ShardId, StreamArn};
use super::source::{Batch, Position, Record, RecordChange, Shard, StreamError, StreamSource};
use crate::messages_table::attributes::Item;
use crate::messages_table::schema::describe;
use crate::metrics::{self, Target};

/// The stream of one table.
pub struct DynamoDbStream {
    tables: aws_sdk_dynamodb::Client,
    streams: Client,
    table: String,
}

impl DynamoDbStream {
    /// The stream of `table`.
    pub fn new(tables: aws_sdk_dynamodb::Client, streams: Client, table: impl Into<String>) -> Self {
        Self { tables, streams, table: table.into() }
    }
}

impl DynamoDbStream {
    async fn list(&self, stream: &StreamArn, filter: Option<ShardFilter>) -> Result<Vec<Shard>, StreamError> {
        let mut shards = Vec::new();
        let mut start = None;
        loop {
            let request = self
                .streams
                .describe_stream()
                .stream_arn(&**stream)
                .set_shard_filter(filter.clone())
                .set_exclusive_start_shard_id(start);
            let response = counted("DescribeStream", request.send().await)?;
            let Some(page) = response.stream_description else {
                // With an empty list instead of an error, open shards would count as not listed.
                let source = "the response describes no stream".into();
                return Err(StreamError::Unavailable { operation: "DescribeStream", source });
            };
            shards.extend(page.shards.unwrap_or_default().into_iter().filter_map(|shard| {
                let parent = shard.parent_shard_id.filter(|id| !id.is_empty());
                // Only a closed shard has an ending sequence number. If there is no range, nothing shows that the shard is open.
                let is_open = shard.sequence_number_range.is_some_and(|range| range.ending_sequence_number.is_none());
                Some(Shard { id: shard.shard_id?.into(), parent: parent.map(ShardId::from), is_open })
            }));
            start = page.last_evaluated_shard_id;
            if start.is_none() {
                return Ok(shards);
            }
        }
    }
}

impl StreamSource for DynamoDbStream {
    async fn stream(&self) -> Result<StreamArn, StreamError> {
        let operation = "DescribeTable";
        let table = describe(&self.tables, &self.table).await.map_err(|error| {
            let unavailable = error.is_unavailable();
            let source = Box::new(error);
            if unavailable {
                StreamError::Unavailable { operation, source }
            } else {
                StreamError::Refused { operation, source }
            }
        })?;
        metrics::succeeded_without_capacity(Target::Messages, operation);
        let arn = table.and_then(|table| table.latest_stream_arn);
        arn.map(StreamArn::from).ok_or(StreamError::Gone { operation })
    }

    async fn shards(&self, stream: &StreamArn) -> Result<Vec<Shard>, StreamError> {
        self.list(stream, None).await
    }

    /// Uses the filter for children. If it finds none, searches the full list of shards, because not every engine supports the
    /// filter, and no engine supports it for a parent that is not listed any more. A stream that does not exist has no
    /// children.
    async fn children(&self, stream: &StreamArn, parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        let filter = ShardFilter::builder().r#type(ShardFilterType::ChildShards).shard_id(&**parent).build();
        let of_parent = |mut shards: Vec<Shard>| {
            shards.retain(|shard| shard.parent.as_ref() == Some(parent));
            shards
        };
        match self.list(stream, Some(filter)).await.map(of_parent) {
            Ok(children) if !children.is_empty() => Ok(children),
            Ok(_) | Err(StreamError::Refused { .. } | StreamError::Gone { .. }) => {
                match self.list(stream, None).await {
                    Err(StreamError::Gone { .. }) => Ok(Vec::new()),
                    listed => listed.map(of_parent),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn iterator(&self, stream: &StreamArn, shard: &ShardId, position: &Position) -> Result<String, StreamError> {
        let operation = "GetShardIterator";
        let request = self.streams.get_shard_iterator().stream_arn(&**stream).shard_id(&**shard);
        let request = match position {
            Position::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Position::After(number) => {
                request.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).sequence_number(&**number)
            }
        };
        let response = counted(operation, request.send().await)?;
        response.shard_iterator.ok_or(StreamError::Gone { operation })
    }

    async fn records(&self, iterator: &str) -> Result<Batch, StreamError> {
        let response = counted("GetRecords", self.streams.get_records().shard_iterator(iterator).send().await)?;
        let records = response.records.unwrap_or_default().into_iter().filter_map(record).collect();
        Ok(Batch { records, next: response.next_shard_iterator })
    }
}

/// Counts a call in the metrics, and classifies its error.
fn counted<A, E>(
    operation: &'static str,
    response: Result<A, SdkError<E, aws_sdk_dynamodbstreams::config::http::HttpResponse>>,
) -> Result<A, StreamError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match response {
        Ok(response) => {
            metrics::succeeded_without_capacity(Target::Stream, operation);
            Ok(response)
        }
        Err(error) => {
            metrics::failed(Target::Stream, operation, error.code().unwrap_or("unreachable"));
            Err(classify(operation, error))
        }
    }
}

fn classify<E>(
    operation: &'static str,
    error: SdkError<E, aws_sdk_dynamodbstreams::config::http::HttpResponse>,
) -> StreamError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let passing = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(context) => match context.err().code().unwrap_or_default() {
            "ExpiredIteratorException" => return StreamError::IteratorExpired,
            "TrimmedDataAccessException" => return StreamError::Trimmed,
            "ResourceNotFoundException" => return StreamError::Gone { operation },
            "LimitExceededException" | "ThrottlingException" | "InternalServerError" => true,
            "ProvisionedThroughputExceededException" | "RequestLimitExceeded" => true,
            _ => context.raw().status().is_server_error(),
        },
        _ => false,
    };
    let source = Box::new(error);
    if passing { StreamError::Unavailable { operation, source } } else { StreamError::Refused { operation, source } }
}

fn record(record: streams::Record) -> Option<Record> {
    let inserted = record.event_name == Some(OperationType::Insert);
    let change = record.dynamodb?;
    let sequence_number = change.sequence_number?;
    let created_at = change.approximate_creation_date_time.and_then(|at| at.to_millis().ok());
    let change = match change.new_image {
        Some(image) if inserted => RecordChange::Inserted(item(image)),
        _ => RecordChange::Other,
    };
    Some(Record { sequence_number: sequence_number.into(), created_at, change })
}

/// Converts an item. Each of the two SDK crates has its own types for items.
fn item(image: std::collections::HashMap<String, streams::AttributeValue>) -> Item {
    image.into_iter().map(|(name, value)| (name, attribute(value))).collect()
}

fn attribute(value: streams::AttributeValue) -> AttributeValue {
    use streams::AttributeValue as From;
    match value {
        From::S(it) => AttributeValue::S(it),
        From::N(it) => AttributeValue::N(it),
        From::Bool(it) => AttributeValue::Bool(it),
        From::B(it) => AttributeValue::B(it),
        From::Ss(it) => AttributeValue::Ss(it),
        From::Ns(it) => AttributeValue::Ns(it),
        From::Bs(it) => AttributeValue::Bs(it),
        From::L(it) => AttributeValue::L(it.into_iter().map(attribute).collect()),
        From::M(it) => AttributeValue::M(item(it)),
        // Null, and types that a later version of the service may add. The items of the table do not use them.
        _ => AttributeValue::Null(true),
    }
}
