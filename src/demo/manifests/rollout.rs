//! The files of the stories in which a Rollout moves the traffic.

use std::time::Duration;

use super::super::scenario::{Pace, Scenario};
use super::service_of;

/// The Service whose traffic is moved, and its Rollout.
pub(in super::super) const HELLO: &str = "hello";

/// The header that shows the new version before anybody else has it, in the blue-green story.
pub(in super::super) const PREVIEW: &str = "x-preview";

/// One Service for the pods of all versions.
pub(in super::super) fn service() -> String {
    service_of(HELLO, "{app: hello}")
}

/// Everything to the Service; which of its revisions a request gets is the Rollout's work.
pub(in super::super) fn route() -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {HELLO}
spec:
  parentRefs:
  - name: demo
  rules:
  - backendRefs:
    - name: {HELLO}
      port: 80
"
    )
}

/// The Rollout of a story; `None` where the weights are edited by hand.
pub(in super::super) fn rollout(scenario: Scenario, pace: &Pace) -> Option<String> {
    let strategy = match scenario {
        Scenario::Split => return None,
        Scenario::Canary => format!(
            "    canary:
      steps:
      - setWeight: 10
      - pause: {{duration: {}}}
      - setWeight: 50
      - pause: {{duration: {}}}
",
            go(pace.first_pause),
            go(pace.second_pause)
        ),
        Scenario::Bluegreen => format!(
            "    blueGreen:
      preview:
        header: {{name: {PREVIEW}, value: \"1\"}}
      autoPromotionEnabled: false
      scaleDownDelaySeconds: {}
",
            pace.warm.as_secs()
        ),
        Scenario::Rolling => format!(
            "    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
      minReadySeconds: {}
",
            pace.look.as_secs()
        ),
    };
    // No targetRevision: the newest version that has ready pods is the one that is wanted.
    Some(format!(
        "\
apiVersion: watershed.dev/v1alpha1
kind: Rollout
metadata:
  name: {HELLO}
spec:
  serviceRef:
    name: {HELLO}
  revisionLabel: version
  strategy:
{strategy}  judge:
    falseAlarmRate: 0.01
    minimumEffect: 2
    onFailure: abort
"
    ))
}

/// As Go and Argo write a duration.
fn go(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::super::Options;
    use super::*;

    #[test]
    fn the_proxy_finds_nothing_to_say_about_the_rollouts_of_any_length() {
        for scenario in [Scenario::Canary, Scenario::Bluegreen, Scenario::Rolling] {
            for seconds in [4, 9, 20, 300] {
                let duration = Duration::from_secs(seconds);
                let pace = Pace::of(&Options {
                    scenario,
                    duration,
                    rate: 1000,
                    workers: None,
                    dir: None,
                    keep: false,
                });
                let text = [service(), route(), rollout(scenario, &pace).unwrap()].join("---\n");
                let path = Arc::from(Path::new("demo.yaml"));
                let problems = watershed_config::read(&path, &text).problems;
                assert!(problems.is_empty(), "{problems:?}\n{text}");
            }
        }
    }

    #[test]
    fn durations_are_written_as_go_does() {
        assert_eq!(go(Duration::from_secs(4)), "4s");
        assert_eq!(go(Duration::from_millis(1500)), "1500ms");
    }
}
