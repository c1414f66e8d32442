//! The server to compare with: an axum handler that makes the same call to DynamoDB with the same parameters through the same SDK,
//! and returns its JSON. It has no GraphQL, no token and no users.

use std::collections::HashMap;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use cruddur_messaging::instant::format_instant;
use cruddur_messaging::messages_table::items::PROJECTION;
use cruddur_messaging::messages_table::json::to_json;
use serde_json::{Value, json};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const TABLE: &str = "cruddur-messages";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(url)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: bare_handler ADDRESS DYNAMODB_URL");
    };
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .endpoint_url(url)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("figures", "figures", None, None, "figures"));
    let client = Arc::new(Client::new(&config.load().await));
    let router = Router::new().route("/list/{user}", get(list)).route("/put/{group}", post(put)).with_state(client);
    axum::serve(tokio::net::TcpListener::bind(address).await?, router).await?;
    Ok(())
}

async fn list(State(client): State<Arc<Client>>, Path(user): Path<String>) -> Result<Json<Vec<Value>>, StatusCode> {
    let request = client
        .query()
        .table_name(TABLE)
        .consistent_read(true)
        .projection_expression(PROJECTION.join(", "))
        .key_condition_expression("pk = :pk")
        .expression_attribute_values(":pk", AttributeValue::S(format!("GRP#{user}")))
        .scan_index_forward(false)
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .limit(21);
    let page = request.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(page.items().iter().map(to_json).collect()))
}

async fn put(
    State(client): State<Arc<Client>>,
    Path(group): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let (uuid, now) = (uuid::Uuid::new_v4().to_string(), format_instant(chrono::Utc::now()));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let item = HashMap::from(
        [
            ("pk", text(&format!("MSG#{group}"))),
            ("sk", text(&format!("{now}#{uuid}"))),
            ("message_uuid", text(&uuid)),
            ("message", text(body["body"].as_str().unwrap_or_default())),
            ("user_uuid", text(&uuid)),
            ("user_handle", text("ana")),
            ("user_display_name", text("Ana Ferreira")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let request = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(pk)")
        .return_consumed_capacity(ReturnConsumedCapacity::Total);
    request.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(json!({ "uuid": uuid, "createdAt": now })))
}
