//! Ids of the stream and of its consumers. Each kind has its own type.

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
    /// ARN of a stream. A table gets a stream with another ARN if its stream is disabled and enabled again.
    StreamArn
);
text_id!(
    /// Id of a shard, unique within its stream.
    ShardId
);
text_id!(
    /// Position of a record in its shard.
    SequenceNumber
);
text_id!(
    /// Name of a process that holds leases. No two processes have the same name at the same time.
    LeaseOwner
);
