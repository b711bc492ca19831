//! `--columns` and `--sort-by`: the fields of what a command prints, by the names that they have in
//! `-o json`, found in its schema.
//!
//! A field is called by the end of its path, as long as it must be: "actual_bytes" or "actual" for
//! "vm.memory.actual_bytes"; or by its heading in the table, "HOST KEEPS". What has a name of its own there, such as a VM in a policy, has its place
//! in the path as NAME.

use serde_json::Value;

use crate::failure::Failure;
use crate::headings::{field_under, headings_of};
use crate::schema;
use crate::suggest::nearest;

/// What is wanted of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// The columns; all that the table has where none is named.
    pub(crate) columns: Vec<Column>,
    /// The order of the rows.
    pub(crate) order: Option<Order>,
    /// The kind of what they are of; empty where nothing is chosen.
    kind: &'static str,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// As typed.
    pub(crate) typed: String,
    /// Where its values are in an item.
    pub(crate) path: Vec<String>,
}

/// An order of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// By the values of this column.
    pub(crate) by: Column,
    /// The largest first.
    pub(crate) falls: bool,
}

/// The fields of one kind of items.
#[derive(Debug)]
pub(crate) struct Fields {
    command: String,
    kind: &'static str,
    all: Vec<Field>,
}

/// A field that holds no others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    path: Vec<String>,
    /// It is of each of several things.
    is_many: bool,
    /// What the schema says of it; empty where that is nothing.
    about: String,
}

impl Choice {
    /// What was typed, of the items that a command prints, by its words ("policy get").
    pub(crate) fn of(
        command: &str,
        columns: &[String],
        sort_by: Option<&str>,
    ) -> Result<Self, Failure> {
        if columns.is_empty() && sort_by.is_none() {
            return Ok(Self::default());
        }
        let fields = Fields::of_command(command).ok_or_else(|| Self::none_of(command))?;
        let columns = columns.iter().map(|typed| fields.column(typed)).collect::<Result<_, _>>()?;
        let order = sort_by.map(|typed| {
            let name = typed.strip_prefix('-');
            let by = fields.column(name.unwrap_or(typed))?;
            Ok::<_, Failure>(Order { by, falls: name.is_some() })
        });
        let kind = kind_of(command).unwrap_or_default();
        Ok(Self { columns, order: order.transpose()?, kind })
    }

    /// Why nothing can be chosen of what this command prints.
    pub(crate) fn none_of(command: &str) -> Failure {
        Failure::usage(format!("memctl {command} prints no table to choose of or to sort"))
    }

    /// Checks that this is what is shown.
    pub(crate) fn is_for(&self, kind: &str) {
        debug_assert!(self.kind.is_empty() || self.kind == kind, "{} is no {kind}", self.kind);
    }
}

impl Fields {
    /// Those of what a command prints. None where that is no table.
    pub(crate) fn of_command(command: &str) -> Option<Self> {
        let kind = kind_of(command)?;
        let list = schema::of(&format!("{kind}List"))?;
        let item = list.pointer("/$defs").and_then(|definitions| {
            let name = list.get("$ref")?.as_str()?.rsplit('/').next()?;
            definitions.get(name)?.pointer("/properties/items/items")
        })?;
        let mut walk = Walk { definitions: list.get("$defs")?, fields: Vec::new() };
        walk.enter(item, &mut Vec::new(), false);
        let mut fields = walk.fields;
        fields.sort_by(|one, other| one.path.cmp(&other.path));
        fields.dedup_by(|one, other| one.path == other.path);
        Some(Self { command: command.to_owned(), kind, all: fields })
    }

    /// A short name for each field, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |field: &Field| {
            let lengths = 1..=field.path.len();
            let mut ends = lengths.rev().map(|from| field.path[from - 1..].join("."));
            let is_its = |name: &String| self.meant(name) == [field];
            ends.find(is_its).unwrap_or_else(|| field.path.join("."))
        };
        self.all.iter().map(name).collect()
    }

    /// Name, heading and meaning of each field that is not [`ASIDE`]: first those that the table has, as they
    /// stand in it.
    pub(crate) fn told(&self) -> Vec<(String, String, String)> {
        let heads = schema::heads_of(self.kind);
        let mut told = Vec::with_capacity(self.all.len());
        for (name, field) in self.names().into_iter().zip(&self.all) {
            if field.is_aside() {
                continue;
            }
            let stands = |head: &&String| self.find(head) == Ok(field);
            let mut own: Vec<String> = heads.iter().filter(stands).cloned().collect();
            let place = heads.iter().position(|head| stands(&head)).unwrap_or(heads.len());
            own.extend(headings_of(self.kind, &field.path.join(".")));
            own.sort_unstable();
            own.dedup();
            told.push(((own.is_empty(), place), (name, own.join(", "), field.about.clone())));
        }
        told.sort_by_key(|(rank, _)| *rank);
        told.into_iter().map(|(_, told)| told).collect()
    }

    /// What [`Self::told`] leaves out, and where all of it stands.
    pub(crate) fn left_out(&self) -> Option<String> {
        let asides = ASIDE.iter().filter(|own| {
            self.all.iter().any(|field| field.path.iter().take(own.len()).eq(own.iter()))
        });
        let asides: Vec<String> = asides.map(|own| format!("{}.*", own.join("."))).collect();
        let told = format!("memctl schema {}List tells of them", self.kind);
        (!asides.is_empty())
            .then(|| format!("beside these there are {}: {told}", asides.join(", ")))
    }

    fn column(&self, typed: &str) -> Result<Column, Failure> {
        let field = self.find(typed).map_err(Failure::usage)?;
        // What stands for any name is the one that was typed.
        let words: Vec<&str> = typed.split('.').collect();
        let path = field.path.iter().rev().enumerate().map(|(back, own)| {
            let word = words.len().checked_sub(back + 1).and_then(|at| words.get(at));
            match (own.as_str(), word) {
                (ANY, Some(word)) => (*word).to_owned(),
                _ => own.clone(),
            }
        });
        let mut path: Vec<String> = path.collect();
        path.reverse();
        Ok(Column { typed: typed.to_owned(), path })
    }

    /// The field that is called so, or that stands under it in the table.
    fn find(&self, typed: &str) -> Result<&Field, String> {
        if let Some(field) = field_under(self.kind, &plain(typed)) {
            // Headings are of fields alone.
            return self.find(field);
        }
        match self.meant(typed).as_slice() {
            [] => Err(self.unknown(typed)),
            [only] => Ok(only),
            several => {
                let all: Vec<String> = several.iter().map(|field| field.path.join(".")).collect();
                Err(format!("\"{typed}\" may be any of {}: write more of it", all.join(", ")))
            }
        }
    }

    /// The fields that are called so and meant before others: the one whose whole path that is, or else
    /// those that are not of many things, and of these the least deep. Written as a key of a policy, or as a
    /// heading, a name is the same.
    fn meant(&self, typed: &str) -> Vec<&Field> {
        let typed = plain(typed);
        let words: Vec<&str> = typed.split('.').collect();
        let rank = |field: &Field| {
            let deep = field.path.len();
            (deep != words.len(), field.is_many, deep)
        };
        let mut called: Vec<&Field> = self.all.iter().filter(|f| f.is_called(&words)).collect();
        let best = called.iter().map(|field| rank(field)).min();
        called.retain(|field| Some(rank(field)) == best);
        called
    }

    fn unknown(&self, typed: &str) -> String {
        let names = self.names();
        let known: Vec<&str> = names.iter().map(|name| bare(name)).collect();
        let close = nearest(&plain(typed), &known, MOST_NEAR);
        let close = match close.as_slice() {
            [] => String::new(),
            near => format!("; near to it: {}", near.join(", ")),
        };
        let all = format!("memctl {} --columns help lists all", self.command);
        format!("there is no column \"{typed}\"{close}. {all}")
    }
}

impl Field {
    /// Whether it is of what stands beside the thing that is listed.
    fn is_aside(&self) -> bool {
        ASIDE.iter().any(|own| self.path.iter().take(own.len()).eq(own.iter()))
    }

    /// Whether these are the last words of its path, the last one with its unit or without. What is
    /// [`ASIDE`] is called by its whole path.
    fn is_called(&self, words: &[&str]) -> bool {
        let Some(first) = self.path.len().checked_sub(words.len()) else { return false };
        if first > 0 && self.is_aside() {
            return false;
        }
        let is_same = |(own, word): (&String, &&str)| own == ANY && !word.is_empty() || own == word;
        let (ends, last) = (&self.path[first..], words.last().copied().unwrap_or_default());
        let before = ends.iter().zip(words).rev().skip(1).all(is_same);
        let own = ends.last().map_or("", String::as_str);
        // Alone, a word is the name of a field and not of something of somebody's own.
        let is_any = own == ANY && words.len() > 1 && !last.is_empty();
        before && (is_any || own == last || bare(own) == last)
    }
}

/// A walk through a schema.
struct Walk<'a> {
    definitions: &'a Value,
    fields: Vec<Field>,
}

impl<'a> Walk<'a> {
    /// Notes the fields of what this schema describes.
    fn enter(&mut self, schema: &'a Value, path: &mut Vec<String>, is_many: bool) {
        if path.len() > DEEPEST {
            return;
        }
        let before = self.fields.len();
        let referred = schema.get("$ref").and_then(Value::as_str);
        let referred = referred.and_then(|name| self.definitions.get(name.rsplit('/').next()?));
        if let Some(part) = referred {
            self.enter(part, path, is_many);
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            for part in schema.get(word).and_then(Value::as_array).into_iter().flatten() {
                self.enter(part, path, is_many);
            }
        }
        if let Some(items) = schema.get("items") {
            self.enter(items, path, true);
        }
        let named = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let any = schema.get("additionalProperties").filter(|any| any.is_object());
        for (name, part) in
            named.map(|(name, part)| (name.as_str(), part)).chain(any.map(|any| (ANY, any)))
        {
            path.push(name.to_owned());
            let first = self.fields.len();
            self.enter(part, path, is_many);
            // What is said where the field stands says more than what is said of all of its type.
            let about = about(part);
            let own = self.fields.get_mut(first).filter(|own| own.path == *path);
            if let Some(own) = own.filter(|_| !about.is_empty()) {
                own.about = about;
            }
            path.pop();
        }
        let is_null = schema.get("type").and_then(Value::as_str) == Some("null");
        if self.fields.len() == before && !is_null && !path.is_empty() {
            self.fields.push(Field { path: path.clone(), is_many, about: about(schema) });
        }
    }
}

/// What a schema says of itself, in one line.
fn about(schema: &Value) -> String {
    let said = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the columns that there are, are asked for.
pub(crate) fn asks_for_all(columns: &[String]) -> bool {
    columns.iter().any(|typed| typed == HELP)
}

/// A name as fields are called.
fn plain(typed: &str) -> String {
    typed.to_lowercase().replace(['-', ' '], "_")
}

/// A name without its unit.
fn bare(name: &str) -> &str {
    UNITS.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name)
}

fn kind_of(command: &str) -> Option<&'static str> {
    KINDS.iter().find(|(own, _)| *own == command)?.1
}

/// What each command prints a list of, by the command's words; None where it prints no list.
pub(crate) const KINDS: [(&str, Option<&str>); 50] = [
    ("status", Some("Status")),
    ("vms", Some("Vm")),
    ("watch", None),
    ("top", None),
    ("explain", Some("Explanation")),
    ("history", Some("History")),
    ("policy get", Some("Policy")),
    ("policy set", Some("PolicyChange")),
    ("policy unset", Some("PolicyChange")),
    ("policy edit", Some("PolicyChange")),
    ("policy apply", Some("PolicyChange")),
    ("policy diff", Some("PolicyChange")),
    ("policy confirm", Some("PolicyRevision")),
    ("policy revert", Some("PolicyChange")),
    ("policy history", Some("PolicyRevision")),
    ("policy explain", Some("PolicyKey")),
    ("shadow set", Some("Shadow")),
    ("shadow off", Some("Shadow")),
    ("shadow status", Some("Shadow")),
    ("mode", Some("Mode")),
    ("pin", Some("PolicyChange")),
    ("unpin", Some("PolicyChange")),
    ("reserve", Some("Reservation")),
    ("reservations", Some("Reservation")),
    ("release", Some("Reservation")),
    ("wait", Some("Wait")),
    ("host add", None),
    ("host list", Some("Host")),
    ("host show", Some("HostEntry")),
    ("host rename", None),
    ("host remove", None),
    ("host use", None),
    ("host group", None),
    ("host test", Some("HostTest")),
    ("audit", Some("AuditEntry")),
    ("whoami", Some("WhoAmI")),
    ("ca init", Some("Certificate")),
    ("ca issue-server", Some("Certificate")),
    ("ca issue-client", Some("Certificate")),
    ("ca rotate", Some("Certificate")),
    ("ca revoke", Some("Certificate")),
    ("ca show", Some("Certificate")),
    ("doctor", Some("Check")),
    ("config path", Some("ConfigFile")),
    ("config view", Some("Config")),
    ("config check", Some("Check")),
    ("schema", None),
    ("version", Some("Version")),
    ("completion", None),
    ("manual", None),
];

/// Asks for all in the place of a column.
const HELP: &str = "help";
/// As many are named where none is meant.
const MOST_NEAR: usize = 5;
/// Stands in a path for a name of somebody's own.
const ANY: &str = "NAME";
/// Why a host did not answer, and what is told beside a policy: nobody means them who does not say so.
const ASIDE: [&[&str]; 5] =
    [&["error"], &["defaults"], &["bounds"], &["origins"], &["history", "changes"]];
/// What may be left out at the end of a name.
const UNITS: [&str; 3] = ["_bytes", "_seconds", "_percent"];
/// No schema of ours is deeper.
const DEEPEST: usize = 12;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;
    use crate::headings::HEADINGS;

    fn path(command: &str, typed: &str) -> Result<String, String> {
        let fields = Fields::of_command(command).unwrap();
        fields.column(typed).map(|column| column.path.join(".")).map_err(|failure| failure.message)
    }

    #[test]
    fn a_field_is_called_by_the_end_of_its_path() {
        for (command, typed, meant) in [
            ("vms", "actual", "vm.memory.actual_bytes"),
            ("vms", "memory.actual_bytes", "vm.memory.actual_bytes"),
            ("vms", "vm.memory.actual_bytes", "vm.memory.actual_bytes"),
            ("vms", "reason", "vm.verdict.reason"),
            ("vms", "conditions.reason", "conditions.reason"),
            ("vms", "error.reason", "error.reason"),
            ("vms", "host", "host"),
            ("status", "mode", "status.mode"),
            ("status", "last_read_age", "status.last_read_age_seconds"),
            ("policy get", "vms.db1.max", "policy.vms.db1.max_bytes"),
            ("audit", "after.Floor", "entry.after.Floor"),
            ("policy get", "floor", "policy.floor_bytes"),
        ] {
            assert_eq!(path(command, typed), Ok(meant.to_owned()), "{command} {typed}");
        }
    }

    #[test]
    fn a_name_may_be_written_as_a_key_of_a_policy() {
        for typed in ["host-reserve", "policy.host_reserve_bytes"] {
            assert_eq!(path("policy get", typed), path("policy get", "host_reserve"), "{typed}");
        }
        let named = path("policy get", "vms.Db-1.max").unwrap();
        assert!(named.contains("Db-1"), "the name of a VM is as typed: {named}");
    }

    #[test]
    fn what_is_no_field_or_several_is_refused_with_those_that_there_are() {
        let unknown = path("vms", "actuel").unwrap_err();
        assert!(
            unknown.starts_with("there is no column \"actuel\"; near to it: actual"),
            "{unknown}"
        );
        assert!(unknown.ends_with(". memctl vms --columns help lists all"), "{unknown}");
        assert!(path("vms", "guest").unwrap_err().contains("guest_unused, guest_usable"));
        let far = path("vms", "qqqqqqqq").unwrap_err();
        assert!(far.starts_with("there is no column \"qqqqqqqq\". memctl"), "{far}");
        for nothing in ["", ".", "vm.", "memory"] {
            assert!(path("vms", nothing).is_err(), "{nothing}");
        }
    }

    #[test]
    fn every_name_that_is_told_is_that_of_its_field() {
        for (command, _) in KINDS.iter().filter(|(_, kind)| kind.is_some()) {
            let fields = Fields::of_command(command).unwrap();
            assert!(fields.all.len() > 4, "{command}: {:?}", fields.all);
            for (name, field) in fields.names().iter().zip(&fields.all) {
                assert_eq!(fields.find(name), Ok(field), "{command} {name}");
            }
        }
    }

    #[test]
    fn a_heading_is_a_name_of_what_stands_under_it_however_it_is_written() {
        for (command, typed, meant) in [
            ("status", "HOST KEEPS", "status.pool.kept_bytes"),
            ("status", "host-keeps", "status.pool.kept_bytes"),
            ("vms", "Actual", "vm.memory.actual_bytes"),
            ("vms", "VERDICT", "vm.verdict.kind"),
            ("reservations", "Handed To", "reservation.handed_to.name"),
        ] {
            assert_eq!(path(command, typed), Ok(meant.to_owned()), "{command} {typed}");
        }
        for (kind, heading, _) in HEADINGS {
            let (command, _) = KINDS.iter().find(|(_, own)| *own == Some(kind)).unwrap();
            assert!(
                path(command, heading).is_ok(),
                "{command} {heading}: {:?}",
                path(command, heading)
            );
        }
    }

    #[test]
    fn it_is_known_of_every_command_what_it_lists() {
        fn leaves(command: &clap::Command, before: &str, all: &mut Vec<String>) {
            for own in command.get_subcommands().filter(|own| own.get_name() != "help") {
                let words = format!("{before}{}", own.get_name());
                match own.has_subcommands() {
                    true => leaves(own, &format!("{words} "), all),
                    false => all.push(words),
                }
            }
        }
        let (mut typed, mut known) = (Vec::new(), KINDS.map(|(command, _)| command).to_vec());
        leaves(&Cli::command(), "", &mut typed);
        typed.sort_unstable();
        known.sort_unstable();
        assert_eq!(typed, known);
    }
}
