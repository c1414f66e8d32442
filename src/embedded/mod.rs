//! DynamoDB, PostgreSQL and a token issuer in process, for `dev` and the tests. Not in a production build.

pub mod data_dir;
pub mod dynamodb;
pub mod issuer;
pub mod postgres;
