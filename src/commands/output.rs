//! What the operator's commands print: text for people, JSON lines for programs.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use clap::Args;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The flag of every command that a program may read.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// Print JSON, one value a line; what is said beside it goes to standard error
    #[arg(long, global = true)]
    pub json: bool,
}

impl Output {
    /// Says something to people.
    pub fn say(self, text: impl Display) {
        if self.json {
            line(io::stderr().lock(), &text);
        } else {
            line(io::stdout().lock(), &text);
        }
    }

    /// A result: `text` for people, `json` for programs.
    pub fn result(self, text: impl Display, json: impl FnOnce() -> Value) {
        if self.json {
            line(io::stdout().lock(), &json());
        } else {
            line(io::stdout().lock(), &text);
        }
    }

    /// A row of a list, cut to the terminal's width.
    pub fn row(self, text: &str, json: impl FnOnce() -> Value) {
        self.result(cut(&printable(text), width()), json);
    }
}

fn line(mut to: impl Write, text: &dyn Display) {
    if let Err(error) = writeln!(to, "{text}")
        && error.kind() == ErrorKind::BrokenPipe
    {
        // Whoever reads has seen enough, as `head` does.
        std::process::exit(0);
    }
}

/// The terminal's width; without a terminal what `COLUMNS` says, or no limit.
fn width() -> usize {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.or_else(columns).unwrap_or(usize::MAX)
}

/// Text that a terminal shows and does not obey: what people wrote must not move its cursor, nor turn text around.
fn printable(text: &str) -> String {
    let obeyed = |it: char| {
        it.is_control() || matches!(it, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|it| if obeyed(it) { ' ' } else { it }).collect()
}

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

/// Pads to so many columns, whatever the letters.
pub fn padded(text: &str, columns: usize) -> String {
    let text = printable(text);
    let missing = columns.saturating_sub(text.width());
    text + &" ".repeat(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_columns_and_not_to_letters() {
        assert_eq!(cut("hello", 5), "hello");
        assert_eq!(cut("hello!", 5), "hell…");
        assert_eq!(cut("今日は", 5), "今日…");
        assert_eq!(cut("今日は", 4), "今…");
        assert_eq!(padded("今", 4), "今  ");
    }

    #[test]
    fn what_people_wrote_does_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a [2Jb c d");
    }
}
