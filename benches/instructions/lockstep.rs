//! Client and pod on one thread, one step after the other: the request goes out, is read by the pod, answered, and the answer is
//! read, before the next one. The proxy is woken up for the same things in the same order each time, so that counts repeat.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::messages::{Exchange, Messages, Protocol};
use crate::support::{Outcome, during, http1, http2};

/// Longest wait for the proxy, which is about fifty times slower under valgrind.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// Bytes read at once.
const READ_SIZE: usize = 64 * 1024;

/// The other side of the proxy.
pub(crate) struct Lockstep {
    exchange: Exchange,
    messages: Messages,
    listener: TcpListener,
    pods: Vec<End>,
    client: Option<End>,
    streams: u32,
    scratch: Box<[u8]>,
    /// What is to be sent next.
    out: Vec<u8>,
}

/// One connection.
struct End {
    stream: TcpStream,
    reader: Reader,
}

enum Reader {
    Http1(http1::Reader),
    Http2(http2::Reader),
}

impl Lockstep {
    pub(crate) fn open(exchange: Exchange) -> Outcome<Self> {
        let listener = during("listening as a pod", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self {
            exchange,
            messages: Messages::new(exchange),
            listener,
            pods: Vec::new(),
            client: None,
            streams: 0,
            scratch: vec![0; READ_SIZE].into(),
            out: Vec::new(),
        })
    }

    pub(crate) fn pod_port(&self) -> Outcome<u16> {
        Ok(during("asking for the pod's port", self.listener.local_addr())?.port())
    }

    pub(crate) fn connect(&mut self, proxy: SocketAddr) -> Outcome<()> {
        let stream = during("connecting to the proxy", TcpStream::connect(proxy))?;
        let reader = match self.exchange.protocol {
            Protocol::Http1 => Reader::Http1(http1::Reader::new(b"HTTP/1.1 200", self.exchange.answer)),
            Protocol::Http2 => {
                self.out.extend_from_slice(http2::PREFACE);
                http2::put_settings(&mut self.out);
                Reader::Http2(http2::Reader::of_responses())
            }
        };
        self.client = Some(End::new(stream, reader)?);
        Ok(())
    }

    /// One request and its answer.
    pub(crate) fn exchange(&mut self, turn: usize) -> Outcome<()> {
        let mut client = self.client.take().ok_or("not connected")?;
        self.streams += 1;
        self.messages.put_request(&mut self.out, turn, 2 * self.streams - 1);
        client.send(&mut self.out)?;
        self.answer_as_pod()?;
        while client.receive(&mut self.scratch, &mut self.out)?.is_none() {}
        client.send(&mut self.out)?;
        self.client = Some(client);
        Ok(())
    }

    /// Waits for the request at whichever connection it comes, and answers it.
    fn answer_as_pod(&mut self) -> Outcome<()> {
        loop {
            let Some(index) = self.ready_pod()? else {
                let pod = self.accept()?;
                self.pods.push(pod);
                continue;
            };
            let pod = &mut self.pods[index];
            let stream = pod.receive(&mut self.scratch, &mut self.out)?;
            if let Some(stream) = stream {
                self.messages.put_response(&mut self.out, stream);
            }
            pod.send(&mut self.out)?;
            if stream.is_some() {
                return Ok(());
            }
        }
    }

    /// A connection with something to read; `None` if a new one waits.
    fn ready_pod(&self) -> Outcome<Option<usize>> {
        let mut ends: Vec<PollFd<'_>> =
            self.pods.iter().map(|pod| PollFd::new(&pod.stream, PollFlags::IN)).collect();
        ends.push(PollFd::new(&self.listener, PollFlags::IN));
        during("waiting for the proxy", poll(&mut ends, Some(&PATIENCE)))?;
        let ready = ends.iter().position(|end| !end.revents().is_empty());
        let ready = ready.ok_or("the proxy does nothing any more")?;
        Ok((ready < self.pods.len()).then_some(ready))
    }

    fn accept(&mut self) -> Outcome<End> {
        let (stream, _) = during("accepting as a pod", self.listener.accept())?;
        let reader = match self.exchange.protocol {
            Protocol::Http1 if self.exchange.upload == 0 => Reader::Http1(http1::Reader::new(b"GET /", 0)),
            Protocol::Http1 => Reader::Http1(http1::Reader::new(b"POST /", self.exchange.upload)),
            Protocol::Http2 => {
                http2::put_settings(&mut self.out);
                Reader::Http2(http2::Reader::of_requests())
            }
        };
        let mut end = End::new(stream, reader)?;
        end.send(&mut self.out)?;
        Ok(end)
    }
}

impl End {
    fn new(stream: TcpStream, reader: Reader) -> Outcome<Self> {
        let limit = std::time::Duration::from_secs(PATIENCE.tv_sec.unsigned_abs());
        during("preparing a connection", stream.set_read_timeout(Some(limit)))?;
        during("preparing a connection", stream.set_nodelay(true))?;
        Ok(Self { stream, reader })
    }

    /// Sends everything.
    fn send(&mut self, out: &mut Vec<u8>) -> Outcome<()> {
        during("sending", self.stream.write_all(out))?;
        out.clear();
        Ok(())
    }

    /// Reads once; gives the stream whose message is whole now (0 with HTTP/1.1), and what must be answered at once in `out`.
    fn receive(&mut self, scratch: &mut [u8], out: &mut Vec<u8>) -> Outcome<Option<u32>> {
        let count = during("receiving", self.stream.read(scratch))?;
        if count == 0 {
            return Err("the proxy closed a connection".to_owned());
        }
        let mut whole = None;
        match &mut self.reader {
            Reader::Http1(reader) => reader.feed(&scratch[..count], || whole = Some(0))?,
            Reader::Http2(reader) => reader.feed(&scratch[..count], out, |stream| whole = Some(stream))?,
        }
        Ok(whole)
    }
}
