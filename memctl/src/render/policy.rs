//! Text of the policy commands: what is in force, what changes, what was.

use serde::Serialize;

use super::pin::until;
use super::table::{Cell, Paint, Table};
use super::text::{date_time, safe};
use super::{Show, View};
use crate::dto::{Actor, Bounds, Item, Pin, Policy, PolicyChange, Revision, Time};
use crate::policy_keys::{Key, Value, values};
use crate::quantity::{Units, format_set};

/// Body of an item of `memctl policy get`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct PolicyBody {
    /// The policy in force.
    #[serde(flatten)]
    pub(crate) current: Revision,
    /// The built-in one.
    pub(crate) defaults: Policy,
    /// Keys whose value is not the default.
    pub(crate) changed: Vec<String>,
    /// What no policy goes beyond there.
    pub(crate) bounds: Bounds,
    /// VMs that are left alone for a while, whatever this policy says of them.
    pub(crate) pins: Vec<Pin>,
    /// The revision that made each of those values what it is.
    pub(crate) origins: Vec<Origin>,
    /// All of it as the table shows it, a row for each key.
    pub(crate) settings: Vec<Setting>,
}

/// One value of a policy, in words.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Setting {
    /// As typed in `memctl policy set`.
    pub(crate) key: String,
    pub(crate) value: String,
    /// Whether it is the default, and else who set it.
    pub(crate) origin: String,
    /// The default; "unset" where there is none.
    pub(crate) default: String,
}

/// Where a value that is not the default is from.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Origin {
    /// As typed in `memctl policy set`.
    pub(crate) key: String,
    /// Revision that set it; null where it is older than all that are looked through.
    pub(crate) revision: Option<u64>,
    /// Who made that revision.
    pub(crate) actor: Option<Actor>,
    /// Why they did.
    pub(crate) reason: Option<String>,
}

/// Body of an item of `memctl policy set`, `diff` and `revert`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ChangeBody {
    /// Whether it is in force, or only would be.
    pub(crate) applied: bool,
    pub(crate) revision: u64,
    pub(crate) etag: String,
    /// When it is taken back unless it is confirmed.
    pub(crate) revert_time: Option<Time>,
    pub(crate) changes: Vec<PolicyChange>,
    /// Accepted but questionable.
    pub(crate) warnings: Vec<String>,
    /// Those of them that were true before as well.
    pub(crate) standing_warnings: Vec<String>,
}

/// Body of an item of `memctl policy history` and `confirm`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct RevisionBody {
    /// The revision.
    #[serde(flatten)]
    pub(crate) revision: Revision,
    /// The newest earlier revision that says the same, where others lie between them: it goes back to that
    /// one. Null where none of those that are listed is so.
    pub(crate) back_to_revision: Option<u64>,
}

impl PolicyBody {
    /// A policy beside the defaults.
    pub(crate) fn new(
        current: Revision,
        defaults: Policy,
        (bounds, pins): (Bounds, Vec<Pin>),
    ) -> Self {
        let theirs = values(&defaults);
        let changed = values(&current.policy)
            .into_iter()
            .filter(|value| !theirs.contains(value))
            .map(|(key, _)| key.to_string())
            .collect();
        let (origins, settings) = (Vec::new(), Vec::new());
        Self { current, defaults, changed, bounds, pins, origins, settings }
    }

    /// With where each value is from, by the revisions there were, newest first, and all of it in words.
    pub(crate) fn with_origins(self, revisions: &[Revision], units: Units) -> Self {
        let now = values(&self.current.policy);
        let of = |key: &String| {
            let value = now.iter().find(|(own, _)| own.to_string() == *key);
            // The oldest of those that have had it ever since; one older may have had it as well.
            let has =
                |revision: &&Revision| value.is_some_and(|v| values(&revision.policy).contains(v));
            let since = revisions.iter().take_while(has).last();
            let is_known = since.zip(revisions.last()).is_some_and(|(since, oldest)| {
                since.revision != oldest.revision || oldest.revision == 1
            });
            let set = since.filter(|_| is_known);
            Origin {
                key: key.clone(),
                revision: set.map(|set| set.revision),
                actor: set.and_then(|set| set.actor.clone()),
                reason: set.map(|set| set.reason.clone()),
            }
        };
        let origins = self.changed.iter().map(of).collect();
        let body = Self { origins, ..self };
        Self { settings: body.in_words(units), ..body }
    }

    fn in_words(&self, units: Units) -> Vec<Setting> {
        let defaults = values(&self.defaults);
        let setting = |(key, value): (Key, Value)| {
            let default = defaults.iter().find(|(own, _)| *own == key).map(|(_, value)| value);
            let default = default.map_or_else(|| "unset".to_owned(), |value| value.text(units));
            let key = key.to_string();
            Setting { value: value.text(units), origin: self.origin(&key), default, key }
        };
        values(&self.current.policy).into_iter().map(setting).collect()
    }

    /// In words.
    fn origin(&self, key: &str) -> String {
        if !self.changed.iter().any(|changed| changed == key) {
            return Self::DEFAULT.to_owned();
        }
        let origin = self.origins.iter().find(|origin| origin.key == key);
        let told = origin.and_then(|origin| {
            let revision = origin.revision?;
            let by = origin.actor.as_ref().map(|actor| format!(", {}", actor.label()));
            Some(format!("revision {revision}{}", by.unwrap_or_default()))
        });
        told.unwrap_or_else(|| "changed".to_owned())
    }

    /// The origin of what nobody has set.
    const DEFAULT: &'static str = "default";
}

impl Show for PolicyBody {
    const KIND: &'static str = "Policy";
    const ROWS: Option<&'static str> = Some("settings");

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, &["KEY", "VALUE", "ORIGIN", "DEFAULT"]);
        for item in items {
            match &item.body {
                Some(body) => body.rows(&item.host, &mut table),
                None => table.failed(item, "VALUE"),
            }
        }
        let mut text = table.render(view);
        if view.headers {
            for item in items {
                let Some(body) = &item.body else { continue };
                text.push_str(&footer(&item.host, &body.current, view));
                text.extend(fixed(&item.host, &body.bounds, view));
                text.extend(body.pins.iter().map(|pin| pinned(&item.host, pin, view)));
            }
        }
        text
    }

    fn name(&self) -> String {
        self.current.revision.to_string()
    }
}

impl PolicyBody {
    fn rows(&self, host: &str, table: &mut Table) {
        for Setting { key, value, origin, default } in &self.settings {
            let origin = match &**origin {
                Self::DEFAULT => Cell::text(Self::DEFAULT),
                changed => Cell::Painted(changed.to_owned(), Paint::Warn),
            };
            let cells = [Cell::text(&**key), Cell::text(&**value), origin, Cell::text(&**default)];
            table.row(host, cells.into());
        }
    }
}

impl Show for ChangeBody {
    const KIND: &'static str = "PolicyChange";
    const ROWS: Option<&'static str> = Some("changes");

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut table = Table::new(view, &["KEY", "OLD", "NEW"]);
        for item in items {
            let Some(body) = &item.body else {
                table.failed(item, "NEW");
                continue;
            };
            for change in &body.changes {
                let new = Cell::Painted(change.new_value.clone(), Paint::Good);
                let old = Cell::text(&*change.old_value);
                table.row(&item.host, vec![Cell::text(&*change.key), old, new]);
            }
        }
        table.render(view)
    }

    fn name(&self) -> String {
        self.revision.to_string()
    }
}

impl Show for RevisionBody {
    const KIND: &'static str = "PolicyRevision";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let mut heads = vec!["REVISION", "TIME", "BY", "REVERTS", "REASON"];
        if view.wide {
            heads.push("ETAG");
        }
        let mut table = Table::new(view, &heads);
        for item in items {
            match &item.body {
                Some(body) => table.row(&item.host, body.cells(view)),
                None => table.failed(item, "REASON"),
            }
        }
        table.render(view)
    }

    fn name(&self) -> String {
        self.revision.revision.to_string()
    }
}

impl RevisionBody {
    /// A revision alone.
    pub(crate) const fn new(revision: Revision) -> Self {
        Self { revision, back_to_revision: None }
    }

    /// Revisions of one host, newest first, each beside those before it.
    pub(crate) fn of_history(revisions: Vec<Revision>) -> Vec<Self> {
        let back_to = |at: usize| {
            let own = &revisions.get(at)?.policy;
            let mut earlier =
                revisions.iter().skip(at + 1).skip_while(|before| before.policy == *own);
            Some(earlier.find(|before| before.policy == *own)?.revision)
        };
        // What says the same as the one right before it goes back to none.
        let is_new = |at: usize| {
            let before = revisions.get(at + 1);
            before.is_some_and(|before| before.policy != revisions[at].policy)
        };
        let back: Vec<_> =
            (0..revisions.len()).map(|at| back_to(at).filter(|_| is_new(at))).collect();
        let beside = revisions.into_iter().zip(back);
        beside.map(|(revision, back_to_revision)| Self { revision, back_to_revision }).collect()
    }

    fn cells(&self, view: &View) -> Vec<Cell> {
        let revision = &self.revision;
        let when = |time: Option<Time>| {
            time.map_or(Cell::Absent, |t| Cell::text(date_time(t.0, &view.zone)))
        };
        let actor = revision.actor.as_ref();
        let mut cells = vec![
            Cell::number(revision.revision),
            when(actor.and_then(|a| a.time)),
            actor.map_or(Cell::Absent, |a| Cell::text(&*a.id)),
            when(revision.revert_time),
            self.why(),
        ];
        if view.wide {
            cells.push(Cell::text(&*revision.etag));
        }
        cells
    }

    /// The reason that was given, and what it goes back to.
    fn why(&self) -> Cell {
        let back = self.back_to_revision.map(|number| format!("back to revision {number}"));
        let given = Some(self.revision.reason.clone()).filter(|reason| !reason.is_empty());
        match (given, back) {
            (Some(given), Some(back)) if given.ends_with(&back) => Cell::text(given),
            (Some(given), Some(back)) => Cell::text(format!("{given} ({back})")),
            (Some(why), None) | (None, Some(why)) => Cell::text(why),
            (None, None) => Cell::Absent,
        }
    }
}

/// Where the policy in force comes from, in one line.
fn footer(host: &str, current: &Revision, view: &View) -> String {
    let mut text = match view.many_hosts {
        true => format!("{}: revision {}", safe(host), current.revision),
        false => format!("revision {}", current.revision),
    };
    text.push_str(&format!(", etag {}", safe(&current.etag)));
    if let Some(actor) = &current.actor {
        text.push_str(&format!(", by {}", safe(&actor.label())));
        text.extend(actor.time.map(|t| format!(" at {}", date_time(t.0, &view.zone))));
    }
    if !current.reason.is_empty() {
        text.push_str(&format!(": {}", safe(&current.reason)));
    }
    if let Some(revert) = current.revert_time {
        let time = date_time(revert.0, &view.zone);
        text.push_str(&format!("; goes back at {time} unless confirmed"));
    }
    format!("{text}\n")
}

/// What root of the host has fixed, in one line; nothing where that is nothing.
fn fixed(host: &str, bounds: &Bounds, view: &View) -> Option<String> {
    let size = |bytes: Option<u64>| bytes.map(|bytes| format_set(bytes, view.units));
    let percent = bounds.shrink_percent.map(|percent| percent.to_string());
    let all = [
        ("floor at least", size(bounds.floor_bytes)),
        ("host-reserve at least", size(bounds.host_reserve_bytes)),
        ("shrink-step at most", size(bounds.shrink_step_bytes)),
        ("working-set.shrink-percent at most", percent),
    ];
    let told: Vec<String> =
        all.into_iter().filter_map(|(what, bound)| Some(format!("{what} {}", bound?))).collect();
    let whose = if view.many_hosts { format!("{}: ", safe(host)) } else { String::new() };
    (!told.is_empty()).then(|| format!("{whose}fixed by root of the host: {}\n", told.join(", ")))
}

/// What is pinned for a while beside the policy, in one line.
fn pinned(host: &str, pin: &Pin, view: &View) -> String {
    let whose = if view.many_hosts { format!("{}: ", safe(host)) } else { String::new() };
    format!("{whose}beside the policy: {} is {}\n", safe(pin.vm.label()), until(pin, view))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(revision: u64, floor_mib: u64) -> Revision {
        let floor_bytes = Some(floor_mib << 20);
        let policy = Policy { floor_bytes, ..Policy::default() };
        let actor = Some(Actor { id: format!("uid:{revision}"), peer: String::new(), time: None });
        let (etag, reason) = (String::new(), String::new());
        Revision { revision, etag, actor, reason, revert_time: None, policy }
    }

    fn origin(revisions: &[Revision]) -> Option<u64> {
        let current = revisions[0].clone();
        let body = PolicyBody::new(current, Policy::default(), Default::default());
        let body = body.with_origins(revisions, Units::Iec);
        assert_eq!(body.changed, ["floor"]);
        body.origins[0].revision
    }

    #[test]
    fn a_revision_that_says_what_an_earlier_one_did_goes_back_to_it() {
        let all = [(5, 64), (4, 80), (3, 80), (2, 64), (1, 64)];
        let bodies = RevisionBody::of_history(all.map(|(n, mib)| revision(n, mib)).into());
        let back: Vec<_> = bodies.iter().map(|body| body.back_to_revision).collect();
        assert_eq!(back, [Some(2), None, None, None, None]);
        assert!(matches!(bodies[0].why(), Cell::Text(why) if why == "back to revision 2"));
        let why = |reason: &str| {
            let own = Revision { reason: reason.to_owned(), ..revision(5, 64) };
            RevisionBody { revision: own, back_to_revision: Some(2) }.why()
        };
        let said = "revision 4 was not confirmed in time: back to revision 2";
        assert!(matches!(why(said), Cell::Text(why) if why == said), "it is said twice");
        assert!(matches!(why("calm"), Cell::Text(why) if why == "calm (back to revision 2)"));
    }

    #[test]
    fn a_value_is_from_the_first_revision_that_has_had_it_ever_since() {
        let all = [revision(4, 80), revision(3, 80), revision(2, 64), revision(1, 80)];
        assert_eq!(origin(&all), Some(3));
        assert_eq!(origin(&[revision(2, 80), revision(1, 80)]), Some(1));
        // Nobody knows whether it was so before.
        assert_eq!(origin(&[revision(9, 80), revision(8, 80)]), None);
    }
}
