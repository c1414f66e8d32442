//! Faults of the calls of the stream consumer: they cost time, and lose no move.

use cruddur_messaging::model::MessageGroupUuid;
use cruddur_messaging::stream::consumer_table::ConsumerTable;
use cruddur_messaging::stream::set_aside::SetAsideTable;
use futures::{StreamExt, stream};
use serde_json::Value;

use crate::consumer::rows;
use crate::harness::fault_proxy::Fault::{self, Answer, Body};
use crate::harness::{DEADLINE, TABLE, World, eventually_within, test, user};

/// Every error type that the calls of the consumer declare, with its HTTP status.
const DECLARED: &[(&str, u16, &str)] = &[
    ("DescribeTable", 500, "InternalServerError"),
    ("DescribeTable", 400, "ResourceNotFoundException"),
    ("DescribeStream", 500, "InternalServerError"),
    ("DescribeStream", 400, "ResourceNotFoundException"),
    ("GetShardIterator", 500, "InternalServerError"),
    ("GetShardIterator", 400, "ResourceNotFoundException"),
    ("GetShardIterator", 400, "TrimmedDataAccessException"),
    ("GetRecords", 400, "ExpiredIteratorException"),
    ("GetRecords", 500, "InternalServerError"),
    ("GetRecords", 400, "LimitExceededException"),
    ("GetRecords", 400, "ResourceNotFoundException"),
    ("GetRecords", 400, "TrimmedDataAccessException"),
    ("Query", 500, "InternalServerError"),
    ("Query", 400, "ProvisionedThroughputExceededException"),
    ("Query", 400, "RequestLimitExceeded"),
    ("Query", 400, "ResourceNotFoundException"),
    ("Query", 400, "ThrottlingException"),
    ("GetItem", 500, "InternalServerError"),
    ("GetItem", 400, "ProvisionedThroughputExceededException"),
    ("GetItem", 400, "RequestLimitExceeded"),
    ("GetItem", 400, "ResourceNotFoundException"),
    ("UpdateItem", 400, "ConditionalCheckFailedException"),
    ("UpdateItem", 500, "InternalServerError"),
    ("UpdateItem", 400, "ItemCollectionSizeLimitExceededException"),
    ("UpdateItem", 400, "ProvisionedThroughputExceededException"),
    ("UpdateItem", 400, "ReplicatedWriteConflictException"),
    ("UpdateItem", 400, "RequestLimitExceeded"),
    ("UpdateItem", 400, "ResourceNotFoundException"),
    ("UpdateItem", 400, "TransactionConflictException"),
    ("TransactWriteItems", 400, "IdempotentParameterMismatchException"),
    ("TransactWriteItems", 500, "InternalServerError"),
    ("TransactWriteItems", 400, "ProvisionedThroughputExceededException"),
    ("TransactWriteItems", 400, "RequestLimitExceeded"),
    ("TransactWriteItems", 400, "ResourceNotFoundException"),
    ("TransactWriteItems", 400, "TransactionCanceledException"),
    ("TransactWriteItems", 400, "TransactionInProgressException"),
    ("Scan", 500, "InternalServerError"),
];

/// Sends a message without a consumer, and then starts a consumer whose calls of `operation` have these faults.
async fn survives(operation: &str, faults: Vec<Fault>) {
    let world = World::new().await;
    let server = world.server().await;
    let (ana, ben) = (user("ana").await, user("ben").await);
    let client = server.client(&ana);
    let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
    client.send_to(&ben, "second").await;
    let what = format!("{operation} {:?}", faults.first());
    world.proxy.next(operation, faults);
    let consumer = world.consumer();
    eventually_within(DEADLINE * 5, &what, || async {
        let row = &world.table.own_rows_of_group(ben.uuid(), group_uuid(&group)).await.ok()?;
        (row.len() == 1 && row[0].body == "second").then_some(())
    })
    .await;
    assert!(consumer.finish().await);
    world.proxy.forget(operation);
    let table = ConsumerTable::new(world.aws.dynamodb.clone(), TABLE);
    assert_eq!(SetAsideTable::list(&table).await.expect("a list"), [], "{what}");
    assert_eq!((rows(&world, &ana).await, rows(&world, &ben).await), (1, 1), "{what}");
}

/// Number of tries of the SDK for one call.
const TRIES_OF_SDK: usize = 3;
const TRIED_BY_SDK: [&str; 5] = [
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionInProgressException",
];

#[test]
fn no_error_that_a_call_declares_loses_a_move() {
    test(async {
        let each = DECLARED.iter().map(|(operation, status, code)| {
            // More faults than the maximum number of tries of a move.
            let rounds = if matches!(*operation, "Query" | "TransactWriteItems") { 6 } else { 2 };
            let by_sdk = *status == 500 || TRIED_BY_SDK.contains(code);
            survives(operation, vec![Answer(*status, code); if by_sdk { rounds * TRIES_OF_SDK } else { rounds }])
        });
        stream::iter(each).buffer_unordered(12).collect::<()>().await;
    });
}

#[test]
fn missing_permissions_set_nothing_aside() {
    test(async {
        let missing = ["Query", "TransactWriteItems", "GetRecords", "UpdateItem"]
            .map(|operation| survives(operation, vec![Answer(400, "AccessDeniedException"); 8]));
        stream::iter(missing).buffer_unordered(4).collect::<()>().await;
    });
}

#[test]
fn any_number_of_transaction_conflicts_sets_nothing_aside() {
    const CONFLICT: &str = r#"{
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled",
        "CancellationReasons": [{ "Code": "TransactionConflict", "Message": "ongoing" }, { "Code": "None" }]
    }"#;
    test(async {
        // More than five times the maximum number of reads of one attempt.
        survives("TransactWriteItems", vec![Body(400, CONFLICT); 64]).await;
    });
}

pub(crate) fn group_uuid(group: &Value) -> MessageGroupUuid {
    MessageGroupUuid(group.as_str().expect("a uuid").parse().expect("a uuid"))
}
