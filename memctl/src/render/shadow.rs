//! Text of the shadow: what a policy that decides along would have done differently.

use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::{date_time, safe};
use super::{Show, View};
use crate::dto::{
    Item, PolicyChange, Shadow, ShadowInstance, ShadowRuling, ShadowSummary, ShadowTick, ShadowVm,
};
use crate::quantity::{Units, format_seconds, format_size};
use crate::wire_words::in_words;

/// Body of an item of `memctl shadow`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ShadowBody {
    /// Whether it is set, or only could be.
    pub(crate) applied: bool,
    /// None where there is no shadow.
    pub(crate) shadow: Option<Shadow>,
    /// None where there is no shadow, or it was set now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<ShadowSummary>,
    /// What in its policy makes sense but was hardly meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

impl Show for ShadowBody {
    const KIND: &'static str = "Shadow";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let summed = items.iter().filter_map(|i| i.body.as_ref()).any(|b| b.summary.is_some());
        if !summed {
            return shadows(items, view);
        }
        let mut text = summaries(items, view);
        for (host, body) in items.iter().filter_map(|i| Some((&i.host, i.body.as_ref()?))) {
            let host = match view.many_hosts {
                true => format!("{}: ", safe(host)),
                false => String::new(),
            };
            text.extend(body.sentences(view).into_iter().map(|line| format!("{host}{line}\n")));
        }
        text
    }

    fn name(&self) -> String {
        match (self.applied, &self.shadow) {
            (false, _) => String::new(),
            (true, Some(_)) => "set".to_owned(),
            (true, None) => "none".to_owned(),
        }
    }
}

/// Which shadow each host has, alone.
fn shadows(items: &[Item<ShadowBody>], view: &View) -> String {
    let mut table = Table::new(view, &["SHADOW", "BY", "WHY"]);
    for item in items {
        let Some(body) = &item.body else {
            table.failed(item, "SHADOW");
            continue;
        };
        let Some(shadow) = &body.shadow else {
            table.row(&item.host, vec![Cell::text("none"), Cell::Absent, Cell::Absent]);
            continue;
        };
        let by = shadow.actor.as_ref().map_or(Cell::Absent, |actor| Cell::text(actor.label()));
        let why = match shadow.reason.is_empty() {
            true => Cell::Absent,
            false => Cell::text(&*shadow.reason),
        };
        let changes = changes(shadow);
        let text = if body.applied { changes } else { format!("not set: {changes}") };
        table.row(&item.host, vec![Cell::text(text), by, why]);
    }
    table.render(view)
}

fn summaries(items: &[Item<ShadowBody>], view: &View) -> String {
    let mut heads = vec!["VM", "TICKS", "MORE", "LESS", "LAST", "IN FORCE", "SHADOW"];
    if view.wide {
        heads.push("FIRST");
        heads.push("UUID");
    }
    let mut table = Table::new(view, &heads);
    for item in items {
        let Some(body) = &item.body else {
            table.failed(item, "VM");
            continue;
        };
        for vm in body.summary.iter().flat_map(|summary| &summary.vms) {
            table.row(&item.host, cells(vm, view));
        }
    }
    table.render(view)
}

fn cells(vm: &ShadowVm, view: &View) -> Vec<Cell> {
    let when = |instance: Option<&ShadowInstance>| {
        let time = instance.and_then(|instance| instance.time);
        time.map_or(Cell::Absent, |time| Cell::text(date_time(time.0, &view.zone)))
    };
    let last = vm.last.as_ref();
    let ruled = |of: fn(&ShadowInstance) -> &ShadowRuling| {
        last.map_or(Cell::Absent, |last| Cell::text(ruling(of(last), view.units)))
    };
    let mut cells = vec![
        Cell::text(vm.vm.label()),
        Cell::number(vm.differed),
        Cell::bytes(Some(vm.more_bytes)),
        Cell::bytes(Some(vm.less_bytes)),
        when(last),
        ruled(|last| &last.acting),
        ruled(|last| &last.shadow),
    ];
    if view.wide {
        cells.push(when(vm.first.as_ref()));
        cells.push(Cell::text(&*vm.vm.uuid));
    }
    cells
}

impl ShadowBody {
    /// What the table does not show.
    fn sentences(&self, view: &View) -> Vec<String> {
        let Some(shadow) = &self.shadow else {
            return vec!["no shadow: `memctl shadow set KEY=VALUE..` sets one".to_owned()];
        };
        let mut lines = vec![describe(shadow)];
        if !shadow.error.is_empty() {
            let text = format!("it does not decide: {}", safe(&in_words(&shadow.error)));
            lines.push(Paint::Bad.apply(&text, view.color));
        }
        let Some(summary) = &self.summary else { return lines };
        let size = |bytes| format_size(bytes, view.units);
        let ShadowSummary { ticks, differed, rejected, skipped, .. } = *summary;
        let (moved, own) = (size(summary.moved_bytes), size(summary.shadow_moved_bytes));
        let since = summary.since_time.map(|since| date_time(since.0, &view.zone));
        let since = since.map_or_else(String::new, |since| format!(" since {since}"));
        lines.push(format!(
            "{differed} of {ticks} ticks{since} differ; decided to move: in force {moved}, shadow {own}"
        ));
        if rejected > 0 {
            let text = format!("{rejected} of its plans would have been thrown away");
            lines.push(Paint::Bad.apply(&text, view.color));
        }
        if skipped > 0 {
            let slowest = format_seconds(summary.slowest_seconds.unwrap_or(0.0));
            let text = format!("it left {skipped} ticks out: it took up to {slowest} for one");
            lines.push(Paint::Warn.apply(&text, view.color));
        }
        lines
    }
}

/// What the shadow is, and who set it.
fn describe(shadow: &Shadow) -> String {
    let mut text = format!("shadow: {}", changes(shadow));
    if let Some(actor) = &shadow.actor {
        text.push_str(&format!(", by {}", safe(&actor.label())));
    }
    if !shadow.reason.is_empty() {
        text.push_str(&format!(" ({})", safe(&shadow.reason)));
    }
    text
}

/// How it differs from the policy in force.
fn changes(shadow: &Shadow) -> String {
    let change = |c: &PolicyChange| {
        format!("{} {} -> {}", safe(&c.key), safe(&c.old_value), safe(&c.new_value))
    };
    let changes: Vec<String> = shadow.changes.iter().map(change).collect();
    match changes.as_slice() {
        [] if shadow.error.is_empty() => "the policy in force".to_owned(),
        [] => "no policy".to_owned(),
        changes => changes.join(", "),
    }
}

fn ruling(ruling: &ShadowRuling, units: Units) -> String {
    let ShadowRuling { kind, reason, amount_bytes } = ruling;
    match amount_bytes {
        0 => format!("{kind} ({reason})"),
        amount => format!("{kind} {} ({reason})", format_size(*amount, units)),
    }
}

/// Lines of `memctl watch --shadow` for one tick: what the shadow would do instead.
pub(crate) fn lines(shadow: &ShadowTick, view: &View) -> Vec<String> {
    let difference = shadow.vms.iter().map(|vm| {
        let (own, acting) = (ruling(&vm.shadow, view.units), ruling(&vm.acting, view.units));
        let text = format!(
            "shadow {}: {} would {}, in force {}",
            safe(&shadow.algorithm),
            safe(vm.vm.label()),
            safe(&own),
            safe(&acting)
        );
        Paint::Dim.apply(&text, view.color)
    });
    let objection = (!shadow.objection.is_empty()).then(|| {
        let why = in_words(&shadow.objection);
        let text = format!("shadow: its plan would be thrown away: {}", safe(&why));
        Paint::Bad.apply(&text, view.color)
    });
    difference.chain(objection).collect()
}

#[cfg(test)]
mod tests {
    use agentd_proto::v1;

    use super::*;
    use crate::output::{Format, Output};

    #[test]
    fn what_a_shadow_lacks_is_told_in_the_words_that_are_typed() {
        let view = Output::plain(Format::Table).view;
        let error = "host_reserve = 100 GiB: must be less than the host's memory".to_owned();
        let shadow = v1::Shadow { error, ..Default::default() };
        let body = ShadowBody {
            applied: true,
            shadow: Some(shadow.into()),
            summary: None,
            warnings: Vec::new(),
        };
        let told = body.sentences(&view);
        assert!(told[1].starts_with("it does not decide: host-reserve = 100 GiB"), "{told:?}");
        let objection = "floor_bytes is above what there is".to_owned();
        let tick = v1::ShadowTick { objection, ..Default::default() };
        let told = lines(&tick.into(), &view);
        assert!(told[0].ends_with("thrown away: floor is above what there is"), "{told:?}");
    }
}
