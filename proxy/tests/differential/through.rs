//! The pod's bytes through the proxy.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::corpus::{Asked, Case};
use crate::outcome::{Answer, Fields, Outcome};
use crate::support::{PATIENCE, Pod, PodConn, TestProxy, arm, backend, rule};

/// A pause that gives the other side time to read what there is.
const PAUSE: Duration = Duration::from_micros(60);

/// Cases whose bytes have been sent, all of them.
#[derive(Debug, Default)]
struct Sent {
    cases: Mutex<HashSet<usize>>,
    changed: Condvar,
}

impl Sent {
    fn add(&self, index: usize) {
        self.cases.lock().unwrap().insert(index);
        self.changed.notify_all();
    }

    fn wait_for(&self, index: usize) {
        let cases = self.cases.lock().unwrap();
        let is_missing = |cases: &mut HashSet<usize>| !cases.contains(&index);
        let (_cases, timeout) = self.changed.wait_timeout_while(cases, PATIENCE, is_missing).unwrap();
        assert!(!timeout.timed_out(), "the pod was never asked for case {index}");
    }
}

/// A proxy in front of a pod.
#[derive(Debug)]
pub(crate) struct Setup {
    proxy: TestProxy,
    sent: Arc<Sent>,
    _pod: Pod,
}

impl Setup {
    pub(crate) fn start(cases: Arc<Vec<Case>>) -> Self {
        let sent = Arc::<Sent>::default();
        let own = Arc::clone(&sent);
        let pod = Pod::start(move |conn| serve(conn, &cases, &own));
        let proxy = TestProxy::serving(rule(vec![arm(1, &backend("hello", &[pod.endpoint("1")]))]));
        Self { proxy, sent, _pod: pod }
    }

    pub(crate) fn client(&self) -> Client<'_> {
        Client { address: self.proxy.address(), sent: &self.sent, conn: None }
    }
}

/// Answers `/case/N` with its bytes and `/next/N` with its own name.
fn serve(conn: &mut PodConn, cases: &[Case], sent: &Sent) {
    while let Some(mut request) = conn.head() {
        let target = request.line().split(' ').nth(1).unwrap().to_owned();
        let index: usize = target[6..].parse().unwrap();
        let is_case = target.starts_with("/case/");
        let early = is_case && cases[index].asked == Asked::PostAnsweredEarly;
        if !early && conn.reader.body(&mut request).is_err() {
            return;
        }
        if !is_case {
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len()));
            // Now and then one that closes without a word: the next request finds a stale connection.
            if index.is_multiple_of(5) && cases[index].asked.body().is_empty() {
                return;
            }
            continue;
        }
        send(conn, &cases[index]);
        sent.add(index);
        if !cases[index].stays {
            return conn.wait_for_close();
        }
        if early && conn.reader.body(&mut request).is_err() {
            return;
        }
    }
}

/// Sends a case's bytes piece by piece, and that there are no more.
fn send(conn: &mut PodConn, case: &Case) {
    for (number, piece) in case.pieces().enumerate() {
        if number > 0 {
            std::thread::sleep(PAUSE);
        }
        conn.send(piece);
    }
    if !case.stays {
        conn.half_close();
    }
}

/// A client of the proxy, with one connection at a time.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    address: SocketAddr,
    sent: &'a Sent,
    conn: Option<Conn>,
}

impl Client<'_> {
    /// What the proxy makes of a case. Returns when the pod has sent all of it.
    pub(crate) fn ask(&mut self, index: usize, case: &Case) -> Outcome {
        let answer = self.exchange(&format!("/case/{index}"), case.asked);
        self.sent.wait_for(index);
        let is_own = answer.headers.iter().any(|(name, _)| name == "watershed-reason");
        if is_own { Outcome::Refused } else { Outcome::Answer(answer) }
    }

    /// Whether the next request, on the same connection if it is still there, gets its own answer.
    pub(crate) fn ask_next(&mut self, index: usize) -> Result<(), String> {
        let target = format!("/next/{index}");
        let answer = self.exchange(&target, Asked::Get);
        let is_own = answer.complete && answer.status == 200 && answer.body == target.as_bytes();
        is_own.then_some(()).ok_or_else(|| format!("the next request got {answer:?}"))
    }

    fn exchange(&mut self, target: &str, asked: Asked) -> Answer {
        let mut conn = self.conn.take().unwrap_or_else(|| Conn::open(self.address));
        let answer = conn.exchange(target, asked);
        let closes = answer.headers.iter().any(|(name, value)| name == "connection" && value == b"close");
        if answer.complete && !closes {
            assert!(conn.ahead.is_empty(), "more than an answer: {}", conn.ahead.escape_ascii());
            self.conn = Some(conn);
        }
        answer
    }
}

/// A connection to the proxy.
#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Conn {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    fn exchange(&mut self, target: &str, asked: Asked) -> Answer {
        let (method, body) = (asked.method(), asked.body());
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: hello\r\nte: trailers\r\nconnection: te\r\n{length}\r\n"
        );
        // An answer that came early may end the connection.
        let _ = self.stream.write_all(&[head.as_bytes(), body].concat());
        let mut answer = self.head();
        if matches!(answer.status, 204 | 304) || asked == Asked::Head {
            answer.complete = true;
        } else {
            answer.complete = self.body(&mut answer).is_some();
        }
        answer
    }

    /// Reads more; `None` at the end of the connection, or if it broke.
    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        let count = match self.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the proxy says nothing"),
            Err(_) => 0,
        };
        self.ahead.extend(&buffer[..count]);
        (count > 0).then_some(())
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < count {
            self.fill()?;
        }
        let rest = self.ahead.split_off(count);
        Some(std::mem::replace(&mut self.ahead, rest))
    }

    fn head(&mut self) -> Answer {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 200];
            let mut response = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(length) = response.parse(&self.ahead).expect("valid HTTP") {
                // httparse says nothing of a phrase with other than ASCII in it, to hyper neither.
                let phrase = response.reason.unwrap_or_default().as_bytes().to_vec();
                let status = response.code.unwrap();
                let answer =
                    Answer { status, phrase, headers: fields_of(response.headers), ..Answer::default() };
                self.ahead.drain(..length);
                return answer;
            }
            self.fill().expect("closed without an answer");
        }
    }

    /// Reads the body; `None` if it broke off.
    fn body(&mut self, answer: &mut Answer) -> Option<()> {
        let value = |name: &str| {
            let mut lines = answer.headers.iter().filter(|(other, _)| other == name);
            let value = lines.next().map(|(_, value)| String::from_utf8(value.clone()).unwrap());
            assert!(lines.next().is_none(), "two lines of {name}");
            value
        };
        match (value("content-length"), value("transfer-encoding").as_deref()) {
            (Some(length), None) => self.counted(length.parse().unwrap(), &mut answer.body),
            (None, Some("chunked")) => self.chunks(answer),
            framing => panic!("a body with the framing {framing:?}"),
        }
    }

    /// This many bytes, or as many as there are.
    fn counted(&mut self, length: u64, body: &mut Vec<u8>) -> Option<()> {
        while (self.ahead.len() as u64) < length {
            if self.fill().is_none() {
                body.append(&mut self.ahead);
                return None;
            }
        }
        body.extend(self.take(length as usize)?);
        Some(())
    }

    fn chunks(&mut self, answer: &mut Answer) -> Option<()> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).expect("a chunk's size");
            if size == 0 {
                break;
            }
            self.counted(size as u64, &mut answer.body)?;
            assert_eq!(self.take(2)?, b"\r\n");
        }
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").expect("a trailer");
            lines.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        }
        answer.trailers = lines;
        Some(())
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end + 2)?;
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill()?;
        }
    }
}

fn fields_of(headers: &[httparse::Header<'_>]) -> Fields {
    headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect()
}
