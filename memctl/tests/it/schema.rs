//! What is printed against the schema that memctl gives out: `docs/schema/memctl-v1.json`. Judges by
//! the words that the schema uses, and knows no others; stricter than JSON Schema in one thing: what
//! is not described is refused.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

/// Panics where a document or record is not as its schema says.
pub(crate) fn check(document: &Value) {
    let schema = whole();
    let kind = document.get("kind").and_then(Value::as_str);
    // Records of streams have a type instead; some of these have a kind as well, inside.
    let kind = if document.get("type").is_some() { "Record" } else { kind.expect("no kind") };
    let root = Judge { definitions: schema["$defs"].as_object().unwrap() };
    let line = root.definitions.get(&format!("{kind}Line"));
    let definition = line.or_else(|| root.definitions.get(kind));
    let definition = definition.unwrap_or_else(|| panic!("no schema of {kind}"));
    let mut described = BTreeSet::new();
    if let Err(what) = root.judge(definition, document, &mut described) {
        panic!("{kind}: {what}\n{document:#}");
    }
    root.refuse_undescribed(kind, document, &described).unwrap();
}

/// Checks every JSON document of an output, which may be one or one a line.
pub(crate) fn check_all(text: &str) -> usize {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    documents.map(|document| check(&document.unwrap())).count()
}

fn whole() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/memctl-v1.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

struct Judge<'a> {
    definitions: &'a Map<String, Value>,
}

type Judged = Result<(), String>;

impl Judge<'_> {
    /// Whether `value` is as `schema` says; `described` gets the properties that it speaks of.
    fn judge(&self, schema: &Value, value: &Value, described: &mut BTreeSet<String>) -> Judged {
        let Value::Object(words) = schema else {
            return if schema == &Value::Bool(true) { Ok(()) } else { Err("nothing fits".into()) };
        };
        for (word, says) in words {
            self.word(word, says, value, described)?;
        }
        Ok(())
    }

    fn word(
        &self,
        word: &str,
        says: &Value,
        value: &Value,
        described: &mut BTreeSet<String>,
    ) -> Judged {
        match word {
            "$ref" => {
                let name = says.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                self.judge(&self.definitions[name], value, described)
            }
            "type" => is_type(says, value),
            "const" => fits(says == value, || format!("{value} is not {says}")),
            "enum" => {
                let known = says.as_array().unwrap().contains(value);
                fits(known, || format!("{value} is none of {says}"))
            }
            "required" => {
                let names = says.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                let missing: Vec<&str> = names.filter(|name| value.get(name).is_none()).collect();
                fits(missing.is_empty(), || format!("{missing:?} is missing"))
            }
            "properties" => self.properties(says.as_object().unwrap(), value, described),
            "additionalProperties" => {
                for (name, own) in value.as_object().into_iter().flatten() {
                    if !described.contains(name) {
                        self.alone(says, own).map_err(|what| format!("{name}: {what}"))?;
                        described.insert(name.clone());
                    }
                }
                Ok(())
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                let judged = items.map(|(at, own)| {
                    self.alone(says, own).map_err(|what| format!("[{at}]: {what}"))
                });
                judged.collect()
            }
            "allOf" => {
                says.as_array().unwrap().iter().try_for_each(|s| self.judge(s, value, described))
            }
            "anyOf" | "oneOf" => self.any(says.as_array().unwrap(), value, described),
            "minimum" => {
                let least = says.as_f64().unwrap();
                fits(value.as_f64().is_none_or(|v| v >= least), || format!("{value} < {least}"))
            }
            "maximum" => {
                let most = says.as_f64().unwrap();
                fits(value.as_f64().is_none_or(|v| v <= most), || format!("{value} > {most}"))
            }
            "$schema" | "title" | "description" | "format" | "default" => Ok(()),
            other => panic!("the schema says \"{other}\", which this test does not know"),
        }
    }

    /// A value that is described by `schema` alone.
    fn alone(&self, schema: &Value, value: &Value) -> Judged {
        let mut described = BTreeSet::new();
        self.judge(schema, value, &mut described)?;
        self.refuse_undescribed("", value, &described)
    }

    fn properties(
        &self,
        known: &Map<String, Value>,
        value: &Value,
        described: &mut BTreeSet<String>,
    ) -> Judged {
        for (name, schema) in known {
            described.insert(name.clone());
            if let Some(own) = value.get(name) {
                self.alone(schema, own).map_err(|what| format!("{name}: {what}"))?;
            }
        }
        Ok(())
    }

    /// At least one fits, and those that fit describe it.
    fn any(&self, ways: &[Value], value: &Value, described: &mut BTreeSet<String>) -> Judged {
        let mut faults = Vec::new();
        for way in ways {
            let mut own = described.clone();
            match self.judge(way, value, &mut own) {
                Ok(()) => described.extend(own),
                Err(what) => faults.push(what),
            }
        }
        fits(faults.len() < ways.len(), || format!("none fits: {}", faults.join(" | ")))
    }

    fn refuse_undescribed(
        &self,
        what: &str,
        value: &Value,
        described: &BTreeSet<String>,
    ) -> Judged {
        let names = value.as_object().into_iter().flat_map(Map::keys);
        let strange: Vec<&String> = names.filter(|name| !described.contains(*name)).collect();
        fits(strange.is_empty(), || format!("{what}: {strange:?} is not described"))
    }
}

fn fits(fits: bool, what: impl Fn() -> String) -> Judged {
    if fits { Ok(()) } else { Err(what()) }
}

fn is_type(says: &Value, value: &Value) -> Judged {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the schema knows a type \"{other}\""),
    };
    let names = says.as_array().map_or_else(|| std::slice::from_ref(says), Vec::as_slice);
    let known = names.iter().any(|name| is(name.as_str().unwrap()));
    fits(known, || format!("{value} is no {says}"))
}

/// The judge refuses what it should.
#[test]
fn what_is_not_as_the_schema_says_is_refused() {
    let good = r#"{"schema":"memctl/v1","kind":"Wait","host":"a","ok":true,"condition":"ready",
        "met":true,"now":"healthy","waited_seconds":0.5}"#;
    check(&serde_json::from_str(good).unwrap());
    for (from, to) in [
        ("\"met\":true", "\"met\":\"yes\""),
        ("\"ok\":true,", ""),
        ("memctl/v1", "memctl/v2"),
        ("\"now\":", "\"new\":"),
    ] {
        let bad: Value = serde_json::from_str(&good.replace(from, to)).unwrap();
        assert!(std::panic::catch_unwind(|| check(&bad)).is_err(), "{to} was taken");
    }
}
