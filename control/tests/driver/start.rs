//! Starting: what is refused, what the last good versions save, and what the probes say first.

use std::fs;

use tokio::net::TcpListener;
use watershed_control::driver::{Options, StartError};
use watershed_control::load::{load_once, show_excerpts};

use crate::support::{POD, Site, services};

#[tokio::test]
async fn objects_that_were_never_good_refuse_the_start_unless_it_is_lenient() {
    let site = Site::new(&[("a.yaml", "web=1! api=1"), ("b.yaml", "db=1 db=2"), ("c.yaml", "db=3")]);
    let options = site.options();
    let Err((site, error)) = site.try_start(options).await else { panic!("it started") };
    let StartError::Refused { errors, problems } = &error else { panic!("{error}") };
    // A name that is taken is an error and no reason: its first owner is served.
    assert_eq!((errors.len(), problems.len()), (1, 3), "{problems:#?}");
    assert!(errors[0].to_string().contains("a.yaml:7:"), "{}", errors[0]);
    assert!(error.to_string().starts_with("1 error in the manifests"), "{error}");
    let options = Options { lenient: true, ..site.options() };
    let world = site.start_with(options).await;
    assert_eq!(world.served(), "api=1 db=1");
}

#[tokio::test]
async fn a_directory_that_is_missing_refuses_the_start() {
    let site = Site::new(&[]);
    let options = || Options { paths: vec![site.outside("missing")], ..site.options() };
    let (first, second) = (options(), Options { lenient: true, ..options() });
    let Err((_, error)) = Site::new(&[]).try_start(first).await else { panic!("it started") };
    let StartError::Refused { errors, .. } = error else { panic!("{error}") };
    assert!(errors[0].to_string().contains("missing: error: cannot be read"), "{}", errors[0]);
    // Leniently it waits for it.
    let mut world = Site::new(&[]).start_with(second).await;
    fs::create_dir(site.outside("missing")).unwrap();
    fs::write(site.outside("missing/all.yaml"), format!("{POD}{}", services("web=1"))).unwrap();
    world.until("web=1").await;
}

#[tokio::test]
async fn a_restart_serves_the_last_good_version_of_what_is_in_error() {
    let site = Site::new(&[("a.yaml", "web=1 api=1"), ("b.yaml", "db=1"), ("c.yaml", "old=1")]);
    let options = Options { state_dir: Some(site.state_dir()), ..site.options() };
    let mut world = site.start_with(options).await;
    world.site.write("a.yaml", &services("web=2 api=1"));
    world.until("api=1 db=1 old=1 web=2").await;
    let site = world.stop().await;

    site.write("a.yaml", &services("web=3! api=3"));
    site.write("b.yaml", "a: [");
    fs::remove_file(site.path("c.yaml")).unwrap();
    let options = Options { state_dir: Some(site.state_dir()), ..site.options() };
    let mut world = site.start_with(options).await;
    assert_eq!(world.served(), "api=3 db=1 web=2");
    let status = world.status();
    let last_good: Vec<String> = status.last_good.iter().map(ToString::to_string).collect();
    assert_eq!(last_good, ["Service default/db", "Service default/web"]);
    assert_eq!((status.problems.len(), status.state_note.as_ref()), (2, None));
    world.site.write("a.yaml", &services("web=4 api=3"));
    world.until("api=3 db=1 web=4").await;
    let site = world.stop().await;

    // The directory is gone altogether, and is named differently.
    fs::rename(site.path(""), site.outside("away")).unwrap();
    let path = site.path("").join("../manifests");
    assert!(!path.exists());
    let options = Options { state_dir: Some(site.state_dir()), ..site.options() };
    let mut world = site.start_with(options).await;
    assert_eq!(world.served(), "api=3 db=1 web=4");
    assert!(world.status().source_lost.is_some());
    fs::rename(world.site.outside("away"), world.site.path("")).unwrap();
    world.until_status(|status| status.source_lost.is_none()).await;
    assert_eq!(world.served(), "api=3 db=1 web=4");
}

#[tokio::test]
async fn a_damaged_store_is_said_and_hurts_nobody() {
    let site = Site::new(&[("a.yaml", "web=1")]);
    fs::create_dir(site.outside("state")).unwrap();
    fs::write(site.outside("state/last-good.jsonl"), b"garbage\n\xff\xff\n{\"kind\":").unwrap();
    let options = Options { state_dir: Some(site.state_dir()), ..site.options() };
    let world = site.start_with(options).await;
    assert_eq!(world.served(), "web=1");
    assert!(
        world.status().state_note.as_ref().unwrap().starts_with("3 damaged records"),
        "{:?}",
        world.status()
    );
    world.stop().await;
}

#[tokio::test]
async fn the_first_generation_knows_what_the_probes_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap().port();
    let (site, closed) = (Site::new(&[]), unused_port().await);
    let pod = |name: &str, port: u16| {
        POD.replace("name: pod", &format!("name: {name}")).replace("app: all", &format!("app: {name}")).replace(
            "image: none",
            &format!("image: none, readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 1, failureThreshold: 1}}"),
        )
    };
    site.write("pods.yaml", &format!("{}---{}", pod("up", open), pod("down", closed)));
    let up = services("up=1").replace("app: all", "app: up");
    let down = services("down=1").replace("app: all", "app: down");
    site.write("services.yaml", &format!("{up}{down}"));
    let mut world = site.start().await;
    assert_eq!(world.served(), "up=1");
    let pods: Vec<(String, bool)> =
        world.status().pods.iter().map(|verdict| (verdict.pod.to_string(), verdict.ready)).collect();
    assert_eq!(pods, [("default/down".to_owned(), false), ("default/up".to_owned(), true)]);
    assert!(world.status().pods[0].reason.contains("refused"), "{:?}", world.status().pods);

    // It comes up, and the other one goes down.
    let _listener = TcpListener::bind(("127.0.0.1", closed)).await.unwrap();
    world.until("down=1 up=1").await;
    drop(listener);
    world.until("down=1").await;
    // A probe that is taken away is not missed.
    world.site.write(
        "pods.yaml",
        &format!(
            "{}---{}",
            pod("up", open),
            POD.replace("name: pod", "name: down").replace("app: all", "app: down")
        ),
    );
    world.until("down=1").await;
    let status = world.until_status(|status| status.pods.len() == 1).await;
    assert_eq!(status.pods[0].pod.to_string(), "default/up");
}

async fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[test]
fn manifests_can_be_read_once_without_a_driver() {
    let site = Site::new(&[("a.yaml", "web=1! api=1"), ("b.yaml", "api=2")]);
    let mut loaded = load_once(&[site.path("")]);
    assert_eq!((loaded.catalog.len(), loaded.files, loaded.problems.len()), (2, 3, 2));
    // What is found while the files are read has no text at hand.
    assert_eq!(loaded.problems[1].excerpt, None);
    show_excerpts(&mut loaded.problems);
    assert_eq!(loaded.problems[1].excerpt.as_deref(), Some("apiVersion: v1"));
    let missing = load_once(&[site.outside("missing")]);
    assert!(missing.problems[0].to_string().contains("cannot be read"), "{}", missing.problems[0]);
}

#[tokio::test]
async fn the_state_directory_is_held_until_the_driver_ends() {
    let site = Site::new(&[("a.yaml", "web=1")]);
    let options = Options { state_dir: Some(site.state_dir()), ..site.options() };
    let world = site.start_with(options).await;
    assert!(watershed_control::state_dir::StateDir::open(world.site.outside("state")).is_err());
    let site = world.stop().await;
    assert!(site.state_dir().is_writable());
    assert_eq!(problems_of(&site), [""; 0]);
}

fn problems_of(site: &Site) -> Vec<String> {
    load_once(&[site.path("")]).problems.iter().map(ToString::to_string).collect()
}
