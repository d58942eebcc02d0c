//! The page for the person; what it does in a browser is in `tests/clients/with_chromium.js`.

use crate::common::Running;

#[test]
fn the_page_may_load_nothing_from_elsewhere_and_run_nothing_else() {
    let server = Running::start();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
    ] {
        let reply = server.client.get(path);
        assert_eq!(reply.header("content-type"), Some(kind));
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        let text = reply.text().replace("http://www.w3.org/2000/svg", "");
        for part in ["http:", "https:", "//cdn", "@import", "url("] {
            assert!(!text.contains(part), "{path} has {part}");
        }
    }
}

#[test]
fn no_text_can_become_markup() {
    let server = Running::start();
    let script = server.client.get("/page.js").text();
    for way in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
    {
        assert!(!script.contains(way), "{way}");
    }
    // What the policy would not let run.
    let page = server.client.get("/").text();
    for inline in [" style=", " onclick=", " onload=", "<style", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[test]
fn the_script_finds_all_that_it_looks_for() {
    let server = Running::start();
    let page = server.client.get("/").text();
    let script = server.client.get("/page.js").text();
    for call in ["at(\"", "fill(\"", "write(\""] {
        for part in script.split(call).skip(1) {
            let id = part.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{id}\"")), "no element {id}");
        }
    }
    // Every field has a name.
    for part in page.split("<input ").skip(1) {
        let id = part.split("id=\"").nth(1).unwrap().split('"').next().unwrap();
        let at = page.find(&format!("id=\"{id}\"")).unwrap();
        let within =
            page[..at].rfind("<label").unwrap() > page[..at].rfind("</label>").unwrap_or(0);
        assert!(within || page.contains(&format!("for=\"{id}\"")), "{id} has no label");
    }
}
