//! Output of the commands for operators: text for people, JSON lines for programs.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use clap::Args;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Output options of a command.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// Print one JSON value per line to standard output, and notes to standard error
    #[arg(long, global = true)]
    pub json: bool,
}

impl Output {
    /// Prints a note for people: to standard error with `--json`, to standard output without it.
    pub fn say(self, text: impl Display) {
        if self.json {
            line(io::stderr().lock(), &text);
        } else {
            line(io::stdout().lock(), &text);
        }
    }

    /// Prints a result: `text` for people, `json` for programs.
    pub fn result(self, text: impl Display, json: impl FnOnce() -> Value) {
        if self.json {
            line(io::stdout().lock(), &escaped_json(&json()));
        } else {
            line(io::stdout().lock(), &text);
        }
    }

    /// Prints a row of a list, cut to the width of the terminal.
    pub fn row(self, text: &str, json: impl FnOnce() -> Value) {
        self.result(cut(&printable(text), width()), json);
    }
}

fn line(mut to: impl Write, text: &dyn Display) {
    if let Err(error) = writeln!(to, "{text}")
        && error.kind() == ErrorKind::BrokenPipe
    {
        // The reader of the output has closed the pipe, as `head` does. This is not an error.
        std::process::exit(0);
    }
}

/// Returns the width of the terminal in columns. If there is no terminal, returns the value of `COLUMNS`, or no limit.
fn width() -> usize {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.or_else(columns).unwrap_or(usize::MAX)
}

/// Whether a character controls the terminal, ends a line, or changes the direction of text.
fn is_control(character: char) -> bool {
    let is_bidi_or_line = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || is_bidi_or_line
}

/// Replaces control characters with spaces, because text from users must not control the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|it| if is_control(it) { ' ' } else { it }).collect()
}

/// Replaces control characters with their escapes, such as `\u{1b}`, so that two names that differ also look different.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_control(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Returns the JSON text of a value. `serde_json` escapes only the control characters below U+0020. This function escapes all of
/// them. They occur only in strings, so the escapes are valid JSON.
fn escaped_json(value: &Value) -> String {
    let mut escaped = String::new();
    for character in value.to_string().chars() {
        if is_control(character) {
            // All control characters are below U+10000, so one escape is enough.
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Cuts `text` to a width in columns. Text that is cut ends with `…`.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |it: &char| {
        let wide = it.width().unwrap_or_default();
        let fits = wide <= room;
        room = room.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Pads `text` with spaces to a width in columns, and replaces its control characters. A wide character takes two columns.
pub fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(self::columns(text));
    printable(text) + &" ".repeat(missing)
}

/// Returns the width of a text in columns, as [`padded`] prints it.
pub fn columns(text: &str) -> usize {
    printable(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_a_width_in_columns() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello!", 5), "hell…");
        assert_eq!(cut("今日は", 5), "今日…");
        assert_eq!(cut("今日は", 4), "今…");
        assert_eq!(padded("今", 4), "今  ");
    }

    #[test]
    fn control_characters_are_not_printed() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a [2Jb c d");
    }

    #[test]
    fn control_characters_of_names_are_escaped() {
        let name = "a\u{1b}[2J\r\u{9b}\u{7f}\u{202e}\u{2028}\u{61c}é今";
        assert_eq!(escaped(name), r"a\u{1b}[2J\u{d}\u{9b}\u{7f}\u{202e}\u{2028}\u{61c}é今");
        let json = escaped_json(&Value::from(name));
        assert_eq!(json, r#""a\u001b[2J\r\u009b\u007f\u202e\u2028\u061cé今""#);
        assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON"), name);
    }
}
