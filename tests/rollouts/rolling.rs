//! A rolling update of ten pods.

use super::stage::{Stage, applied, view, wait};

#[test]
fn a_rolling_update_of_ten_pods_under_load_loses_nothing() {
    let strategy = "{rollingUpdate: {maxSurge: 2, maxUnavailable: 1}}";
    let mut stage = Stage::new(strategy, 10);
    let watershed = stage.start().ready();
    wait(&watershed, "v1 is stable", |view| view["phase"] == "Healthy");
    stage.add("v2", 10);
    let tally = stage.under_load(&watershed, || {
        stage.write_rollout("v2", strategy);
        wait(&watershed, "some are exchanged", |view| applied(view, "v2") > 10.0);
        stage.ask(&["pause"]);
        let share = applied(&view(&watershed), "v2");
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!((applied(&view(&watershed), "v2") - share).abs() < 30.0, "it goes on although it is paused");
        stage.ask(&["resume"]);
        wait(&watershed, "v2 is stable", |view| view["phase"] == "Healthy" && view["stable"] == "v2");
    });
    assert!(tally.lost.is_empty() && tally.failed == 0, "{tally}");
    assert!(stage.of("v2").all(|pod| pod.count() > 0), "{tally}");
}
