//! A directory is written as `file: objects`, an object as `name=version`; `!` makes it bad, `%` makes a file not YAML, and `?`
//! makes it unreadable. Objects are namespaces, because they are the smallest.

use std::fmt::Write;

use watershed_config::model::Kind;
use watershed_config::{Severity, Spot};

use super::super::Content;
use super::*;

/// What is on the disk: a file's name and its content in the notation above.
type Disk = BTreeMap<String, String>;

struct World {
    ledger: Ledger,
    start: Instant,
    now: u64,
    before: Disk,
    stored: BTreeMap<ObjectId, StoredCopy>,
    lost: Option<String>,
}

fn disk(text: &str) -> Disk {
    let line = |line: &str| {
        let (file, content) = line.split_once(':').unwrap();
        (file.trim().to_owned(), content.trim().to_owned())
    };
    text.split(';').filter(|text| !text.trim().is_empty()).map(line).collect()
}

fn path(file: &str) -> Arc<Path> {
    Path::new("dir").join(file).into()
}

fn content(file: &str, content: &str) -> Content {
    let path = path(file);
    match content {
        "?" => {
            Content::Unreadable(Problem::new(Severity::Error, Some(path), Spot::default(), "cannot be read"))
        }
        "%" => Content::Text(watershed_config::read(&path, "a: [")),
        _ => {
            let mut text = String::new();
            for object in content.split_whitespace() {
                let (name, version) = object.split_once('=').unwrap();
                let labels = match version.strip_suffix('!') {
                    Some(version) => format!("{{version: [\"{version}\"]}}"),
                    None => format!("{{version: \"{version}\"}}"),
                };
                write!(
                    text,
                    "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n"
                )
                .unwrap();
            }
            Content::Text(watershed_config::read(&path, &text))
        }
    }
}

impl World {
    fn new() -> Self {
        Self::restarted(BTreeMap::new())
    }

    fn restarted(stored: BTreeMap<ObjectId, StoredCopy>) -> Self {
        let ledger = Ledger::new([Path::new("dir").into()], stored.clone());
        Self { ledger, start: Instant::now(), now: 0, before: Disk::new(), stored, lost: None }
    }

    /// Looks at a directory at a time in milliseconds; returns whether another look is wanted.
    fn look_at(&mut self, now: u64, after: Disk) -> bool {
        self.now = now;
        let changed = after
            .iter()
            .filter(|(file, content)| self.before.get(*file) != Some(content))
            .map(|(file, text)| ChangedFile { path: path(file), root: 0, content: content(file, text) })
            .collect();
        let absent =
            self.before.keys().filter(|file| !after.contains_key(*file)).map(|file| path(file)).collect();
        let roots = vec![RootState { lost: self.lost.clone(), unknown: Vec::new() }];
        if self.lost.is_none() {
            self.before = after;
        }
        let sighting = match self.lost {
            Some(_) => Sighting { roots, ..Sighting::default() },
            None => Sighting { roots, changed, absent, problems: Vec::new() },
        };
        let outcome = self.ledger.observe(sighting, self.start + Duration::from_millis(now));
        for edit in outcome.store {
            match edit {
                StoreEdit::Keep { id, file, source } => {
                    self.stored.insert(id, StoredCopy { file, source });
                }
                StoreEdit::Move { id, file } => self.stored.get_mut(&id).unwrap().file = file,
                StoreEdit::Forget(id) => {
                    self.stored.remove(&id);
                }
            }
        }
        outcome.recheck.is_some()
    }

    fn look(&mut self, now: u64, text: &str) -> &mut Self {
        self.look_at(now, disk(text));
        self
    }

    /// Looks again at what is there, for as long as the ledger wants to.
    fn settle(&mut self) {
        for _ in 0..3 {
            let now = self.now + CONFIRMATION.as_millis() as u64;
            if !self.look_at(now, self.before.clone()) {
                return;
            }
        }
        panic!("it never settles");
    }

    /// What is served: `name=version`, and `?` behind it where that is an earlier version.
    fn served(&self) -> String {
        let stale = self.ledger.last_good();
        let show = |object: &Arc<Object>| {
            let version = object.meta().labels.get("version").unwrap();
            let mark = if stale.contains(object.id()) { "?" } else { "" };
            format!("{}={version}{mark}", object.id().name)
        };
        self.ledger.catalog().iter().map(show).collect::<Vec<_>>().join(" ")
    }

    fn check(&mut self, expected: &str) -> &mut Self {
        assert_eq!(self.served(), expected, "at {} ms", self.now);
        self
    }

    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<&Problem> = self.ledger.problems().collect();
        problems.sort_by(|one, other| one.order(other));
        problems.iter().map(|problem| format!("{}: {}", problem.place(), problem.what)).collect()
    }

    fn hopeless(&self) -> usize {
        self.ledger.hopeless().len()
    }
}

#[test]
fn edits_are_taken_and_deletions_are_believed_the_second_time() {
    let mut world = World::new();
    world.look(0, "a: web=1 api=1; b: db=1").check("api=1 db=1 web=1");
    world.look(10, "a: web=2 api=1; b: db=1").check("api=1 db=1 web=2");
    // A file that is gone, and an object that is gone from a file that stays.
    world.look(20, "a: web=2").check("api=1 db=1 web=2");
    world.look(119, "a: web=2").check("api=1 db=1 web=2");
    world.look(120, "a: web=2").check("web=2");
}

#[test]
fn a_file_that_is_written_over_loses_nothing_on_the_way() {
    let mut world = World::new();
    world.look(0, "a: web=1 api=1; b: db=1");
    world.look(10, "a: ; b: db=1").check("api=1 db=1 web=1");
    world.look(50, "a: web=2; b: db=1").check("api=1 db=1 web=2");
    world.look(90, "a: web=2 api=2; b: db=1").check("api=2 db=1 web=2");
    world.look(300, "a: web=2 api=2; b: db=1").check("api=2 db=1 web=2");
    // Removed and made again.
    world.look(310, "b: db=1").look(350, "a: web=3 api=3; b: db=1").look(500, "a: web=3 api=3; b: db=1");
    world.check("api=3 db=1 web=3");
    // Each absence counts from its own beginning.
    world.look(510, "b: db=1").look(550, "a: web=3 api=3; b: db=1").look(600, "b: db=1").look(620, "b: db=1");
    world.check("api=3 db=1 web=3");
}

#[test]
fn a_bad_object_keeps_its_last_good_version_and_spoils_no_other() {
    let mut world = World::new();
    world.look(0, "a: web=1 api=1").look(10, "a: web=2! api=2").check("api=2 web=1?");
    world.look(500, "a: web=2! api=2").check("api=2 web=1?");
    assert_eq!(world.ledger.rejections().get("Namespace"), Some(&1));
    assert_eq!(world.hopeless(), 0);
    world.look(510, "a: web=3 api=2").check("api=2 web=3");
    // What was never good is not served.
    world.look(520, "a: web=3 api=2 new=1!").check("api=2 web=3");
    assert_eq!(world.hopeless(), 1);
    assert_eq!(world.ledger.rejections().get("Namespace"), Some(&2));
    // An edit elsewhere in the file is no new rejection.
    world.look(530, "a: web=4 api=2 new=1!").check("api=2 web=4");
    assert_eq!(world.ledger.rejections().get("Namespace"), Some(&2));
}

#[test]
fn a_file_in_error_keeps_all_that_was_last_read_from_it() {
    for error in ["%", "?"] {
        let mut world = World::new();
        world.look(0, "a: web=1 api=1; b: db=1");
        world.look(10, &format!("a: {error}; b: db=1")).look(500, &format!("a: {error}; b: db=1"));
        world.check("api=1? db=1 web=1?");
        assert_eq!(world.ledger.rejections().get("file"), Some(&1));
        world.look(510, "a: web=2; b: db=1").check("api=1? db=1 web=2");
        world.look(610, "a: web=2; b: db=1").check("db=1 web=2");
    }
}

#[test]
fn an_object_moves_to_another_file_at_once() {
    let mut world = World::new();
    world.look(0, "a: web=1; z: db=1").look(10, "b: web=2; z: db=1").check("db=1 web=2");
    // Also with an error on the way.
    world.look(20, "c: web=3!; z: db=1").look(500, "c: web=3!; z: db=1").check("db=1 web=2?");
    world.look(510, "c: web=3; z: db=1").check("db=1 web=3");
    assert_eq!(world.problems(), [""; 0]);
}

#[test]
fn of_two_objects_with_one_name_the_served_one_stays() {
    let mut world = World::new();
    world.look(0, "b: web=b; c: web=c").check("web=b");
    // One that comes later does not win by its name.
    world.look(10, "a: web=a; b: web=b; c: web=c").check("web=b");
    let what = "Namespace web is defined twice: the one in dir/b:2:1 is served, this one is not";
    assert_eq!(world.problems(), [format!("dir/a:2:1: {what}"), format!("dir/c:2:1: {what}")]);
    assert_eq!(world.ledger.rejections().get("Namespace"), Some(&2));
    assert_eq!(world.hopeless(), 0);
    // Not even while the served one is in error.
    world.look(20, "a: web=a; b: web=b!; c: web=c").check("web=b?");
    world.look(30, "a: web=a; b: %; c: web=c").check("web=b?");
    // Once it is gone, the first of the others in byte order follows at once.
    world.look(40, "a: web=a; c: web=c").check("web=a");
    world.look(50, "c: web=c").check("web=c");
    assert_eq!(world.problems(), [""; 0]);
}

#[test]
fn at_the_start_the_first_path_in_byte_order_wins() {
    // Bytes: `-` is before `/`, which `Path`'s own order ignores.
    World::new().look(0, "a/x: web=slash; a-x: web=dash").check("web=dash");
    World::new().look(0, "a: web=1!; b: web=2").check("web=2");
}

#[test]
fn of_two_documents_with_one_name_in_a_file_the_first_good_one_wins() {
    let mut world = World::new();
    world.look(0, "a: web=0! web=1 web=2").check("web=1");
    assert_eq!(world.problems().len(), 2, "{:?}", world.problems());
    assert_eq!(world.hopeless(), 0);
}

#[test]
fn a_directory_from_which_everything_vanishes_is_lost_and_keeps_serving() {
    let mut world = World::new();
    world.look(0, "a: web=1; b: db=1").look(10, "");
    assert_eq!(world.ledger.source_lost(), None, "nobody is alarmed before the second look");
    world.look(110, "").look(1000, "").check("db=1 web=1");
    assert!(world.ledger.source_lost().unwrap().contains("everything vanished from dir at once"));
    // It comes back file by file, slowly but with no longer pause than the confirmation.
    world.look(2000, "a: web=2").check("db=1 web=2");
    assert_eq!(world.ledger.source_lost(), None);
    world.look(2090, "a: web=2; c: new=1").look(2180, "a: web=2; b: db=2; c: new=1");
    world.check("db=2 new=1 web=2");
    // What does not come back is gone.
    world.look(3000, "").look(3100, "").look(4000, "a: web=3").look(4100, "a: web=3").check("web=3");
}

#[test]
fn emptied_files_are_a_loss_too() {
    let mut world = World::new();
    world.look(0, "a: web=1").look(10, "a: ").look(110, "a: ").look(500, "a: ").check("web=1");
    assert!(world.ledger.source_lost().is_some());
    world.look(600, "a: api=1").look(700, "a: api=1").check("api=1");
}

#[test]
fn a_directory_that_cannot_be_read_keeps_serving() {
    let mut world = World::new();
    world.look(0, "a: web=1 api=1");
    world.lost = Some("dir cannot be read".to_owned());
    world.look(10, "").look(1000, "").check("api=1 web=1");
    assert_eq!(world.ledger.source_lost().as_deref(), Some("dir cannot be read"));
    // It comes back empty, as the mount point of a volume does: still lost.
    world.lost = None;
    world.look(2000, "").check("api=1 web=1");
    assert!(world.ledger.source_lost().unwrap().contains("vanished"));
    world.look(3000, "a: web=2").look(3100, "a: web=2").check("web=2");
    assert_eq!(world.ledger.source_lost(), None);
}

#[test]
fn a_restart_serves_the_last_good_version_of_what_is_in_error() {
    let mut first = World::new();
    first
        .look(0, "a: web=1 api=1 old=1; b: db=1 cache=1; c: gone=1")
        .look(10, "a: web=2! api=2 old=1; b: db=1 cache=1; c: gone=1");
    let mut second = World::restarted(first.stored.clone());
    second.look(0, "a: web=3! api=3; b: %; d: new=1!");
    second.check("api=3 cache=1? db=1? web=1?");
    assert_eq!(second.hopeless(), 1, "only what was never good");
    // What is gone is forgotten, at once and over the next restart.
    let stored: Vec<String> = second.stored.keys().map(|id| id.name.to_string()).collect();
    assert_eq!(stored, ["api", "cache", "db", "web"]);
    // A file in error without anything of it in the store is hopeless.
    let mut third = World::restarted(BTreeMap::new());
    third.look(0, "a: %; b: web=1").check("web=1");
    assert_eq!(third.hopeless(), 1);
}

#[test]
fn a_restart_without_its_directory_serves_what_was_stored() {
    let mut first = World::new();
    first.look(0, "a: web=1 api=1");
    let mut second = World::restarted(first.stored.clone());
    second.lost = Some("dir cannot be read".to_owned());
    second.look(0, "").look(1000, "").check("api=1? web=1?");
    second.lost = None;
    second.look(2000, "a: web=2").look(2100, "a: web=2").check("web=2");
    // Emptied while nobody looked.
    let mut third = World::restarted(first.stored.clone());
    third.look(0, "").check("api=1? web=1?");
    assert!(third.ledger.source_lost().is_some());
}

#[test]
fn a_stored_copy_that_cannot_be_read_is_as_none() {
    let id = ObjectId { kind: Kind::Namespace, name: watershed_config::model::ObjectName::new("", "web") };
    for source in
        ["", "%", "{\"kind\":\"Namespace\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"other\"}}"]
    {
        let copy = StoredCopy { file: path("a"), source: source.to_owned() };
        let mut world = World::restarted(BTreeMap::from([(id.clone(), copy)]));
        world.look(0, "a: web=1!").check("");
        assert_eq!(world.hopeless(), 1);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// A file of few objects, so that they meet often.
    fn file() -> impl Strategy<Value = String> {
        let object = ("[a-d]", 0..3_u8, prop::bool::weighted(0.2))
            .prop_map(|(name, version, bad)| format!("{name}={version}{}", if bad { "!" } else { "" }));
        prop_oneof![
            8 => prop::collection::vec(object, 0..4).prop_map(|objects| objects.join(" ")),
            1 => Just("%".to_owned()),
            1 => Just("?".to_owned()),
        ]
    }

    fn disks() -> impl Strategy<Value = Vec<(u64, Disk)>> {
        let disk = prop::collection::btree_map("[x-z]", file(), 0..4);
        prop::collection::vec((1..150_u64, disk), 1..12)
    }

    fn claims(disk: &Disk) -> BTreeMap<String, Vec<String>> {
        let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for object in disk.values().flat_map(|file| file.split_whitespace()) {
            if let Some((name, version)) = object.split_once('=') {
                claims.entry(name.to_owned()).or_default().push(version.to_owned());
            }
        }
        claims
    }

    fn names(world: &World) -> BTreeSet<String> {
        world.ledger.catalog().iter().map(|object| object.id().name.to_string()).collect()
    }

    fn version(world: &World, name: &str) -> Option<String> {
        let mut objects = world.ledger.catalog().iter();
        let object = objects.find(|object| &*object.id().name.name == name)?;
        object.meta().labels.get("version").map(ToString::to_string)
    }

    proptest! {
        #[test]
        fn what_is_served_and_still_written_is_never_lost_and_what_is_good_is_served(disks in disks()) {
            let mut world = World::new();
            let mut now = 0;
            for (pause, disk) in disks {
                now += pause;
                let before = names(&world);
                let claims = claims(&disk);
                world.look_at(now, disk);
                let after = names(&world);
                for (name, versions) in &claims {
                    prop_assert!(!before.contains(name) || after.contains(name), "{name} was dropped");
                    let good = versions.iter().any(|version| !version.ends_with('!'));
                    prop_assert!(!good || after.contains(name), "{name} is good and not served");
                    if let [only] = &versions[..] && good && world.before.values().all(|file| file != "%" && file != "?") {
                        prop_assert_eq!(version(&world, name), Some(only.clone()), "{} is outdated", name);
                    }
                }
            }
        }

        #[test]
        fn in_the_end_only_what_is_written_or_cannot_be_seen_is_served(disks in disks()) {
            let mut world = World::new();
            let mut now = 0;
            for (pause, disk) in disks {
                now += pause;
                world.look_at(now, disk);
            }
            world.settle();
            let unseen = world.before.values().any(|file| file == "%" || file == "?");
            if !unseen && world.ledger.source_lost().is_none() {
                let claims = claims(&world.before);
                prop_assert!(names(&world).iter().all(|name| claims.contains_key(name)));
            }
            // The store holds what is served and nothing else.
            let stored: BTreeSet<String> = world.stored.keys().map(|id| id.name.to_string()).collect();
            prop_assert_eq!(stored, names(&world));
        }

        #[test]
        fn a_restart_changes_nothing_where_names_are_unique(disks in disks()) {
            let mut world = World::new();
            let mut now = 0;
            for (pause, mut disk) in disks {
                // Each object belongs to one file only.
                let mut seen = BTreeSet::new();
                for file in disk.values_mut() {
                    let unique = |object: &&str| object.split_once('=').is_none_or(|(name, _)| seen.insert(name.to_owned()));
                    *file = file.split_whitespace().filter(unique).collect::<Vec<_>>().join(" ");
                }
                now += pause;
                world.look_at(now, disk);
            }
            world.settle();
            let mut again = World::restarted(world.stored.clone());
            again.look_at(0, world.before.clone());
            prop_assert_eq!(names(&again), names(&world));
            // What a file in error holds may stand in another one by now: then the order of paths decides, at the start only.
            if !world.before.values().any(|file| file == "%" || file == "?") {
                let plain = |world: &World| world.served().replace('?', "");
                prop_assert_eq!(plain(&again), plain(&world));
            }
        }
    }
}
