//! Comments of a Lua file that describe functions, in the notation of the Lua language server: `--- text`, `---@param name type text`,
//! `---@return type name text`, `---@async`, right above a function, or above an entry of the module's table.

use std::collections::BTreeMap;

/// What is written above a function.
#[derive(Clone, Default)]
pub(crate) struct Comment {
    pub(crate) text: Vec<String>,
    pub(crate) suspends: bool,
    /// Name, type and explanation.
    pub(crate) params: Vec<(String, String, String)>,
    /// Type and explanation, which may begin with a name.
    pub(crate) returns: Vec<(String, String)>,
}

/// A function, or an entry that stands for one elsewhere.
#[derive(Clone, Default)]
pub(crate) struct Entry {
    /// Between the parentheses, for functions.
    pub(crate) arguments: Option<String>,
    pub(crate) comment: Comment,
    /// Module and name where this comes from, such as `skein.dispatch` and `send`.
    pub(crate) origin: Option<(String, String)>,
}

/// Fields of a table: name, type and explanation.
pub(crate) type Fields = Vec<(String, String, String)>;

/// What a file says.
#[derive(Default)]
pub(crate) struct File {
    /// The comment at its top.
    pub(crate) intro: Vec<String>,
    /// By plain name; where two tables have the same, the module's own counts.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// The public fields of each class of tables that has any.
    pub(crate) classes: BTreeMap<String, Fields>,
    /// The module whose table this one is.
    pub(crate) same_as: Option<String>,
}

/// Reads a file.
pub(crate) fn parse(text: &str) -> File {
    let module =
        text.lines().rev().find_map(|it| it.strip_prefix("return ")).unwrap_or_default().trim().to_owned();
    let mut file = File::default();
    let mut imports = BTreeMap::new();
    let mut locals: BTreeMap<String, Entry> = BTreeMap::new();
    let mut above: Vec<&str> = Vec::new();
    let mut at_top = true;
    // Whether the lines are entries of the module's table.
    let mut in_module = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix("---").filter(|it| !it.starts_with('-')) {
            if !rest.starts_with("@meta") {
                above.push(rest);
            }
            continue;
        }
        if at_top && !above.is_empty() {
            file.intro = comment(&above).text;
            above.clear();
        }
        if let Some((name, fields)) = class(&above) {
            file.classes.insert(name, fields);
        }
        at_top &= trimmed.is_empty();
        if in_module && line == "}" {
            in_module = false;
        } else if in_module && line.starts_with("    ") && !line.starts_with("     ") {
            if let Some((name, value)) = trimmed.split_once(" = ") {
                let entry = stands_for(value, &imports, &locals, &above);
                file.entries.entry(name.to_owned()).or_insert(entry);
            }
        } else if let Some((table, name, arguments)) = function(line) {
            let entry =
                Entry { arguments: Some(arguments.to_owned()), comment: comment(&above), origin: None };
            match table {
                None => drop(locals.insert(name.to_owned(), entry)),
                Some(table) if table == module => drop(file.entries.insert(name.to_owned(), entry)),
                Some(_) if !above.is_empty() => drop(file.entries.entry(name.to_owned()).or_insert(entry)),
                Some(_) => {}
            }
        } else if let Some((name, value)) = line.strip_prefix("local ").and_then(|it| it.split_once(" = ")) {
            if let Some(from) = required(value) {
                imports.insert(name.to_owned(), from);
            }
            in_module = name == module && value == "{";
        } else if let Some((name, value)) =
            line.strip_prefix(&format!("{module}.")).and_then(|it| it.split_once(" = "))
        {
            file.entries.entry(name.to_owned()).or_insert(stands_for(value, &imports, &locals, &above));
        }
        above.clear();
    }
    file.same_as = imports.remove(&module);
    file
}

/// A class that is described in these lines, with its public fields, if it has some.
fn class(lines: &[&str]) -> Option<(String, Fields)> {
    let at = lines.iter().position(|it| it.starts_with("@class "))?;
    let name = lines[at]["@class ".len()..].split([' ', ':']).next()?;
    let fields: Fields = lines[at..]
        .iter()
        .filter_map(|it| it.strip_prefix("@field "))
        .filter(|it| !it.starts_with("private "))
        .map(|it| {
            let (name, rest) = it.split_once(' ').unwrap_or((it, ""));
            let (kind, text) = type_and_rest(rest);
            (name.to_owned(), kind, text)
        })
        .collect();
    (!fields.is_empty()).then(|| (name.to_owned(), fields))
}

/// Table, name and arguments of a line that begins a function which is not nested.
fn function(line: &str) -> Option<(Option<&str>, &str, &str)> {
    let rest = line.strip_prefix("function ").or_else(|| line.strip_prefix("local function "))?;
    let (path, rest) = rest.split_once('(')?;
    let arguments = rest.split_once(')')?.0;
    Some(match path.rsplit_once(['.', ':']) {
        Some((table, name)) => (Some(table), name, arguments),
        None => (None, path, arguments),
    })
}

/// The module of `require "NAME"`.
fn required(value: &str) -> Option<String> {
    let rest = value.strip_prefix("require")?.trim_start_matches(['(', ' ']);
    Some(rest.strip_prefix('"')?.split_once('"')?.0.to_owned())
}

/// What `name = value` says: a function of this file, of another, or what is above.
fn stands_for(
    value: &str,
    imports: &BTreeMap<String, String>,
    locals: &BTreeMap<String, Entry>,
    above: &[&str],
) -> Entry {
    let value = value.split(" --").next().unwrap_or_default().trim_end_matches(',').trim();
    let mut entry = locals.get(value).cloned().unwrap_or_default();
    if let Some((table, name)) = value.split_once('.')
        && let Some(module) = imports.get(table)
    {
        entry.origin = Some((module.clone(), name.to_owned()));
    }
    if !above.is_empty() {
        entry.comment = comment(above);
    }
    entry
}

/// Takes a comment apart.
fn comment(lines: &[&str]) -> Comment {
    let mut comment = Comment::default();
    for line in lines {
        let Some(tag) = line.strip_prefix('@') else {
            comment.text.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
            continue;
        };
        let (tag, rest) = tag.split_once(' ').unwrap_or((tag, ""));
        match tag {
            "async" => comment.suspends = true,
            "param" => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let (kind, text) = type_and_rest(rest);
                comment.params.push((name.to_owned(), kind, text));
            }
            "return" => comment.returns.push(type_and_rest(rest)),
            _ => {}
        }
    }
    while comment.text.last().is_some_and(String::is_empty) {
        comment.text.pop();
    }
    comment
}

/// A type ends at the first space outside of brackets that follows neither `:` nor `,` nor `|`.
fn type_and_rest(text: &str) -> (String, String) {
    let mut depth = 0_i32;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' | '<' | '[' => depth += 1,
            ')' | '}' | '>' | ']' => depth -= 1,
            ' ' if depth == 0 && !matches!(before, ':' | ',' | '|') && !text[..at].ends_with("async") => {
                return (text[..at].to_owned(), text[at..].trim().trim_start_matches("# ").to_owned());
            }
            _ => {}
        }
        before = c;
    }
    (text.to_owned(), String::new())
}
