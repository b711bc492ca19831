//! Bars and curves of characters. Pure.

/// The characters to draw with.
#[derive(Debug)]
pub(super) struct Glyphs {
    /// Memory that is used.
    used: char,
    /// Memory that is held beyond that.
    held: char,
    /// Memory up to the limit.
    free: char,
    /// Where the target is.
    target: char,
    /// Where the least is.
    min: char,
    /// Heights of a curve, the lowest first.
    curve: &'static [char],
    /// What stands for the rest of a text.
    pub(super) more: char,
    /// Lines around a window.
    pub(super) border: ratatui::symbols::border::Set<'static>,
}

/// What one bar shows, in bytes; parts beyond `whole` are cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bar {
    /// Used, from 0 on.
    pub(super) used: u64,
    /// Held, from 0 on.
    pub(super) held: u64,
    /// The end of the bar.
    pub(super) whole: u64,
    /// A mark; none where there is no target.
    pub(super) target: Option<u64>,
    /// A mark; none where there is no least.
    pub(super) min: Option<u64>,
}

impl Glyphs {
    /// For terminals that know Unicode.
    pub(super) const UNICODE: Self = Self {
        used: '█',
        held: '▒',
        free: '·',
        target: '┃',
        min: '╎',
        curve: &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        more: '…',
        border: ratatui::symbols::border::PLAIN,
    };
    /// For those that do not.
    pub(super) const ASCII: Self = Self {
        used: '#',
        held: '=',
        free: '.',
        target: '|',
        min: ':',
        curve: &['_', '.', '-', '=', '+', '*', '%', '#'],
        more: '~',
        border: ratatui::symbols::border::Set {
            top_left: "+",
            top_right: "+",
            bottom_left: "+",
            bottom_right: "+",
            vertical_left: "|",
            vertical_right: "|",
            horizontal_top: "-",
            horizontal_bottom: "-",
        },
    };

    /// A bar of this many characters; empty where there is nothing to measure it by.
    pub(super) fn bar(&self, bar: Bar, width: usize) -> String {
        if bar.whole == 0 || width == 0 {
            return String::new();
        }
        let mut cells: Vec<char> = (0..width)
            .map(|cell| match () {
                () if cell < cells_of(bar.used, bar.whole, width) => self.used,
                () if cell < cells_of(bar.held, bar.whole, width) => self.held,
                () => self.free,
            })
            .collect();
        for (mark, at) in [(self.min, bar.min), (self.target, bar.target)] {
            let at = at.map(|at| cells_of(at, bar.whole, width).saturating_sub(1));
            if let Some(cell) = at.and_then(|at| cells.get_mut(at)) {
                *cell = mark;
            }
        }
        cells.into_iter().collect()
    }

    /// The last figures as a curve between 0 and `most`, one character each.
    pub(super) fn curve(
        &self,
        figures: impl DoubleEndedIterator<Item = u64>,
        most: u64,
        width: usize,
    ) -> String {
        let top = self.curve.len();
        let newest_first = figures.rev().take(width).map(|figure| {
            let level = cells_of(figure, most.max(1), top).saturating_sub(1);
            self.curve.get(level).copied().unwrap_or(' ')
        });
        let drawn: Vec<char> = newest_first.collect();
        let blank = std::iter::repeat_n(' ', width - drawn.len());
        blank.chain(drawn.into_iter().rev()).collect()
    }
}

/// How many of `width` cells `part` of `whole` fills, to the nearest; at most all.
fn cells_of(part: u64, whole: u64, width: usize) -> usize {
    let (part, whole) = (u128::from(part.min(whole)), u128::from(whole.max(1)));
    let width = u128::try_from(width).unwrap_or_default();
    usize::try_from((part * width + whole / 2) / whole).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_what_is_used_held_and_left_with_its_marks() {
        let bar = Bar { used: 30, held: 60, whole: 100, target: Some(80), min: Some(10) };
        assert_eq!(Glyphs::ASCII.bar(bar, 10), ":##===.|..");
        assert_eq!(Glyphs::UNICODE.bar(bar, 10), "╎██▒▒▒·┃··");
        assert_eq!(Glyphs::ASCII.bar(Bar { held: 200, ..bar }, 10), ":##====|==", "cut at the end");
        assert_eq!(Glyphs::ASCII.bar(Bar { whole: 0, ..bar }, 10), "");
        let huge = Bar { used: u64::MAX, held: u64::MAX, whole: u64::MAX, ..Bar::default() };
        assert_eq!(Glyphs::ASCII.bar(huge, 3), "###");
    }

    #[test]
    fn a_curve_ends_with_the_newest_figure() {
        let figures = [0_u64, 50, 100];
        assert_eq!(Glyphs::ASCII.curve(figures.into_iter(), 100, 5), "  _=#");
        assert_eq!(Glyphs::ASCII.curve(figures.into_iter(), 100, 2), "=#");
        assert_eq!(Glyphs::ASCII.curve(figures.into_iter(), 0, 3), "_##");
        assert_eq!(Glyphs::UNICODE.curve(std::iter::empty(), 100, 2), "  ");
    }
}
