//! Ranges of sort keys, and the key conditions that select them.
//!
//! Bounds are compared as text, because DynamoDB compares sort keys as text.

use std::ops::{Bound, RangeBounds};

use aws_sdk_dynamodb::types::AttributeValue;

/// The order in which a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Sort keys between two bounds, compared as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKeyRange {
    lower: Bound<String>,
    upper: Bound<String>,
}

/// The key condition of a Query.
pub(super) struct KeyCondition {
    pub expression: &'static str,
    pub values: Vec<(&'static str, AttributeValue)>,
    /// Maximum number of returned items that the range does not contain.
    pub surplus: usize,
}

impl SortKeyRange {
    /// Every sort key.
    pub const fn all() -> Self {
        Self { lower: Bound::Unbounded, upper: Bound::Unbounded }
    }

    /// Restricts the range to keys greater than `key`.
    #[must_use]
    pub fn above(self, key: &str) -> Self {
        self.raise(Bound::Excluded(key.to_owned()))
    }

    /// Restricts the range to keys greater than or equal to `key`.
    #[must_use]
    pub fn from(self, key: &str) -> Self {
        self.raise(Bound::Included(key.to_owned()))
    }

    /// Restricts the range to keys less than `key`.
    #[must_use]
    pub fn below(mut self, key: &str) -> Self {
        let tighter = match &self.upper {
            Bound::Excluded(upper) | Bound::Included(upper) => key <= upper.as_str(),
            Bound::Unbounded => true,
        };
        if tighter {
            self.upper = Bound::Excluded(key.to_owned());
        }
        self
    }

    fn raise(mut self, bound: Bound<String>) -> Self {
        let tighter = match (&self.lower, &bound) {
            (Bound::Unbounded, _) => true,
            (Bound::Excluded(old) | Bound::Included(old), Bound::Excluded(new)) => new >= old,
            (Bound::Excluded(old) | Bound::Included(old), Bound::Included(new)) => new > old,
            (_, Bound::Unbounded) => false,
        };
        if tighter {
            self.lower = bound;
        }
        self
    }

    /// Whether the range contains `key`.
    pub fn contains(&self, key: &str) -> bool {
        let lower = self.lower.as_ref().map(String::as_str);
        let upper = self.upper.as_ref().map(String::as_str);
        RangeBounds::<str>::contains(&(lower, upper), key)
    }

    /// Whether no key can be in the range: the upper bound, which is always excluded, is not greater than the lower bound.
    pub fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower) | Bound::Excluded(lower), Bound::Included(upper) | Bound::Excluded(upper)) => {
                lower >= upper
            }
            _ => false,
        }
    }

    /// The condition that selects the range in the partition `pk`. `BETWEEN` is the only condition with two bounds, and it
    /// includes both. The response may contain an excluded bound; `surplus` counts those.
    pub(super) fn condition(&self, pk: String) -> KeyCondition {
        let mut values = vec![(":pk", AttributeValue::S(pk))];
        let mut surplus = 0;
        let mut add_bound = |name, bound: &Bound<String>| match bound {
            Bound::Unbounded => false,
            Bound::Included(key) | Bound::Excluded(key) => {
                values.push((name, AttributeValue::S(key.clone())));
                surplus += usize::from(matches!(bound, Bound::Excluded(_)));
                true
            }
        };
        let (lower, upper) = (add_bound(":lower", &self.lower), add_bound(":upper", &self.upper));
        let expression = match (lower, upper) {
            (false, false) => "pk = :pk",
            (true, false) => "pk = :pk AND sk >= :lower",
            (false, true) => "pk = :pk AND sk < :upper",
            (true, true) => "pk = :pk AND sk BETWEEN :lower AND :upper",
        };
        KeyCondition { expression, values, surplus }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_only_narrow_the_range() {
        let range = SortKeyRange::all().from("b").above("a").below("y").below("z");
        assert!(range.contains("b") && range.contains("x"));
        assert!(!range.contains("a") && !range.contains("y"));
        assert!(!range.clone().above("b").contains("b"));
        assert!(!range.is_empty());
        assert!(range.clone().above("y").is_empty());
        assert!(range.below("b").is_empty());
    }
}
