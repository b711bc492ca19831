//! [`Variation`]: a policy as changes of another one, in the words of a config file.

use agentd_core::policy::Policy;

use super::policy;
use crate::fields::{FieldError, Fields, Source};

/// A policy as changes of another one: a table of a TOML text whose keys are those of `[policy]`. What
/// it leaves out is as in the policy that it is applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variation {
    /// Where the text is from, for errors.
    file: String,
    text: String,
    /// The table that counts.
    table: &'static str,
}

impl Variation {
    /// The changes that a table of this text says.
    #[must_use]
    pub fn new(file: &str, text: &str, table: &'static str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), table }
    }

    /// The changes that words like `two_pointer.step=60MiB` say, or `two-pointer.step` as memctl writes
    /// it. A value that is no number and not true or false needs no quotes.
    #[must_use]
    pub fn of_words(words: &[String]) -> Self {
        let mut text = "[policy]\n".to_owned();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let plain = value.parse::<u32>().is_ok() || matches!(value, "true" | "false");
            let value = if plain { value.to_owned() } else { quoted(value) };
            text.push_str(&format!("{} = {value}\n", config_key(key.trim())));
        }
        Self { file: "--set".to_owned(), text, table: "policy" }
    }

    /// The policy with these changes.
    ///
    /// # Errors
    ///
    /// Fails when the text is none or lacks the table, or a value makes no sense by itself or beside the
    /// others.
    pub fn apply(&self, base: &Policy) -> Result<Policy, FieldError> {
        let source = Source { file: &self.file, text: &self.text };
        let parsed = source.parse()?;
        let root = Fields::root(source, parsed.get_ref());
        policy::read_over(&root.table(self.table)?, base.clone())
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
        let varied = Variation::new("new.toml", loose, "policy").apply(&Policy::default());
        let fault = varied.unwrap_err().to_string();
        assert!(fault.starts_with("new.toml:1: the file has no [policy] table: "), "{fault}");
    }

    #[test]
    fn says_what_is_wrong_with_a_word() {
        let fault = |word| varied(&[word], &Policy::default()).unwrap_err();
        assert!(fault("algorithm=working").contains("is no algorithm"), "{}", fault("algorithm=x"));
        assert!(fault("flor=1GiB").contains("did you mean \"floor\"?"), "{}", fault("flor=1GiB"));
        assert!(fault("floor=1").contains("in quotes") || fault("floor=1").contains("floor"));
        assert!(fault("floor=8MiB").contains("must be at least 16 MiB"), "{}", fault("floor=8MiB"));
    }
}
