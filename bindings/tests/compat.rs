//! docs/compat.md is true: what it calls there is there, what it calls missing is missing, and nothing is left out.
//!
//! The table is read as a reader sees it: `## part`, `### module`, rows of name, state and how. The real binary loads every module
//! named in it, each in a service of its own, and says which fields it found.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::Site;

/// One row: the state's word, and the text behind it.
struct Row {
    state: String,
    how: String,
}

impl Row {
    fn missing(&self) -> bool {
        self.state == "missing"
    }
}

/// Part (`## `) → section (`### `, or empty) → name → row.
type Table = BTreeMap<String, BTreeMap<String, BTreeMap<String, Row>>>;

/// A service that is made from a function, and has no file.
const FROM_A_FUNCTION: &str = "ltls_holder";

const STATES: [&str; 4] = ["works", "differs", "partly", "missing"];

fn table() -> Table {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compat.md")).unwrap();
    let (mut part, mut section) = (String::new(), String::new());
    let mut table = Table::new();
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if let Some(title) = line.strip_prefix("## ") {
            (part, section) = (title.to_owned(), String::new());
        } else if let Some(title) = line.strip_prefix("### ") {
            section = title.replace('`', "");
            let sections = table.entry(part.clone()).or_default();
            let before = sections.insert(section.clone(), BTreeMap::new());
            assert!(before.is_none(), "compat.md:{at}: `{section}` stands twice in `{part}`");
        } else if let Some(rest) = line.strip_prefix("| `") {
            let (name, rest) =
                rest.split_once('`').unwrap_or_else(|| panic!("compat.md:{at}: the name has no end"));
            let cells: Vec<&str> = rest.split(" | ").collect();
            assert!(cells.len() == 3, "compat.md:{at}: {} cells and not 3", cells.len());
            let row =
                Row { state: cells[1].trim().to_owned(), how: cells[2].trim_matches(['|', ' ']).to_owned() };
            assert!(STATES.contains(&row.state.as_str()), "compat.md:{at}: `{}` is no state", row.state);
            let excused = matches!(row.state.as_str(), "works" | "missing");
            assert!(excused || !row.how.is_empty(), "compat.md:{at}: `{name}` {}, but how?", row.state);
            let rows = table.entry(part.clone()).or_default().entry(section.clone()).or_default();
            assert!(rows.insert(name.to_owned(), row).is_none(), "compat.md:{at}: `{name}` stands twice");
        }
    }
    table
}

/// What the binary answered for one module: nothing, or the kind of value and the kinds of its fields.
type Found = Option<(String, BTreeMap<String, String>)>;

/// Loads each module in a service of its own. The fields of a module that adds to `skynet` are what it added.
fn load(modules: &[&String]) -> BTreeMap<String, Found> {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            for name in io.lines "modules" do
                skynet.newservice("probe", name)
            end
            skynet.abort()
        end)
        "#,
    );
    // `ltls.c` is there only then.
    site.config("enablessl = true");
    site.write("modules", &modules.iter().map(|name| format!("{name}\n")).collect::<String>());
    site.write(
        "probe.lua",
        r#"
        local skynet = require "skynet"
        local name = ...
        local before = {}
        for field in pairs(skynet) do before[field] = name ~= "skynet" end
        local present, module = pcall(require, name)
        local out <close> = assert(io.open("found", "a"))
        if not present then
            out:write("absent ", name, "\n")
            if not module:find("module '" .. name .. "' not found", 1, true) then
                out:write("broken ", name, " ", module:gsub("\n", " "), "\n")
            end
        else
            out:write("present ", name, " ", type(module), "\n")
            for field, value in pairs(type(module) == "table" and module or {}) do
                if not (module == skynet and before[field]) then
                    out:write("field ", name, " ", tostring(field), " ", type(value), "\n")
                end
            end
        end
        skynet.start(function() end)
        "#,
    );
    let ended = site.run();
    let mut found = BTreeMap::new();
    for line in site.read("found").lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["absent", name] => _ = found.insert(name.to_owned(), None),
            ["present", name, kind] => {
                _ = found.insert(name.to_owned(), Some((kind.to_owned(), BTreeMap::new())))
            }
            ["field", name, field, kind] => {
                let (_, fields) =
                    found.get_mut(name).and_then(Option::as_mut).expect("`present` comes first");
                fields.insert(field.to_owned(), kind.to_owned());
            }
            _ => panic!("{line}"),
        }
    }
    for name in modules {
        assert!(found.contains_key(*name), "nothing was said about {name}\n{}{}", ended.stdout, ended.stderr);
    }
    found
}

/// Compares the rows of one module with what was found. Returns complaints.
fn differences(module: &str, rows: &BTreeMap<String, Row>, found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some((kind, fields)) = found else {
        let there = rows.iter().filter(|(_, row)| !row.missing());
        return there
            .map(|(name, _)| format!("{module}: the module is absent, but `{name}` is not `missing`"))
            .collect();
    };
    if kind == "function" && rows.get("()").is_none_or(Row::missing) {
        wrong.push(format!("{module} is a function, and `()` does not say so"));
    }
    // `x:name` are methods of objects: nobody can tell from outside.
    let named = rows.iter().filter(|(name, _)| name.chars().all(|it| it.is_alphanumeric() || it == '_'));
    for (name, row) in named {
        match (row.missing(), fields.contains_key(name)) {
            (true, true) => {
                wrong.push(format!("{module}: `{name}` is there, but the table says it is missing"))
            }
            (false, false) => wrong.push(format!("{module}: `{name}` is not there, but `{}`", row.state)),
            _ => {}
        }
    }
    let unlisted = fields.iter().filter(|(name, kind)| *kind == "function" && !rows.contains_key(*name));
    wrong.extend(unlisted.map(|(name, _)| format!("{module}: `{name}` has no row")));
    wrong
}

#[test]
fn every_module_offers_what_the_table_says() {
    let table = table();
    let sections: Vec<_> = ["Native modules", "Lua modules"].iter().flat_map(|part| &table[*part]).collect();
    let found = load(&sections.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let wrong: Vec<_> =
        sections.iter().flat_map(|(name, rows)| differences(name, rows, &found[*name])).collect();
    assert!(wrong.is_empty(), "docs/compat.md is not true:\n{}", wrong.join("\n"));
}

/// Names of the Lua files below `dir`, as `require` or `newservice` would say them.
fn lua_files(dir: &Path, prefix: &str, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            lua_files(&path, &format!("{prefix}{stem}."), names);
        } else if path.extension().is_some_and(|it| it == "lua") {
            names.insert(if stem == "init" {
                prefix.trim_end_matches('.').to_owned()
            } else {
                prefix.to_owned() + &stem
            });
        }
    }
}

#[test]
fn every_embedded_file_has_its_rows() {
    let table = table();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut library, mut services) = (BTreeSet::new(), BTreeSet::new());
    lua_files(&root.join("lualib"), "", &mut library);
    lua_files(&root.join("service"), "", &mut services);
    // The loader has its own part, `meta` is for editors, `skein` is ours.
    library.retain(|name| name != "loader" && !name.starts_with("meta.") && !name.starts_with("skein."));

    let modules = &table["Lua modules"];
    let aliases = &table["Short names of compat10"][""];
    for name in &library {
        if let Some(alias) = name.strip_prefix("compat10.") {
            assert!(
                aliases.get(alias).is_some_and(|row| !row.missing()),
                "compat10: `{alias}` is called missing"
            );
            continue;
        }
        assert!(
            modules.get(name).is_some_and(|rows| !rows.values().all(Row::missing)),
            "lualib: `{name}` has no row"
        );
    }
    for (alias, row) in aliases {
        assert!(
            row.missing() || library.contains(&format!("compat10.{alias}")),
            "compat10: `{alias}` is not there"
        );
    }
    let listed = &table["System services"];
    for name in &services {
        let row = listed.get(&format!("service {name}")).and_then(|rows| rows.get("()"));
        assert!(
            row.is_some_and(|row| !row.missing()),
            "service/{name}.lua is there, but the table does not say so"
        );
    }
    for (title, rows) in listed {
        let name = title.strip_prefix("service ").unwrap();
        // Some are functions inside of a module.
        let made = name == FROM_A_FUNCTION || library.contains(&format!("skynet.{name}"));
        assert!(
            services.contains(name) || made || rows.values().all(Row::missing),
            "the table has `{name}`, the binary has not"
        );
    }
}

#[test]
fn native_services_are_there_or_missing() {
    let table = table();
    // The arguments are those of a harbor, but for a gate; the others make do with them.
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            local out <close> = assert(io.open("launched", "w"))
            for name in io.lines "modules" do
                local arguments = name == "gate" and { "S", "!", "127.0.0.1:0", 0, 10 } or { 0, skynet.self() }
                if skynet.launch(name, table.unpack(arguments)) then out:write(name, "\n") end
            end
            skynet.abort()
        end)
        "#,
    );
    let rows = &table["Native services"][""];
    let names: Vec<_> = rows.keys().filter(|name| !name.contains(' ')).collect();
    site.write("modules", &names.iter().map(|name| format!("{name}\n")).collect::<String>());
    let ended = site.run();
    let launched = site.read("launched");
    for name in names {
        let there = launched.lines().any(|it| it == name);
        assert_eq!(there, !rows[name].missing(), "{name}\n{}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn the_table_is_complete_in_what_can_be_counted() {
    let table = table();
    let count = |part: &str, section: &str| table[part][section].len();
    assert_eq!(count("Runtime commands", ""), 16 + 2);
    assert_eq!(count("Debug commands", ""), 15 + 1);
    assert_eq!(count("Short names of compat10", ""), 19);
    assert_eq!(count("System services", "service debug_console"), 1 + 33 + 1); // itself, its commands, and HTTP
    let natives = &table["Native modules"];
    let functions = [
        ("skynet.core", 17),
        ("skynet.socketdriver", 28 + 2),
        ("skynet.netpack", 5 + 1),
        ("skynet.cluster.core", 10),
        ("skynet.crypt", 16 + 1),
        ("skynet.sharedata.core", 14 + 3),
        ("skynet.sharetable.core", 4 + 3),
        ("skynet.datasheet.core", 3 + 1),
        ("skynet.stm", 3 + 2),
        ("skynet.multicast.core", 7),
        ("skynet.memory", 10),
        ("skynet.profile", 4),
        ("skynet.codecache", 3),
        ("skynet.debugchannel", 4 + 2),
        ("skynet.mongo.driver", 3),
        ("bson", 11 + 3 + 5),
        ("md5.core", 4 + 3),
        ("sproto.core", 12),
        ("client.socket", 7),
        ("lpeg", 22 + 1),
    ];
    for (module, rows) in functions {
        assert_eq!(natives[module].len(), rows, "{module}");
    }
}

#[test]
fn every_config_key_is_explained_to_operators() {
    let table = table();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md")).unwrap();
    let explained: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    for key in table["Config keys"][""].keys() {
        let name = format!("`{key}`");
        assert!(explained.iter().any(|line| line[2..].split(" |").next().unwrap().contains(&name)), "{key}");
    }
}
