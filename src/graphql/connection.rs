//! Connections of the Relay cursor connections specification. The types of `async_graphql::connection` have no fast
//! path (see `engine::object`), so this module declares its own.

use super::engine::object;
use crate::messaging::Page;

/// A page of nodes.
pub struct Connection<N> {
    pub(super) edges: Vec<Edge<N>>,
    pub(super) page_info: PageInfo,
}

/// A node and its cursor.
pub struct Edge<N> {
    pub(super) cursor: String,
    pub(super) node: N,
}

/// Information about pagination.
#[derive(Clone)]
pub struct PageInfo {
    has_previous_page: bool,
    has_next_page: bool,
    start_cursor: Option<String>,
    end_cursor: Option<String>,
}

object! {
    /// Information about pagination in a connection.
    "PageInfo" for PageInfo;
    fields(&self) {
        /// Whether there are items before this page.
        "hasPreviousPage" has_previous_page: bool = self.has_previous_page;
        /// Whether there are items after this page.
        "hasNextPage" has_next_page: bool = self.has_next_page;
        /// Cursor of the first item of the page. Null if the page is empty.
        "startCursor" start_cursor: Option<&str> = self.start_cursor.as_deref();
        /// Cursor of the last item of the page. Null if the page is empty.
        "endCursor" end_cursor: Option<&str> = self.end_cursor.as_deref();
    }
}

impl<N> Connection<N> {
    /// Converts a page. `edge` returns the encoded cursor and the node of an item.
    pub fn of<T>(page: Page<T>, edge: impl FnMut(T) -> (String, N)) -> Self {
        let edges = page.items.into_iter().map(edge).map(|(cursor, node)| Edge { cursor, node });
        let edges: Vec<Edge<N>> = edges.collect();
        let page_info = PageInfo {
            has_previous_page: page.has_previous,
            has_next_page: page.has_next,
            start_cursor: edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
        };
        Self { edges, page_info }
    }
}
