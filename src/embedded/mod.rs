//! DynamoDB, PostgreSQL, a token issuer and a sign-in page in the process, for `dev` and the tests. A production build does
//! not contain them.

pub mod data_dir;
pub mod dynamodb;
pub mod issuer;
pub mod postgres;
pub mod sign_in;
