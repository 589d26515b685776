//! pocket ERP over a real socket.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::pocket;
use crate::pocket::serve;

#[tokio::test]
async fn a_connection_is_kept_alive_and_drained() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, Arc::new(pocket()), async { drop(stopped.await) }));

    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    let requests = "GET /api/method/ping HTTP/1.1\r\nHost: pocket\r\n\r\n\
        HEAD /api/resource/Item/ITEM-0001 HTTP/1.1\r\nHost: pocket\r\nAuthorization: token key:secret\r\n\r\n\
        POST /api/resource/Lead HTTP/1.1\r\nHost: pocket\r\nAuthorization: token key:secret\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n19\r\n{\"lead_name\":\"Wire Lead\"}\r\n0\r\n\r\n\
        GET /api/method/frappe.ping HTTP/1.1\r\nHost: pocket\r\nConnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.expect("the requests are sent");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.expect("the answers are text");
    let heads: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(heads.len(), 4, "{answers}");
    assert!(heads[0].starts_with("200 OK") && heads[0].ends_with(r#"{"message":"pong"}"#), "{answers}");
    assert_eq!(heads[0].matches("set-cookie: ").count(), 5, "T01: {answers}");
    assert!(heads[0].contains("set-cookie: sid=Guest; Expires=") && heads[0].contains("; Max-Age=612000; HttpOnly; Path=/; SameSite=Lax"));
    assert!(heads[1].contains("content-length: ") && heads[1].ends_with("\r\n\r\n"), "T106: a HEAD has the length and no body: {answers}");
    assert!(heads[2].contains(r#""lead_name":"Wire Lead""#), "T288: a chunked body is read: {answers}");

    let idle = TcpStream::connect(address).await.expect("the server accepts");
    stop.send(()).expect("the server waits");
    server.await.expect("the server ends by itself, the idle connection notwithstanding");
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_body_beyond_25_mib_is_413() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let (_stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, Arc::new(pocket()), async { drop(stopped.await) }));
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    let head = format!("POST /api/resource/ToDo HTTP/1.1\r\nHost: pocket\r\nContent-Length: {}\r\n\r\n", 26 * 1024 * 1024);
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.expect("an answer without waiting for the body");
    assert_eq!(&start, b"HTTP/1.1 413");
    server.abort();
}
