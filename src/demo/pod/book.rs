//! What a pod ran, in its memory and in a file that outlives SIGKILL.
//!
//! Each request is one `write` to a file opened for appending, before its answer is made. Nothing is synced: the page cache
//! belongs to the kernel and survives the process, and a power cut is not what the demo is about.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

/// Ids longer than this are not recorded.
const ID_BYTES_MAX: usize = 64;

/// The requests that one pod ran.
#[derive(Debug, Default)]
pub(crate) struct Book {
    file: Option<File>,
    gets: u64,
    posts: u64,
    others: u64,
    without_id: u64,
    seen: HashSet<String>,
    duplicate_posts: u64,
}

impl Book {
    /// An empty book that also appends to this file.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write {}", path.display()))
        };
        Ok(Self { file: path.map(open).transpose()?, ..Self::default() })
    }

    /// Notes that a request was run and how it is going to be answered. An id that is missing, too long or not a plain word is only counted.
    ///
    /// # Errors
    /// The file could not be written: then the request must not be answered well, or the audit would blame the proxy.
    pub(crate) fn note(
        &mut self,
        method: &http::Method,
        id: Option<&str>,
        status: http::StatusCode,
    ) -> std::io::Result<()> {
        match *method {
            http::Method::GET => self.gets += 1,
            http::Method::POST => self.posts += 1,
            _ => self.others += 1,
        }
        let Some(id) = id.filter(|id| is_plain(id)) else {
            self.without_id += 1;
            return Ok(());
        };
        if !self.seen.insert(id.to_owned()) && method == http::Method::POST {
            self.duplicate_posts += 1;
        }
        match &mut self.file {
            Some(file) if status.is_success() => file.write_all(format!("{method} {id}\n").as_bytes()),
            Some(file) => file.write_all(format!("{method} {id} {}\n", status.as_u16()).as_bytes()),
            None => Ok(()),
        }
    }

    /// The counts as JSON, for `/demo/stats`.
    pub(crate) fn stats(&self) -> Value {
        json!({
            "total": self.gets + self.posts + self.others,
            "byMethod": {"GET": self.gets, "POST": self.posts, "other": self.others},
            "withoutId": self.without_id,
            "distinctIds": self.seen.len(),
            "duplicatePosts": self.duplicate_posts,
        })
    }
}

fn is_plain(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// One request in a pod's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Its id.
    pub(crate) id: &'a str,
    /// Whether the pod failed it.
    pub(crate) failed: bool,
}

/// What a pod's file says, in order. A last line without its end was being written when the pod died: it was not answered.
pub(crate) fn read(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_method, id) = (words.next()?, words.next()?);
        Some(Entry { id, failed: words.next().is_some() })
    })
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::*;

    const OK: StatusCode = StatusCode::OK;

    fn ids(text: &str) -> Vec<&str> {
        read(text).map(|entry| entry.id).collect()
    }

    #[test]
    fn the_file_holds_every_id_once_per_run_and_memory_tells_duplicate_posts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod.ids");
        let mut book = Book::open(Some(&path)).unwrap();
        for (method, id) in [(Method::GET, "a"), (Method::POST, "b"), (Method::POST, "b"), (Method::GET, "a")]
        {
            book.note(&method, Some(id), OK).unwrap();
        }
        book.note(&Method::PUT, None, OK).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(ids(&text), ["a", "b", "b", "a"]);
        let stats = book.stats();
        assert_eq!(stats["total"], 5);
        assert_eq!(stats["byMethod"], json!({"GET": 2, "POST": 2, "other": 1}));
        assert_eq!((&stats["duplicatePosts"], &stats["withoutId"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn ids_that_would_break_a_line_are_counted_but_not_written() {
        let mut book = Book::default();
        for id in ["", "two words", "line\nbreak", &"x".repeat(65)] {
            book.note(&Method::GET, Some(id), OK).unwrap();
        }
        assert_eq!(book.stats()["withoutId"], 4);
    }

    #[test]
    fn a_line_cut_by_the_kill_is_not_read() {
        assert_eq!(ids("GET a\nPOST b\nPOST 12"), ["a", "b"]);
        assert!(ids("").is_empty() && ids("GET").is_empty());
    }

    #[test]
    fn a_request_that_the_pod_failed_is_told_from_the_others() {
        let failed = |text| read(text).map(|entry| entry.failed).collect::<Vec<_>>();
        assert_eq!(failed("GET a\nPOST b 500\nGET c\n"), [false, true, false]);
    }
}
