//! The rules of the house, held by tests: which layer knows what, how long a file may be, which
//! words are used, and that the pages in docs/ are true.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn the_core_depends_on_nothing() {
    let manifest = read("agentd/core/Cargo.toml");
    let dependencies = section(&manifest, "[dependencies]");
    assert_eq!(dependencies, ["thiserror.workspace = true"]);
    let manifest = read("memctl/Cargo.toml");
    let dependencies = section(&manifest, "[dependencies]");
    assert!(
        !dependencies
            .iter()
            .any(|line| line.starts_with("agentd.") || line.starts_with("agentd-core")),
        "memctl knows the wire alone"
    );
}

#[test]
fn layers_point_one_way() {
    let rules: &[(&str, &[&str], &[&str])] = &[
        // what, where it may stand, and where it is looked for
        ("unsafe ", &["agentd/src/hypervisor/libvirt/ffi"], &["agentd", "memctl", "proto"]),
        ("virt::", &["agentd/src/hypervisor/libvirt/"], &["agentd", "memctl"]),
        ("virt_sys", &["agentd/src/hypervisor/libvirt/"], &["agentd", "memctl"]),
        ("agentd_proto", &["agentd/src/server/", "agentd/tests/"], &["agentd"]),
        // What goes to a collector of OpenTelemetry goes over gRPC, too.
        ("tonic", &["agentd/src/server/", "agentd/src/log/otel.rs", "agentd/tests/"], &["agentd"]),
        (".set_targets(", &["agentd/src/apply.rs", "agentd/src/hypervisor/"], &["agentd"]),
        // The server's timers are those of its runtime.
        (
            "Instant::now",
            &["agentd/src/clock.rs", "agentd/src/server/", "benches/"],
            &["agentd/src", "agentd/core"],
        ),
        ("SystemTime::now", &["agentd/src/clock.rs", "benches/"], &["agentd/src", "agentd/core"]),
        ("hypervisor::", &[], &["agentd/src/server"]),
        (
            "_kib",
            &["agentd/core/src/bytes.rs", "agentd/src/hypervisor/libvirt/"],
            &["agentd/src", "agentd/core/src"],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, allowed, places) in rules {
        for file in sources().iter().filter(|file| places.iter().any(|p| file.starts_with(p))) {
            if allowed.iter().any(|place| file.contains(place)) {
                continue;
            }
            let code = code_of(&read(file));
            if code.lines().any(|line| uses(line, what)) {
                wrong.push(format!("{file} uses {what}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_readable() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "more than 600 lines: {long:?}");
    let production = sources().into_iter().filter(|file| !file.contains("test"));
    let silent: Vec<_> = production.filter(|file| !read(file).starts_with("//!")).collect();
    assert!(silent.is_empty(), "files that do not say what they are: {silent:?}");
}

#[test]
fn one_word_for_one_thing() {
    let mut wrong = Vec::new();
    for file in sources() {
        if file == "tests/it/tidy.rs" {
            continue;
        }
        for (number, line) in read(&file).lines().enumerate() {
            let mut object =
                |why: &str| wrong.push(format!("{file}:{}: {why}: {line}", number + 1));
            let lower = line.to_lowercase();
            if lower.contains("inflate") || lower.contains("deflate") {
                let libvirt = file.contains("libvirt") || file.starts_with("tests/");
                if !libvirt {
                    object("grow and shrink are the words");
                }
            }
            for noun in ["Manager", "Helper", "Util", "Handler"] {
                let named = |kind: &str| line.contains(&format!("{kind} ")) && line.contains(noun);
                if ["struct", "enum", "trait"].iter().any(|kind| named(kind)) {
                    object("says nothing");
                }
            }
            for left in ["todo!(", "unimplemented!(", "FIXME", "dbg!("] {
                if line.contains(left) {
                    object("is not finished");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every path that the page names is there, and every test that it names as the holder of an
/// invariant is a test.
#[test]
fn the_architecture_page_is_true() {
    let page = read("docs/ARCHITECTURE.md");
    let tests: BTreeSet<String> = sources().iter().flat_map(|file| tests_of(&read(file))).collect();
    let invariants = page.split("## Invariants").nth(1).expect("the page lists the invariants");
    let invariants = invariants.split("\n## ").next().unwrap_or_default();
    let named: Vec<&str> = invariants
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains("::"))
        .filter_map(|name| name.rsplit("::").next())
        .collect();
    assert!(named.len() >= 8, "the invariants name their tests: {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");

    let table =
        page.split("## Where things are").nth(1).and_then(|rest| rest.split("\n## ").next());
    let mut paths = BTreeSet::new();
    for row in table.unwrap_or_default().lines().filter(|line| line.starts_with("| `")) {
        let first = row.split('|').nth(1).unwrap_or_default();
        let names: Vec<&str> = first.split('`').skip(1).step_by(2).collect();
        let folder = Path::new(names[0]).parent().map_or_else(PathBuf::new, Path::to_path_buf);
        paths.insert(PathBuf::from(names[0].replace("*.proto", "event.proto")));
        paths.extend(names[1..].iter().map(|name| folder.join(name)));
    }
    let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "no such path: {missing:?}");
}

/// Every reason that a verdict can have is explained to the operator.
#[test]
fn every_reason_is_in_the_operators_book() {
    let book = read("docs/OPERATING.md");
    let verdicts = read("agentd/core/src/verdict.rs");
    let names = verdicts.lines().filter_map(|line| line.split("=> \"").nth(1)?.split('"').next());
    let names: Vec<&str> =
        names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    assert!(names.len() >= 17, "{names:?}");
    let missing: Vec<_> =
        names.iter().filter(|name| !book.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/OPERATING.md does not explain {missing:?}");
}

/// Every test that the operator's book names for a fault is there: `file::test`, or `file::tests`
/// for all of a file.
#[test]
fn every_fault_is_shown_by_a_test_that_is_there() {
    let book = read("docs/OPERATING.md");
    let table = book.split("## Faults, and what happens").nth(1).expect("the table of faults");
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() >= 40, "{} faults", rows.len());
    let shown = |row: &&str| row.contains("::") || row.contains("soak");
    let bare: Vec<_> = rows.iter().filter(|row| !shown(row)).collect();
    assert!(bare.is_empty(), "shown by nothing: {bare:?}");
    let files: Vec<(String, String)> =
        sources().into_iter().map(|file| (file.clone(), read(&file))).collect();
    let named = table.split('`').filter(|word| word.contains("::"));
    let is_there = |name: &&str| {
        let Some((file, test)) = name.split_once("::") else { return false };
        let of_file = |path: &str| {
            [format!("/{file}.rs"), format!("/{file}/mod.rs")].iter().any(|end| path.ends_with(end))
        };
        let mut own = files.iter().filter(|(path, _)| file == "tests" || of_file(path));
        let wanted = if test == "tests" { "mod tests".to_owned() } else { format!("fn {test}(") };
        own.any(|(_, text)| text.contains(&wanted))
    };
    let missing: Vec<_> = named.filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "docs/OPERATING.md names {missing:?}");

    let of_faults = files.iter().filter(|(path, _)| path.starts_with("tests/it/faults_"));
    let tests = of_faults.flat_map(|(_, text)| text.split("#[test]").skip(1));
    let names = tests.filter_map(|text| text.split_once("fn ")?.1.split('(').next());
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() >= 20, "{names:?}");
    let unnamed: Vec<_> =
        names.iter().filter(|name| !table.contains(&format!("::{name}`"))).collect();
    assert!(unnamed.is_empty(), "docs/OPERATING.md names no row that shows {unnamed:?}");
}

/// Every condition that agentd can raise is explained to the operator.
#[test]
fn every_condition_is_in_the_operators_book() {
    let book = read("docs/OPERATING.md");
    let of_agentd = sources().into_iter().filter(|file| file.starts_with("agentd/src/"));
    let texts: Vec<String> = of_agentd.map(|file| read(&file)).collect();
    // By convention a condition's name is that of its constant.
    let names = texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let (name, value) = line.split_once("const ")?.1.split_once(": &str = \"")?;
        (value == format!("{name}\";")).then_some(name)
    });
    let names: BTreeSet<&str> = names.collect();
    assert!(names.contains("FROZEN") && names.len() >= 7, "{names:?}");
    let missing: Vec<_> =
        names.iter().filter(|name| !book.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/OPERATING.md does not explain {missing:?}");
}

/// Every key of the config file is explained to the operator, those of the policy as memctl spells them.
#[test]
fn every_config_key_is_in_the_operators_book() {
    let book = read("docs/OPERATING.md");
    let in_book = |key: &str| {
        let rows = book.lines().filter(|line| line.starts_with("| `"));
        rows.filter_map(|row| row.split(" | ").next())
            .any(|first| first.contains(&format!("`{key}`")))
    };
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in read("packaging/agentd.toml").lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.insert(format!("{section}{key}"));
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    let spelled = |key: &String| match key.strip_prefix("policy.") {
        Some(key) => key.replace('_', "-").replace("vms.db1", "vm.NAME"),
        None => key.clone(),
    };
    let own = keys.iter().filter(|key| !key.starts_with("shadow."));
    let missing: Vec<String> = own.map(spelled).filter(|key| !in_book(key)).collect();
    assert!(missing.is_empty(), "docs/OPERATING.md does not explain {missing:?}");
}

/// An amount of memory that wraps is a wrong order: the check stays on in what is installed, and in
/// what the fuzz targets run.
#[test]
fn the_readme_names_the_rust_that_it_takes() {
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let words = format!("Rust {} or newer", version.trim_matches('"'));
    assert!(read("README.md").contains(&words), "README.md does not say \"{words}\"");
}

#[test]
fn overflow_is_checked_in_release() {
    for manifest in ["Cargo.toml", "tests/fuzz/Cargo.toml"] {
        let manifest = read(manifest);
        assert!(section(&manifest, "[profile.release]").contains(&"overflow-checks = true"));
    }
    let off = sources().into_iter().filter(|file| {
        let text = read(file);
        !file.starts_with("tests/it/") && text.contains("overflow_checks")
    });
    assert_eq!(off.collect::<Vec<_>>(), Vec::<String>::new());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live in the workspace").into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file of the workspace, by its path from the root.
fn sources() -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = ["agentd", "memctl", "proto", "tests"].map(|name| root().join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let short = path.strip_prefix(root()).expect("below the root");
                files.push(short.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    files
}

/// True when the word stands in the line, and is not the end of a longer one.
fn uses(line: &str, what: &str) -> bool {
    line.match_indices(what).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        what.starts_with('.') || !before.is_some_and(|c| c.is_alphanumeric() || c == ':')
    })
}

/// The code of a file without its comments and without its inline tests.
fn code_of(text: &str) -> String {
    let production = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = production.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn tests_of(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let named = lines.iter().filter_map(|line| {
        let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
        Some(rest.split('(').next().unwrap_or_default().to_owned())
    });
    named.collect()
}

/// The lines of one section of a manifest.
fn section<'a>(manifest: &'a str, head: &str) -> Vec<&'a str> {
    let body = manifest.split(head).nth(1).unwrap_or_default();
    let lines = body.lines().skip(1).take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.trim().is_empty()).collect()
}
