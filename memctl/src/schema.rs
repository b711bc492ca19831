//! The JSON Schema of what `-o json`, `jsonl` and `yaml` print: made from the types that are printed,
//! so that it cannot say anything else.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema as _, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::dto::{Document, Item, Line, Record, Refusal, SCHEMA};
use crate::failure::Failure;
use crate::render::audit::AuditBody;
use crate::render::ca::CertificateBody;
use crate::render::check::CheckBody;
use crate::render::config::{PlaceBody, ViewBody};
use crate::render::explain::ExplainBody;
use crate::render::history::HistoryBody;
use crate::render::host::{HostBody, ShownHost, TestBody};
use crate::render::mode::ModeBody;
use crate::render::pin::PinBody;
use crate::render::policy::{ChangeBody, PolicyBody, RevisionBody};
use crate::render::policy_key::KeyBody;
use crate::render::reservation::ReservationBody;
use crate::render::shadow::ShadowBody;
use crate::render::status::StatusBody;
use crate::render::version::VersionBody;
use crate::render::vms::VmBody;
use crate::render::wait::WaitBody;
use crate::render::whoami::WhoAmIBody;
use crate::render::{Show, View};

/// The schema of every document: one of `kinds`, which are among the definitions.
pub(crate) fn whole() -> Value {
    let (kinds, definitions) = parts();
    let any: Vec<Value> = kinds.iter().map(|kind| reference(kind)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        "description": "What memctl prints with -o json and yaml (a list, or an error), and a line each \
            with -o jsonl (an item, an error, or a record of a stream)",
        "anyOf": any,
        "$defs": definitions,
    })
}

/// The schema of one kind of document. None where there is no such kind.
pub(crate) fn of(kind: &str) -> Option<Value> {
    let (documents, definitions) = parts();
    let document = documents.iter().find(|own| kind_of(own) == kind)?;
    Some(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("{SCHEMA} {kind}"),
        "$ref": format!("#/$defs/{document}"),
        "$defs": definitions,
    }))
}

/// The kinds of documents, in the order of their names.
pub(crate) fn kinds() -> Vec<String> {
    parts().0.iter().map(|document| kind_of(document).to_owned()).collect()
}

/// The kind of a document by the name of its definition: a line of jsonl has its item's kind, which
/// is the name of a type as well.
fn kind_of(document: &str) -> &str {
    document.strip_suffix(LINE).unwrap_or(document)
}

fn parts() -> (Vec<String>, Map<String, Value>) {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut documents = Map::new();
    for (kind, schema) in shown(&mut generator) {
        documents.insert(kind, schema);
    }
    documents.insert("Error".to_owned(), named::<Refusal<'_>>("Error", &mut generator));
    // What a stream tells has no kind: its type says what it is.
    documents.insert("Record".to_owned(), Record::json_schema(&mut generator).to_value());
    let names: Vec<String> = documents.keys().cloned().collect();
    let mut definitions = generator.take_definitions(true);
    definitions.extend(documents);
    (names, definitions)
}

/// Does something with the type of every kind that is shown.
macro_rules! with_each_kind {
    ($do:ident, $with:expr) => {{
        let mut all = Vec::new();
        all.extend($do::<AuditBody>($with));
        all.extend($do::<CertificateBody>($with));
        all.extend($do::<ChangeBody>($with));
        all.extend($do::<CheckBody>($with));
        all.extend($do::<ExplainBody>($with));
        all.extend($do::<HistoryBody>($with));
        all.extend($do::<HostBody>($with));
        all.extend($do::<KeyBody>($with));
        all.extend($do::<ModeBody>($with));
        all.extend($do::<PinBody>($with));
        all.extend($do::<PlaceBody>($with));
        all.extend($do::<PolicyBody>($with));
        all.extend($do::<ReservationBody>($with));
        all.extend($do::<RevisionBody>($with));
        all.extend($do::<ShadowBody>($with));
        all.extend($do::<ShownHost>($with));
        all.extend($do::<StatusBody>($with));
        all.extend($do::<TestBody>($with));
        all.extend($do::<VersionBody>($with));
        all.extend($do::<ViewBody>($with));
        all.extend($do::<VmBody>($with));
        all.extend($do::<WaitBody>($with));
        all.extend($do::<WhoAmIBody>($with));
        all
    }};
}

/// The lists and items of every command.
fn shown(generator: &mut SchemaGenerator) -> Vec<(String, Value)> {
    with_each_kind!(pair, generator)
}

/// The headings of the table of a kind, as wide as it gets.
pub(crate) fn heads_of(kind: &str) -> Vec<String> {
    with_each_kind!(heads, kind)
}

/// Those of this type, where it is of the kind.
fn heads<T: Show>(kind: &str) -> Vec<String> {
    if T::KIND != kind {
        return Vec::new();
    }
    let view = View { wide: true, ..View::plain() };
    // A table without a row has no headings.
    let none = Item::<T>::failed("", Failure::usage(String::new()));
    let text = T::text(&[none], &view);
    let first = text.lines().next().unwrap_or_default();
    first.split("  ").map(str::trim).filter(|head| !head.is_empty()).map(str::to_owned).collect()
}

/// The list of a command, and a line of it.
fn pair<T: Show>(generator: &mut SchemaGenerator) -> [(String, Value); 2] {
    let (list, line) = (format!("{}List", T::KIND), T::KIND.to_owned());
    let list_schema = named::<Document<'_, T>>(&list, generator);
    let line_schema = named::<Line<'_, T>>(&line, generator);
    [(list, list_schema), (format!("{line}{LINE}"), line_schema)]
}

/// The schema of a document that is of this kind.
fn named<T: schemars::JsonSchema>(kind: &str, generator: &mut SchemaGenerator) -> Value {
    let mut schema = T::json_schema(generator).to_value();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("schema".to_owned(), json!({ "const": SCHEMA }));
        properties.insert("kind".to_owned(), json!({ "const": kind }));
    }
    schema
}

fn reference(kind: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{kind}") })
}

/// What the name of a definition of a line ends with.
const LINE: &str = "Line";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::render::json;

    /// All files of a folder and of those in it.
    fn texts(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| match path.is_dir() {
                true => texts(&path),
                false => vec![std::fs::read_to_string(path).unwrap()],
            })
            .collect()
    }

    /// Every list has its name in a constant beside how it is shown.
    #[test]
    fn every_kind_that_is_shown_is_described() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render");
        let known = kinds();
        let mut seen = 0;
        for text in texts(&folder) {
            for rest in text.split("const KIND: &'static str = \"").skip(1) {
                let kind = rest.split('"').next().unwrap();
                assert!(known.iter().any(|known| known == kind), "{kind}");
                assert!(known.contains(&format!("{kind}List")), "{kind}");
                seen += 1;
            }
        }
        assert_eq!(known.len(), seen * 2 + 2);
    }

    /// MEMCTL_GOLDEN=update writes it anew.
    #[test]
    fn the_schema_of_the_books_is_the_one_that_is_printed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/memctl-v1.json");
        let text = format!("{}\n", json::pretty(&whole()).unwrap());
        if std::env::var_os("MEMCTL_GOLDEN").is_some_and(|v| v == "update") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "MEMCTL_GOLDEN=update takes the new schema: look at the difference"
        );
    }

    #[test]
    fn one_kind_alone_refers_to_nothing_that_is_not_there() {
        let schema = of("StatusList").unwrap();
        let text = schema.to_string();
        for rest in text.split("\"#/$defs/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(schema["$defs"].get(name).is_some(), "{name}");
        }
        assert_eq!(of("Statuses"), None);
    }
}
