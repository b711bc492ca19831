//! The one writer: data to stdout in the format asked for, messages to stderr. Commands hand it
//! what they found; how it looks is decided in `render`.

use std::io::{self, IsTerminal as _, Write};

use crate::columns::Choice;
use crate::dto::{Document, Item, Line, Refusal, SCHEMA};
use crate::failure::Failure;
use crate::render::text::safe;
use crate::render::{Show, View, chosen, json, yaml};
use crate::wire_words::in_words;

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Table,
    /// The table with more columns.
    Wide,
    /// One JSON document; for streams as jsonl.
    Json,
    /// A JSON document for each item, a line each.
    Jsonl,
    /// One YAML document; for streams one for each record.
    Yaml,
    /// Names only.
    Name,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal that can.
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// Where everything that memctl says goes.
#[derive(Debug)]
pub(crate) struct Output {
    /// Form of the data.
    pub(crate) format: Format,
    /// How a person wants to see it.
    pub(crate) view: View,
    /// Whether notices are left out.
    pub(crate) quiet: bool,
    /// The columns and the order of tables.
    pub(crate) choice: Choice,
    /// How one answer stands after another.
    between: Between,
}

/// How one answer of a command stands after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// There is but one.
    Nothing,
    /// In its place on the terminal.
    Clear,
    /// Behind this.
    Text(&'static str),
}

impl Output {
    /// An output for what is said before the command line is understood.
    pub(crate) fn plain(format: Format) -> Self {
        let view = View::plain();
        Self { format, view, quiet: false, choice: Choice::default(), between: Between::Nothing }
    }

    /// An output for this.
    pub(crate) fn new(format: Format, view: View, quiet: bool) -> Self {
        Self { view, quiet, ..Self::plain(format) }
    }

    /// From now on one answer follows another: JSON is a stream then, a line each.
    pub(crate) fn repeats(&mut self) {
        self.between = match self.format {
            Format::Table | Format::Wide if io::stdout().is_terminal() => Between::Clear,
            Format::Table | Format::Wide => Between::Text("\n"),
            Format::Yaml => Between::Text("---\n"),
            Format::Json | Format::Jsonl | Format::Name => Between::Text(""),
        };
        if self.format == Format::Json {
            self.format = Format::Jsonl;
        }
    }

    /// Writes a whole answer, in the order that is wanted: data to stdout; for people, why a host did not
    /// answer to stderr.
    pub(crate) fn show<T: Show>(&self, items: &mut Vec<Item<T>>) -> io::Result<()> {
        self.choice.is_for(T::KIND);
        if let Some(order) = &self.choice.order {
            chosen::sort(items, order);
        }
        match self.between {
            Between::Nothing | Between::Text("") => {}
            Between::Clear => self.data(CLEAR)?,
            Between::Text(text) => self.data(text)?,
        }
        match self.format {
            Format::Table | Format::Wide => self.show_text(items)?,
            Format::Name => self.data(&self.names(items))?,
            Format::Json => self.data(&format!("{}\n", json::pretty(&document(items))?))?,
            Format::Yaml => self.data(&yaml::document(&document(items))?)?,
            Format::Jsonl => {
                for item in items.iter() {
                    let line = Line { schema: SCHEMA, kind: T::KIND, item };
                    self.data(&format!("{}\n", json::line(&line)?))?;
                }
            }
        }
        if !self.is_for_programs() {
            for item in items.iter().filter(|item| !item.also_named.is_empty()) {
                let names = item.also_named.join(" and ");
                self.notice(&format!("{names}: the same host as {}, {}", item.host, T::ONCE))?;
            }
            for item in items {
                item.error.as_ref().map_or(Ok(()), |error| self.host_failed(&item.host, error))?;
            }
        }
        Ok(())
    }

    /// Writes why the whole command failed, in the format asked for.
    pub(crate) fn refuse(&self, failure: &Failure) -> io::Result<()> {
        let refusal = Refusal { schema: SCHEMA, kind: "Error", error: failure };
        match self.format {
            Format::Json => self.data(&format!("{}\n", json::pretty(&refusal)?)),
            Format::Jsonl => self.data(&format!("{}\n", json::line(&refusal)?)),
            Format::Yaml => self.data(&yaml::document(&refusal)?),
            Format::Table | Format::Wide | Format::Name => message(&told(None, failure)),
        }
    }

    /// Writes data to stdout, all of it at once.
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Tells a person something that is not data, unless they asked for quiet.
    pub(crate) fn notice(&self, text: &str) -> io::Result<()> {
        if self.quiet { Ok(()) } else { message(&format!("{}\n", safe(text))) }
    }

    /// Tells a person why a host did not do it.
    pub(crate) fn host_failed(&self, host: &str, failure: &Failure) -> io::Result<()> {
        message(&told(Some(host), failure))
    }

    /// Whether a program reads stdout, so that everything must be a record.
    pub(crate) fn is_for_programs(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl | Format::Yaml)
    }

    fn show_text<T: Show>(&self, items: &[Item<T>]) -> io::Result<()> {
        // A sole host that failed is told on stderr; a table of its absence says nothing more.
        let only_failure =
            !self.view.many_hosts && !items.is_empty() && items.iter().all(|i| !i.ok);
        match self.choice.columns.as_slice() {
            _ if only_failure => Ok(()),
            [] => self.data(&T::text(items, &self.view)),
            columns => self.data(&chosen::table(items, columns, T::ROWS, &self.view)),
        }
    }

    fn names<T: Show>(&self, items: &[Item<T>]) -> String {
        let answered = items.iter().filter_map(|i| Some((&*i.host, i.body.as_ref()?.name())));
        let lines = answered.map(|(host, name)| match (self.view.many_hosts, name.is_empty()) {
            (_, true) => format!("{}\n", safe(host)),
            (true, false) => format!("{}/{}\n", safe(host), safe(&name)),
            (false, false) => format!("{}\n", safe(&name)),
        });
        lines.collect()
    }
}

/// Has the terminal show what follows in the place of all that it shows.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Whether colours are wanted, by the flag, the environment and what stdout is.
pub(crate) fn wants_color(choice: ColorChoice) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR") => false,
        ColorChoice::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
        ColorChoice::Auto => {
            let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
            io::stdout().is_terminal() && !dumb
        }
    }
}

fn document<T: Show>(items: &[Item<T>]) -> Document<'_, T> {
    Document { schema: SCHEMA, kind: format!("{}List", T::KIND), items }
}

fn told(host: Option<&str>, failure: &Failure) -> String {
    let whose = host.map(|h| format!("{}: ", safe(h))).unwrap_or_default();
    let mut text = format!("memctl: {whose}{}\n", safe(&in_words(&failure.message)));
    // Agents often say the same in the message.
    for field in failure.fields.iter().filter(|f| !failure.message.contains(&f.message)) {
        let said = in_words(&format!("{}: {}", field.field, field.message));
        text.push_str(&format!("  {}\n", safe(&said)));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("  hint: {}\n", safe(hint)));
    }
    text
}

fn message(text: &str) -> io::Result<()> {
    // Nobody to tell it to is no reason to stop.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    Ok(())
}
