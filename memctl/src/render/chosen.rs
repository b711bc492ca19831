//! The table of the columns that somebody chose, and the order of rows that they want. Pure.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::View;
use super::table::{Cell, Table};
use super::text::date_time;
use crate::columns::{Column, Order};
use crate::dto::Item;
use crate::quantity::format_seconds;

/// The table of these columns, with a row for each thing in the list `rows` where one of them is of that. The
/// host stands first where several were asked, unless it is among them.
pub(crate) fn table<T: Serialize>(
    items: &[Item<T>],
    columns: &[Column],
    rows: Option<&str>,
    view: &View,
) -> String {
    let rows: Vec<&str> = rows.map(|rows| rows.split('.').collect()).unwrap_or_default();
    let is_of_rows = |column: &Column| column.path.iter().take(rows.len()).eq(rows.iter());
    let rows = Some(&*rows).filter(|rows| !rows.is_empty() && columns.iter().any(is_of_rows));
    let names_host = columns.iter().any(|column| column.path == [HOST]);
    // Who chose the columns has room for them.
    let many_hosts = view.many_hosts && !names_host;
    let view = View { many_hosts, width: None, ..view.clone() };
    let mut table = Table::headed(&view, columns.iter().map(head).collect());
    let first =
        columns.iter().position(|column| column.path != [HOST]).map(|at| head(&columns[at]));
    for item in items {
        if item.error.is_some() && !reads_failure(columns) {
            let hosts = columns
                .iter()
                .map(|column| (column.path == [HOST]).then(|| Cell::text(&*item.host)));
            table.failed_with(item, first.as_deref().unwrap_or_default(), hosts.collect());
            continue;
        }
        for value in each(value_of(item), rows) {
            let cells = columns.iter().map(|column| cell(column, &value, &view));
            table.row(&item.host, cells.collect());
        }
    }
    table.render_headed(&view)
}

/// Puts rows into an order; what has no value comes last, and what is the same stays as it was.
pub(crate) fn sort<T: Serialize>(items: &mut Vec<Item<T>>, order: &Order) {
    let path = &order.by.path;
    let mut keyed: Vec<(Option<Value>, Item<T>)> =
        items.drain(..).map(|item| (scalar(&value_of(&item), path), item)).collect();
    keyed.sort_by(|(one, _), (other, _)| match (one, other) {
        (Some(one), Some(other)) if order.falls => compare(other, one),
        (Some(one), Some(other)) => compare(one, other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    });
    items.extend(keyed.into_iter().map(|(_, item)| item));
}

/// The item as `-o json` has it.
fn value_of<T: Serialize>(item: &Item<T>) -> Value {
    // What cannot be told as JSON has no columns.
    serde_json::to_value(item).unwrap_or_default()
}

/// The item once for each thing in the list at this path, which has that alone then.
fn each(item: Value, path: Option<&[&str]>) -> Vec<Value> {
    let pointer = path.map(|path| format!("/{}", path.join("/")));
    let listed = pointer.and_then(|at| Some((item.pointer(&at)?.as_array()?.clone(), at)));
    let Some((all, place)) = listed else { return vec![item] };
    let mut bare = item;
    if let Some(place) = bare.pointer_mut(&place) {
        *place = Value::Null;
    }
    let alone = |one: Value| {
        let mut own = bare.clone();
        if let Some(place) = own.pointer_mut(&place) {
            *place = Value::Array(vec![one]);
        }
        own
    };
    all.into_iter().map(alone).collect()
}

fn reads_failure(columns: &[Column]) -> bool {
    columns
        .iter()
        .any(|column| column.path.first().is_some_and(|own| own == "error" || own == "ok"))
}

/// Numbers by their size, all else as text.
fn compare(one: &Value, other: &Value) -> Ordering {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => text(one).cmp(&text(other)),
    }
}

/// The only value of an item at this path.
fn scalar(value: &Value, path: &[String]) -> Option<Value> {
    let found = at(value, path);
    found.into_iter().find(|value| !value.is_null()).cloned()
}

/// The values at a path: one of each thing in a list on the way.
fn at<'a>(value: &'a Value, path: &[String]) -> Vec<&'a Value> {
    if let Value::Array(all) = value {
        return all.iter().flat_map(|each| at(each, path)).collect();
    }
    match path.split_first() {
        None => vec![value],
        Some((name, rest)) => value.get(name).map(|inner| at(inner, rest)).unwrap_or_default(),
    }
}

/// The last word of the path without its unit, which the values have.
fn head(column: &Column) -> String {
    let typed = &column.typed;
    let bare = ["_bytes", "_seconds"].iter().find_map(|unit| typed.strip_suffix(unit));
    bare.unwrap_or(typed).replace(['_', '-'], " ").to_uppercase()
}

fn cell(column: &Column, item: &Value, view: &View) -> Cell {
    let name = column.path.last().map_or("", String::as_str);
    let found = at(item, &column.path);
    match found.as_slice() {
        [] | [Value::Null] => Cell::Absent,
        [Value::Number(number)] => match (number.as_u64(), number.as_f64()) {
            (Some(bytes), _) if name.ends_with("_bytes") => Cell::Bytes(bytes),
            (_, Some(seconds)) if name.ends_with("_seconds") && seconds >= 0.0 => {
                Cell::figure(Some(format_seconds(seconds)))
            }
            _ => Cell::figure(Some(number.to_string())),
        },
        [Value::String(word)] => match word.parse::<Timestamp>() {
            Ok(time) => Cell::text(date_time(time, &view.zone)),
            Err(_) if word.is_empty() => Cell::Absent,
            Err(_) => Cell::text(&**word),
        },
        several => {
            Cell::text(several.iter().map(|value| text(value)).collect::<Vec<_>>().join(", "))
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Where an item names its host.
const HOST: &str = "host";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Choice;
    use crate::failure::{Code, Failure};
    use crate::output::{Format, Output};

    #[derive(Serialize)]
    struct Body {
        vm: Vm,
        conditions: Vec<Condition>,
    }

    #[derive(Serialize)]
    struct Vm {
        name: String,
        memory: Option<Memory>,
    }

    #[derive(Serialize)]
    struct Memory {
        actual_bytes: u64,
        figures_age_seconds: f64,
    }

    #[derive(Serialize)]
    struct Condition {
        reason: String,
    }

    fn item(host: &str, name: &str, mib: Option<u64>) -> Item<Body> {
        let memory = mib.map(|mib| Memory { actual_bytes: mib << 20, figures_age_seconds: 1.5 });
        let conditions = ["A", "B"].map(|reason| Condition { reason: reason.to_owned() }).into();
        let vm = Vm { name: name.to_owned(), memory };
        Item::answered(host, Body { vm, conditions })
    }

    fn items() -> Vec<Item<Body>> {
        let failure = Failure::new(Code::Unavailable, "R", "m");
        vec![
            item("node1", "web10", Some(512)),
            item("node1", "web2", Some(2048)),
            Item::failed("node2", failure),
            item("node3", "db1", None),
        ]
    }

    fn shown(columns: &[&str], sort_by: Option<&str>, many_hosts: bool) -> String {
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let choice = Choice::of("vms", &columns, sort_by).unwrap();
        let view = View { many_hosts, width: Some(10), ..Output::plain(Format::Table).view };
        let mut items = items();
        if let Some(order) = &choice.order {
            sort(&mut items, order);
        }
        table(&items, &choice.columns, None, &view)
    }

    #[test]
    fn what_a_table_has_a_row_each_of_has_one_here_too() {
        let columns = ["name", "conditions.reason"].map(str::to_owned);
        let choice = Choice::of("vms", &columns, None).unwrap();
        let view = Output::plain(Format::Table).view;
        let shown = |columns: &[Column]| table(&items()[..2], columns, Some("conditions"), &view);
        let rows = "NAME   CONDITIONS.REASON\nweb10  A\nweb10  B\nweb2   A\nweb2   B\n";
        assert_eq!(shown(&choice.columns), rows);
        assert_eq!(shown(&choice.columns[..1]), "NAME\nweb10\nweb2\n");
    }

    #[test]
    fn columns_have_the_values_of_their_fields_in_words() {
        let want = "HOST   NAME         ACTUAL  FIGURES AGE  CONDITIONS.REASON\n\
                    node1  web10       512 MiB         1.5s  A, B\n\
                    node1  web2       2048 MiB         1.5s  A, B\n\
                    node2  UNREACHABLE         -            -  -\n";
        let columns = ["name", "actual_bytes", "figures_age", "conditions.reason"];
        let text = shown(&columns, None, true);
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let head: Vec<&str> = text.lines().take(4).collect();
        assert_eq!(squeezed(&head.join("\n")), squeezed(want));
        assert_eq!(shown(&["name", "host"], None, true).lines().nth(3), Some("UNREACHABLE  node2"));
        assert_eq!(shown(&["name"], None, false).lines().next(), Some("NAME"));
    }

    #[test]
    fn rows_stand_in_the_order_of_their_values_and_those_without_come_last() {
        let names = |sort_by| {
            let text = shown(&["vm.name"], Some(sort_by), false);
            text.lines().skip(1).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("actual"), ["web10", "web2", "UNREACHABLE", "db1"]);
        assert_eq!(names("-actual"), ["web2", "web10", "UNREACHABLE", "db1"]);
        assert_eq!(names("name"), ["db1", "web10", "web2", "UNREACHABLE"]);
    }
}
