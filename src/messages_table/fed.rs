//! Stores which messages of a group are in the feeds of its participants. A message is *fed* if the consumer has appended
//! it to these feeds.
//!
//! The stream can deliver a message more than once, for example after a crash of the consumer. Each row of a group
//! therefore has the position of the last message that was fed, for each shard from which messages of the group came.
//! One position does not suffice: the records of one partition key can be in sibling shards, because DynamoDB splits a
//! hot partition by sort key, and sequence numbers are ordered only within a shard.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// The last fed sequence number of each shard. When the next message of the group is fed, the positions of finished shards
/// are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fed(BTreeMap<String, String>);

/// The position of a message in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPosition<'a> {
    /// The stream and the shard. Contains no spaces.
    pub shard: &'a str,
    /// The sequence number, a decimal number of up to 40 digits.
    pub sequence_number: &'a str,
}

impl Fed {
    /// Reads the attribute `fed`. Returns `None` if the text is malformed.
    pub fn read(text: &str) -> Option<Self> {
        let entry = |entry: &str| entry.rsplit_once('=').map(|(shard, number)| (shard.to_owned(), number.to_owned()));
        text.split_whitespace().map(entry).collect::<Option<_>>().map(Self)
    }

    /// Combines the positions of the rows of one group. A transaction writes the same positions to all rows.
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut union = Self::default();
        for (shard, number) in rows.into_iter().flat_map(|fed| &fed.0) {
            let position = StreamPosition { shard, sequence_number: number };
            if union.contains(position) != Some(true) {
                union.0.insert(shard.clone(), number.clone());
            }
        }
        union
    }

    /// Whether there are no positions, because no message of the group was fed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shards from which messages were fed.
    pub fn shards(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether the message at `position` was fed. Returns `None` if there is no position of its shard: no message of the shard
    /// was fed, or the shard is finished.
    pub fn contains(&self, position: StreamPosition<'_>) -> Option<bool> {
        let last = self.0.get(position.shard)?;
        Some(compare_numbers(position.sequence_number, last) != Ordering::Greater)
    }

    /// Returns the positions after the messages up to `position` are fed. Of the other shards, keeps the positions of those for
    /// which `keep` returns true.
    #[must_use]
    pub fn advanced(&self, position: StreamPosition<'_>, keep: impl Fn(&str) -> bool) -> Self {
        let mut fed: BTreeMap<_, _> =
            self.0.iter().filter(|(shard, _)| keep(shard)).map(|(a, b)| (a.clone(), b.clone())).collect();
        fed.insert(position.shard.to_owned(), position.sequence_number.to_owned());
        Self(fed)
    }
}

impl fmt::Display for Fed {
    /// Writes the value of the attribute `fed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (shard, number)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{shard}={number}")?;
        }
        Ok(())
    }
}

/// Compares decimal numbers of any length.
fn compare_numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(shard: &'a str, sequence_number: &'a str) -> StreamPosition<'a> {
        StreamPosition { shard, sequence_number }
    }

    #[test]
    fn each_shard_has_a_position_of_its_own() {
        let fed = Fed::default().advanced(at("a", "99"), |_| true).advanced(at("b", "100"), |_| true);
        assert_eq!(fed.to_string(), "a=99 b=100");
        assert_eq!(Fed::read("a=99 b=100"), Some(fed.clone()));
        for (position, expected) in [
            (at("a", "99"), Some(true)),
            (at("a", "100"), Some(false)),
            (at("b", "99"), Some(true)),
            (at("b", "000100"), Some(true)),
            (at("c", "1"), None),
        ] {
            assert_eq!(fed.contains(position), expected, "{position:?}");
        }
        assert_eq!(fed.advanced(at("c", "1"), |shard| shard == "b").to_string(), "b=100 c=1");
        assert_eq!((Fed::read(""), Fed::read("a")), (Some(Fed::default()), None));
        let shard = Fed::default().advanced(at("stream=1/shard=2", "3"), |_| true);
        assert_eq!(Fed::read(&shard.to_string()), Some(shard));
    }
}
