//! A client that sends exactly what it is told.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::PATIENCE;
use super::message::{Message, Reader};

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: Reader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::from(TcpStream::connect(address).unwrap())
    }

    /// A client on a connection that is there already.
    pub(crate) fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = Reader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// A second handle of the same connection, to send by while the first one reads.
    pub(crate) fn clone_of(other: &Self) -> Self {
        let stream = other.stream.try_clone().unwrap();
        Self { reader: Reader::new(stream.try_clone().unwrap()), stream }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes; the other side may have closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next response with its body.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Message {
        let mut answer = self.head();
        let bodiless = matches!(answer.status, 100..200 | 204 | 304);
        if !bodiless {
            self.reader.body(&mut answer).unwrap_or_else(|error| panic!("{error} in the body of {answer:?}"));
        }
        answer
    }

    /// The next response's head (to HEAD, or to read the body by hand).
    #[track_caller]
    pub(crate) fn head(&mut self) -> Message {
        self.reader.head().unwrap().expect("closed without an answer")
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request);
        self.answer()
    }

    /// GET over this connection.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nhost: hello\r\n\r\n"))
    }

    /// POST with a body over this connection.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Message {
        let length = body.len();
        self.ask(format!("POST {path} HTTP/1.1\r\nhost: hello\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    /// The body of a head that was read.
    pub(crate) fn body(&mut self, message: &mut Message) -> io::Result<()> {
        self.reader.body(message)
    }

    /// The next bytes.
    #[track_caller]
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        self.reader.take(count).unwrap()
    }

    /// How many bytes were read and not given out.
    pub(crate) fn ahead(&self) -> usize {
        self.reader.ahead().len()
    }

    /// Everything up to the end of the stream or its reset, and whether it ended at all.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut rest = self.reader.ahead().to_vec();
        let ended = match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        (rest, ended)
    }

    /// Whether the proxy has closed the connection, without a byte more.
    pub(crate) fn is_closed_after(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let read = self.stream.read(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match read {
            Ok(0) => true,
            Ok(_) => panic!("a byte instead of an end"),
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// Waits for the proxy to close the connection without a byte more.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) {
        assert_eq!(self.reader.ahead(), b"");
        assert!(self.is_closed_after(PATIENCE), "still open");
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends with RST instead of FIN.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
