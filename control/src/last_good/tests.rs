use std::sync::Arc;

use super::*;

fn service(name: &str) -> ObjectId {
    ObjectId { kind: Kind::Service, name: ObjectName::new("default", name) }
}

fn keep(name: &str, source: &str) -> StoreEdit {
    let file: Arc<Path> = Path::new("/manifests/a.yaml").into();
    StoreEdit::Keep { id: service(name), file, source: source.to_owned() }
}

fn sources(opened: &Opened) -> Vec<(String, String)> {
    opened.copies.iter().map(|(id, copy)| (id.name.name.to_string(), copy.source.clone())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect()
}

#[test]
fn the_last_text_of_an_object_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap().store;
    store.write(&[keep("web", "1"), keep("api", "1"), keep("old", "1")]).unwrap();
    store.write(&[keep("web", "2"), StoreEdit::Forget(service("old"))]).unwrap();
    let again = Store::open(directory.path()).unwrap();
    assert_eq!(sources(&again), pairs(&[("api", "1"), ("web", "2")]));
    assert_eq!(again.damaged, 0);
    assert_eq!(&*again.copies[&service("web")].file, Path::new("/manifests/a.yaml"));
}

#[test]
fn an_object_that_moves_keeps_its_text() {
    let directory = tempfile::tempdir().unwrap();
    let file: Arc<Path> = Path::new("/manifests/b.yaml").into();
    let move_to = |name| StoreEdit::Move { id: service(name), file: Arc::clone(&file) };
    let mut store = Store::open(directory.path()).unwrap().store;
    store.write(&[keep("web", "1")]).unwrap();
    store.write(&[move_to("web"), move_to("never")]).unwrap();
    // Also where its text has not been written yet.
    let writer = Writer::start(store).unwrap();
    writer.submit(vec![keep("api", "1"), move_to("api")]);
    drop(writer);
    let again = Store::open(directory.path()).unwrap();
    assert_eq!(sources(&again), pairs(&[("api", "1"), ("web", "1")]));
    assert!(again.copies.values().all(|copy| copy.file == file));
}

#[test]
fn what_is_stored_already_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap().store;
    store.write(&[keep("web", "1")]).unwrap();
    let size = store.size;
    store.write(&[keep("web", "1"), StoreEdit::Forget(service("never"))]).unwrap();
    assert_eq!(store.size, size);
    let mut again = Store::open(directory.path()).unwrap().store;
    again.write(&[keep("web", "1")]).unwrap();
    assert_eq!(again.size, size);
}

#[test]
fn a_damaged_or_truncated_store_loses_only_what_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let mut store = Store::open(directory.path()).unwrap().store;
    store.write(&[keep("a", "1"), keep("b", "1"), keep("c", "1")]).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let opened = Store::open(directory.path()).unwrap();
        assert!(opened.copies.len() <= 3 && opened.damaged <= 1);
        // What is written after a crash can be read.
        let mut store = opened.store;
        store.write(&[keep("d", "1")]).unwrap();
        let again = Store::open(directory.path()).unwrap();
        assert!(again.copies.contains_key(&service("d")), "cut at {cut}");
        assert_eq!(again.damaged, 0, "cut at {cut}");
    }
    let mut flipped = whole.clone();
    flipped[30] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let opened = Store::open(directory.path()).unwrap();
    assert_eq!(sources(&opened), pairs(&[("b", "1"), ("c", "1")]));
    assert_eq!(opened.damaged, 1);
    fs::write(&path, [0xff; 4096]).unwrap();
    assert!(Store::open(directory.path()).unwrap().copies.is_empty());
}

#[test]
fn the_file_stays_about_as_big_as_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap().store;
    let text = "x".repeat(100_000);
    for round in 0..40 {
        store.write(&[keep("web", &format!("{round}{text}")), keep("api", "1")]).unwrap();
    }
    assert!(store.size <= COMPACTION_BYTES_MIN + 200_000, "{}", store.size);
    store.write(&[keep("api", "2")]).unwrap();
    let again = Store::open(directory.path()).unwrap();
    assert_eq!(sources(&again), pairs(&[("api", "2"), ("web", &format!("39{text}"))]));
}

#[test]
fn dropping_the_writer_waits_until_everything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let writer = Writer::start(Store::open(directory.path()).unwrap().store).unwrap();
    for round in 0..100 {
        writer.submit(vec![keep("web", &round.to_string())]);
    }
    drop(writer);
    let again = Store::open(directory.path()).unwrap();
    assert_eq!(sources(&again), pairs(&[("web", "99")]));
}
