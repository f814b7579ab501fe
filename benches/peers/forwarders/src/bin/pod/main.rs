//! Pods: each answers `/anything/SIZE` with that many bytes, as cheaply as it can be done.
//!
//! `pod http1|http2 PORT NAME [PORT NAME ...]`. All on one thread, so that the kernel has nothing to choose between pods that share a
//! core. HTTP/1.1 is one `epoll` loop that only looks at what it needs: the path's last segment,
//! `Content-Length` and `Connection: close`. HTTP/2 is hyper. The `pod` header of an answer is NAME, for the check of the split.

mod http1;
mod http2;

use peer_forwarders::{Arguments, Outcome};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sizes that are answered; everything else is 404.
const SIZES: [usize; 3] = [128, 10_000, 1_000_000];

fn main() -> Outcome<()> {
    let mut arguments = Arguments::of_process();
    let protocol: String = arguments.next("PROTOCOL")?;
    let mut pods = Vec::new();
    while pods.is_empty() || !arguments.is_empty() {
        pods.push((arguments.next("PORT")?, arguments.next("NAME")?));
    }
    match protocol.as_str() {
        "http1" => http1::run(&pods),
        "http2" => http2::run(&pods),
        other => Err(format!("PROTOCOL: {other}?")),
    }
}

/// The size that a path asks for, if it is one of those that are answered.
fn size_of(path: &[u8]) -> Option<usize> {
    let last = path.rsplit(|byte| *byte == b'/').next()?;
    let size = std::str::from_utf8(last).ok()?.parse().ok()?;
    SIZES.contains(&size).then_some(size)
}
