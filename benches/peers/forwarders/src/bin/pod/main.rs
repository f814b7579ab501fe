//! A pod: answers `/anything/SIZE` with that many bytes, as cheaply as it can be done.
//!
//! `pod PORT NAME http1|http2`. HTTP/1.1 is one `epoll` loop that only looks at what it needs: the path's last segment,
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
    let port: u16 = arguments.next("PORT")?;
    let name: String = arguments.next("NAME")?;
    match arguments.next::<String>("PROTOCOL")?.as_str() {
        "http1" => http1::run(port, &name),
        "http2" => http2::run(port, &name),
        other => Err(format!("PROTOCOL: {other}?")),
    }
}

/// The size that a path asks for, if it is one of those that are answered.
fn size_of(path: &[u8]) -> Option<usize> {
    let last = path.rsplit(|byte| *byte == b'/').next()?;
    let size = std::str::from_utf8(last).ok()?.parse().ok()?;
    SIZES.contains(&size).then_some(size)
}
