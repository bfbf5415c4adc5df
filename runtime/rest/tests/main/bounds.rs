//! Bodies, requests at once, connections and slow clients are bounded.

use std::time::Duration;

use towpath_rest::Limits;

use crate::wire::{serve, within};

const SHORT: Duration = Duration::from_millis(200);

fn is(answer: &str, status: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_with_or_without_its_length() {
    let server = serve(within(Limits { body_bytes: 10, ..Limits::default() })).await;
    let fits = server.ask("POST /length HTTP/1.1\r\nContent-Length: 10", "0123456789").await;
    is(&fits, "200");
    let said = server.ask("POST /length HTTP/1.1\r\nContent-Length: 11", "0123456789a").await;
    is(&said, "413");
    assert!(
        said.ends_with(r#"{"error_code":413,"message":"the request body is too large"}"#),
        "{said}"
    );
    let unsaid = "6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n";
    is(&server.ask("POST /length HTTP/1.1\r\nTransfer-Encoding: chunked", unsaid).await, "413");
}

#[tokio::test]
async fn requests_beyond_the_bound_are_told_to_come_again() {
    let server = serve(within(Limits { requests: 2, ..Limits::default() })).await;
    let mut clients = [server.connect().await, server.connect().await];
    for client in &mut clients {
        client.send("GET /gate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    }
    server.inside.clone().wait_for(|inside| *inside == 2).await.unwrap();
    let third = server.ask("GET /hello HTTP/1.1", "").await;
    is(&third, "503");
    assert!(third.contains(r#"{"error_code":503,"message":"#), "{third}");
    server.gate.send(true).unwrap();
    for client in &mut clients {
        is(&client.rest().await, "200");
    }
    is(&server.ask("GET /hello HTTP/1.1", "").await, "200");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let server = serve(within(Limits { connections: 1, ..Limits::default() })).await;
    let mut first = server.connect().await;
    first.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await;
    is(&first.some().await, "200");
    let mut second = server.connect().await;
    second.send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    // The first is still served, though the second stands in line; it is served when the first has gone.
    first.send("GET /length HTTP/1.1\r\nHost: x\r\n\r\n").await;
    is(&first.some().await, "405");
    drop(first);
    is(&second.rest().await, "200");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let limits = Limits { connections: 1, headers: SHORT, ..Limits::default() };
    let server = serve(within(limits)).await;
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");
    let mut within_its_opening = server.connect().await;
    within_its_opening.send("GET").await;
    assert_eq!(within_its_opening.rest().await, "");
    is(&server.ask("GET /hello HTTP/1.1", "").await, "200");
}

#[tokio::test]
async fn headers_that_do_not_end_end_the_connection() {
    let limits = Limits { connections: 1, headers: SHORT, ..Limits::default() };
    let server = serve(within(limits)).await;
    let mut slow = server.connect().await;
    slow.send("GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    let answer = slow.rest().await;
    assert!(!answer.contains("hello"), "{answer}");
    is(&server.ask("GET /hello HTTP/1.1", "").await, "200");
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_the_request() {
    let limits = Limits { request: SHORT, ..Limits::default() };
    let server = serve(within(limits)).await;
    let answer = server.ask("POST /length HTTP/1.1\r\nContent-Length: 10", "012").await;
    is(&answer, "408");
    assert!(answer.contains(r#"{"error_code":408,"message":"#), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let limits = Limits { connections: 1, stillness: SHORT, ..Limits::default() };
    let server = serve(within(limits)).await;
    let mut deaf = server.connect().await;
    deaf.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // There is one place, and `deaf` gives it up only because it must.
    is(&server.ask("GET /hello HTTP/1.1", "").await, "200");
    drop(deaf);
}

#[tokio::test]
async fn a_connection_that_is_only_kept_is_let_go() {
    let limits = Limits { connections: 1, stillness: SHORT, ..Limits::default() };
    let server = serve(within(limits)).await;
    let mut kept = server.connect().await;
    kept.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await;
    is(&kept.some().await, "200");
    is(&server.ask("GET /hello HTTP/1.1", "").await, "200");
    drop(kept);
}

#[tokio::test]
async fn a_panic_is_answered_without_its_text() {
    let server = serve(within(Limits::default())).await;
    let answer = server.ask("GET /panic HTTP/1.1", "").await;
    is(&answer, "500");
    assert!(answer.contains(r#"{"error_code":500,"message":"#), "{answer}");
    assert!(!answer.contains("secret"), "{answer}");
    is(&server.ask("GET /hello/ HTTP/1.1", "").await, "200");
}
