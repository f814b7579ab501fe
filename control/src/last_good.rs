//! Remembers the last good text of every object over a restart.
//!
//! The store is one file to which every change is appended as a line with its checksum, the last line of an object counting:
//! so a change among ten thousand objects costs one small write and one `fsync`, and memory holds no texts. When more than half
//! of the file is outdated it is written anew beside itself and renamed over the old one.
//!
//! Writing happens in a thread of its own, after the change is already being served: a slow disk delays nobody. Of changes
//! that pile up meanwhile only the last of each object is kept.
//!
//! A damaged line (a crash in its midst, a bad disk) is ignored and said; the others count. Deliberately absent: any reason
//! not to start.

mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use watershed_config::model::{Kind, ObjectId, ObjectName};
use xxhash_rust::xxh3::xxh3_64;

use crate::full_tree::fill;
use crate::source::ledger::{StoreEdit, StoredCopy};

pub(crate) use writer::Writer;

/// The file's name in the state directory.
const FILE_NAME: &str = "last-good.jsonl";
/// Below this size the file is never written anew, in bytes.
const COMPACTION_BYTES_MIN: u64 = 1 << 20;
/// How much is gathered for one write, in bytes.
const BUFFER_BYTES: usize = 64 << 10;
/// The longest line that is read: an object is part of a manifest, whose size is limited, escaped at worst sixfold.
const LINE_BYTES_MAX: u64 = 6 * crate::source::walk::FILE_BYTES_MAX;

/// The file, and where in it the last good text of each object stands.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    lines: BTreeMap<ObjectId, Line>,
    /// The length of the part that is known to be whole.
    size: u64,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    offset: u64,
    length: u64,
    /// Of file and text, so that what is stored already is not written again.
    content: u64,
}

/// A line to be appended.
struct NewLine<'a> {
    id: &'a ObjectId,
    bytes: Vec<u8>,
    /// `None` where the object is gone.
    content: Option<u64>,
}

/// A line, after its checksum.
#[derive(Serialize, Deserialize)]
struct Record {
    kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Absent where the object is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

/// What was found in the state directory.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The store, ready to be written.
    pub(crate) store: Store,
    /// What it holds, with absolute paths.
    pub(crate) copies: BTreeMap<ObjectId, StoredCopy>,
    /// How many lines were damaged.
    pub(crate) damaged: usize,
}

impl Store {
    /// Opens or creates the store in a state directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Opened> {
        let path = directory.join(FILE_NAME);
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let mut opened = Opened {
            store: Self { path, file, lines: BTreeMap::new(), size: 0 },
            copies: BTreeMap::new(),
            damaged: 0,
        };
        opened.load()?;
        fill(&mut opened.store.lines);
        Ok(opened)
    }

    /// Writes changes, all or (after an error) none of them as far as a later reader is concerned.
    pub(crate) fn write(&mut self, edits: &[StoreEdit]) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut size = self.size;
        // At the first start it is everything: never all of it in memory at once.
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, &self.file);
        for edit in edits {
            let Some(NewLine { id, bytes, content }) = self.line(edit)? else { continue };
            if lines.is_empty() {
                // Behind an append that failed halfway there may be half a line.
                self.file.set_len(self.size)?;
            }
            let (offset, length) = (size, bytes.len() as u64);
            writer.write_all(&bytes)?;
            size += length;
            lines.push((id, content.map(|content| Line { offset, length, content })));
        }
        writer.flush()?;
        drop(writer);
        if lines.is_empty() {
            return Ok(());
        }
        self.file.sync_data()?;
        self.size = size;
        let mostly_new = lines.len() > self.lines.len();
        for (id, line) in lines {
            match line {
                Some(line) => self.lines.insert(id.clone(), line),
                None => self.lines.remove(id),
            };
        }
        if mostly_new {
            fill(&mut self.lines);
        }
        self.compact_if_worthwhile()
    }

    /// The line that records a change; `None` if nothing changes.
    fn line<'a>(&self, edit: &'a StoreEdit) -> io::Result<Option<NewLine<'a>>> {
        let (id, kept) = match edit {
            StoreEdit::Keep { id, file, source } => (id, Some((file, source.clone()))),
            StoreEdit::Move { id, file } => match self.stored_source(id)? {
                Some(source) => (id, Some((file, source))),
                None => return Ok(None),
            },
            StoreEdit::Forget(id) => (id, None),
        };
        // A name that is not UTF-8 cannot be stored as JSON; its objects then have no last good version after a restart.
        let absolute =
            |file: &Path| Ok::<_, io::Error>(std::path::absolute(file)?.to_string_lossy().into_owned());
        let kept = kept.map(|(file, source)| Ok::<_, io::Error>((absolute(file)?, source))).transpose()?;
        let content = kept.as_ref().map(|(file, source)| fingerprint(file, source));
        if self.lines.get(id).map(|line| line.content) == content {
            return Ok(None);
        }
        let (file, source) = kept.unzip();
        let record = Record {
            kind: id.kind.as_str().to_owned(),
            namespace: id.name.namespace.to_string(),
            name: id.name.name.to_string(),
            file,
            source,
        };
        let json = serde_json::to_vec(&record)?;
        let mut bytes = format!("{:016x} ", xxh3_64(&json)).into_bytes();
        bytes.extend_from_slice(&json);
        bytes.push(b'\n');
        Ok(Some(NewLine { id, bytes, content }))
    }

    /// The text that is stored of an object.
    fn stored_source(&self, id: &ObjectId) -> io::Result<Option<String>> {
        let Some(line) = self.lines.get(id) else { return Ok(None) };
        let mut bytes = vec![0; line.length as usize];
        self.file.read_exact_at(&mut bytes, line.offset)?;
        let record = bytes.strip_suffix(b"\n").and_then(read_record);
        Ok(record.and_then(|record| record.source))
    }

    fn compact_if_worthwhile(&mut self) -> io::Result<()> {
        let live: u64 = self.lines.values().map(|line| line.length).sum();
        if self.size < COMPACTION_BYTES_MIN || self.size < 2 * live {
            return Ok(());
        }
        let temporary = self.path.with_extension("jsonl.new");
        let mut new = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        let mut lines: Vec<(ObjectId, Line)> =
            self.lines.iter().map(|(id, line)| (id.clone(), *line)).collect();
        lines.sort_by_key(|(_, line)| line.offset);
        let mut size = 0;
        for (_, line) in &mut lines {
            self.file.seek(SeekFrom::Start(line.offset))?;
            let copied = io::copy(&mut (&self.file).take(line.length), &mut new)?;
            line.offset = size;
            size += copied;
        }
        new.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        self.lines = lines.into_iter().collect();
        self.size = size;
        Ok(())
    }
}

impl Opened {
    fn load(&mut self) -> io::Result<()> {
        let mut reader = BufReader::new(self.store.file.try_clone()?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let length = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? as u64;
            if length == 0 {
                return Ok(());
            }
            let offset = self.store.size;
            // A last line without its end stays outside, and is cut off by the next write.
            let Some(line) = bytes.strip_suffix(b"\n") else {
                self.damaged += 1;
                return Ok(());
            };
            self.store.size += length;
            match read_record(line) {
                Some(record) => self.place(record, offset, length),
                None => self.damaged += 1,
            }
        }
    }

    fn place(&mut self, record: Record, offset: u64, length: u64) {
        let Some(kind) = kind_named(&record.kind) else { return };
        let id = ObjectId { kind, name: ObjectName::new(record.namespace, record.name) };
        if let Some((file, source)) = record.file.zip(record.source) {
            let content = fingerprint(&file, &source);
            self.store.lines.insert(id.clone(), Line { offset, length, content });
            self.copies.insert(id, StoredCopy { file: Path::new(&file).into(), source });
        } else {
            self.store.lines.remove(&id);
            self.copies.remove(&id);
        }
    }
}

/// The record of a line, if its checksum agrees.
fn read_record(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(17)?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?.trim_end(), 16).ok()?;
    (sum == xxh3_64(json)).then(|| serde_json::from_slice(json).ok())?
}

fn fingerprint(file: &str, source: &str) -> u64 {
    xxh3_64(format!("{file}\n{source}").as_bytes())
}

/// A kind by its name; what a later version stored and this one does not know is left alone.
fn kind_named(name: &str) -> Option<Kind> {
    const KINDS: [Kind; 11] = [
        Kind::Namespace,
        Kind::Service,
        Kind::Pod,
        Kind::EndpointSlice,
        Kind::GatewayClass,
        Kind::Gateway,
        Kind::HttpRoute,
        Kind::Rollout,
        Kind::AnalysisTemplate,
        Kind::Deployment,
        Kind::ReplicaSet,
    ];
    KINDS.into_iter().find(|kind| kind.as_str() == name)
}

#[cfg(test)]
mod tests;
