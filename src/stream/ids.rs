//! Ids of the stream, each with a type of its own.

use std::fmt;
use std::ops::Deref;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl<T: Into<String>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(text.into())
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A stream. Its ARN changes when the stream is switched off and on again.
    StreamArn
);
text_id!(
    /// A shard, unique within its stream.
    ShardId
);
text_id!(
    /// The position of a record in its shard.
    SequenceNumber
);
text_id!(
    /// A process that holds leases. No two processes have the same name at the same time.
    LeaseOwner
);
