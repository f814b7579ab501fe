//! Mistakes and losses: what was good keeps being served.

use std::fs;

use watershed_config::model::Kind;

use crate::support::{POD, Site, pass, problems, services};

#[tokio::test]
async fn a_bad_object_keeps_its_last_good_version() {
    let mut world = Site::new(&[("a.yaml", "web=1 api=1")]).start().await;
    world.site.write("a.yaml", &services("web=2! api=2"));
    world.until("api=2 web=1").await;
    let status = world.until_status(|status| status.generation.0 == 2).await;
    assert_eq!(status.last_good.len(), 1);
    assert_eq!(status.last_good[0].to_string(), "Service default/web");
    assert_eq!(status.rejected_total.get("Service"), Some(&1));
    assert_eq!(status.objects.get(&Kind::Service), Some(&2));
    let [problem] = &problems(&status)[..] else { panic!("{status:#?}") };
    assert!(problem.contains("a.yaml:7:"), "{problem}");
    // Mending it mends everything.
    world.site.write("a.yaml", &services("web=3 api=2"));
    world.until("api=2 web=3").await;
    let status = world.until_status(|status| status.generation.0 == 3).await;
    assert!(status.last_good.is_empty() && status.problems.is_empty());
    assert_eq!(status.rejected_total.get("Service"), Some(&1));
}

#[tokio::test]
async fn a_file_in_error_keeps_all_that_it_held() {
    let mut world = Site::new(&[("a.yaml", "web=1 api=1")]).start().await;
    world.site.write("a.yaml", "a: [");
    let status = world.until_status(|status| !status.problems.is_empty()).await;
    assert_eq!(status.last_good.len(), 2);
    assert_eq!(status.rejected_total.get("file"), Some(&1));
    assert_eq!((world.generation(), world.served()), (1, "api=1 web=1".to_owned()));
    fs::write(world.site.path("a.yaml"), b"ok: yes\nname: caf\xe9\n").unwrap();
    let status = world.until_status(|status| problems(status)[0].contains("UTF-8")).await;
    assert!(
        problems(&status)[0].contains("a.yaml:2:10: error: is not UTF-8 text"),
        "{:?}",
        problems(&status)
    );
    world.site.write("a.yaml", &services("web=2"));
    world.until("web=2").await;
}

#[tokio::test]
async fn of_two_objects_with_one_name_the_served_one_stays() {
    let mut world = Site::new(&[("b.yaml", "web=2"), ("c.yaml", "web=3")]).start().await;
    assert_eq!(world.served(), "web=2");
    world.site.write("a.yaml", &services("web=1"));
    let status = world.until_status(|status| status.problems.len() == 2).await;
    let problem = &problems(&status)[0];
    assert!(problem.contains("a.yaml:2:1: error: Service default/web is defined twice"), "{problem}");
    assert!(problem.contains("b.yaml:2:1 is served"), "{problem}");
    assert_eq!(world.served(), "web=2");
    fs::remove_file(world.site.path("b.yaml")).unwrap();
    world.until("web=1").await;
}

#[tokio::test]
async fn a_directory_that_is_emptied_keeps_serving() {
    let mut world = Site::new(&[("a.yaml", "web=1"), ("b.yaml", "api=1")]).start().await;
    for file in ["a.yaml", "b.yaml", "pod.yaml"] {
        fs::remove_file(world.site.path(file)).unwrap();
    }
    let status = world.until_status(|status| status.source_lost.is_some()).await;
    assert!(status.source_lost.as_ref().unwrap().contains("vanished"), "{status:?}");
    pass(250).await;
    assert_eq!((world.generation(), world.served()), (1, "api=1 web=1".to_owned()));
    world.site.write("all.yaml", &format!("{POD}{}", services("web=2")));
    world.until("web=2").await;
    assert_eq!(world.until_status(|status| status.source_lost.is_none()).await.problems, []);
}

#[tokio::test]
async fn a_directory_that_is_moved_away_and_back_keeps_serving() {
    let mut world = Site::new(&[("a.yaml", "web=1")]).start().await;
    let (here, away) = (world.site.path(""), world.site.outside("away"));
    for round in 2..4 {
        fs::rename(&here, &away).unwrap();
        let status = world.until_status(|status| status.source_lost.is_some()).await;
        assert!(status.source_lost.as_ref().unwrap().contains("cannot be read"), "{status:?}");
        fs::write(away.join("a.yaml"), services(&format!("web={round}"))).unwrap();
        fs::rename(&away, &here).unwrap();
        world.until(&format!("web={round}")).await;
        world.until_status(|status| status.source_lost.is_none()).await;
    }
    // It is watched again, by its new watch.
    world.site.write("a.yaml", &services("web=9"));
    world.until("web=9").await;
    // Another directory takes its place within a moment.
    fs::create_dir(&away).unwrap();
    fs::write(away.join("pod.yaml"), POD).unwrap();
    fs::write(away.join("b.yaml"), services("web=10")).unwrap();
    fs::rename(&here, world.site.outside("old")).unwrap();
    fs::rename(&away, &here).unwrap();
    world.until("web=10").await;
    world.site.write("b.yaml", &services("web=11"));
    world.until("web=11").await;
    assert!(world.history().iter().all(|served| served.starts_with("web=")), "{:?}", world.history());
}

#[tokio::test]
async fn a_directory_moved_away_and_back_within_a_moment_stays_watched() {
    let mut world = Site::new(&[("sub.yaml", "api=1")]).start().await;
    fs::create_dir(world.site.path("sub")).unwrap();
    world.site.write("sub/a.yaml", &services("web=1"));
    world.until("api=1 web=1").await;
    fs::rename(world.site.path("sub"), world.site.outside("sub")).unwrap();
    fs::rename(world.site.outside("sub"), world.site.path("sub")).unwrap();
    world.barrier(1).await;
    world.site.write("sub/a.yaml", &services("web=2"));
    world.until("api=1 web=2 zz=1").await;
}
