//! Blue-green: preview, switch, switch back.

use crate::support::{ask, request};

use super::stage::{Stage, applied, wait};

#[test]
fn a_switch_and_a_switch_back_under_load_lose_nothing() {
    let strategy =
        "{blueGreen: {preview: {header: {name: x-preview, value: \"1\"}}, autoPromotionEnabled: false}}";
    let mut stage = Stage::new(strategy, 2);
    let watershed = stage.start().ready();
    wait(&watershed, "v1 is stable", |view| view["phase"] == "Healthy");
    stage.add("v2", 2);
    let tally = stage.under_load(&watershed, || {
        stage.write_rollout("v2", strategy);
        wait(&watershed, "it waits", |view| view["phase"] == "Paused" && view["acknowledged"] == true);
        let seen_by = |headers: &[(&str, &str)]| {
            ask(watershed.services(), &request("hello", "/", headers)).pod().to_owned()
        };
        assert!(seen_by(&[("x-preview", "1")]).starts_with("hello-v2-"));
        assert!(seen_by(&[]).starts_with("hello-v1-"));
        stage.ask(&["promote"]);
        wait(&watershed, "switched", |view| view["stable"] == "v2" && view["phase"] == "Healthy");
        assert!(seen_by(&[]).starts_with("hello-v2-"));
        stage.ask(&["undo", "--reason", "another look"]);
        wait(&watershed, "switched back", |view| view["stable"] == "v1" && applied(view, "v1") == 100.0);
        wait(&watershed, "everywhere", |view| view["acknowledged"] == true);
        assert!(seen_by(&[]).starts_with("hello-v1-"));
    });
    assert!(tally.lost.is_empty() && tally.failed == 0, "{tally}");
    assert!(stage.ask(&["history"]).contains("another look"));
}
