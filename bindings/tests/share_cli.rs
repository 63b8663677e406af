//! `skein share`: publishing from files, showing, comparing, checking, removing; and readers that know the layout only from its page.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A domain, and files, of one test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::Builder::new().prefix("skein-test-").tempdir_in("/dev/shm").unwrap())
    }

    fn domain(&self) -> PathBuf {
        self.0.path().join("domain")
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Status and output of `skein share COMMAND DOMAIN MORE…`.
    fn share(&self, command: &str, more: &[&str]) -> (i32, String) {
        let mut skein = Command::new(env!("CARGO_BIN_EXE_skein"));
        told(skein.args(["share", command]).arg(self.domain()).args(more).output().unwrap())
    }

    /// As [`share`](Place::share), which has to do what it is asked.
    #[track_caller]
    fn done(&self, command: &str, more: &[&str]) -> String {
        let (status, text) = self.share(command, more);
        assert_eq!(status, 0, "{text}");
        text
    }

    /// The files of segments.
    fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.domain().join("tables")).unwrap().map(|it| it.unwrap().path());
        files.filter(|it| it.file_name().unwrap().to_string_lossy().starts_with("segment.")).collect()
    }
}

fn told(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_table_is_published_from_lua_shown_compared_and_removed() {
    let place = Place::new();
    let first = place.file(
        "items.lua",
        "#!/usr/bin/env lua\n\
        local shared = { 'é', [\"a key\"] = true, [2.5] = -0.5, [-3] = 1 << 62, big = 1e300, ['\\0\\255'] = '\\n' }\n\
        return setmetatable({ one = shared, two = shared, none = {}, twice = function(n) return n end }, { __index = { d = 1 } })\n",
    );
    let said = place.done("publish", &["items", &first]);
    assert!(said.starts_with("items: version 1, 64.0 KiB, 5 tables, "), "{said}");
    let expected = r#".none = {}
.one[-3] = 4611686018427387904
.one[1] = "é"
.one[2.5] = -0.5
.one["\u{0}\xff"] = "\n"
.one["a key"] = true
.one.big = 1e300
.twice = <function>
.two = <.one>
<metatable>.__index.d = 1
"#;
    assert_eq!(place.done("show", &["items"]), expected);
    assert_eq!(place.done("show", &["items", ".one[1]"]), ".one[1] = \"é\"\n");
    let (status, text) = place.share("show", &["items", ".on"]);
    assert_eq!((status, text.as_str()), (1, "skein share show: items has nothing at .on\n"));
    assert_eq!(place.share("diff", &["items", &first]), (0, String::new()));

    let second = place.file("items.json", r#"{"none": [], "one": {"big": 7}, "three": [null, "x"]}"#);
    let (status, text) = place.share("diff", &["items", &second]);
    let differences = "\
- .one[-3] = 4611686018427387904\n- .one[1] = \"é\"\n- .one[2.5] = -0.5\n- .one[\"\\u{0}\\xff\"] = \"\\n\"\n\
- .one[\"a key\"] = true\n- .one.big = 1e300\n+ .one.big = 7\n- .twice = <function>\n- .two = <.one>\n\
- <metatable>.__index.d = 1\n+ .three[2] = \"x\"\n";
    assert_eq!((status, text.as_str()), (1, differences));
    assert!(place.done("publish", &["items", &second]).starts_with("items: version 2, "));
    assert_eq!(place.segments().len(), 1, "nobody reads the first version");
    let listed = place.done("ls", &[]);
    assert!(listed.contains("      2   64.0 KiB") && listed.ends_with("  items, -\n"), "{listed}");
    assert_eq!(place.done("check", &[]), "1 table, no problems\n");
    assert_eq!(place.done("rm", &["items"]), "items: removed\n");
    assert_eq!(place.share("rm", &["items"]), (1, "skein share rm: there is no table items\n".to_owned()));
    assert_eq!(place.segments().len(), 0);
    assert_eq!(place.done("check", &[]), "0 tables, no problems\n");
}

#[test]
fn json_and_messagepack_make_the_same_table() {
    let place = Place::new();
    let json =
        r#"{"a": [1, -2, 3.5, true, false, "text"], "big": 18446744073709551615, "empty": {}, "null": null}"#;
    let json = place.file("table.json", json);
    let packed = b"\x84\xa1a\x96\x01\xfe\xcb\x40\x0c\0\0\0\0\0\0\xc3\xc2\xc4\x04text\
        \xa3big\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa5empty\x80\xa4null\xc0";
    let packed = place.file("table.msgpack", packed);
    place.done("publish", &["table", &json]);
    assert_eq!(
        place.done("show", &["table"]),
        ".a[1] = 1\n.a[2] = -2\n.a[3] = 3.5\n.a[4] = true\n.a[5] = false\n.a[6] = \"text\"\n\
        .big = 1.8446744073709552e19\n.empty = {}\n"
    );
    assert_eq!(place.share("diff", &["table", &packed]), (0, String::new()));
    // Keys that JSON does not have.
    let packed = place.file("keys.mp", b"\x83\x07\xa5seven\xc3\xa3yes\xca\x3f\x00\x00\x00\xa4half");
    place.done("publish", &["keys", &packed]);
    assert_eq!(place.done("show", &["keys"]), "[0.5] = \"half\"\n[7] = \"seven\"\n[true] = \"yes\"\n");
}

#[test]
fn what_cannot_be_published_is_told_in_one_line_and_changes_nothing() {
    let place = Place::new();
    let good = place.file("good.lua", "return { 1 }");
    place.done("publish", &["table", &good]);
    let deep = "[".repeat(1000);
    let cases: [(&str, &[u8], &str); 15] = [
        (
            "a.lua",
            b"return { list = { 1, { write = print } } }",
            "table.list[2].write: a function cannot be shared",
        ),
        ("a.lua", b"return { co = coroutine.create(print) }", "table.co: a thread cannot be shared"),
        ("a.lua", b"return 7", "a.lua: expected a table, found a integer"),
        ("a.lua", b"error 'told'", "a.lua:1: told"),
        ("a.lua", b"return {", "a.lua:1: unexpected symbol near <eof>"),
        ("a.json", b"{\"a\": }", "a.json: expected value at line 1 column 7"),
        ("a.json", b"{} {}", "a.json: trailing characters at line 1 column 4"),
        ("a.json", b"7", "a.json: expected an object or a list, found a integer"),
        ("a.json", deep.as_bytes(), "a.json: recursion limit exceeded"),
        ("a.json", b"", "a.json: EOF while parsing a value"),
        ("a.mp", b"\x81\xc0\x01", "a.mp: a key is null"),
        ("a.mp", b"\x81\xcb\x7f\xf8\0\0\0\0\0\0\x01", "a.mp: a key is no number"),
        ("a.mp", b"\x80\x80", "a.mp: something follows the value at byte 1"),
        ("a.mp", b"\xdd\xff\xff\xff\xff\x01", "a.mp: "),
        ("a.mp", b"\xd4\x01\x02", "a.mp: "),
    ];
    for (name, bytes, expected) in cases {
        let file = place.file(name, bytes);
        let (status, text) = place.share("publish", &["table", &file]);
        assert!(status == 1 && text.contains(expected), "{name}: {text}");
        assert!(text.starts_with("skein share publish: ") && text.lines().count() == 1, "{text}");
        assert_eq!(place.segments().len(), 1, "{text}");
    }
    let (status, text) = place.share("publish", &["table", "/nonexistent/file.lua"]);
    assert_eq!(
        (status, text.as_str()),
        (1, "skein share publish: /nonexistent/file.lua: No such file or directory (os error 2)\n")
    );
    let (status, text) = place.share("publish", &["", &good]);
    assert!(status == 1 && text.contains("a shared table of a domain cannot be called \"\""), "{text}");
    assert_eq!(place.done("show", &["table"]), "[1] = 1\n");
    for command in ["ls", "check"] {
        let elsewhere = Command::new(env!("CARGO_BIN_EXE_skein"))
            .args(["share", command, "/nonexistent/domain"])
            .output()
            .unwrap();
        let expected = format!(
            "skein share {command}: there is no domain /nonexistent/domain, or it never had a table\n"
        );
        assert_eq!(told(elsewhere), (1, expected));
    }
}

#[test]
fn a_file_that_was_altered_is_a_problem_and_is_not_shown() {
    let place = Place::new();
    place.done("publish", &["table", &place.file("table.lua", "return { 1, 2, 3 }")]);
    let segment = place.segments().remove(0);
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::options().write(true).open(&segment).unwrap().write_all_at(b"!", 300).unwrap();
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o400)).unwrap();
    let damage = format!("{} is damaged: its sum is wrong: it was altered\n", segment.display());
    assert_eq!(place.share("check", &[]), (1, format!("problem: {damage}1 table, 1 problem\n")));
    assert_eq!(place.share("show", &["table"]), (1, format!("skein share show: {damage}")));
    place.done("publish", &["table", &place.file("table.lua", "return { 4 }")]);
    assert_eq!(place.done("show", &["table"]), "[1] = 4\n");
}

const TABLE: &str = r#"{"answer": 42, "deep": {"x": "y", "list": [1, 2.5, "three", true]}, "half": 0.5, "no": false,
    "text": "é", "12": "twelve"}"#;

#[test]
fn a_reader_in_python_finds_what_was_published() {
    let place = Place::new();
    place.done("publish", &["table", &place.file("table.json", TABLE)]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sharedata/examples/read_table.py");
    let run = Command::new("python3").arg(script).arg(place.domain()).arg("table").output();
    let output = match run {
        Ok(output) => output,
        // Only a machine without it: `.ci/programs` installs it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    let (status, text) = told(output);
    assert_eq!(status, 0, "{text}");
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut expected: serde_json::Value = serde_json::from_str(TABLE).unwrap();
    // A list is a table with the keys 1, 2, 3.
    let list = expected["deep"]["list"].take();
    let list = list.as_array().unwrap().iter().enumerate().map(|(at, it)| ((at + 1).to_string(), it.clone()));
    expected["deep"]["list"] = serde_json::Value::Object(list.collect());
    assert_eq!(found, expected);
}

#[test]
fn a_reader_in_c_finds_what_was_published() {
    let place = Place::new();
    let lua = "return { 10, 20, half = 0.5, deep = { x = 'y' }, text = ('x'):rep(5000), no = false, [1000] = 'far' }";
    place.done("publish", &["table", &place.file("table.lua", lua)]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let reader = place.0.path().join("reader");
    let built = Command::new("cc")
        .args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root.join("../sharedata/include"))
        .arg(root.join("tests/c/share_reader.c"))
        .arg("-o")
        .arg(&reader)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let segment = place.segments().remove(0);
    let (status, text) = told(Command::new(&reader).arg(&segment).output().unwrap());
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!((status, lines.remove(0), lines.pop().unwrap()), (0, "table 1", "deep.x is found"));
    lines.sort_unstable();
    let expected = [
        "1 = 10",
        "1000 = far",
        "2 = 20",
        "deep = table of 0",
        "half = 0.5",
        "no = false",
        "text = 5000 bytes",
    ];
    assert_eq!(lines, expected);
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o600)).unwrap();
    let (status, text) = told(Command::new(&reader).arg(&segment).output().unwrap());
    assert_eq!((status, text.as_str()), (1, "somebody else could write it\n"));
}
