//! DynamoDB for the measurements.

use std::path::Path;

use cruddur_messaging::embedded::dynamodb::EmbeddedDynamoDb;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// An embedded DynamoDB whose file is in `/dev/shm`, if that exists. Without a file, its stream would have no index. With a file on
/// a disk, each write would wait for the disk.
pub struct Engine {
    pub dynamodb: EmbeddedDynamoDb,
    _folder: TempDir,
}

impl Engine {
    pub async fn start() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.exists() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let dynamodb = EmbeddedDynamoDb::start(Some(&folder.path().join("dynamodb")), listener)?;
        Ok(Self { dynamodb, _folder: folder })
    }
}
