//! Edits of every kind are served, soon and in few generations.

use std::fs;
use std::time::{Duration, Instant};

use watershed_control::driver::Options;

use crate::support::{POD, Site, link, pass, problems, services};

#[tokio::test]
async fn edits_in_place_and_by_replacement_are_served() {
    let mut world = Site::new(&[("a.yaml", "web=1")]).start().await;
    assert_eq!((world.generation(), world.served()), (1, "web=1".to_owned()));
    world.site.write("a.yaml", &services("web=2"));
    world.until("web=2").await;
    world.site.replace("a.yaml", &services("web=3"));
    world.until("web=3").await;
    world.site.write(
        "b.json",
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
        "spec": {"selector": {"app": "all"}, "ports": [{"port": 80, "targetPort": 4}]}}"#,
    );
    world.until("api=4 web=3").await;
    fs::remove_file(world.site.path("a.yaml")).unwrap();
    world.until("api=4").await;
    let status = world.until_status(|status| status.generation.0 == 5).await;
    assert_eq!(status.files, 2);
    assert_eq!(status.source_lost, None);
    assert_eq!(problems(&status), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn an_edit_is_served_within_100_ms() {
    let mut world = Site::new(&[("a.yaml", "web=1")]).start().await;
    let mut times = Vec::new();
    for version in 2..12 {
        let began = Instant::now();
        world.site.replace("a.yaml", &services(&format!("web={version}")));
        world.until(&format!("web={version}")).await;
        times.push(began.elapsed());
    }
    times.sort();
    // Not the worst, because the machine that tests run on has other things to do.
    assert!(times[2] < Duration::from_millis(100), "{times:?}");
}

#[tokio::test]
async fn sub_directories_are_followed_as_they_come_and_go() {
    let mut world = Site::new(&[]).start().await;
    fs::create_dir_all(world.site.path("team/a")).unwrap();
    world.site.write("team/a/a.yml", &services("web=1"));
    world.until("web=1").await;
    world.site.write("team/a/a.yml", &services("web=2"));
    world.until("web=2").await;
    fs::rename(world.site.path("team"), world.site.path("group")).unwrap();
    world.barrier(1).await;
    world.site.write("group/a/a.yml", &services("web=3"));
    world.until("web=3 zz=1").await;
    fs::remove_dir_all(world.site.path("group")).unwrap();
    world.until("zz=1").await;
}

#[tokio::test]
async fn a_config_map_volume_is_switched_over_as_a_whole() {
    let site = Site::new(&[]);
    let version = |version: u16| {
        let data = format!("..2026_{version}");
        fs::create_dir(site.path(&data)).unwrap();
        fs::write(site.path(&data).join("a.yaml"), services(&format!("api={version}"))).unwrap();
        fs::write(site.path(&data).join("b.yaml"), services(&format!("web={version}"))).unwrap();
        link(&data, &site.path("..data_tmp"));
        fs::rename(site.path("..data_tmp"), site.path("..data")).unwrap();
    };
    version(1);
    link("..data/a.yaml", &site.path("a.yaml"));
    link("..data/b.yaml", &site.path("b.yaml"));
    let options = site.options();
    let paths = (site.path("..2026_1"), site.path(""));
    let mut world = site.start_with(options).await;
    assert_eq!(world.served(), "api=1 web=1");
    assert_eq!(world.status().files, 3, "nothing is read twice");
    for round in 2..8_u16 {
        let data = paths.1.join(format!("..2026_{round}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("a.yaml"), services(&format!("api={round}"))).unwrap();
        fs::write(data.join("b.yaml"), services(&format!("web={round}"))).unwrap();
        link(format!("..2026_{round}"), &paths.1.join("..data_tmp"));
        fs::rename(paths.1.join("..data_tmp"), paths.1.join("..data")).unwrap();
        fs::remove_dir_all(paths.1.join(format!("..2026_{}", round - 1))).unwrap();
        world.until(&format!("api={round} web={round}")).await;
    }
    for served in world.history() {
        let versions: Vec<&str> = served.split(['=', ' ']).collect();
        assert_eq!(versions[1], versions[3], "{:?}", world.history());
    }
}

#[tokio::test]
async fn the_target_of_a_link_is_watched_where_it_really_is() {
    let site = Site::new(&[]);
    fs::create_dir(site.outside("elsewhere")).unwrap();
    fs::write(site.outside("elsewhere/web.yaml"), services("web=1")).unwrap();
    link(site.outside("elsewhere/web.yaml"), &site.path("web.yaml"));
    let mut world = site.start().await;
    world.until("web=1").await;
    fs::write(world.site.outside("elsewhere/web.yaml"), services("web=2")).unwrap();
    world.until("web=2").await;
}

#[tokio::test]
async fn a_single_file_can_be_watched() {
    let site = Site::new(&[]);
    site.write("all.conf", &format!("{POD}{}", services("web=1")));
    let options = Options { paths: vec![site.path("all.conf")], ..site.options() };
    let mut world = site.start_with(options).await;
    assert_eq!(world.served(), "web=1");
    world.site.replace("all.conf", &format!("{POD}{}", services("web=2")));
    world.until("web=2").await;
    world.site.write("all.conf", &format!("{POD}{}", services("web=3 api=1")));
    world.until("api=1 web=3").await;
}

#[tokio::test]
async fn a_burst_of_writes_becomes_few_generations() {
    let mut world = Site::new(&[]).start().await;
    let began = Instant::now();
    for number in 0..200 {
        world.site.write(&format!("{number:03}.yaml"), &services(&format!("s{number:03}=1")));
    }
    let all: Vec<String> = (0..200).map(|number| format!("s{number:03}=1")).collect();
    world.until(&all.join(" ")).await;
    // At most one for each 50 ms of writing, and one at either end.
    let most = began.elapsed().as_millis() as u64 / 50 + 3;
    assert!(world.generation() <= most, "{} generations, not {most}", world.generation());
}

#[tokio::test]
async fn a_stream_of_edits_starves_nothing() {
    let mut world = Site::new(&[("a.yaml", "web=1")]).start().await;
    for version in 2..60 {
        world.site.replace("a.yaml", &services(&format!("web={version}")));
        // Never quiet for as long as the debounce would like.
        pass(10).await;
    }
    let before_its_end = world.generation();
    assert!(before_its_end > 5, "{before_its_end} generations");
    world.until("web=59").await;
}

#[tokio::test]
async fn what_changes_nothing_makes_no_generation() {
    let mut world = Site::new(&[("a.yaml", "web=1")]).start().await;
    world.site.write("a.yaml", &services("web=1"));
    world.site.write("README.md", "not a manifest");
    world.site.write("b.yaml", "# nothing yet\n");
    pass(150).await;
    world.reload.now();
    world.reload.now();
    pass(150).await;
    assert_eq!(world.generation(), 1);
    world.barrier(1).await;
    assert_eq!(world.generation(), 2);
}

#[tokio::test]
async fn a_file_that_is_being_written_drops_nothing() {
    let mut world = Site::new(&[("a.yaml", "web=1 api=1"), ("b.yaml", "db=1")]).start().await;
    let text = services("web=2 api=2");
    for round in 2..6 {
        let began = Instant::now();
        world.site.write("a.yaml", "");
        pass(25).await;
        world.site.write("a.yaml", &text[..text.len() / 2]);
        pass(25).await;
        fs::remove_file(world.site.path("a.yaml")).unwrap();
        pass(25).await;
        world.site.write("a.yaml", &services(&format!("web={round} api={round}")));
        if began.elapsed() > Duration::from_millis(95) {
            // The machine was so busy that this was no moment any more.
            return;
        }
        world.until(&format!("api={round} db=1 web={round}")).await;
        pass(50).await;
    }
    let dropped: Vec<String> =
        world.history().into_iter().filter(|served| served.split(' ').count() != 3).collect();
    assert_eq!(dropped, [""; 0]);
}

/// A change through another name of the file, in a directory that nobody watches.
fn change_unheard(site: &Site, list: &str) {
    fs::write(site.outside("hard-link"), services(list)).unwrap();
}

fn with_hard_link() -> Site {
    let site = Site::new(&[("a.yaml", "web=1")]);
    fs::hard_link(site.path("a.yaml"), site.outside("hard-link")).unwrap();
    site
}

#[tokio::test]
async fn a_reload_sees_what_watching_did_not() {
    let mut world = with_hard_link().start().await;
    // The look that follows the first watching.
    pass(150).await;
    change_unheard(&world.site, "web=2");
    pass(100).await;
    assert_eq!(world.served(), "web=1");
    world.reload.now();
    world.until("web=2").await;
}

#[tokio::test]
async fn polling_sees_what_watching_did_not() {
    let site = with_hard_link();
    let options = Options { poll_interval: Duration::from_millis(50), ..site.options() };
    let mut world = site.start_with(options).await;
    change_unheard(&world.site, "web=2");
    world.until("web=2").await;
}
