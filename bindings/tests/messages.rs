//! The examples of docs/messages.md are what `skynet.packstring` writes.

mod common;

use std::fs;

use common::Site;

/// What stands between backticks in a cell, joined.
fn quoted(cell: &str) -> String {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_examples_of_the_document_are_true() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/messages.md")).unwrap();
    let (_, examples) = text.split_once("### Examples").expect("the section");
    let rows: Vec<(String, String, bool)> = examples
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            (quoted(cells[0]), quoted(cells[1]).replace(' ', ""), cells[1].contains(" and "))
        })
        .collect();
    assert!(rows.len() >= 10, "the table is not read any more");

    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            local out <close> = assert(io.open("packed", "w"))
            for values in io.lines "examples" do
                local bytes = skynet.packstring(load("return " .. values)())
                out:write(bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end), "\n")
            end
            skynet.abort()
        end)
        "#,
    );
    site.write("examples", &rows.iter().map(|(values, ..)| format!("{values}\n")).collect::<String>());
    let ended = site.run();
    let packed = site.read("packed");
    assert_eq!(packed.lines().count(), rows.len(), "{}{}", ended.stdout, ended.stderr);
    for ((values, bytes, more), packed) in rows.iter().zip(packed.lines()) {
        assert!(
            if *more { packed.starts_with(bytes) } else { packed == bytes },
            "{values}: {packed}, not {bytes}"
        );
    }
}
