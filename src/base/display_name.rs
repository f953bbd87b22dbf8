//! Names that people see: without characters that hide, or that change the direction of the text around them, and without
//! those that look like the name of a guest.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::confusable_detection::skeleton;

/// The beginning of the ids of guests.
pub const GUEST_PREFIX: &str = "guest:";

/// Letters of a name that are looked at: marks on them count, too.
const BEGINNING_CHARS: usize = 64;

/// Selects the form of the character before it: text, or emoji.
const TEXT_STYLE: char = '\u{fe0e}';
const EMOJI_STYLE: char = '\u{fe0f}';

/// Encloses the character before it.
const KEYCAP: char = '\u{20e3}';

/// A characteristic that a name must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// A character that is not visible, or that changes the direction of text.
    Hidden,
    /// It looks like the id of a guest.
    GuestLike,
}

impl NameFault {
    /// What a name must not have, to go after "must have".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "no invisible characters and none that change the direction of text",
            Self::GuestLike => "another beginning than guest: and what looks like it",
        }
    }
}

/// The first fault of a name.
pub fn name_fault(name: &str) -> Option<NameFault> {
    if name.is_ascii() && !name.contains(':') {
        // Most names are decided by this, and cost no more.
        return None;
    }
    if has_hidden(name) {
        return Some(NameFault::Hidden);
    }
    looks_like_guest(name).then_some(NameFault::GuestLike)
}

fn has_hidden(name: &str) -> bool {
    let mut before = None;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_hidden = match letter {
            TEXT_STYLE | EMOJI_STYLE => !takes_style(before, letters.peek().copied()),
            letter => is_hidden(letter),
        };
        if is_hidden {
            return true;
        }
        before = Some(letter);
    }
    false
}

/// Whether a character that selects the form of the one before it does: of an emoji, or of a digit that becomes a keycap.
fn takes_style(before: Option<char>, after: Option<char>) -> bool {
    match before {
        Some('0'..='9' | '#' | '*') => after == Some(KEYCAP),
        Some(before) => !before.is_ascii() && !before.is_alphanumeric() && ![TEXT_STYLE, EMOJI_STYLE].contains(&before),
        None => false,
    }
}

/// Whether a character is invisible (Unicode's default ignorable ones, and letters that are blank), or controls the
/// direction of text (UAX #9 §2).
fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a name begins like the id of a guest, to the eye (UTS #39 §4).
fn looks_like_guest(name: &str) -> bool {
    let beginning: String = name.chars().filter(|letter| !letter.is_whitespace()).take(BEGINNING_CHARS).collect();
    appearance(&beginning).starts_with(GUEST_PREFIX)
}

/// A text in the letters that it looks like: small ones, of one width and without marks.
fn appearance(text: &str) -> String {
    let plain: String = text.nfkd().filter(|letter| !is_combining_mark(*letter)).flat_map(char::to_lowercase).collect();
    skeleton(&plain).flat_map(char::to_lowercase).map(full_size).collect()
}

/// The letter that a small capital of [`GUEST_PREFIX`] stands for.
fn full_size(letter: char) -> char {
    match letter {
        '\u{262}' => 'g',
        '\u{1d1c}' => 'u',
        '\u{1d07}' => 'e',
        '\u{a731}' => 's',
        '\u{1d1b}' => 't',
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_hidden_or_turning_characters_is_found() {
        for name in [
            "a\u{202e}b",
            "\u{200b}",
            "ann\u{200d}",
            "x\u{2066}y",
            "a\u{feff}",
            "\u{3164}",
            "f\u{e0062}",
            "s\u{ad}t",
            "ann\u{fe0f}",
            "ann1\u{fe0f}",
            "\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
            "ann\u{fe00}",
            "\u{2800}",
            "a\u{13430}",
        ] {
            assert_eq!(name_fault(name), Some(NameFault::Hidden), "{name:?}");
        }
    }

    #[test]
    fn name_that_looks_like_a_guest_is_found() {
        for name in [
            "guest:1",
            "Guest:abc",
            "GUEST: abc",
            " guest :x",
            "gu\u{435}st:x",
            "guest\u{ff1a}x",
            "ｇｕｅｓｔ:x",
            "guest\u{2236}x",
            "g\u{301}ué\u{308}st:x",
            "ⓖⓤⓔⓢⓣ:x",
            "𝐠𝐮𝐞𝐬𝐭:x",
            "ɢᴜᴇꜱᴛ:x",
            "ɢᴜᴇsᴛ︓x",
            "ցuest։x",
            "g u\u{3000}e s\u{a0}t\u{ff1a}x",
        ] {
            assert_eq!(name_fault(name), Some(NameFault::GuestLike), "{name:?}");
        }
    }

    #[test]
    fn name_of_any_language_has_no_fault() {
        for name in [
            "Ann",
            "guest",
            "Guest of honour",
            "Zoë",
            "Иван",
            "李明",
            "محمد",
            "दीपक",
            "👍🏽",
            "❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "a: b",
            "re: guest:x",
        ] {
            assert_eq!(name_fault(name), None, "{name:?}");
        }
    }
}
