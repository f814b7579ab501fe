//! Other cases made of those by hand.

use fastrand::Rng;

use crate::corpus::Case;

/// What is put in somewhere.
const TOKENS: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b"\t",
    b"\x0b",
    b"\0",
    b"\x7f",
    b"\xff",
    b":",
    b";",
    b",",
    b"\"",
    b"0",
    b"00",
    b"1",
    b"5",
    b"a",
    b"F",
    b"+",
    b"-",
    b"0x",
    b"ffffffffffffffff",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\nx: y\r\n\r\n",
    b"x: y\r\n",
    b"content-length: 5\r\n",
    b"Content-Length: 6\r\n",
    b"content-length: 5, 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"connection: close\r\n",
    b"connection: keep-alive, x\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
];

/// One case with a few changes.
pub(crate) fn one(originals: &[Case], random: &mut Rng) -> Case {
    let short: Vec<&Case> = originals.iter().filter(|case| case.bytes.len() < 300).collect();
    let mut case = short[random.usize(..short.len())].clone();
    // What it became may not have an end that can be seen.
    case.stays = false;
    for _ in 0..random.usize(1..3) {
        change(&mut case.bytes, &short[random.usize(..short.len())].bytes, random);
    }
    let mut cuts: Vec<_> = (0..random.usize(..4)).map(|_| random.usize(..=case.bytes.len())).collect();
    cuts.sort_unstable();
    case.cut_at(cuts)
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    // Half of them behind the head, since one that is broken says little.
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4);
    let from = if random.bool() { head } else { 0 };
    let at = random.usize(from..=bytes.len());
    let end = (at + random.usize(1..6)).min(bytes.len());
    let token = TOKENS[random.usize(..TOKENS.len())];
    match random.u8(..12) {
        0 | 1 => drop(bytes.drain(at..end)),
        2 | 3 => drop(bytes.splice(at..at, token.iter().copied())),
        4 => drop(bytes.splice(at..end, token.iter().copied())),
        5 => bytes[at..end].fill(random.u8(..)),
        6 => {
            let again = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, again));
        }
        // The beginning of one and the end of another one.
        7 => {
            bytes.truncate(at);
            bytes.extend(&other[random.usize(..=other.len())..]);
        }
        8..=10 => at_a_line(bytes, token, random),
        _ => bytes.truncate(at),
    }
}

/// Puts something in where a line begins: that is where it means most.
fn at_a_line(bytes: &mut Vec<u8>, token: &[u8], random: &mut Rng) {
    let ends = bytes.windows(2).enumerate().filter(|(_, two)| *two == b"\r\n");
    let starts: Vec<usize> = ends.map(|(end, _)| end + 2).collect();
    if !starts.is_empty() {
        let at = starts[random.usize(..starts.len())];
        drop(bytes.splice(at..at, token.iter().copied()));
    }
}
