//! "Did you mean": the closest of the words that would have been right. Pure.

/// The known word closest to `word`, if one is close.
pub(crate) fn did_you_mean<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    known
        .iter()
        .map(|&k| (distance(word, k), k))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Up to `most` of the known words that may be meant: those that hold `word`, then those that are close.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str], most: usize) -> Vec<&'a str> {
    let far = word.chars().count() / 2;
    let rank = |own: &&'a str| {
        let holds = !word.is_empty() && own.contains(word);
        let last = own.rsplit('.').next().unwrap_or(own);
        let distance = distance(word, own).min(distance(word, last));
        (holds || distance <= far).then_some((!holds, distance, *own))
    };
    let mut ranked: Vec<_> = known.iter().filter_map(rank).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, own)| own).take(most).collect()
}

/// How many insertions, deletions, replacements and swaps of neighbours lie between two words.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let replaced = row[j] + usize::from(l != r);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_words_hold_it_or_are_close() {
        let known = ["pool.kept_bytes", "actual_bytes", "pool.limit", "kept", "keep_for"];
        assert_eq!(nearest("kept", &known, 2), ["kept", "pool.kept_bytes"]);
        assert_eq!(nearest("limt", &known, 5), ["pool.limit"]);
        assert!(nearest("", &known, 5).is_empty() && nearest("zzzz", &known, 5).is_empty());
    }

    #[test]
    fn close_words_are_found_and_others_are_not() {
        let known = ["host-reserve", "pool-limit", "two-pointer.step", "floor"];
        assert_eq!(did_you_mean("host-reserv", &known), Some("host-reserve"));
        assert_eq!(did_you_mean("two-pointer.setp", &known), Some("two-pointer.step"));
        assert_eq!(did_you_mean("flor", &known), Some("floor"));
        assert_eq!(did_you_mean("colour", &known), None);
        assert_eq!(did_you_mean("", &known), None);
    }
}
