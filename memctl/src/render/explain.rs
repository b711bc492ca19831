//! Text of `memctl explain`: the story in sentences, then the figures that it rests on.

use serde::Serialize;

use super::pin::until;
use super::table::{Cell, Table};
use super::text::{date_time, safe};
use super::{Show, View};
use crate::dto::{Explanation, Item, VmName};
use crate::quantity::{format_apart, format_part, format_seconds, format_size};

/// Body of an item of `memctl explain`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ExplainBody {
    /// The explanation.
    pub(crate) explanation: Explanation,
}

impl Show for ExplainBody {
    const KIND: &'static str = "Explanation";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let told = items.iter().filter_map(|item| Some((&*item.host, item.body.as_ref()?)));
        let stories: Vec<String> =
            told.map(|(host, body)| story(host, &body.explanation, view)).collect();
        stories.join("\n")
    }

    fn name(&self) -> String {
        self.explanation.vm.label().to_owned()
    }
}

/// The whole story of one VM on one host.
pub(crate) fn story(host: &str, explanation: &Explanation, view: &View) -> String {
    let mut text = headline(host, explanation, view);
    for sentence in &explanation.sentences {
        text.push_str(&format!("  {}\n", safe(sentence)));
    }
    if explanation.sentences.is_empty() {
        let message = explanation.verdict.as_ref().map_or("", |v| &*v.message);
        text.push_str(&format!("  {}\n", safe(message)));
    }
    text.extend(explanation.pin.as_ref().map(|pin| format!("  It is {}.\n", until(pin, view))));
    text.push('\n');
    text.push_str(&figures(explanation, view));
    for transfer in &explanation.transfers {
        let (from, to) = (party(transfer.from.as_ref()), party(transfer.to.as_ref()));
        let amount = format_size(transfer.amount_bytes, view.units);
        let granted = format_part(transfer.granted_bytes, transfer.amount_bytes, view.units);
        text.push_str(&format!("transfer: {from} -> {to}, {amount}, granted {granted}\n"));
    }
    if let Some(resize) = &explanation.resize {
        let (before, after) = format_apart(resize.from_bytes, resize.to_bytes, view.units);
        // Beside what it was to be, of which less may be there yet.
        let ordered = |bytes| format_apart(bytes, resize.to_bytes, view.units).0;
        let ordered = resize.ordered_bytes.map(|bytes| format!(", ordered {}", ordered(bytes)));
        let why = if resize.message.is_empty() { "" } else { ": " };
        text.push_str(&format!(
            "resize: {} -> {}{}, {}{why}{}\n",
            before,
            after,
            ordered.unwrap_or_default(),
            resize.outcome.replace('_', " "),
            safe(&resize.message),
        ));
    }
    text
}

fn headline(host: &str, explanation: &Explanation, view: &View) -> String {
    let verdict = explanation.verdict.as_ref();
    let decided = verdict.map_or_else(
        || "nothing was decided".to_owned(),
        |v| format!("{} ({})", safe(&v.kind), safe(&v.reason)),
    );
    let place = if view.many_hosts { format!(" on {}", safe(host)) } else { String::new() };
    let time = explanation.time.map(|t| format!(" at {}", date_time(t.0, &view.zone)));
    let age = explanation.tick_age_seconds.map(|age| format!(", {} ago", format_seconds(age)));
    format!(
        "{}{place}: {decided}\ntick {}{}{}, mode {}, {}\n\n",
        safe(explanation.vm.label()),
        explanation.tick,
        time.unwrap_or_default(),
        age.unwrap_or_default(),
        explanation.mode.0,
        safe(&explanation.algorithm),
    )
}

fn figures(explanation: &Explanation, view: &View) -> String {
    let (memory, pool) = (explanation.memory.as_ref(), explanation.pool.as_ref());
    let verdict = explanation.verdict.as_ref();
    let amounts = [
        ("actual", memory.map(|m| m.actual_bytes)),
        ("target", memory.and_then(|m| m.target_bytes)),
        ("min", memory.map(|m| m.min_bytes)),
        ("max", memory.map(|m| m.max_bytes)),
        ("guest_unused", memory.and_then(|m| m.guest_unused_bytes)),
        ("guest_usable", memory.and_then(|m| m.guest_usable_bytes)),
        ("used", memory.and_then(|m| m.used_bytes)),
        ("host_rss", memory.and_then(|m| m.host_rss_bytes)),
        ("need", verdict.and_then(|v| v.need_bytes)),
        ("spare", verdict.and_then(|v| v.spare_bytes)),
        ("demand", verdict.and_then(|v| v.demand_bytes)),
        ("entitled", verdict.and_then(|v| v.entitled_bytes)),
        ("pool: held by VMs", pool.map(|p| p.actual_bytes)),
        ("pool: host keeps", pool.map(|p| p.kept_bytes)),
        ("pool: promised", pool.map(|p| p.promised_bytes)),
        ("pool: host reserve", pool.map(|p| p.reserve_bytes)),
        ("pool: limit", pool.and_then(|p| p.limit_bytes)),
    ];
    let alone = View { many_hosts: false, ..view.clone() };
    let mut table = Table::new(&alone, &["FIGURE", "VALUE"]);
    for (name, amount) in amounts {
        table.row("", vec![Cell::text(name), Cell::bytes(amount)]);
    }
    let age = memory.and_then(|m| m.figures_age_seconds).map(format_seconds);
    let mut text = table.render(&alone);
    text.extend(age.map(|age| format!("the guest_ figures are {age} old\n")));
    text
}

/// Who gives or gets.
pub(crate) fn party(vm: Option<&VmName>) -> String {
    vm.map_or_else(|| "host".to_owned(), |vm| safe(vm.label()).into_owned())
}
