//! Every statement of skynet's behaviour that has an id has a test that names it, and every rule of sockets names the tests that hold it.
//!
//! The ids are those of the list by which skynet was observed: launching (L), calls (C), tasks and time (T), select (R), names and debugging
//! (N), queues (Q) and services (S), sockets (K), shared data (D), packing (P), clusters (G), the console (X). A check's text, or a comment
//! beside it, begins with the id.

use std::fs;
use std::path::Path;

const IDS: [(char, u32); 12] = [
    ('L', 14),
    ('C', 24),
    ('T', 16),
    ('R', 6),
    ('N', 15),
    ('Q', 3),
    ('S', 3),
    ('K', 17),
    ('D', 6),
    ('P', 3),
    ('G', 7),
    ('X', 6),
];

/// All tests, as text.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|it| it == "rs" || it == "lua") {
            text.push_str(&fs::read_to_string(path).expect("text"));
        }
    }
}

#[test]
fn every_id_is_named_by_a_test() {
    let mut text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut text);
    let mut words: Vec<&str> = text.split(|it: char| !it.is_alphanumeric()).collect();
    words.sort_unstable();
    let ids = IDS.iter().flat_map(|&(group, count)| (1..=count).map(move |at| format!("{group}{at}")));
    let missing: Vec<String> = ids.filter(|id| words.binary_search(&id.as_str()).is_err()).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

/// What a page of docs says in backquotes: a file and a name in it.
fn named(page: &str) -> Vec<(&str, &str)> {
    let rows =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | "));
    let spans = rows.flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2));
    spans
        .map(|it| it.split_once(": ").unwrap_or_else(|| panic!("`{it}` is no file and a name in it")))
        .collect()
}

/// The text of a file of tests, wherever it is.
fn text_of(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let places = ["runtime/tests", "runtime/src", "bindings/tests", "bindings/src"];
    let found = places.iter().find_map(|it| fs::read_to_string(root.join(it).join(file)).ok());
    found.unwrap_or_else(|| panic!("there is no {file}"))
}

#[test]
fn every_rule_of_sockets_is_held_by_tests_that_are_there() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/socket-rules.md");
    let page = fs::read_to_string(page).expect("the rules");
    let named = named(&page);
    assert!(named.len() > 150, "{}", named.len());
    for &(file, name) in &named {
        let text = text_of(file);
        let there = if file.ends_with(".rs") {
            text.contains(&format!("fn {name}("))
        } else {
            text.contains(&format!("\"{name}\""))
        };
        assert!(there, "{file} has no test {name}");
    }
    // No row goes without, and no test of the socket layer is left out.
    for row in page
        .lines()
        .filter(|it| it.starts_with("| ") && !it.starts_with("| rule") && !it.starts_with("| fault"))
    {
        assert!(row.contains(".rs: ") || row.contains(".lua: "), "{row}");
    }
    for file in ["sockets/main.rs", "sockets/rules.rs", "sockets/whole.rs", "gate.rs"] {
        let text = text_of(file);
        for test in text.split("#[test]\nfn ").skip(1).filter_map(|it| it.split_once('(')).map(|it| it.0) {
            assert!(named.contains(&(file, test)), "{test} of {file} holds no rule");
        }
    }
}
