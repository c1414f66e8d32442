//! Workarounds for problems of the GraphQL engine, async-graphql 8.0.0-rc.5.
//!
//! | module | problem of the engine | upstream |
//! |---|---|---|
//! | [`object`] | it allocates a future for each field, even for fields that are in memory | [#1354], [`container.rs`] |
//! | [`list`] | an error inside a list has the path of the entry, not of the field | [`list.rs`] |
//! | [`operation`] | if a field is selected twice, it resolves it twice, and its parser rejects valid documents | [`container.rs`], [#1039] |
//!
//! Tests of each module show the problem in the engine itself. Such a test fails when a new version of the engine no longer
//! has the problem. Then the module can be deleted, and the rest of the program stays nearly the same.
//!
//! [#1354]: https://github.com/async-graphql/async-graphql/issues/1354
//! [#1039]: https://github.com/async-graphql/async-graphql/issues/1039
//! [`container.rs`]: https://github.com/async-graphql/async-graphql/blob/v8.0.0-rc.5/src/resolver_utils/container.rs
//! [`list.rs`]: https://github.com/async-graphql/async-graphql/blob/v8.0.0-rc.5/src/resolver_utils/list.rs

pub mod list;
pub mod object;
pub mod operation;

pub(super) use self::list::List;
pub(super) use self::object::{Fast, FastPath, NotResolved, object};
