//! Creating the tables: the messages table with its index and stream, and the stream consumer's own.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, IndexStatus, KeySchemaElement, KeyType, Projection,
    ProjectionType, ProvisionedThroughput, ScalarAttributeType, StreamSpecification, StreamViewType, TableDescription,
    TableStatus,
};

use super::error::{TableError, classify};
use super::keys::{GROUP_INDEX, MESSAGE_GROUP_UUID, PK, SK};

/// How a table's capacity is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// So many read and write units a second, on the table and on the index each.
    Provisioned {
        /// Read units a second.
        read: i64,
        /// Write units a second.
        write: i64,
    },
    /// Each request by itself.
    OnDemand,
}

impl Billing {
    /// What the AWS free tier covers.
    pub const FREE_TIER: Self = Self::Provisioned { read: 5, write: 5 };

    fn mode(self) -> BillingMode {
        match self {
            Self::Provisioned { .. } => BillingMode::Provisioned,
            Self::OnDemand => BillingMode::PayPerRequest,
        }
    }

    fn throughput(self) -> Option<ProvisionedThroughput> {
        let Self::Provisioned { read, write } = self else { return None };
        let throughput = ProvisionedThroughput::builder().read_capacity_units(read).write_capacity_units(write).build();
        // `build` fails only without both numbers, and both were given.
        Some(throughput.expect("a complete throughput"))
    }
}

/// What was done about a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It was not there and is now.
    Created,
    /// It was there; its stream was off and is now on.
    StreamEnabled,
    /// It was there as it should be.
    AlreadyThere,
}

/// Why a table could not be brought about.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A call failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table of that name is there and is not ours.
    #[error("table {table} exists and differs: {difference}")]
    Differs {
        /// The table's name.
        table: String,
        /// What is not as it should be.
        difference: String,
    },
    /// It did not become ACTIVE in time.
    #[error("table {table} is not ACTIVE after {} s", DEADLINE.as_secs())]
    NotActive {
        /// The table's name.
        table: String,
    },
}

/// How long a table may take to become ACTIVE. An index on AWS takes minutes.
const DEADLINE: Duration = Duration::from_secs(900);
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The name of the consumer's table beside the messages table `messages`.
pub fn leases_table_name(messages: &str) -> String {
    format!("{messages}-leases")
}

/// Creates the messages table with its index and stream, or enables the stream on one that lacks it.
pub async fn load_messages_table(client: &Client, name: &str, billing: Billing) -> Result<Loaded, SchemaError> {
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build()
        // `build` fails only without `stream_enabled`, and it was given.
        .expect("a complete stream specification");
    let index = GlobalSecondaryIndex::builder()
        .index_name(GROUP_INDEX)
        .set_key_schema(Some(key_schema(MESSAGE_GROUP_UUID, SK)))
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .set_provisioned_throughput(billing.throughput())
        .build()
        // `build` fails only without a name or a key schema, and both were given.
        .expect("a complete index");
    let Some(found) = describe(client, name).await? else {
        client
            .create_table()
            .table_name(name)
            .set_attribute_definitions(Some([PK, SK, MESSAGE_GROUP_UUID].map(string_attribute).to_vec()))
            .set_key_schema(Some(key_schema(PK, SK)))
            .global_secondary_indexes(index)
            .billing_mode(billing.mode())
            .set_provisioned_throughput(billing.throughput())
            .stream_specification(stream)
            .send()
            .await
            .map_err(|error| classify("CreateTable", error))?;
        wait_until_active(client, name).await?;
        return Ok(Loaded::Created);
    };
    check_keys(name, &found, &key_schema(PK, SK))?;
    let has_index = found.global_secondary_indexes().iter().any(|it| {
        it.index_name() == Some(GROUP_INDEX) && it.key_schema() == key_schema(MESSAGE_GROUP_UUID, SK).as_slice()
    });
    if !has_index {
        let difference = format!("it has no index {GROUP_INDEX} on {MESSAGE_GROUP_UUID} and {SK}");
        return Err(SchemaError::Differs { table: name.to_owned(), difference });
    }
    let projects_all = found.global_secondary_indexes().iter().all(|it| {
        it.index_name() != Some(GROUP_INDEX)
            || it.projection().and_then(|it| it.projection_type()) == Some(&ProjectionType::All)
    });
    if !projects_all {
        let difference = format!("its index {GROUP_INDEX} does not project all attributes");
        return Err(SchemaError::Differs { table: name.to_owned(), difference });
    }
    let enabled = found.stream_specification().is_some_and(|it| it.stream_enabled());
    let shows = found.stream_specification().and_then(|it| it.stream_view_type());
    if enabled && !matches!(shows, Some(StreamViewType::NewAndOldImages | StreamViewType::NewImage)) {
        let difference = "its stream does not show new images".to_owned();
        return Err(SchemaError::Differs { table: name.to_owned(), difference });
    }
    if !enabled {
        client
            .update_table()
            .table_name(name)
            .stream_specification(stream)
            .send()
            .await
            .map_err(|error| classify("UpdateTable", error))?;
    }
    wait_until_active(client, name).await?;
    Ok(if enabled { Loaded::AlreadyThere } else { Loaded::StreamEnabled })
}

/// Creates the stream consumer's table. It has no stream of its own: each checkpoint would be a record to consume.
pub async fn load_leases_table(client: &Client, messages: &str, billing: Billing) -> Result<Loaded, SchemaError> {
    let name = leases_table_name(messages);
    if let Some(found) = describe(client, &name).await? {
        check_keys(&name, &found, &key_schema(PK, SK))?;
        wait_until_active(client, &name).await?;
        return Ok(Loaded::AlreadyThere);
    }
    client
        .create_table()
        .table_name(&name)
        .set_attribute_definitions(Some([PK, SK].map(string_attribute).to_vec()))
        .set_key_schema(Some(key_schema(PK, SK)))
        .billing_mode(billing.mode())
        .set_provisioned_throughput(billing.throughput())
        .send()
        .await
        .map_err(|error| classify("CreateTable", error))?;
    wait_until_active(client, &name).await?;
    Ok(Loaded::Created)
}

/// Describes a table; `None` when there is none.
pub async fn describe(client: &Client, name: &str) -> Result<Option<TableDescription>, TableError> {
    match client.describe_table().table_name(name).send().await {
        Ok(answer) => Ok(answer.table),
        Err(error) if error.as_service_error().is_some_and(|it| it.is_resource_not_found_exception()) => Ok(None),
        Err(error) => Err(classify("DescribeTable", error)),
    }
}

async fn wait_until_active(client: &Client, name: &str) -> Result<(), SchemaError> {
    let looks = async {
        let mut wait = FIRST_LOOK;
        loop {
            if let Some(table) = describe(client, name).await?
                && table.table_status() == Some(&TableStatus::Active)
                && table.global_secondary_indexes().iter().all(|it| it.index_status() == Some(&IndexStatus::Active))
            {
                return Ok::<_, TableError>(());
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    };
    match tokio::time::timeout(DEADLINE, looks).await {
        Ok(looked) => Ok(looked?),
        Err(_) => Err(SchemaError::NotActive { table: name.to_owned() }),
    }
}

fn check_keys(name: &str, found: &TableDescription, wanted: &[KeySchemaElement]) -> Result<(), SchemaError> {
    if found.key_schema() == wanted {
        return Ok(());
    }
    let keys: Vec<_> =
        found.key_schema().iter().map(|key| format!("{} {}", key.attribute_name, key.key_type)).collect();
    let difference = format!("its keys are {}, not {PK} HASH, {SK} RANGE", keys.join(", "));
    Err(SchemaError::Differs { table: name.to_owned(), difference })
}

fn key_schema(hash: &str, range: &str) -> Vec<KeySchemaElement> {
    let element = |name: &str, key_type| {
        // `build` fails only without a name or a type, and both were given.
        KeySchemaElement::builder().attribute_name(name).key_type(key_type).build().expect("a complete key element")
    };
    vec![element(hash, KeyType::Hash), element(range, KeyType::Range)]
}

fn string_attribute(name: &str) -> AttributeDefinition {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S)
        .build()
        // `build` fails only without a name or a type, and both were given.
        .expect("a complete attribute definition")
}
