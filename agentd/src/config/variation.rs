//! [`Variation`]: a policy as changes of another one, in the words of a config file.

use agentd_core::policy::Policy;

use super::policy;
use crate::fields::{FieldError, Fields, Source};

/// A policy as changes of another one: a TOML text whose keys are those of `[policy]`. What it leaves out is as
/// in the policy that it is applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variation {
    /// Where the text is from, for errors.
    file: String,
    text: String,
    part: Part,
}

/// What of a text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This table, which has to be there.
    Table(&'static str),
    /// The table `[policy]`, or all of a text that has none.
    Policy,
    /// All of it, which people gave as single words.
    Words,
}

impl Variation {
    /// The changes that a table of this text says.
    #[must_use]
    pub fn new(file: &str, text: &str, table: &'static str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), part: Part::Table(table) }
    }

    /// The changes that a file says: in its table `[policy]`, as in a config, or in all of it, as `memctl
    /// policy get --as-file` writes it.
    #[must_use]
    pub fn of_file(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), part: Part::Policy }
    }

    /// The changes that words like `two_pointer.step=60MiB` say, or `two-pointer.step` as memctl writes
    /// it. A value that is no number and not true or false needs no quotes.
    #[must_use]
    pub fn of_words(words: &[String]) -> Self {
        let mut text = String::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let plain = value.parse::<u32>().is_ok() || matches!(value, "true" | "false");
            let value = if plain { value.to_owned() } else { quoted(value) };
            text.push_str(&format!("{} = {value}\n", config_key(key.trim())));
        }
        Self { file: "--set".to_owned(), text, part: Part::Words }
    }

    /// The policy with these changes.
    ///
    /// # Errors
    ///
    /// Fails when the text is none or lacks the table, or a value makes no sense by itself or beside the
    /// others.
    pub fn apply(&self, base: &Policy) -> Result<Policy, FieldError> {
        let source = Source { file: &self.file, text: &self.text };
        let is_words = self.part == Part::Words;
        let told = |error: FieldError| if is_words { error.of_words() } else { error };
        let parsed = source.parse().map_err(told)?;
        let root = Fields::root(source, parsed.get_ref());
        let table = match self.part {
            Part::Table(name) => Some(root.table(name)?),
            Part::Policy => root.get("policy"),
            Part::Words => None,
        };
        match table {
            Some(table) => policy::read_over(&table, base.clone()),
            None => policy::read_whole(&root, base.clone()).map_err(told),
        }
    }
}

/// A key as the config file has it: `vm.db-1.shrink-step` is `vms."db-1".shrink_step`.
fn config_key(key: &str) -> String {
    let vm = key.strip_prefix("vms.").or_else(|| key.strip_prefix("vm."));
    match vm.and_then(|vm| vm.rsplit_once('.')) {
        Some((name, field)) => format!("vms.{}.{}", quoted(name), field.replace('-', "_")),
        None => key.replace('-', "_"),
    }
}

fn quoted(value: &str) -> String {
    let value = value.trim().trim_matches('"');
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agentd_core::{bytes::ByteCount, policy::Algorithm};

    use super::*;

    fn varied(words: &[&str], base: &Policy) -> Result<Policy, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Variation::of_words(&words).apply(base).map_err(|error| error.to_string())
    }

    #[test]
    fn changes_what_is_named_and_keeps_the_rest() {
        let base = Policy { floor: ByteCount::mib(80), ..Policy::default() };
        let words = ["algorithm=working-set", "two_pointer.step=60MiB", "vms.db1.weight=200"];
        let policy = varied(&words, &base).unwrap();
        assert_eq!(policy.algorithm, Algorithm::WorkingSet);
        assert_eq!(policy.two_pointer.step, ByteCount::mib(60));
        assert_eq!(policy.two_pointer.need_below, base.two_pointer.need_below);
        assert_eq!(policy.floor, ByteCount::mib(80));
        let more = varied(&["vms.db1.min=1GiB"], &policy).unwrap();
        let db1 = more.vms[&"db1".into()];
        assert_eq!((db1.weight, db1.min), (Some(200), Some(ByteCount::gib(1))));
        assert_eq!(varied(&[], &more), Ok(more.clone()));
    }

    #[test]
    fn keys_may_be_written_as_memctl_writes_them() {
        let words = ["shrink-step=60MiB", "working-set.lead=5s", "vm.db-1.lan.min=1GiB"];
        let policy = varied(&words, &Policy::default()).unwrap();
        assert_eq!(policy.shrink_step, ByteCount::mib(60));
        assert_eq!(policy.working_set.lead, Duration::from_secs(5));
        assert_eq!(policy.vms[&"db-1.lan".into()].min, Some(ByteCount::gib(1)));
    }

    #[test]
    fn a_text_without_the_table_is_no_policy() {
        let loose = "algorithm = \"working-set\"\n";
        let varied = Variation::new("new.toml", loose, "shadow").apply(&Policy::default());
        let fault = varied.unwrap_err().to_string();
        assert!(fault.starts_with("new.toml:1: the file has no [shadow] table: "), "{fault}");
    }

    #[test]
    fn a_file_is_read_as_a_config_and_as_memctl_writes_it() {
        let config = "host = \"node1\"\n[policy]\nalgorithm = \"working-set\"\nhost_reserve = \"1GiB\"\n\
                      [policy.working_set]\nkeep_for = \"90s\"\n\
                      [policy.vms.db-1]\nmin = \"2GiB\"\n[policy.vms.db_1]\nweight = 300\n";
        let memctl = "algorithm = \"working-set\"\nhost-reserve = \"1GiB\"\n# pool-limit = \"\"\n\
                      [working-set]\nkeep-for = \"90s\"\n\
                      [vm.db-1]\nmin = \"2GiB\"\n[vm.db_1]\nweight = 300\n";
        let read = |text| Variation::of_file("new.toml", text).apply(&Policy::default());
        let read = |text| read(text).map_err(|error| error.to_string());
        let policy = read(config).unwrap();
        assert_eq!(policy.host_reserve, ByteCount::gib(1));
        assert_eq!(policy.working_set.keep_for, Duration::from_secs(90));
        assert_eq!(policy.vms[&"db-1".into()].min, Some(ByteCount::gib(2)));
        assert_eq!(policy.vms[&"db_1".into()].weight, Some(300), "names are as they are written");
        assert_eq!(read(memctl), Ok(policy));
        for (text, said) in [
            ("floor = \"1GiB\"\nhost-reserv = \"1GiB\"", "new.toml:2: host-reserv is no key"),
            ("listen = 7", "new.toml:1: listen is no key that is known"),
            ("\nfloor = \"8MiB\"", "new.toml:2: floor = \"8MiB\": must be at least 16 MiB"),
            (
                "[vm.db1]\nmin = \"8MiB\"",
                "new.toml:2: vm.db1.min = \"8MiB\": must be from the floor",
            ),
            (
                "shrink-step = \"1GiB\"\nshrink_step = \"1GiB\"",
                "new.toml:2: shrink_step is there twice, with - and with _",
            ),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.starts_with(said), "{text}: {fault}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_word() {
        let fault = |word| varied(&[word], &Policy::default()).unwrap_err();
        let lead = fault("working-set.lead=90");
        assert!(lead.starts_with("--set: working_set.lead = 90: must be a duration"), "{lead}");
        let step = fault("two-pointer.spare-above=1GiB");
        assert!(step.starts_with("--set: two_pointer.spare_above = \"1GiB\": must be"), "{step}");
        assert!(fault("algorithm=working").contains("is no algorithm"), "{}", fault("algorithm=x"));
        assert!(fault("flor=1GiB").contains("did you mean \"floor\"?"), "{}", fault("flor=1GiB"));
        assert!(fault("floor=1").contains("in quotes") || fault("floor=1").contains("floor"));
        assert!(fault("floor=8MiB").contains("must be at least 16 MiB"), "{}", fault("floor=8MiB"));
    }

    #[test]
    fn the_file_of_the_operators_book_is_a_policy() {
        let book = include_str!("../../../docs/OPERATING.md");
        let example = book.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let read = Variation::of_file("new.toml", example.unwrap()).apply(&Policy::default());
        let policy = read.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(policy.working_set.lead, Duration::from_secs(5));
        assert_eq!(policy.vms[&"db1".into()].min, Some(ByteCount::gib(4)));
        assert_eq!(policy.vms[&"web.1".into()].pinned, Some(true));
    }
}
