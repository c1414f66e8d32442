//! Pages as the Relay cursor connections specification defines them.

use super::error::BadInput;
use super::limits::MAX_PAGE;
use crate::messages_table::Slice;

/// The pagination arguments of a client before they are validated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// Number of items from the start of the list.
    pub first: Option<i32>,
    /// Cursor after which the page starts.
    pub after: Option<String>,
    /// Number of items from the end of the list.
    pub last: Option<i32>,
    /// Cursor before which the page ends.
    pub before: Option<String>,
}

/// The end of the list from which the items of a page are counted, and their maximum number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageSize {
    First(usize),
    Last(usize),
}

impl PageSize {
    /// Maximum number of items in the page.
    pub(super) fn limit(self) -> usize {
        let (Self::First(limit) | Self::Last(limit)) = self;
        limit
    }
}

impl PageRequest {
    /// Returns the validated page size, or `default` if the request has neither `first` nor `last`.
    pub(super) fn size(&self, default: PageSize) -> Result<PageSize, BadInput> {
        let checked = |argument, size: i32| {
            let in_bounds = usize::try_from(size).ok().filter(|size| *size <= MAX_PAGE);
            in_bounds.ok_or(BadInput::PageSizeOutOfBounds { argument, minimum: 0, size })
        };
        match (self.first, self.last) {
            (Some(_), Some(_)) => Err(BadInput::PageSizesCombined),
            (Some(first), None) => Ok(PageSize::First(checked("first", first)?)),
            (None, Some(last)) => Ok(PageSize::Last(checked("last", last)?)),
            (None, None) => Ok(default),
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items in the order of the connection.
    pub items: Vec<T>,
    /// Whether items follow the page.
    pub has_next: bool,
    /// Whether items precede the page.
    pub has_previous: bool,
}

impl<T> Page<T> {
    /// Returns the page whose items were read as `slice`. `after` and `before` say whether the list contains the item of the
    /// request's cursor `after` or `before`. Such an item precedes or follows the page.
    pub(super) fn of(slice: Slice<T>, size: PageSize, after: bool, before: bool) -> Self {
        let Slice { mut items, more } = slice;
        match size {
            PageSize::First(_) => Self { items, has_next: more || before, has_previous: after },
            PageSize::Last(_) => {
                items.reverse();
                Self { items, has_next: before, has_previous: more || after }
            }
        }
    }

    /// Converts the items.
    pub(super) fn map<U>(self, into: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, has_next, has_previous } = self;
        Page { items: items.into_iter().map(into).collect(), has_next, has_previous }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_validated() {
        let size = |first, last| {
            let request = PageRequest { first, last, ..PageRequest::default() };
            request.size(PageSize::First(20)).map_err(|error| error.to_string())
        };
        assert_eq!(size(None, None), Ok(PageSize::First(20)));
        assert_eq!(size(Some(0), None), Ok(PageSize::First(0)));
        assert_eq!(size(None, Some(100)), Ok(PageSize::Last(100)));
        assert_eq!(size(Some(-1), None), Err("`first` must be between 0 and 100, got -1.".to_owned()));
        assert_eq!(size(None, Some(101)), Err("`last` must be between 0 and 100, got 101.".to_owned()));
        assert_eq!(size(Some(1), Some(1)), Err("`first` and `last` cannot be combined.".to_owned()));
    }
}
