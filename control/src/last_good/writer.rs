//! The thread that writes the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use watershed_config::model::ObjectId;

use super::Store;
use crate::source::ledger::StoreEdit;

/// Hands changes to the thread that writes them. Dropping it waits until everything is written.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// The last change of each object: as big as there are objects, however slow the disk is.
    edits: BTreeMap<ObjectId, StoreEdit>,
    closed: bool,
    trouble: Option<String>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(store: Store) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("last-good".to_owned()).spawn(move || work(&of_thread, store))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Will write these changes soon.
    pub(crate) fn submit(&self, edits: Vec<StoreEdit>) {
        if edits.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        for edit in edits {
            queue.submit(edit);
        }
        self.shared.wake.notify_one();
    }

    /// Why the last write failed, if it did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, the store would be older, and that is all.
            thread.join().ok();
        }
    }
}

impl Queue {
    fn submit(&mut self, edit: StoreEdit) {
        // A move says where the text belongs that may still be waiting here.
        if let StoreEdit::Move { id, file: moved } = &edit
            && let Some(StoreEdit::Keep { file, .. }) = self.edits.get_mut(id)
        {
            *file = Arc::clone(moved);
            return;
        }
        self.edits.insert(edit.id().clone(), edit);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for changes; `None` once there will be no more.
    fn next(&self) -> Option<BTreeMap<ObjectId, StoreEdit>> {
        let mut queue = self.lock();
        while queue.edits.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut queue.edits))
    }

    /// Puts changes back that could not be written; newer ones win. They go with the next change.
    fn give_back(&self, edits: Vec<StoreEdit>, trouble: String) {
        let mut queue = self.lock();
        queue.trouble = Some(trouble);
        if queue.closed {
            return;
        }
        for edit in edits {
            if let Some(newer) = queue.edits.insert(edit.id().clone(), edit) {
                queue.submit(newer);
            }
        }
    }
}

/// How long a failed write waits before it is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

fn work(shared: &Shared, mut store: Store) {
    while let Some(edits) = shared.next() {
        let edits: Vec<StoreEdit> = edits.into_values().collect();
        match store.write(&edits) {
            Ok(()) => shared.lock().trouble = None,
            Err(error) => {
                let path = store.path.display();
                tracing::error!(%path, %error, "cannot store last good versions, will try again");
                shared.give_back(edits, format!("cannot write {path}: {error}"));
                let queue = shared.lock();
                if !queue.closed {
                    drop(shared.wake.wait_timeout(queue, RETRY));
                }
            }
        }
    }
}
