//! Texts and amounts that have to fit. Pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::quantity::{Scale, Units};

/// The text, or as much of it as fits with a mark that there is more.
pub(super) fn fitted(text: &str, width: usize, more: char) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let has_room = wide <= room;
        room = room.saturating_sub(wide);
        has_room
    };
    let kept: String = text.chars().take_while(fits).collect();
    if width == 0 { String::new() } else { format!("{kept}{more}") }
}

/// The text at the left of a column.
pub(super) fn left(text: &str, width: usize, more: char) -> String {
    let text = fitted(text, width, more);
    let blank = " ".repeat(width.saturating_sub(text.width()));
    format!("{text}{blank}")
}

/// The text at the right of a column.
pub(super) fn right(text: &str, width: usize, more: char) -> String {
    let text = fitted(text, width, more);
    let blank = " ".repeat(width.saturating_sub(text.width()));
    format!("{blank}{text}")
}

/// An amount of memory in few characters: each in the unit that suits it.
pub(super) fn amount(bytes: Option<u64>, units: Units) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| Scale::of(units, &[bytes]).format(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_with_a_mark() {
        assert_eq!(fitted("web1", 4, '~'), "web1");
        assert_eq!(fitted("web12", 4, '~'), "web~");
        assert_eq!(fitted("日本語", 5, '~'), "日本~");
        assert_eq!(fitted("日本語", 4, '~'), "日~", "half a character is none");
        assert_eq!(fitted("web1", 0, '~'), "");
        assert_eq!((left("a", 3, '~'), right("a", 3, '~')), ("a  ".to_owned(), "  a".to_owned()));
    }
}
