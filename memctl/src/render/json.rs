//! JSON text in which no character from outside can steer a terminal. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use super::text::steers;

/// One document over several lines.
pub(crate) fn pretty(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escaped(serde_json::to_string_pretty(value)?))
}

/// One document on one line.
pub(crate) fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escaped(serde_json::to_string(value)?))
}

/// JSON escapes only what lies below a blank. The rest of what steers can stand only in strings.
fn escaped(json: String) -> String {
    let foreign = |c: char| c != '\n' && steers(c);
    if !json.contains(foreign) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if foreign(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped_and_reads_back_the_same() {
        let name = "a\u{1b}[2J\u{9b}\u{7f}\u{202e}b\n";
        let json = line(&name).unwrap();
        assert!(!json.contains(steers), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), name);
    }
}
