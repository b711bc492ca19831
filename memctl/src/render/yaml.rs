//! YAML of anything that has a JSON form, in block style with the fields in their order. Pure.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::json;

/// One YAML document, starting with `---`.
pub(crate) fn document(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let node: Node = serde_json::from_str(&serde_json::to_string(value)?)?;
    let mut out = String::from("---\n");
    block(&node, 0, &mut out)?;
    Ok(out)
}

/// A JSON value whose fields keep their order.
enum Node {
    Scalar(serde_json::Value),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

fn block(node: &Node, depth: usize, out: &mut String) -> Result<(), serde_json::Error> {
    match node {
        Node::Scalar(_) => out.push_str(&format!("{}\n", inline(node)?)),
        Node::List(items) if items.is_empty() => out.push_str("[]\n"),
        Node::Map(fields) if fields.is_empty() => out.push_str("{}\n"),
        Node::List(items) => {
            for item in items {
                indent(depth, out);
                out.push_str("- ");
                // The first field of a map stands behind the dash, the others below it.
                block_behind(item, depth + 1, out)?;
            }
        }
        Node::Map(fields) => {
            for (key, value) in fields {
                indent(depth, out);
                field(key, value, depth, out)?;
            }
        }
    }
    Ok(())
}

fn block_behind(node: &Node, depth: usize, out: &mut String) -> Result<(), serde_json::Error> {
    let mut text = String::new();
    block(node, depth, &mut text)?;
    out.push_str(text.trim_start_matches(' '));
    Ok(())
}

fn field(key: &str, value: &Node, depth: usize, out: &mut String) -> Result<(), serde_json::Error> {
    out.push_str(&string(key)?);
    out.push(':');
    let nested = match value {
        Node::Scalar(_) => false,
        Node::List(items) => !items.is_empty(),
        Node::Map(fields) => !fields.is_empty(),
    };
    out.push(if nested { '\n' } else { ' ' });
    block(value, depth + 1, out)
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn inline(node: &Node) -> Result<String, serde_json::Error> {
    match node {
        Node::Scalar(serde_json::Value::String(text)) => string(text),
        Node::Scalar(_) | Node::List(_) | Node::Map(_) => json::line(node),
    }
}

/// Plain where nothing in it could be read as something else, else as in JSON, which YAML takes.
fn string(text: &str) -> Result<String, serde_json::Error> {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !words.contains(&text.to_ascii_lowercase().as_str());
    if plain { Ok(text.to_owned()) } else { json::line(&text) }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(value) => value.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) => serializer.collect_map(fields.iter().map(|(k, v)| (k, v))),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(serde_json::Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(json: &str) -> String {
        document(&serde_json::from_str::<Node>(json).unwrap()).unwrap()
    }

    #[test]
    fn nested_lists_and_maps_keep_their_order() {
        let json = r#"{"z":1,"items":[{"host":"a","list":[1,[2,3]]},{"host":"b","none":{}}]}"#;
        let want = [
            "---",
            "z: 1",
            "items:",
            "  - host: a",
            "    list:",
            "      - 1",
            "      - - 2",
            "        - 3",
            "  - host: b",
            "    none: {}",
            "",
        ];
        assert_eq!(yaml(json), want.join("\n"));
    }

    #[test]
    fn strings_that_could_be_something_else_are_quoted() {
        for text in ["yes", "1.5", "x: y", "", "-", "2026-01-01", "a\nb", "#c", "~", "NULL"] {
            let quoted = json::line(&text).unwrap();
            assert_eq!(document(&text).unwrap(), format!("---\n{quoted}\n"));
        }
        assert_eq!(document(&"MiB").unwrap(), "---\nMiB\n");
    }

    #[test]
    fn scalars_and_nothing() {
        assert_eq!(yaml("null"), "---\nnull\n");
        assert_eq!(
            yaml(r#"{"a":null,"b":true,"c":1.5,"d":-2}"#),
            "---\na: null\nb: true\nc: 1.5\nd: -2\n"
        );
    }
}
