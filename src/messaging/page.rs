//! Pages as the Relay cursor connections specification has them.

use super::error::BadInput;
use super::limits::MAX_PAGE;
use crate::messages_table::Slice;

/// What a client asked for, not checked yet.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// So many from the front.
    pub first: Option<i32>,
    /// Behind this cursor.
    pub after: Option<String>,
    /// So many from the back.
    pub last: Option<i32>,
    /// Before this cursor.
    pub before: Option<String>,
}

/// Which end a page is counted from, and how many it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    First(usize),
    Last(usize),
}

impl Size {
    /// How many the page may hold.
    pub(super) fn limit(self) -> usize {
        let (Self::First(limit) | Self::Last(limit)) = self;
        limit
    }
}

impl PageRequest {
    /// The checked size; `default` where neither end is named.
    pub(super) fn size(&self, default: Size) -> Result<Size, BadInput> {
        let checked = |size: i32| {
            usize::try_from(size)
                .ok()
                .filter(|size| *size <= MAX_PAGE)
                .ok_or(BadInput::PageSizeInvalid("The page size is out of bounds."))
        };
        match (self.first, self.last) {
            (Some(_), Some(_)) => Err(BadInput::PageSizeInvalid("There are two page sizes.")),
            (Some(first), None) => Ok(Size::First(checked(first)?)),
            (None, Some(last)) => Ok(Size::Last(checked(last)?)),
            (None, None) => Ok(default),
        }
    }
}

/// A page and what lies around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the connection's order.
    pub items: Vec<T>,
    /// Whether something lies behind.
    pub has_next: bool,
    /// Whether something lies before.
    pub has_previous: bool,
}

impl<T> Page<T> {
    /// The page of `size` that was read as `slice`, between the cursors given. A cursor was given out for something, so
    /// on its far side there is something.
    pub(super) fn of(slice: Slice<T>, size: Size, after: bool, before: bool) -> Self {
        let Slice { mut items, more } = slice;
        match size {
            Size::First(_) => Self { items, has_next: more || before, has_previous: after },
            Size::Last(_) => {
                items.reverse();
                Self { items, has_next: before, has_previous: more || after }
            }
        }
    }

    /// The same page with its items made into something else.
    pub(super) fn map<U>(self, into: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, has_next, has_previous } = self;
        Page { items: items.into_iter().map(into).collect(), has_next, has_previous }
    }
}
