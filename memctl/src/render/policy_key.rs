//! Text of `memctl policy explain`: a paragraph for each key, and what there is to know at a glance.

use serde::Serialize;

use super::{Show, View};
use crate::dto::Item;
use crate::policy_book::Entry;

/// Body of an item of `memctl policy explain`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct KeyBody {
    /// What the book says.
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

impl Show for KeyBody {
    const KIND: &'static str = "PolicyKey";

    fn text(items: &[Item<Self>], _: &View) -> String {
        let told: Vec<String> =
            items.iter().filter_map(|item| Some(told(&item.body.as_ref()?.entry))).collect();
        told.join("\n")
    }

    fn name(&self) -> String {
        self.entry.key.to_owned()
    }
}

fn told(entry: &Entry) -> String {
    let mut text = format!("{}\n", entry.key);
    let mut line = String::new();
    for word in entry.description.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            text.push_str(&format!("  {line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(&format!("  {line}\n\n"));
    for (what, value) in [
        ("value", entry.unit),
        ("default", entry.default),
        ("allowed", entry.range),
        ("algorithm", entry.algorithm),
        ("example", entry.example),
    ] {
        text.push_str(&format!("  {what:<9}  {value}\n"));
    }
    text
}

/// As wide as the help.
const WIDTH: usize = 96;
