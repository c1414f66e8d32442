//! Which DynamoDB the operator's commands reach: a local one, and AWS only when told to.

use anyhow::bail;

use crate::aws::{Aws, is_aws};

/// The endpoint of a local engine where nothing else is said.
const LOCAL_ENDPOINT: &str = "http://127.0.0.1:8000";

/// The clients, and what to call the endpoint when telling what is touched.
pub async fn connect(prod: bool) -> anyhow::Result<(Aws, String)> {
    let named = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()).map(|url| (*name, url)));
    if prod {
        return Ok((Aws::from_environment().await?, named.map_or("AWS".to_owned(), |(_, url)| url)));
    }
    let url = match named {
        Some((name, url)) if is_aws(&url) => bail!("{name} is AWS ({url}): give --prod to reach it"),
        Some((_, url)) => url,
        None => LOCAL_ENDPOINT.to_owned(),
    };
    Ok((Aws::local(&url).await, url))
}
