//! The data folder of `dev`. Only one process can use it at a time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const DYNAMODB: &str = "dynamodb.sqlite";
const POSTGRES: &str = "postgres";
const TOKEN_KEY: &str = "token-key.pem";

/// A data folder that only this process uses.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("the data folder {} is in use by another process (--data-dir)", .0.display())]
    InUse(PathBuf),
    /// It cannot be created, or its files cannot be written or removed.
    #[error("the data folder {} cannot be used (--data-dir): {problem}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        problem: io::Error,
    },
}

impl DataDir {
    /// Opens the folder, creates it if it does not exist, and locks it until the returned value is dropped.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |problem| DataDirError::Unusable { path: path.to_owned(), problem };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(problem)) => Err(unusable(problem)),
        }
    }

    /// Removes the data of earlier runs. Files that this program did not create stay.
    pub fn clear(&self) -> Result<(), DataDirError> {
        let files = [DYNAMODB.to_owned(), format!("{DYNAMODB}-wal"), format!("{DYNAMODB}-shm"), TOKEN_KEY.to_owned()];
        let removals = files.iter().map(|name| fs::remove_file(self.path.join(name)));
        for removed in removals.chain([fs::remove_dir_all(self.postgres())]) {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DataDirError::Unusable { path: self.path.clone(), problem: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the database file of the DynamoDB engine.
    pub fn dynamodb(&self) -> PathBuf {
        self.path.join(DYNAMODB)
    }

    /// Path of the folder of the PostgreSQL cluster.
    pub fn postgres(&self) -> PathBuf {
        self.path.join(POSTGRES)
    }

    /// Path of the file with the key that signs the tokens, in the data folder `path`.
    pub fn token_key(path: &Path) -> PathBuf {
        path.join(TOKEN_KEY)
    }
}
