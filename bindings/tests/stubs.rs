//! `skein stubs`: an editor finds every module that a service can require.

use std::{fs, path::Path, process::Command};

/// Status and output of `skein stubs DIR`.
fn stubs(dir: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skein")).arg("stubs").arg(dir).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn every_module_has_its_file_and_every_native_one_its_declaration() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("new/stubs");
    let (status, text) = stubs(&dir);
    assert_eq!(status, 0, "{text}");
    let library = dir.join("library");
    for file in
        ["skynet.lua", "skynet/manager.lua", "skynet/socket.lua", "http/httpc.lua", "snax/gateserver.lua"]
    {
        assert!(library.join(file).is_file(), "{file}");
    }
    let declared: Vec<String> = fs::read_dir(library.join("meta"))
        .unwrap()
        .map(|it| fs::read_to_string(it.unwrap().path()).unwrap())
        .map(|it| {
            it.lines().next().unwrap().strip_prefix("---@meta ").expect("it is a declaration").to_owned()
        })
        .collect();
    for (name, _) in skein_bindings::PRELOADED {
        let name = name.to_str().unwrap();
        assert!(declared.iter().any(|it| it == name), "{name} has no declaration");
    }
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["settings"]["Lua.runtime.version"], "Lua 5.5");

    // What is to be copied into a project is JSON, and names the directory.
    let (count, json) = text.split_once(":\n").unwrap();
    assert!(count.split(' ').next().unwrap().parse::<usize>().unwrap() > 60, "{count}");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["workspace.library"][0], library.to_str().unwrap());
}

#[test]
fn files_of_an_earlier_time_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(stubs(dir.path()).0, 0);
    let file = dir.path().join("library/skynet.lua");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, "old").unwrap();
    assert_eq!(stubs(dir.path()).0, 0);
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn a_place_that_is_a_file_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (status, text) = stubs(file.path());
    assert!(status == 1 && text.contains(file.path().to_str().unwrap()), "{text}");
}
