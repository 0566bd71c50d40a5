//! A server of its own for a test, and a client that speaks HTTP by hand.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::home::Home;

/// `animus serve` on a free port. Killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(crate) address: String,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Server {
    /// Starts one with more arguments, and waits until it is ready.
    pub(crate) fn start(home: &Home, args: &[&str]) -> Self {
        Self::of(home.command(&[&["serve", "--bind", "127.0.0.1:0", "--json"], args].concat()))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let server = Self { child, out, address: listening["address"].as_str().unwrap().to_owned() };
        wait(|| server.get("/readyz").status == 200);
        server
    }

    /// A request; `headers` are whole lines.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> Answer {
        read(self.send(method, path, headers, body))
    }

    fn send(&self, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        let body = body.unwrap_or_default();
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        BufReader::new(stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &["Content-Type: application/json"], Some(&body.to_string()))
    }

    /// Submits work, and returns its identifier.
    pub(crate) fn submit(&self, body: &Value) -> String {
        self.post("/v1/work", body).expect(201).json()["work"]["id"].as_str().unwrap().to_owned()
    }

    /// An item, when it has come to this state.
    pub(crate) fn until(&self, id: &str, state: &str) -> Value {
        let mut shown = json!({});
        wait(|| {
            shown = self.get(&format!("/v1/work/{id}")).expect(200).json()["work"].clone();
            shown["state"] == state
        });
        shown
    }

    /// The lines of a stream, as they come, until it ends or nobody listens.
    pub(crate) fn stream(&self, path: &str, headers: &[&str]) -> Receiver<String> {
        let mut reader = self.send("GET", path, headers, None);
        let (status, head) = head(&mut reader);
        assert_eq!(status, 200, "{head}");
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        assert!(chunked, "{head}");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            while let Some(chunk) = chunk(&mut reader) {
                text.push_str(&chunk);
                while let Some((line, rest)) = text.split_once('\n') {
                    if sender.send(line.to_owned()).is_err() {
                        return;
                    }
                    text = rest.to_owned();
                }
            }
        });
        lines
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.process().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for its end; returns its code, and the rest of what it wrote.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn head(reader: &mut impl std::io::BufRead) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the answer broke off: {head}");
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

/// One chunk of a chunked body; none at its end, or when it was cut.
fn chunk(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut size = String::new();
    reader.read_line(&mut size).ok().filter(|n| *n > 0)?;
    let size = usize::from_str_radix(size.trim(), 16).ok()?;
    let mut bytes = vec![0; size + 2];
    reader.read_exact(&mut bytes).ok()?;
    bytes.truncate(size);
    (size > 0).then(|| String::from_utf8(bytes).unwrap())
}

fn read(mut reader: BufReader<TcpStream>) -> Answer {
    let (status, head) = head(&mut reader);
    let mut body = String::new();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        while let Some(chunk) = chunk(&mut reader) {
            body.push_str(&chunk);
        }
    } else {
        reader.read_to_string(&mut body).unwrap();
    }
    Answer { status, head, body }
}

/// Waits until something holds; fails after a minute and a half.
pub(crate) fn wait(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(90), "it does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}
