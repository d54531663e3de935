//! The client against servers that answer, that do not, and that are none.

use super::*;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

/// Reads a request, answers with `answer`, and gives what was asked.
fn converse<S: Read + Write>(mut stream: S, answer: &str) -> String {
    let mut asked = Vec::new();
    let mut byte = [0];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        asked.push(byte[0]);
    }
    let head = String::from_utf8(asked).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn server(answer: &'static str) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = thread::spawn(move || converse(listener.accept().unwrap().0, answer));
    (Client::new(Address::Tcp(address)), served)
}

fn error(answered: Result<AdminReply>) -> String {
    format!("{:#}", answered.unwrap_err())
}

#[test]
fn a_server_is_asked_and_its_answer_read() {
    let (client, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"message\": \"ok\"}");
    let answer = client.post("/api/v1/x", Some(&json!({"weight": 5}))).unwrap();
    assert_eq!(answer.read::<Value>().unwrap(), json!({"message": "ok"}));
    let asked = served.join().unwrap();
    assert!(asked.starts_with("POST /api/v1/x HTTP/1.1\r\n") && asked.ends_with("{\"weight\":5}"), "{asked}");
}

#[test]
fn unix_sockets_are_asked_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = thread::spawn(move || {
        converse(
            listener.accept().unwrap().0,
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n{\"error\": \"no pool\"}",
        )
    });
    let answer = Client::new(Address::Unix(path)).get("/api/v1/status").unwrap();
    assert_eq!(answer.read::<Value>().unwrap_err().to_string(), "no pool");
    assert!(served.join().unwrap().contains("host: localhost\r\n"));
}

#[test]
fn loopback_is_asked_by_its_address_whatever_its_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        converse(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    Client::new(Address::Tcp(format!("localhost:{}", address.port()))).get("/healthz").unwrap();
    let asked = served.join().unwrap();
    assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
}

#[test]
fn other_servers_are_told_apart_from_an_admin_server() {
    let (client, served) = server("SSH-2.0-OpenSSH\r\n");
    let said = error(client.get("/"));
    assert!(said.contains("does not answer as an admin server"), "{said}");
    served.join().unwrap();
    // One that hangs up.
    let (client, served) = server("");
    let said = error(client.get("/"));
    assert!(said.contains("does not answer as an admin server"), "{said}");
    served.join().unwrap();
    let (client, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi\n");
    let said = client.get("/").unwrap().read::<Value>().unwrap_err().to_string();
    assert!(said.contains("not what this weir expects"), "{said}");
    served.join().unwrap();
}

#[test]
fn unanswered_changes_may_have_been_made() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{"] {
        let (client, served) = server(answer);
        let said = error(client.post("/api/v1/reload", None::<&()>));
        assert!(said.contains("ended before its answer") && said.contains("may have been made"), "{said}");
        served.join().unwrap();
    }
    let (client, served) = server("SSH-2.0-OpenSSH\r\n");
    let said = error(client.post("/api/v1/reload", None::<&()>));
    assert!(said.contains("does not answer as an admin server"), "{said}");
    served.join().unwrap();
}

#[test]
fn an_absent_server_is_reported_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let (none, left) = (folder.path().join("none.sock"), folder.path().join("left.sock"));
    drop(UnixListener::bind(&left).unwrap());
    for (path, why) in [(none, "No such file"), (left, "Connection refused")] {
        let said = error(Client::new(Address::Unix(path.clone())).get("/"));
        assert!(said.contains(&format!("unix:{}: {why}", path.display())), "{said}");
        assert!(said.contains("is weir running"), "{said}");
    }
}
