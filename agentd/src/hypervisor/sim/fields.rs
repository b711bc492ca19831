//! [`Fields`] and [`Field`]: a TOML text, read so that every error names file, line, key, value
//! and what would be right.
//!
//! Knows nothing of what the keys mean: that is `scenario`.

use std::{ops::Range, time::Duration};

use agentd_core::bytes::ByteCount;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::duration;

/// What is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}{problem}")]
pub struct ScenarioError {
    file: String,
    line: usize,
    /// "key = value: ", or empty where the text is no TOML at all.
    what: String,
    problem: String,
}

/// The text that is read, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    /// Parses the text as TOML.
    pub(super) fn parse(self) -> Result<Spanned<DeTable<'a>>, ScenarioError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.error(at, String::new(), error.message().replace('\n', ", "))
        })
    }

    fn error(self, at: usize, what: String, problem: String) -> ScenarioError {
        let before = self.text.get(..at).unwrap_or(self.text);
        ScenarioError {
            file: self.file.to_owned(),
            line: before.matches('\n').count().saturating_add(1),
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
pub(super) struct Fields<'a> {
    source: Source<'a>,
    path: String,
    at: usize,
    table: &'a DeTable<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn root(source: Source<'a>, table: &'a DeTable<'a>) -> Self {
        let path = String::new();
        Self { source, path, at: 0, table }
    }

    /// Refuses every key that is not one of these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ScenarioError> {
        let unknown = self.table.iter().find(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        let Some((key, _)) = unknown else {
            return Ok(());
        };
        let name = key.get_ref();
        let advice = match nearest(name, known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there is {}", known.join(", ")),
        };
        let what = self.path_of(name);
        let problem = format!(" is no key of a scenario: {advice}");
        Err(self.source.error(key.span().start, what, problem))
    }

    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Field { source: self.source, path: self.path_of(key), value })
    }

    /// The field with this key, which may not be left out.
    pub(super) fn need(&self, key: &str, example: &str) -> Result<Field<'a>, ScenarioError> {
        self.get(key).ok_or_else(|| {
            let problem = format!(" is missing: write for example {key} = {example}");
            self.source.error(self.at, self.path_of(key), problem)
        })
    }

    pub(super) fn size_or(&self, key: &str, or: ByteCount) -> Result<ByteCount, ScenarioError> {
        self.get(key).map_or(Ok(or), |field| field.size())
    }

    pub(super) fn time(&self, key: &str) -> Result<Option<Duration>, ScenarioError> {
        self.get(key).map(|field| field.time()).transpose()
    }

    pub(super) fn time_or(&self, key: &str, or: Duration) -> Result<Duration, ScenarioError> {
        Ok(self.time(key)?.unwrap_or(or))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// A value with its key.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    source: Source<'a>,
    path: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    /// The error that this value has this problem.
    pub(super) fn error(&self, problem: impl Into<String>) -> ScenarioError {
        let span = self.value.span();
        let what = format!("{} = {}: ", self.path, self.source.excerpt(span.clone()));
        self.source.error(span.start, what, problem.into())
    }

    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    pub(super) fn text(&self) -> Result<&'a str, ScenarioError> {
        let wrong = || self.error("must be a text in quotes");
        self.value().as_str().ok_or_else(wrong)
    }

    pub(super) fn truth(&self) -> Result<bool, ScenarioError> {
        let wrong = || self.error("must be true or false");
        self.value().as_bool().ok_or_else(wrong)
    }

    /// A whole number of at most `most`.
    pub(super) fn number(&self, most: u64) -> Result<u64, ScenarioError> {
        let wrong = || self.error(format!("must be a whole number from 0 to {most}"));
        let digits = self.value().as_integer().ok_or_else(wrong)?;
        let number = u64::from_str_radix(digits.as_str(), digits.radix());
        number.ok().filter(|number| *number <= most).ok_or_else(wrong)
    }

    pub(super) fn size(&self) -> Result<ByteCount, ScenarioError> {
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

    pub(super) fn time(&self) -> Result<Duration, ScenarioError> {
        let Some(text) = self.value().as_str() else {
            return Err(self.error("must be a duration in quotes, for example \"10s\""));
        };
        duration::parse(text).map_err(|error| self.error(error.to_string()))
    }

    /// The items of a list of at most `most`.
    pub(super) fn items(&self, most: usize) -> Result<Vec<Self>, ScenarioError> {
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

    pub(super) fn fields(&self) -> Result<Fields<'a>, ScenarioError> {
        let wrong = || self.error("must be a table: { ... }");
        Ok(Fields {
            source: self.source,
            path: self.path.clone(),
            at: self.value.span().start,
            table: self.value().as_table().ok_or_else(wrong)?,
        })
    }
}

/// The one of `known` that a mistyped word comes nearest to, if it comes near at all.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
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
