//! The table of both, and of the difference.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::measures::{MEASURES, Measure};
use super::trace::{Film, Trace};

/// A measure of a real VM and of a simulated one.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    name: &'static str,
    real: Option<f64>,
    simulated: Option<f64>,
}

/// The measures of one trace.
pub fn rows(trace: &Trace, real: &Film, simulated: &Film) -> Vec<Row> {
    let own = MEASURES.iter().filter(|measure| measure.trace.name == trace.name);
    let row =
        |Measure { name, of, .. }: &Measure| Row { name, real: of(real), simulated: of(simulated) };
    own.map(row).collect()
}

/// As a table for people.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = "| | real | simulated | difference |\n| --- | ---: | ---: | ---: |\n".to_owned();
    for Row { name, real, simulated } in rows {
        let difference = real.zip(*simulated).map(|(real, simulated)| simulated - real);
        let signed = difference.map_or_else(|| "-".to_owned(), |one| format!("{one:+.1}"));
        let _ = writeln!(text, "| {name} | {} | {} | {signed} |", words(*real), words(*simulated));
    }
    text
}

/// As figures for programs.
pub fn json(rows: &[Row]) -> Value {
    let row = |Row { name, real, simulated }: &Row| json!({ "measure": name, "real": real, "simulated": simulated });
    json!(rows.iter().map(row).collect::<Vec<_>>())
}

fn words(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"))
}
