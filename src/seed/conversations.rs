//! The texts of the seeded conversations.

/// A conversation between two seeded users.
pub struct Conversation {
    /// The two users. The first one starts.
    pub handles: [&'static str; 2],
    /// Time of the first message, in RFC 3339 format.
    pub begins: &'static str,
    /// Average time between two messages.
    pub seconds_apart: i64,
    /// One line for each message: `handle: text`.
    text: &'static str,
}

impl Conversation {
    /// Speaker and text of each message.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.text.lines().filter_map(|line| line.split_once(": "))
    }
}

/// All conversations: a long one across a new year, and two short ones.
pub const CONVERSATIONS: &[Conversation] = &[
    Conversation {
        handles: ["ana", "ben"],
        begins: "2025-12-30T17:55:12Z",
        seconds_apart: 3600,
        text: include_str!("ana_and_ben.txt"),
    },
    Conversation {
        handles: ["chloe", "ana"],
        begins: "2026-02-11T09:30:00Z",
        seconds_apart: 95,
        text: "\
chloe: Salut Ana! Did the proofs of the cover arrive?
ana: This morning. The blue is darker than on screen, and I like it better.
chloe: Then I tell the printer to go ahead?
ana: Please do. And thank you for chasing them.
",
    },
    Conversation {
        handles: ["ben", "dmitri"],
        begins: "2026-03-02T20:14:00Z",
        seconds_apart: 61,
        text: "\
ben: Привет! Is the chess evening on Thursday still on?
dmitri: Да, at eight. Bring the clock, mine has stopped for good.
ben: I will. No blitz this time, my nerves 😅
",
    },
];
