//! DynamoDB, PostgreSQL and a token issuer in the process, for `dev` and the tests. A production build does not contain them.

pub mod data_dir;
pub mod dynamodb;
pub mod issuer;
pub mod postgres;
pub mod sign_in;
