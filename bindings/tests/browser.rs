//! The example `web` in a browser: Chromium without a screen loads the page, its script opens the WebSocket, and dots move.
//!
//! Ignored unless asked for, since the browser has to be there. It is spoken to over a pipe, in the DevTools protocol: JSON texts that
//! end with a NUL.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::{Site, until};
use serde_json::{Value as Json, json};

/// A browser, and the page that is open in it.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    asked: u64,
}

impl Browser {
    fn open(site: &Site, url: &str) -> Browser {
        let mut child = Command::new("sh")
            .arg("-c")
            // Its pipes are descriptors 3 and 4.
            .arg(
                "exec chromium-headless-shell --no-sandbox --disable-gpu --disable-dev-shm-usage \
                 --user-data-dir=\"$1\" --remote-debugging-pipe 3<&0 4>&1 </dev/null >/dev/null",
            )
            .args([Path::new("sh"), &site.path("profile")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Browser { child, to, from, session: None, asked: 0 };
        let page = browser.ask("Target.createTarget", json!({ "url": url }));
        let flat = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", flat);
        browser.session = Some(session["sessionId"].as_str().expect("a session").to_owned());
        browser
    }

    /// Sends a command, and waits for its answer. Events are dropped.
    fn ask(&mut self, method: &str, params: Json) -> Json {
        self.asked += 1;
        let mut command = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{command}\0").as_bytes()).expect("the browser listens");
        loop {
            let mut text = Vec::new();
            self.from.read_until(0, &mut text).expect("the browser answers");
            assert_eq!(text.pop(), Some(0), "the browser is gone; is chromium-headless-shell installed?");
            let answer: Json = serde_json::from_slice(&text).expect("an answer");
            if answer["id"] == json!(self.asked) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Json {
        let found = self.ask("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        found["result"]["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs chromium-headless-shell"]
fn a_page_shows_a_live_world_in_a_browser() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web");
    let example = example.display();
    let site = Site::empty();
    site.config(&format!(
        "thread = 4\nstart = 'main'\nluaservice = '{example}/?.lua'\nweb_root = '{example}'\nweb_serve = true\nweb_port = 0"
    ));
    let mut node = site.start(&["config"]);
    let out = node.wait_for("stdout", "open http://127.0.0.1:");
    let url = out.lines().find_map(|it| it.split("open ").nth(1)).expect("an address");
    let mut browser = Browser::open(&site, url);
    // The page says so itself, once a second.
    let dots = until(
        || {
            let status = browser.value("document.getElementById('status')?.textContent ?? ''");
            let (dots, rest) = status.as_str()?.split_once(" dots, ")?;
            let pictures: u32 = rest.strip_suffix(" pictures a second")?.parse().ok()?;
            (pictures > 0).then(|| dots.to_owned())
        },
        || format!("the page shows nothing\n{}", site.read("stdout")),
    );
    assert_eq!(dots, "120");
    // What is on the canvas is not one colour, and not the same for long.
    let picture = "(() => { const it = document.getElementById('world'); return it.toDataURL().length + ':' + it.toDataURL().slice(-400); })()";
    let first = browser.value(picture);
    assert!(first.as_str().is_some_and(|it| it.len() > 400), "{first}");
    until(|| (browser.value(picture) != first).then_some(()), || "the dots stand still".to_owned());
    // An address that is not there is answered, and the page goes on.
    let status = browser.value("(() => { const r = new XMLHttpRequest(); r.open('GET', '/nosuch', false); r.send(); return r.status; })()");
    assert_eq!(status, json!(404));
}
