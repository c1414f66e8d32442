//! The size of a response, counted while the response is built. A response that exceeds the limit is never in memory
//! completely: aliases can repeat a text, so a page of messages may grow to many times its size.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::ContextBase;

/// Memory of a value and its key besides its text, in bytes. A value takes 72 bytes, and an entry of an object 24 more.
const VALUE_BYTES: usize = 100;
/// Size of an escaped control character in JSON, such as `\u0001`.
const CONTROL_BYTES: usize = 6;

/// The maximum size of a response, and the size of what has been built of it.
///
/// The fields of a request are resolved in one task, so at most one [`Meter`] counts at a time.
pub struct ResponseBudget {
    maximum: usize,
    /// Greater than the maximum if the response is too large.
    used: AtomicUsize,
}

/// Counts the values that are resolved in one go.
pub struct Meter {
    bytes: usize,
    maximum: usize,
}

/// The response exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseTooLarge;

impl ResponseBudget {
    /// A budget of `maximum` bytes for each response.
    pub fn new(maximum: usize) -> Arc<Self> {
        Arc::new(Self { maximum, used: AtomicUsize::new(0) })
    }

    /// The budget of the response that is being built.
    pub fn of<'a, T>(context: &ContextBase<'a, T>) -> &'a Self {
        // `graphql::execute` is the only place that executes requests, and it adds the budget to each of them.
        context.data_unchecked::<Arc<Self>>()
    }

    /// The maximum size of a response in bytes.
    pub fn maximum(&self) -> usize {
        self.maximum
    }

    /// Whether the response is too large.
    pub fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.maximum
    }

    /// Resolves values and counts them. Values that are not resolved now are not counted: they are resolved, and counted,
    /// later.
    pub fn count<T, E: From<ResponseTooLarge>>(
        &self,
        resolve: impl FnOnce(&mut Meter) -> Result<T, E>,
    ) -> Result<T, E> {
        let used = self.used.load(Ordering::Relaxed);
        let mut meter = Meter { bytes: used, maximum: self.maximum };
        let resolved = resolve(&mut meter);
        if resolved.is_ok() || meter.bytes > self.maximum {
            self.used.fetch_add(meter.bytes - used, Ordering::Relaxed);
        }
        resolved
    }

    /// Ends a response and returns whether it was too large. The next response of the request starts with the whole budget.
    pub fn end_response(&self) -> bool {
        self.used.swap(0, Ordering::Relaxed) > self.maximum
    }
}

impl Meter {
    /// Counts a value without a text.
    pub fn value(&mut self) -> Result<(), ResponseTooLarge> {
        self.plain(0)
    }

    /// Counts a text of `length` bytes that needs no escapes in JSON.
    pub fn plain(&mut self, length: usize) -> Result<(), ResponseTooLarge> {
        self.bytes = self.bytes.saturating_add(VALUE_BYTES.saturating_add(length));
        if self.bytes > self.maximum { Err(ResponseTooLarge) } else { Ok(()) }
    }

    /// Counts a text as long as it is in JSON.
    pub fn text(&mut self, text: &str) -> Result<(), ResponseTooLarge> {
        let controls = text.bytes().filter(|byte| *byte < b' ').count();
        let quoted = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        self.plain(text.len() + controls * (CONTROL_BYTES - 1) + quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_at_least_as_much_as_its_json() {
        for text in ["", "plain", "\u{1f600}", "\"\\", "\u{0}\u{1f}\n\t", "e\u{301}"] {
            let mut meter = Meter { bytes: 0, maximum: usize::MAX };
            assert_eq!(meter.text(text), Ok(()));
            let json = serde_json::to_string(text).expect("JSON");
            assert!(meter.bytes - VALUE_BYTES >= json.len() - 2, "{text:?}: {} bytes", meter.bytes);
        }
    }

    #[test]
    fn values_count_once_although_they_are_resolved_again() {
        let budget = ResponseBudget::new(3 * VALUE_BYTES);
        let not_now = budget.count(|meter| {
            meter.value()?;
            meter.value()?;
            Err::<(), _>(None)
        });
        assert_eq!(not_now, Err(None));
        for _ in 0..3 {
            assert_eq!(budget.count(Meter::value), Ok(()));
        }
        assert_eq!(budget.count(Meter::value), Err(ResponseTooLarge));
        assert!(budget.is_exceeded());
        assert_eq!(budget.count(Meter::value), Err(ResponseTooLarge), "nothing is resolved after that");
        assert!(budget.end_response());
        assert_eq!(budget.count(Meter::value), Ok(()), "the budget is one for each response");
        assert!(!budget.end_response());
    }
}
