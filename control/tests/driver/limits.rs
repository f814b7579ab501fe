//! Odd and big directories: everything ends, nothing blocks, and what is left out is said.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::{Site, link, problems, services};

#[tokio::test]
async fn what_is_not_a_file_is_skipped_and_said() {
    let site = Site::new(&[("a.yaml", "web=1")]);
    mkfifoat(CWD, site.path("pipe.yaml"), Mode::RUSR | Mode::WUSR).unwrap();
    let _socket = UnixListener::bind(site.path("socket.json")).unwrap();
    link("nowhere", &site.path("dangling.yaml"));
    link("loop.yaml", &site.path("loop.yaml"));
    let options = watershed_control::driver::Options { lenient: true, ..site.options() };
    let mut world = site.start_with(options).await;
    let problems = problems(&world.status());
    for expected in [
        "pipe.yaml: note: is a named pipe and is skipped",
        "socket.json: note: is a socket and is skipped",
        "dangling.yaml: warning: is a symbolic link to a file that does not exist",
        "loop.yaml: error: cannot be read: ",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}");
    }
    assert_eq!(problems.len(), 4, "{problems:#?}");
    // A file that becomes a pipe keeps what it held for as long as a file that was removed.
    fs::remove_file(world.site.path("a.yaml")).unwrap();
    mkfifoat(CWD, world.site.path("a.yaml"), Mode::RUSR | Mode::WUSR).unwrap();
    world.until("").await;
    world.barrier(1).await;
}

#[tokio::test]
async fn hidden_and_backup_files_are_skipped() {
    let site = Site::new(&[("a.yaml", "web=1")]);
    fs::create_dir_all(site.path(".git/x")).unwrap();
    fs::create_dir_all(site.path("old~")).unwrap();
    for file in [".hidden.yaml", ".git/x/b.yaml", "a.yaml~", "old~/c.yaml", "d.yaml.bak", "e.txt", "#f.yaml#"]
    {
        site.write(file, &services("other=1"));
    }
    let world = site.start().await;
    assert_eq!((world.served(), world.status().files), ("web=1".to_owned(), 2));
}

#[tokio::test]
async fn each_file_and_directory_is_read_once_however_many_names_it_has() {
    let site = Site::new(&[]);
    fs::create_dir_all(site.path("sub/deeper")).unwrap();
    site.write("sub/a.yaml", &services("web=1"));
    link("..", &site.path("sub/deeper/up"));
    link("sub", &site.path("again"));
    link("sub/a.yaml", &site.path("a.yaml"));
    let options = watershed_control::driver::Options {
        paths: vec![site.path(""), site.path("sub"), site.path("sub/a.yaml")],
        ..site.options()
    };
    let world = site.start_with(options).await;
    assert_eq!((world.served(), world.status().files), ("web=1".to_owned(), 2));
    assert_eq!(problems(&world.status()), [""; 0]);
}

#[tokio::test]
async fn a_file_that_is_too_big_is_not_read() {
    let mut world = Site::new(&[("a.yaml", "web=1")]).start().await;
    let mut file = fs::File::create(world.site.path("a.yaml")).unwrap();
    file.write_all(services("web=2").as_bytes()).unwrap();
    // Sparse: 100 MB that nobody has to write.
    file.set_len(100_000_000).unwrap();
    drop(file);
    let status = world.until_status(|status| !status.problems.is_empty()).await;
    let problem = &problems(&status)[0];
    assert!(problem.contains("a.yaml: error: is bigger than 16 MiB and is not read"), "{problem}");
    assert_eq!(world.served(), "web=1");
}

#[tokio::test]
async fn ten_thousand_files_are_read_and_one_of_them_is_edited() {
    let site = Site::new(&[("web.yaml", "web=1")]);
    fs::create_dir(site.path("many")).unwrap();
    for number in 0..10_000 {
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{number}}}\n");
        site.write(&format!("many/{number}.yaml"), &text);
    }
    let began = Instant::now();
    let mut world = site.start().await;
    let started = began.elapsed();
    assert_eq!(world.status().files, 10_002);
    let began = Instant::now();
    world.site.replace("web.yaml", &services("web=2"));
    world.until("web=2").await;
    let edited = began.elapsed();
    // Without optimisation; bounds that only a different order of growth would break.
    assert!(started < Duration::from_secs(15), "started in {started:?}");
    assert!(edited < Duration::from_secs(3), "edited in {edited:?}");
    eprintln!("started in {started:?}, edited in {edited:?}: {:?}", world.status().read_duration);
}
