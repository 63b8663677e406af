//! docs/reference is what the library's comments and docs/compat.md say, a page for each module.
//!
//! It is made here: `SKEIN_WRITE=1 cargo test -p skein --test reference` writes it anew.

#[path = "reference/docs.rs"]
mod docs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use docs::{Entry, Fields, File};

/// A row of docs/compat.md.
struct Row {
    name: String,
    state: String,
    how: String,
}

/// Modules with their rows.
type Modules = Vec<(String, Vec<Row>)>;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The modules of docs/compat.md by part, in its order, with their rows.
fn modules() -> Vec<(String, Modules)> {
    let text = fs::read_to_string(root().join("docs/compat.md")).unwrap();
    let mut parts: Vec<(String, Modules)> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            parts.push((title.to_owned(), Vec::new()));
        } else if let Some(title) = line.strip_prefix("### ") {
            let part = parts.last_mut().unwrap();
            part.1.push((title.trim_matches('`').to_owned(), Vec::new()));
        } else if let Some((name, rest)) = line.strip_prefix("| `").and_then(|it| it.split_once('`'))
            && let Some((_, rows)) = parts.last_mut().and_then(|it| it.1.last_mut())
        {
            let cells: Vec<&str> = rest.split(" | ").collect();
            let how = cells[2].trim_matches(['|', ' ']).to_owned();
            rows.push(Row { name: name.to_owned(), state: cells[1].trim().to_owned(), how });
        }
    }
    parts.retain(|(title, _)| matches!(title.as_str(), "Native modules" | "Lua modules"));
    assert_eq!(parts.len(), 2, "the parts of docs/compat.md have other names");
    parts
}

/// Every file of the library by the name of its module.
fn library() -> BTreeMap<String, File> {
    fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, files) } else { files.push(path) }
        }
    }
    let base = root().join("bindings/lualib");
    let mut paths = Vec::new();
    collect(&base, &mut paths);
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let name = match text.strip_prefix("---@meta ") {
                Some(rest) => rest.lines().next().unwrap().to_owned(),
                None => {
                    let path = path.strip_prefix(&base).unwrap().with_extension("");
                    path.to_str().unwrap().trim_end_matches("/init").replace('/', ".")
                }
            };
            (name, docs::parse(&text))
        })
        .collect()
}

/// An entry, or what it stands for in another module.
fn resolve(library: &BTreeMap<String, File>, file: &File, name: &str) -> Entry {
    let mut entry = file.entries.get(name).cloned().unwrap_or_default();
    if let Some(module) = &file.same_as {
        entry.origin = Some((module.clone(), name.to_owned()));
    }
    // A few steps: modules do not pass things on in circles.
    for _ in 0..4 {
        let Some((module, name)) = entry.origin.take() else { break };
        let Some(there) = library.get(&module).and_then(|it| it.entries.get(&name)) else { break };
        let above = std::mem::take(&mut entry.comment);
        entry = there.clone();
        if !above.text.is_empty() {
            entry.comment.text = above.text;
        }
    }
    entry
}

fn page(library: &BTreeMap<String, File>, module: &str, rows: &[Row]) -> String {
    let none = File::default();
    let file = library.get(module).unwrap_or(&none);
    let mut page = format!("# `{module}`\n\n");
    for line in &file.intro {
        writeln!(page, "{line}").unwrap();
    }
    if !file.intro.is_empty() {
        page.push('\n');
    }
    let mut bare = Vec::new();
    let mut types = Vec::new();
    for row in rows {
        let plain = row.name.rsplit_once([':', '.']).map_or(row.name.as_str(), |(_, name)| name);
        let entry = resolve(library, file, plain);
        if entry.arguments.is_none() && entry.comment.text.is_empty() && row.how.is_empty() {
            bare.push(format!("`{}`", row.name));
            continue;
        }
        let arguments = entry.arguments.as_ref().map(|it| format!("({it})")).unwrap_or_default();
        writeln!(page, "## `{}{arguments}`\n", row.name).unwrap();
        let comment = &entry.comment;
        types.extend(comment.params.iter().map(|it| it.1.clone()));
        types.extend(comment.returns.iter().map(|it| it.0.clone()));
        if comment.suspends {
            writeln!(page, "*May suspend the calling task.*\n").unwrap();
        }
        for line in &comment.text {
            writeln!(page, "{line}").unwrap();
        }
        if !comment.text.is_empty() {
            page.push('\n');
        }
        for (name, kind, text) in &comment.params {
            let text = if text.is_empty() { String::new() } else { format!(": {text}") };
            writeln!(page, "- `{name}` `{kind}`{text}").unwrap();
        }
        for (kind, text) in &comment.returns {
            let text = if text.is_empty() { String::new() } else { format!(": {text}") };
            writeln!(page, "- returns `{kind}`{text}").unwrap();
        }
        if !comment.params.is_empty() || !comment.returns.is_empty() {
            page.push('\n');
        }
        match row.state.as_str() {
            "works" if row.how.is_empty() => {}
            "works" => writeln!(page, "{}\n", sentence(&row.how)).unwrap(),
            "missing" => writeln!(page, "**Missing.** {}\n", sentence(&row.how)).unwrap(),
            state => writeln!(page, "**{}**: {}\n", sentence(state).trim_end_matches('.'), row.how).unwrap(),
        }
    }
    for (name, fields) in tables(file, types) {
        writeln!(page, "## Table `{name}`\n").unwrap();
        for (field, kind, text) in fields {
            let text = if text.is_empty() { String::new() } else { format!(": {text}") };
            writeln!(page, "- `{field}` `{kind}`{text}").unwrap();
        }
        page.push('\n');
    }
    if !bare.is_empty() {
        writeln!(page, "Also there: {}.", bare.join(", ")).unwrap();
    }
    while page.ends_with("\n\n") {
        page.pop();
    }
    page
}

/// The classes of a file that these types name, and those that their fields name, with their fields.
fn tables(file: &File, mut types: Vec<String>) -> BTreeMap<&str, &Fields> {
    let mut found = BTreeMap::new();
    while let Some(kind) = types.pop() {
        for name in kind.split(|it: char| !(it.is_alphanumeric() || it == '_' || it == '.')) {
            if let Some((name, fields)) = file.classes.get_key_value(name)
                && found.insert(name.as_str(), fields).is_none()
            {
                types.extend(fields.iter().map(|it| it.1.clone()));
            }
        }
    }
    found
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let end = if text.ends_with(['.', ')']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), letters.as_str())
}

/// Every page by its file's name.
fn pages() -> BTreeMap<String, String> {
    let library = library();
    let mut pages = BTreeMap::new();
    let mut index = String::from(
        "# Lua reference\n\nMade from the comments of the library and from [compat.md](../compat.md). The same texts come up in an editor after \
         `skein stubs DIR`.\n",
    );
    for (part, modules) in modules().into_iter().rev() {
        write!(index, "\n## {part}\n\n").unwrap();
        for (module, rows) in modules {
            let page = page(&library, &module, &rows);
            let intro = library.get(&module).map(|it| it.intro.join(" ")).unwrap_or_default();
            let first = intro.split_inclusive(". ").next().unwrap_or_default().trim();
            let first = if first.is_empty() { String::new() } else { format!(": {first}") };
            writeln!(index, "- [`{module}`]({module}.md){first}").unwrap();
            pages.insert(format!("{module}.md"), page);
        }
    }
    pages.insert("README.md".to_owned(), index);
    pages
}

#[test]
fn the_reference_is_that_of_the_library() {
    let folder = root().join("docs/reference");
    let pages = pages();
    if env::var_os("SKEIN_WRITE").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    for (name, page) in &pages {
        let written = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            written == *page,
            "docs/reference/{name} is not what the comments say: SKEIN_WRITE=1 cargo test -p skein --test reference"
        );
    }
    let there = fs::read_dir(&folder).unwrap().count();
    assert_eq!(there, pages.len(), "docs/reference has pages of modules that are gone");
}

#[test]
fn the_functions_that_everybody_uses_are_explained() {
    let library = library();
    for (module, names) in [
        ("skynet", ["send", "call", "fork", "newservice"]),
        ("skynet.socket", ["open", "listen", "read", "write"]),
        ("skynet.sharetable", ["loadfile", "query", "update", "loadtable"]),
    ] {
        for name in names {
            let entry = resolve(&library, &library[module], name);
            assert!(entry.arguments.is_some(), "{module}.{name} has no arguments");
            assert!(!entry.comment.text.is_empty(), "{module}.{name} is not explained");
        }
    }
}
