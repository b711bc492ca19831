//! The version of this memctl beside that of an agent: whether they know the same wire, and what to do
//! where they do not. Pure.

use std::cmp::Ordering;

/// Version of this memctl.
pub(crate) const OURS: &str = env!("CARGO_PKG_VERSION");

/// How an agent's version stands to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skew {
    /// They speak of the same things: what is behind the minor number changes nothing on the wire.
    None,
    /// The agent is older.
    Older,
    /// The agent is newer.
    Newer,
    /// Nobody knows: it is no version as ours are.
    Unclear,
}

impl Skew {
    /// Of an agent of this version.
    pub(crate) fn of(theirs: &str) -> Self {
        let (Some(theirs), Some(ours)) = (wire(theirs), wire(OURS)) else { return Self::Unclear };
        match theirs.cmp(&ours) {
            Ordering::Less => Self::Older,
            Ordering::Equal => Self::None,
            Ordering::Greater => Self::Newer,
        }
    }

    /// What it means to whoever reads an answer, and what to do. None where it means nothing.
    pub(crate) fn meaning(self, theirs: &str) -> Option<String> {
        let (is, what, update) = match self {
            Self::None => return None,
            Self::Older => {
                ("older than", "it may not know all that memctl asks of it", "agentd there")
            }
            Self::Newer => ("newer than", "memctl may not know all that it says", "memctl"),
            Self::Unclear => {
                ("not to be compared with", "each may not know all that the other says", "both")
            }
        };
        Some(format!("agentd {theirs} is {is} this memctl, {OURS}: {what}; update {update}"))
    }
}

/// Major and minor.
fn wire(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_minor_number_changes_nothing() {
        let (major, minor) = wire(OURS).unwrap();
        for (theirs, skew) in [
            (OURS.to_owned(), Skew::None),
            (format!("{major}.{minor}.999-rc.1"), Skew::None),
            (format!("{major}.{}.0", minor + 1), Skew::Newer),
            (format!("{}.0.0", major + 1), Skew::Newer),
            ("0.0.9".to_owned(), Skew::Older),
            ("nightly".to_owned(), Skew::Unclear),
            (String::new(), Skew::Unclear),
        ] {
            assert_eq!(Skew::of(&theirs), skew, "{theirs}");
            assert_eq!(skew.meaning(&theirs).is_none(), skew == Skew::None);
        }
        let told = Skew::Newer.meaning("9.9.9").unwrap();
        assert!(
            told.starts_with("agentd 9.9.9 is newer than this memctl")
                && told.ends_with("update memctl")
        );
    }
}
