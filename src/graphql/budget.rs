//! Counts the size of a response while the response is built, and stops when the size exceeds the limit. Counting after
//! the response is complete would be too late: aliases can repeat the texts of a page of messages, so the response can
//! take many times the memory of the page.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::ContextBase;

/// Memory in bytes of a value and its key, without the text. A value takes 72 bytes, and an entry of an object takes 24
/// more.
const VALUE_BYTES: usize = 100;
/// Size in bytes of an escaped control character in JSON, such as `\u0001`.
const CONTROL_BYTES: usize = 6;

/// The maximum size of a response, and the number of bytes counted so far.
///
/// The fields of a request are resolved in one task, so at most one [`Meter`] counts at a time.
pub struct ResponseBudget {
    maximum: usize,
    /// Number of bytes counted so far. Greater than the maximum if the response is too large.
    used: AtomicUsize,
}

/// Counts the bytes of the values that one synchronous call resolves.
pub struct Meter {
    bytes: usize,
    maximum: usize,
}

/// The response exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseTooLarge;

impl ResponseBudget {
    /// Creates a budget of `maximum` bytes for each response.
    pub fn new(maximum: usize) -> Arc<Self> {
        Arc::new(Self { maximum, used: AtomicUsize::new(0) })
    }

    /// Returns the budget of the response that is being built.
    pub fn of<'a, T>(context: &ContextBase<'a, T>) -> &'a Self {
        // All functions that execute requests are in `graphql`, and they add the budget with `with_context`.
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

    /// Calls `resolve` and counts the values that it resolves. If it fails, counts nothing unless the response is too
    /// large, because the values are resolved and counted again later.
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

    /// Counts a text with the length that it has in JSON.
    pub fn text(&mut self, text: &str) -> Result<(), ResponseTooLarge> {
        let escapes: usize = text.bytes().map(escape_bytes).sum();
        self.plain(text.len() + escapes)
    }
}

/// Number of bytes that the escape of `byte` adds to a text in JSON.
fn escape_bytes(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 1,
        0..b' ' => CONTROL_BYTES - 1,
        _ => 0,
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
