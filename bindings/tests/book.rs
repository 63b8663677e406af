//! The pages of docs: what the first one shows comes out, links lead somewhere, and the table of contents is whole.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Site;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text behind "`NAME`…:" that stands in a block of its own, and what the console block behind them shows.
fn getting_started() -> (Vec<(String, String)>, String) {
    let page = fs::read_to_string(root().join("docs/getting-started.md")).unwrap();
    let mut files = Vec::new();
    let mut named = None;
    let mut lines = page.lines();
    let mut console = String::new();
    while let Some(line) = lines.next() {
        let fence = line.strip_prefix("```");
        let mut block =
            || lines.by_ref().take_while(|it| *it != "```").map(|it| format!("{it}\n")).collect::<String>();
        match (fence, named.take()) {
            (Some("lua"), Some(name)) => files.push((name, block())),
            (Some("console"), _) => console = block(),
            (Some(_), _) => drop(block()),
            (None, before) => {
                // The last name of a paragraph that ends with a colon.
                let name =
                    line.split('`').skip(1).step_by(2).find(|it| *it == "config" || it.ends_with(".lua"));
                named = if line.is_empty() {
                    before
                } else {
                    name.filter(|_| line.ends_with(':')).map(str::to_owned)
                };
                if line.starts_with("`echo.lua`") {
                    named = Some("echo.lua".to_owned());
                }
            }
        }
    }
    (files, console)
}

#[test]
fn the_first_steps_work_as_shown() {
    let (files, console) = getting_started();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["config", "main.lua", "counter.lua", "echo.lua"]);
    let site = Site::empty();
    for (name, text) in &files {
        site.write(name, text);
    }
    let ended = site.run();
    assert!(ended.status.success(), "{}", ended.stderr);
    let shown: Vec<&str> = console.lines().skip(1).collect();
    assert!(shown.len() > 8, "{console}");
    for line in &shown {
        assert!(ended.stdout.lines().any(|it| it == *line), "`{line}` did not come out:\n{}", ended.stdout);
    }
    assert_eq!(ended.stdout.lines().count(), shown.len(), "{}", ended.stdout);
}

/// The texts of this repository that link to each other.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "benches/README.md",
        "benches/report/report.md",
    ]
    .iter()
    .map(|it| root().join(it))
    .collect();
    for folder in ["docs", "docs/reference"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|it| it.unwrap().path());
        pages.extend(files.filter(|it| it.extension().is_some_and(|it| it == "md")));
    }
    pages
}

/// Targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        // Every other part lies between backticks; a link's text may have some, its target has none.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("x");
        for part in plain.split("](").skip(1) {
            links.extend(part.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    links
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = page.parent().unwrap().join(target);
            assert!(path.exists(), "{}: `{link}` leads nowhere", page.display());
            followed += 1;
        }
    }
    assert!(followed > 40, "{followed} links");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let docs = root().join("docs");
    let contents = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let named = links(&contents);
    for entry in fs::read_dir(&docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "SUMMARY.md" {
            assert!(named.contains(&name), "{name} is missing in docs/SUMMARY.md");
        }
    }
}
