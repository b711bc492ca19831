//! Text of `memctl doctor` and `memctl config check`: what was looked at, and what mends it.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::safe;
use super::{Show, View};
use crate::dto::Item;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finding {
    /// As it should be.
    Good,
    /// It works, and may not for ever.
    Warning,
    /// It does not work.
    Bad,
}

/// Body of an item of `memctl doctor`: one thing that was looked at. Its host is "-" where it
/// concerns none.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct CheckBody {
    /// What was looked at: "config", "certificate", "ssh", "reach", "role", "version", "clock",
    /// "agent", "condition".
    pub(crate) check: &'static str,
    /// How it came out.
    pub(crate) finding: Finding,
    /// What was found.
    pub(crate) message: String,
    /// What mends it, where there is something to mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl CheckBody {
    /// All is well.
    pub(crate) fn good(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, finding: Finding::Good, message: message.into(), hint: None }
    }

    /// It is worth a look.
    pub(crate) fn warning(check: &'static str, message: impl Into<String>, hint: &str) -> Self {
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        Self { check, finding: Finding::Warning, message: message.into(), hint }
    }

    /// It does not work.
    pub(crate) fn bad(check: &'static str, failure: &crate::failure::Failure) -> Self {
        let (message, hint) = (failure.message.clone(), failure.hint.clone());
        Self { check, finding: Finding::Bad, message, hint }
    }
}

impl Show for CheckBody {
    const KIND: &'static str = "Check";

    fn text(items: &[Item<Self>], view: &View) -> String {
        // Each row says whom it concerns, were it nobody.
        let named = View { many_hosts: true, ..view.clone() };
        let mut table = Table::new(&named, &["CHECK", "RESULT", "FOUND"]);
        for item in items {
            let Some(body) = &item.body else { continue };
            let result = match body.finding {
                Finding::Good => Cell::Painted("ok".to_owned(), Paint::Good),
                Finding::Warning => Cell::Painted("WARNING".to_owned(), Paint::Warn),
                Finding::Bad => Cell::Painted("BAD".to_owned(), Paint::Bad),
            };
            table.row(&item.host, vec![Cell::text(body.check), result, Cell::text(&*body.message)]);
        }
        let mut text = table.render(&named);
        let hints = items.iter().filter_map(|item| {
            let body = item.body.as_ref()?;
            Some((item.host.as_str(), body.check, body.hint.as_deref()?))
        });
        for (host, check, hint) in hints {
            text.push_str(&format!("{} {check}: {}\n", safe(host), safe(hint)));
        }
        text
    }

    fn name(&self) -> String {
        self.check.to_owned()
    }
}
