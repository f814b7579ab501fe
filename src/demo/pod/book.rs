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

    /// Notes that a request was run. An id that is missing, too long or not a plain word is only counted.
    ///
    /// # Errors
    /// The file could not be written: then the request must not be answered well, or the audit would blame the proxy.
    pub(crate) fn note(&mut self, method: &http::Method, id: Option<&str>) -> std::io::Result<()> {
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
            Some(file) => file.write_all(format!("{method} {id}\n").as_bytes()),
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

/// The ids in a pod's file, in order. A last line without its end was being written when the pod died: it was not answered.
pub(crate) fn read(text: &str) -> impl Iterator<Item = &str> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| Some(line.split_once(' ')?.1))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn the_file_holds_every_id_once_per_run_and_memory_tells_duplicate_posts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod.ids");
        let mut book = Book::open(Some(&path)).unwrap();
        for (method, id) in [(Method::GET, "a"), (Method::POST, "b"), (Method::POST, "b"), (Method::GET, "a")]
        {
            book.note(&method, Some(id)).unwrap();
        }
        book.note(&Method::PUT, None).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(read(&text).collect::<Vec<_>>(), ["a", "b", "b", "a"]);
        let stats = book.stats();
        assert_eq!(stats["total"], 5);
        assert_eq!(stats["byMethod"], json!({"GET": 2, "POST": 2, "other": 1}));
        assert_eq!((&stats["duplicatePosts"], &stats["withoutId"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn ids_that_would_break_a_line_are_counted_but_not_written() {
        let mut book = Book::default();
        for id in ["", "two words", "line\nbreak", &"x".repeat(65)] {
            book.note(&Method::GET, Some(id)).unwrap();
        }
        assert_eq!(book.stats()["withoutId"], 4);
    }

    #[test]
    fn a_line_cut_by_the_kill_is_not_read() {
        assert_eq!(read("GET a\nPOST b\nPOST 12").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read("").count(), 0);
        assert_eq!(read("GET").count(), 0);
    }
}
