//! Every statement of skynet's behaviour that has an id has a test that names it.
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
