//! [`Fields`] and [`Field`]: a TOML text, read so that every error names file, line, key, value
//! and what would be right.
//!
//! Knows nothing of what the keys mean: that is for the config and the scenarios.

mod duration;

use std::{ops::Range, time::Duration};

use agentd_core::bytes::ByteCount;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(crate) use duration::parse as parse_time;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{}{what}{problem}", line.map_or_else(|| " ".to_owned(), |line| format!("{line}: ")))]
pub struct FieldError {
    file: String,
    /// `None` where people gave single words and no lines.
    line: Option<usize>,
    /// "key = value: ", or empty where the text is no TOML at all.
    what: String,
    problem: String,
}

impl FieldError {
    /// The same of a text that nobody wrote as one: it names no line.
    #[must_use]
    pub(crate) fn of_words(self) -> Self {
        Self { line: None, ..self }
    }
}

/// The text that is read, for errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    /// Parses the text as TOML.
    pub(crate) fn parse(self) -> Result<Spanned<DeTable<'a>>, FieldError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.error(at, String::new(), error.message().replace('\n', ", "))
        })
    }

    fn error(self, at: usize, what: String, problem: String) -> FieldError {
        let before = self.text.get(..at).unwrap_or(self.text);
        FieldError {
            file: self.file.to_owned(),
            line: Some(before.matches('\n').count().saturating_add(1)),
            what,
            problem,
        }
    }

    /// The text of a value on one line, cut where it is long.
    fn excerpt(self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        let line: Vec<_> = text.split_whitespace().collect();
        let line = line.join(" ");
        match line.char_indices().nth(EXCERPT) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    source: Source<'a>,
    path: String,
    at: usize,
    table: &'a DeTable<'a>,
    /// Keys may be written with `-` in the place of `_`.
    dashes: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn root(source: Source<'a>, table: &'a DeTable<'a>) -> Self {
        let path = String::new();
        Self { source, path, at: 0, table, dashes: false }
    }

    /// The same, whose keys may be written with `-` in the place of `_` too.
    pub(crate) fn dashed(self) -> Self {
        Self { dashes: true, ..self }
    }

    /// The error that all of it together has this problem.
    pub(crate) fn error(&self, problem: impl Into<String>) -> FieldError {
        self.source.error(self.at, String::new(), problem.into())
    }

    /// Refuses every key that is not one of these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), FieldError> {
        let is_known = |key: &str| known.iter().any(|own| self.is(key, own));
        let unknown = self.table.iter().find(|(key, _)| !is_known(key.get_ref()));
        let Some((key, _)) = unknown else {
            return self.only_once(known);
        };
        let name = key.get_ref();
        let advice = match nearest(name, known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there is {}", known.join(", ")),
        };
        let what = self.path_of(name);
        let problem = format!(" is no key that is known: {advice}");
        Err(self.source.error(key.span().start, what, problem))
    }

    /// Every key, in no order that matters.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.table.iter().map(|(key, _)| key.get_ref().as_ref())
    }

    pub(crate) fn get(&self, key: &str) -> Option<Field<'a>> {
        let (_, value) = self.table.iter().find(|(name, _)| self.is(name.get_ref(), key))?;
        Some(Field { source: self.source, path: self.path_of(key), value })
    }

    /// Refuses a key that is there in both ways of writing it.
    fn only_once(&self, known: &[&str]) -> Result<(), FieldError> {
        for own in known {
            let mut ways = self.table.iter().filter(|(key, _)| self.is(key.get_ref(), own));
            if let Some((again, _)) = ways.nth(1) {
                let problem = " is there twice, with - and with _: leave out one of the two";
                return Err(self.source.error(
                    again.span().start,
                    self.path_of(own),
                    problem.to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// True where `written` means this key.
    fn is(&self, written: &str, key: &str) -> bool {
        let letter = |c: u8| if self.dashes && c == b'-' { b'_' } else { c };
        written.len() == key.len() && written.bytes().map(letter).eq(key.bytes())
    }

    /// The field with this key, which may not be left out.
    pub(crate) fn need(&self, key: &str, example: &str) -> Result<Field<'a>, FieldError> {
        self.get(key).ok_or_else(|| {
            let problem = format!(" is missing: write for example {key} = {example}");
            self.source.error(self.at, self.path_of(key), problem)
        })
    }

    /// The table with this key, which may not be left out.
    pub(crate) fn table(&self, key: &str) -> Result<Field<'a>, FieldError> {
        self.get(key).ok_or_else(|| {
            let problem = format!("the file has no [{key}] table: put that line above its keys");
            self.source.error(self.at, String::new(), problem)
        })
    }

    pub(crate) fn size_or(&self, key: &str, or: ByteCount) -> Result<ByteCount, FieldError> {
        self.get(key).map_or(Ok(or), |field| field.size())
    }

    pub(crate) fn time(&self, key: &str) -> Result<Option<Duration>, FieldError> {
        self.get(key).map(|field| field.time()).transpose()
    }

    pub(crate) fn time_or(&self, key: &str, or: Duration) -> Result<Duration, FieldError> {
        Ok(self.time(key)?.unwrap_or(or))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// A value with its key.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    source: Source<'a>,
    path: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    /// The error that this value has this problem.
    pub(crate) fn error(&self, problem: impl Into<String>) -> FieldError {
        let span = self.value.span();
        let what = format!("{} = {}: ", self.path, self.source.excerpt(span.clone()));
        self.source.error(span.start, what, problem.into())
    }

    pub(crate) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    pub(crate) fn text(&self) -> Result<&'a str, FieldError> {
        let wrong = || self.error("must be a text in quotes");
        self.value().as_str().ok_or_else(wrong)
    }

    pub(crate) fn truth(&self) -> Result<bool, FieldError> {
        let wrong = || self.error("must be true or false");
        self.value().as_bool().ok_or_else(wrong)
    }

    /// A whole number of at most `most`.
    pub(crate) fn number(&self, most: u64) -> Result<u64, FieldError> {
        let wrong = || self.error(format!("must be a whole number from 0 to {most}"));
        let digits = self.value().as_integer().ok_or_else(wrong)?;
        let number = u64::from_str_radix(digits.as_str(), digits.radix());
        number.ok().filter(|number| *number <= most).ok_or_else(wrong)
    }

    /// A whole number that fits into 32 bits; whether it makes sense is asked elsewhere.
    pub(crate) fn count(&self) -> Result<u32, FieldError> {
        let number = self.number(u32::MAX.into())?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(crate) fn size(&self) -> Result<ByteCount, FieldError> {
        let Some(text) = self.value().as_str() else {
            let problem = "must be an amount of memory in quotes, for example \"512MiB\"";
            return Err(self.error(problem));
        };
        let size: ByteCount = text.parse().map_err(|error| self.error(format!("{error}")))?;
        if size > MOST {
            return Err(self.error(format!("must be at most {MOST}")));
        }
        Ok(size)
    }

    pub(crate) fn time(&self) -> Result<Duration, FieldError> {
        let Some(text) = self.value().as_str() else {
            return Err(self.error("must be a duration in quotes, for example \"10s\""));
        };
        duration::parse(text).map_err(|error| self.error(error.to_string()))
    }

    /// The items of a list of at most `most`.
    pub(crate) fn items(&self, most: usize) -> Result<Vec<Self>, FieldError> {
        let Some(list) = self.value().as_array() else {
            return Err(self.error("must be a list: [ ... ]"));
        };
        if list.len() > most {
            return Err(self.error(format!("must have at most {most} items")));
        }
        let item = |(index, value)| Self {
            source: self.source,
            path: format!("{}[{index}]", self.path),
            value,
        };
        Ok(list.iter().enumerate().map(item).collect())
    }

    pub(crate) fn fields(&self) -> Result<Fields<'a>, FieldError> {
        let wrong = || self.error("must be a table: { ... }");
        Ok(Fields {
            source: self.source,
            path: self.path.clone(),
            at: self.value.span().start,
            table: self.value().as_table().ok_or_else(wrong)?,
            dashes: false,
        })
    }
}

/// The one of `known` that a mistyped word comes nearest to, if it comes near at all.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = |candidate: &&&str| distance(word, candidate) <= word.len().min(8).div_ceil(3);
    known.iter().filter(near).min_by_key(|candidate| distance(word, candidate)).copied()
}

/// How many letters to insert, drop or change to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, a) in one.bytes().enumerate() {
        let mut left = above + 1;
        let mut corner = above;
        for (cell, b) in row.iter_mut().skip(1).zip(other.bytes()) {
            let changed = corner + usize::from(a != b);
            corner = *cell;
            left = changed.min(corner + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Far more memory than any host has, and far from overflow when 10,000 of it are added up.
const MOST: ByteCount = ByteCount::bytes(1 << 50);
/// Longest part of a value that an error repeats, in characters.
const EXCERPT: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_probably_meant() {
        let known = ["demand", "actual", "behaviour", "max"];
        assert_eq!(nearest("demnad", &known), Some("demand"));
        assert_eq!(nearest("behavior", &known), Some("behaviour"));
        assert_eq!(nearest("actaul", &known), Some("actual"));
        assert_eq!(nearest("min", &known), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
