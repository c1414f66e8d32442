//! Creates, compares and drops tables: the messages table with its index and stream, and the stream consumer's table.
//!
//! Loading a table can be repeated safely. It enables features that should be enabled and reports all other differences. It
//! never disables or replaces anything, because an operator must decide that.

mod error;
mod tables;
mod time_to_live;
mod wanted;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, GlobalSecondaryIndex, GlobalSecondaryIndexDescription, KeySchemaElement, KeyType,
    PointInTimeRecoverySpecification, PointInTimeRecoveryStatus, Projection, ProjectionType, ScalarAttributeType,
    StreamSpecification, StreamViewType, TableDescription,
};

use chrono::Utc;

pub use self::error::SchemaError;
pub use self::tables::{describe, drop_table, list_tables};
use self::tables::{update_when_ready, wait_until_active};
use self::time_to_live::ensure_time_to_live;
pub use self::time_to_live::{TimeToLive, time_to_live};
pub use self::wanted::{Billing, Loaded, Wanted};
use super::error::{TableError, classify};
use super::keys::{GROUP_INDEX, MESSAGE_GROUP_UUID, PK, SK};
use super::table::MessagesTable;

/// Name of the consumer's table that belongs to the messages table `messages`.
pub fn leases_table_name(messages: &str) -> String {
    format!("{messages}-leases")
}

/// Creates the messages table with its index, stream and time to live. In an existing table, enables the stream, time to live
/// and, if `wanted` requires them, deletion protection and point-in-time recovery, and reports all other differences. Writes
/// the marker into a new or empty table, which has no legacy groups.
pub async fn load_messages_table(
    client: &Client,
    name: &str,
    wanted: impl Into<Wanted>,
) -> Result<Loaded, SchemaError> {
    let wanted = wanted.into();
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
        .set_provisioned_throughput(wanted.billing.throughput())
        .build()
        // `build` fails only without a name or a key schema, and both were given.
        .expect("a complete index");
    let mut loaded = Loaded::default();
    let Some(found) = describe(client, name).await? else {
        client
            .create_table()
            .table_name(name)
            .set_attribute_definitions(Some([PK, SK, MESSAGE_GROUP_UUID].map(string_attribute).to_vec()))
            .set_key_schema(Some(key_schema(PK, SK)))
            .global_secondary_indexes(index)
            .billing_mode(wanted.billing.mode())
            .set_provisioned_throughput(wanted.billing.throughput())
            .stream_specification(stream)
            .set_deletion_protection_enabled(wanted.deletion_protection.filter(|it| *it))
            .send()
            .await
            .map_err(|error| classify("CreateTable", error))?;
        wait_until_active(client, name).await?;
        loaded.created = true;
        ensure_time_to_live(client, name, &mut loaded).await?;
        ensure_recovery(client, name, wanted, &mut loaded).await?;
        loaded.legacy_is_adopted = mark_if_empty(client, name).await?;
        return Ok(loaded);
    };
    compare_structure(&found, &mut loaded);
    loaded.compare("billing", Billing::of(&found, found.provisioned_throughput()), wanted.billing);
    if let Some(index) = group_index(&found) {
        let billing = Billing::of(&found, index.provisioned_throughput());
        loaded.compare("billing of the index", billing, wanted.billing);
    }
    wait_until_active(client, name).await?;
    if !has_stream(&found) {
        let update = client.update_table().table_name(name).stream_specification(stream);
        update_when_ready(name, "UpdateTable", async || update.clone().send().await).await?;
        wait_until_active(client, name).await?;
        loaded.changed.push("stream: enabled".to_owned());
    }
    ensure_time_to_live(client, name, &mut loaded).await?;
    ensure_deletion_protection(client, name, &found, wanted, &mut loaded).await?;
    ensure_recovery(client, name, wanted, &mut loaded).await?;
    // A table with other keys cannot be read.
    if keys(found.key_schema()) == keys(&key_schema(PK, SK)) {
        loaded.legacy_is_adopted = mark_if_empty(client, name).await?;
    }
    Ok(loaded)
}

/// Writes the marker if the table is empty, because it then has no legacy groups. Returns whether the table has the marker.
async fn mark_if_empty(client: &Client, name: &str) -> Result<bool, TableError> {
    let table = MessagesTable::new(client.clone(), name);
    if table.legacy_is_adopted().await? {
        return Ok(true);
    }
    let is_empty = table.is_empty().await?;
    if is_empty {
        table.put_marker(Utc::now()).await?;
    }
    Ok(is_empty)
}

/// Returns the smallest provisioned read or write capacity of a table and its index, in units per second. `None` if the table
/// is billed by request.
pub fn provisioned_units(found: &TableDescription) -> Option<i64> {
    let throughputs = [found.provisioned_throughput(), group_index(found).and_then(|it| it.provisioned_throughput())];
    let units = throughputs.into_iter().flatten().map(|throughput| match Billing::of(found, Some(throughput)) {
        Billing::Provisioned { read, write } => Some(read.min(write)),
        Billing::OnDemand => None,
    });
    units.collect::<Option<Vec<i64>>>()?.into_iter().min()
}

/// Returns the differences because of which the program cannot use a table.
pub fn faults(found: &TableDescription) -> Vec<String> {
    let mut loaded = Loaded::default();
    compare_structure(found, &mut loaded);
    if !has_stream(found) {
        loaded.differences.push("its stream is disabled".to_owned());
    }
    loaded.differences
}

fn compare_structure(found: &TableDescription, loaded: &mut Loaded) {
    loaded.compare("keys", keys(found.key_schema()), keys(&key_schema(PK, SK)));
    let index = group_index(found);
    let index_keys = index.map_or("missing".to_owned(), |it| keys(it.key_schema()));
    loaded.compare(&format!("index {GROUP_INDEX}"), index_keys, keys(&key_schema(MESSAGE_GROUP_UUID, SK)));
    if let Some(index) = index {
        let projection = index.projection().and_then(|it| it.projection_type()).map_or("none", |it| it.as_str());
        loaded.compare("attributes in the index", projection, ProjectionType::All);
    }
    match found.stream_specification().filter(|it| it.stream_enabled()).and_then(|it| it.stream_view_type()) {
        // The consumer works with both view types.
        Some(view @ (StreamViewType::NewAndOldImages | StreamViewType::NewImage)) => {
            loaded.matches.push(format!("stream: {view}"));
        }
        Some(other) => loaded.compare("stream", other, StreamViewType::NewAndOldImages),
        None => {}
    }
}

fn group_index(found: &TableDescription) -> Option<&GlobalSecondaryIndexDescription> {
    found.global_secondary_indexes().iter().find(|it| it.index_name() == Some(GROUP_INDEX))
}

fn has_stream(found: &TableDescription) -> bool {
    found.stream_specification().is_some_and(|it| it.stream_enabled())
}

/// Creates the stream consumer's table, or compares an existing one. The table has no stream, because nothing would read it.
/// It has no point-in-time recovery, because the consumer fills a new table from the stream.
pub async fn load_leases_table(
    client: &Client,
    messages: &str,
    wanted: impl Into<Wanted>,
) -> Result<Loaded, SchemaError> {
    let wanted = wanted.into();
    let name = leases_table_name(messages);
    let mut loaded = Loaded::default();
    if let Some(found) = describe(client, &name).await? {
        loaded.compare("keys", keys(found.key_schema()), keys(&key_schema(PK, SK)));
        loaded.compare("billing", Billing::of(&found, found.provisioned_throughput()), wanted.billing);
        wait_until_active(client, &name).await?;
        ensure_deletion_protection(client, &name, &found, wanted, &mut loaded).await?;
        return Ok(loaded);
    }
    client
        .create_table()
        .table_name(&name)
        .set_attribute_definitions(Some([PK, SK].map(string_attribute).to_vec()))
        .set_key_schema(Some(key_schema(PK, SK)))
        .billing_mode(wanted.billing.mode())
        .set_provisioned_throughput(wanted.billing.throughput())
        .set_deletion_protection_enabled(wanted.deletion_protection.filter(|it| *it))
        .send()
        .await
        .map_err(|error| classify("CreateTable", error))?;
    wait_until_active(client, &name).await?;
    loaded.created = true;
    Ok(loaded)
}

/// Enables deletion protection if `wanted` requires it. Never disables it.
async fn ensure_deletion_protection(
    client: &Client,
    name: &str,
    found: &TableDescription,
    wanted: Wanted,
    loaded: &mut Loaded,
) -> Result<(), SchemaError> {
    let Some(wanted) = wanted.deletion_protection else { return Ok(()) };
    let what = "deletion protection";
    let is_on = found.deletion_protection_enabled().unwrap_or_default();
    if wanted && !is_on {
        let update = client.update_table().table_name(name).deletion_protection_enabled(true);
        update_when_ready(name, "UpdateTable", async || update.clone().send().await).await?;
        wait_until_active(client, name).await?;
        loaded.changed.push(format!("{what}: enabled"));
    } else {
        loaded.compare(what, on_or_off(is_on), on_or_off(wanted));
    }
    Ok(())
}

/// Enables point-in-time recovery if `wanted` requires it. Never disables it.
async fn ensure_recovery(client: &Client, name: &str, wanted: Wanted, loaded: &mut Loaded) -> Result<(), SchemaError> {
    let Some(wanted) = wanted.point_in_time_recovery else { return Ok(()) };
    let what = "point-in-time recovery";
    let described = match client.describe_continuous_backups().table_name(name).send().await {
        Ok(described) => described,
        // Local engines may lack the operation. Their data needs no recovery.
        Err(error) if error.code() == Some("UnknownOperationException") => {
            loaded.matches.push(format!("{what}: not supported by this endpoint"));
            return Ok(());
        }
        Err(error) => return Err(classify("DescribeContinuousBackups", error).into()),
    };
    let status = described
        .continuous_backups_description()
        .and_then(|it| it.point_in_time_recovery_description())
        .and_then(|it| it.point_in_time_recovery_status());
    let is_on = status == Some(&PointInTimeRecoveryStatus::Enabled);
    if !wanted || is_on {
        loaded.compare(what, on_or_off(is_on), on_or_off(wanted));
        return Ok(());
    }
    let on = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
    // `build` fails only without the one setting, and it was given.
    let on = on.expect("a complete specification");
    let update = client.update_continuous_backups().table_name(name).point_in_time_recovery_specification(on);
    update_when_ready(name, "UpdateContinuousBackups", async || update.clone().send().await).await?;
    loaded.changed.push(format!("{what}: enabled"));
    Ok(())
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn keys(schema: &[KeySchemaElement]) -> String {
    let keys: Vec<_> = schema.iter().map(|key| format!("{} {}", key.attribute_name, key.key_type)).collect();
    keys.join(", ")
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
