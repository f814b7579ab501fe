//! Bodies much larger than what may be kept: they pass in a few buffers, however slowly one side takes them.
//!
//! The pods here are plain sockets, so that the bytes which a slow side has not taken are seen to wait at the other end and
//! not in the proxy. `WATERSHED_TEST_MIB=10240` sends the 10 GiB of the promise.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Manifests, PodFile, Watershed, eventually, free_port, service};

/// Most memory in MiB by which the process may grow while a body passes. Sockets' own buffers are the kernel's and not in it.
const GROWTH_MIB: u64 = 16;
/// Bytes written or read at a time by the ends.
const PIECE: usize = 64 * 1024;
/// A side that has not moved for so long is blocked.
const STILL: Duration = Duration::from_millis(300);

fn body_bytes() -> u64 {
    let mib = std::env::var("WATERSHED_TEST_MIB").ok().and_then(|text| text.parse().ok());
    mib.unwrap_or(192_u64) << 20
}

/// A pod whose every connection runs `script` after the request's head was read.
fn pod(script: impl Fn(TcpStream, &AtomicU64) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicU64>) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listener = TcpListener::bind(address).unwrap();
    let moved = Arc::<AtomicU64>::default();
    let (counter, script) = (Arc::clone(&moved), Arc::new(script));
    // It lives as long as the test binary; a blocked accept costs nothing.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let (counter, script) = (Arc::clone(&counter), Arc::clone(&script));
            std::thread::spawn(move || {
                if read_head(&mut stream).is_some() {
                    script(stream, &counter);
                }
            });
        }
    });
    (address, moved)
}

/// Reads up to the empty line and not a byte further.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn write_body(stream: &mut TcpStream, bytes: u64, moved: &AtomicU64) {
    let piece = vec![b'x'; PIECE];
    for _ in 0..bytes / PIECE as u64 {
        if stream.write_all(&piece).is_err() {
            return;
        }
        moved.fetch_add(PIECE as u64, SeqCst);
    }
}

fn read_body(stream: &mut TcpStream, bytes: u64, moved: &AtomicU64) -> u64 {
    let mut buffer = vec![0; PIECE];
    let mut read = 0;
    while read < bytes {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => read += count as u64,
            _ => break,
        }
        moved.store(read, SeqCst);
    }
    read
}

/// Waits until a side has not moved for a while; returns how far it came.
fn wait_until_blocked(moved: &AtomicU64) -> u64 {
    let mut last = (moved.load(SeqCst), Instant::now());
    eventually("the sender is held back", || {
        let now = moved.load(SeqCst);
        if now != last.0 {
            last = (now, Instant::now());
        }
        now > 0 && last.1.elapsed() > STILL
    });
    last.0
}

fn run(address: SocketAddr) -> (Manifests, Watershed, TcpStream) {
    let manifests = Manifests::new();
    manifests.write("service.yaml", service("hello", "app: hello"));
    manifests.write("pod.yaml", PodFile::new("hello-a", "app: hello", address).text());
    let watershed = Watershed::run(manifests.path());
    let client = TcpStream::connect(watershed.services()).unwrap();
    (manifests, watershed, client)
}

#[test]
fn a_huge_response_passes_a_slow_reader_in_little_memory() {
    let bytes = body_bytes();
    let (address, sent) = pod(move |mut stream, sent| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        write_body(&mut stream, bytes, sent);
    });
    let (_manifests, watershed, mut client) = run(address);
    let before = watershed.resident_mib();
    client.write_all(b"GET / HTTP/1.1\r\nhost: hello\r\n\r\n").unwrap();
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    let waiting = wait_until_blocked(&sent);
    assert!(waiting < bytes / 2, "{waiting} bytes were taken from the pod for a client that reads nothing");
    assert_eq!(read_body(&mut client, bytes, &AtomicU64::new(0)), bytes);
    let growth = watershed.peak_mib().saturating_sub(before);
    assert!(growth < GROWTH_MIB, "{growth} MiB more for a body of {} MiB", bytes >> 20);
}

#[test]
fn a_huge_request_passes_to_a_slow_pod_in_little_memory() {
    let bytes = body_bytes();
    let gate = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let opened = Arc::clone(&gate);
    let (address, _) = pod(move |mut stream, taken| {
        let guard = opened.0.lock().unwrap();
        drop(opened.1.wait_while(guard, |is_open| !*is_open).unwrap());
        let read = read_body(&mut stream, bytes, taken).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{read}", read.len());
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let (_manifests, watershed, mut client) = run(address);
    let before = watershed.resident_mib();
    let sent = Arc::<AtomicU64>::default();
    let (mut writer, counter) = (client.try_clone().unwrap(), Arc::clone(&sent));
    let sender = std::thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nhost: hello\r\ncontent-length: {bytes}\r\n\r\n");
        writer.write_all(head.as_bytes()).unwrap();
        write_body(&mut writer, bytes, &counter);
    });
    let waiting = wait_until_blocked(&sent);
    assert!(waiting < bytes / 2, "{waiting} bytes were taken from the client for a pod that reads nothing");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 200"));
    let mut body = vec![0; bytes.to_string().len()];
    client.read_exact(&mut body).unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), bytes.to_string());
    sender.join().unwrap();
    let growth = watershed.peak_mib().saturating_sub(before);
    assert!(growth < GROWTH_MIB, "{growth} MiB more for a body of {} MiB", bytes >> 20);
}
