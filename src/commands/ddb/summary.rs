//! Text of the consumed capacity, and the last line of a list.

use serde_json::json;

use crate::commands::output::Output;
use crate::messages_table::Consumed;

/// Returns the consumed capacity as text. Write units are left out if there are none.
pub fn cost(consumed: Consumed) -> String {
    match consumed {
        Consumed { read, write: 0.0 } => format!("read units: {read}"),
        Consumed { read, write } => format!("read units: {read}, write units: {write}"),
    }
}

/// Prints the last line of a list: the number of entries, called `noun` in text and `key` in JSON, whether there are
/// more, and the consumed capacity.
pub fn summary(output: Output, (noun, key): (&str, &str), count: usize, more: bool, consumed: Consumed) {
    let omitted = if more { " (more exist)" } else { "" };
    output.result(
        format!("{noun}: {count}{omitted}; {}", cost(consumed)),
        || json!({ key: count, "more": more, "readUnits": consumed.read }),
    );
}
