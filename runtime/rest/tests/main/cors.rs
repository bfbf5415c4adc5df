//! `access.control.allow.*` and `response.http.headers.config`.

use towpath_formats::worker_config::{Cors, HeaderAction, HeaderRule};
use towpath_rest::ServeOptions;

use crate::wire::serve;

fn cors(origins: &[&str], methods: &[&str]) -> ServeOptions {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let cors = Cors { origins: texts(origins), methods: texts(methods) };
    ServeOptions { cors: Some(cors), ..ServeOptions::default() }
}

const FROM_UI: &str = "Origin: https://ui.example.org";
const PREFLIGHT: &str = "OPTIONS /hello HTTP/1.1\r\nAccess-Control-Request-Method: PUT\r\n";

#[tokio::test]
async fn an_allowed_origin_may_read_answers_and_others_may_not() {
    let server = serve(cors(&["https://ui.example.org"], &["GET", "PUT"])).await;
    let allowed = server.ask(&format!("GET /hello HTTP/1.1\r\n{FROM_UI}"), "").await;
    assert!(
        allowed.contains("access-control-allow-origin: https://ui.example.org\r\n"),
        "{allowed}"
    );
    let other = server.ask("GET /hello HTTP/1.1\r\nOrigin: https://evil.example.org", "").await;
    assert!(!other.contains("access-control-allow-origin"), "{other}");
}

#[tokio::test]
async fn a_browser_may_ask_first() {
    let server = serve(cors(&["https://ui.example.org"], &["GET", "PUT"])).await;
    let answer = server.ask(&format!("{PREFLIGHT}{FROM_UI}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("access-control-allow-methods: GET,PUT\r\n"), "{answer}");
    let any = serve(cors(&["*"], &[])).await;
    let answer = any.ask(&format!("{PREFLIGHT}{FROM_UI}"), "").await;
    assert!(answer.contains("access-control-allow-origin: *\r\n"), "{answer}");
    assert!(answer.contains("access-control-allow-methods: GET,POST,HEAD\r\n"), "{answer}");
}

#[tokio::test]
async fn options_that_is_no_preflight_reaches_its_route() {
    let server = serve(cors(&["*"], &[])).await;
    let answer = server.ask("OPTIONS /hello HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn without_the_setting_no_origin_is_allowed() {
    let server = serve(ServeOptions::default()).await;
    let answer = server.ask(&format!("GET /hello HTTP/1.1\r\n{FROM_UI}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("access-control"), "{answer}");
}

#[tokio::test]
async fn every_answer_has_the_headers_that_were_asked_for() {
    let rule = |action, name: &str, value: &str| HeaderRule {
        action,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let headers = vec![
        rule(HeaderAction::Set, "X-Frame-Options", "DENY"),
        rule(HeaderAction::AddDate, "Expires", "0"),
    ];
    let server = serve(ServeOptions { headers, ..ServeOptions::default() }).await;
    for path in ["/hello", "/nothing"] {
        let answer = server.ask(&format!("GET {path} HTTP/1.1"), "").await;
        assert!(answer.contains("x-frame-options: DENY\r\n"), "{answer}");
        assert!(answer.contains("expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{answer}");
    }
}
