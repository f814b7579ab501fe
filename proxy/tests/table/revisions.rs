//! Rollouts in the table: which revision a share is, what survives a swap, and who gets nothing.

use std::net::IpAddr;
use std::sync::Arc;

use watershed_config::model::{Hostname, Sticky};
use watershed_config::snapshot::{
    Endpoint, EndpointState, RevisionCondition, RevisionRoute, RevisionSplit as Written,
};
use watershed_proxy::table::explain::{Answer, Question, ShareView};
use watershed_proxy::table::{Action, ArmTarget, Backend, RevisionSplit, Routed, RoutingTable, Rule};

use crate::builder::{Asked, arm, candidate, compiler, divided, endpoint, matcher, plain, rollout, rule_of};

/// An endpoint of a revision in a state.
fn pod(uid: &str, port: u16, revision: &str, state: EndpointState) -> Endpoint {
    Endpoint { revision: revision.into(), state, ..endpoint(uid, port) }
}

/// Two ready pods of each revision, one after the other.
fn pods() -> Vec<Endpoint> {
    let pod = |n: u16| {
        let revision = if n.is_multiple_of(2) { "1" } else { "2" };
        pod(&format!("pod-{n}"), 9000 + n, revision, EndpointState::Ready)
    };
    (0..4).map(pod).collect()
}

fn routed(table: &RoutingTable, request: &str) -> Arc<Rule> {
    match table.route(0, &Asked::new(request).head()) {
        Routed::Rule(rule) => Arc::clone(rule),
        other => panic!("{request}: {other:?}"),
    }
}

fn parts(rule: &Rule) -> (&Arc<Backend>, &Arc<RevisionSplit>) {
    match &rule.action {
        Action::Split(split) => match &split.arms[0].target {
            ArmTarget::Backend { backend, rollout: Some(split), .. } => (backend, split),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// A snapshot with a rule for everything below each of these paths, all to the one Service.
fn snapshot(
    generation: u64,
    paths: &[&str],
    written: Written,
    pods: &[Endpoint],
) -> watershed_config::snapshot::Snapshot {
    let written = Arc::new(written);
    let rule = |path: &&str| {
        let rule = rule_of(path.trim_matches('/'), vec![divided(arm(1, "hello", pods.to_vec()), &written)]);
        candidate(path, &rule)
    };
    plain(generation, paths.iter().map(rule).collect())
}

/// Draws and counts so often, as requests do; how often the first share was picked.
fn request(split: &RevisionSplit, times: u32) -> u32 {
    let mut first = 0;
    for _ in 0..times {
        let picked = split.pick(split.state.draw(0));
        split.picks.count(0, picked);
        first += u32::from(picked == 0);
    }
    first
}

#[test]
fn the_ready_endpoints_of_a_revision_stand_together_and_nobody_else_is_among_them() {
    use EndpointState::{Ready, Terminating, Unready, Withdrawn};
    let states = [Ready, Ready, Withdrawn, Ready, Unready, Ready, Terminating, Ready];
    let pods: Vec<_> = states
        .into_iter()
        .enumerate()
        .map(|(n, state)| pod(&format!("pod-{n}"), 9000 + n as u16, ["1", "2", "3"][n % 3], state))
        .collect();
    let written = rollout(1, &[("2", 500_000), ("4", 0), ("1", 500_000)]);
    let rule = routed(&compiler(1).compile(&snapshot(1, &["/"], written, &pods)), "h/");
    let (backend, _) = parts(&rule);
    let ready = |revision: &str| {
        let of = backend.revisions.iter().find(|known| *known.name == *revision).unwrap();
        let uids =
            backend.endpoints[of.ready.clone()].iter().map(|(endpoint, _)| endpoint.id.uid.to_string());
        uids.collect::<Vec<_>>()
    };
    assert_eq!(ready("1"), ["pod-0", "pod-3"]);
    assert_eq!(ready("2"), ["pod-1", "pod-7"]);
    assert_eq!(ready("3"), ["pod-5"]);
    assert!(ready("4").is_empty(), "named by the Rollout alone");
    let keeps_connections: Vec<bool> = backend.known.iter().map(|endpoint| endpoint.is_ready()).collect();
    assert_eq!(
        keeps_connections,
        [true, true, true, true, false, true, false, true],
        "withdrawn ones stay warm"
    );
}

#[test]
fn an_inner_split_keeps_its_sequence_through_new_shares_and_counts_them_anew() {
    let mut compiler = compiler(1);
    let mut split = |generation, epoch, canary: u32| {
        let written = rollout(epoch, &[("2", canary), ("1", 1_000_000 - canary)]);
        let table = compiler.compile(&snapshot(generation, &["/"], written, &pods()));
        Arc::clone(parts(&routed(&table, "h/")).1)
    };
    let first = split(1, 1, 10_000);
    let mut canary = request(&first, 1_000);
    assert!(canary.abs_diff(10) <= 7, "{canary} of 1,000 instead of 10");
    let same = split(2, 1, 10_000);
    assert!(Arc::ptr_eq(&first.state, &same.state) && Arc::ptr_eq(&first.picks, &same.picks));
    for swap in 0..100 {
        // Other slow bounds, hence another epoch, with the same shares.
        canary += request(&split(3 + swap, 2 + swap, 10_000), 10);
    }
    assert!(canary.abs_diff(20) <= 7, "{canary} of 2,000 instead of 20: starved by swaps");
    let raised = split(200, 1, 20_000);
    assert_eq!(raised.decisions(), [("2".into(), 20_000, 0), ("1".into(), 980_000, 0)]);
    request(&raised, 100);
    assert_eq!(raised.decisions().iter().map(|(_, _, count)| count).sum::<u64>(), 100);
    assert!(Arc::ptr_eq(&first.state, &raised.state));
}

#[test]
fn every_rule_that_leads_to_the_service_has_a_sequence_of_its_own() {
    let mut compiler = compiler(1);
    let written = || rollout(1, &[("2", 100_000), ("1", 900_000)]);
    let table = compiler.compile(&snapshot(1, &["/a", "/b"], written(), &pods()));
    let (a, b) = (routed(&table, "h/a"), routed(&table, "h/b"));
    assert!(!Arc::ptr_eq(&parts(&a).1.state, &parts(&b).1.state));
    assert!(!Arc::ptr_eq(&parts(&a).1.picks, &parts(&b).1.picks));
    // An edit elsewhere keeps the whole rule, and with it what the compiler keeps for it.
    compiler.compile(&snapshot(2, &["/a", "/c"], written(), &pods()));
    let again = compiler.compile(&snapshot(3, &["/a", "/b"], written(), &pods()));
    assert!(Arc::ptr_eq(&parts(&a).1.state, &parts(&routed(&again, "h/a")).1.state));
    assert!(
        !Arc::ptr_eq(&parts(&b).1.state, &parts(&routed(&again, "h/b")).1.state),
        "it was gone for a while"
    );
}

#[test]
fn without_a_share_for_anybody_the_stable_revision_has_everything() {
    let table = compiler(1).compile(&snapshot(1, &["/"], rollout(1, &[("2", 0), ("1", 0)]), &pods()));
    let rule = routed(&table, "h/");
    assert_eq!(request(parts(&rule).1, 100), 0);
}

/// A route to revision 2 (or another) for requests with these headers (`name:value`).
fn header_route(name: &str, headers: &str, revision: &str) -> RevisionRoute {
    let condition = RevisionCondition::Headers(matcher(headers).headers);
    RevisionRoute { name: name.into(), condition, revision: revision.into() }
}

#[test]
fn the_first_route_whose_conditions_all_hold_decides() {
    let host = RevisionRoute {
        name: "preview".into(),
        condition: RevisionCondition::Host(Hostname::parse("*.preview.example")),
        revision: "2".into(),
    };
    let mut written = rollout(1, &[("2", 0), ("1", 1_000_000)]);
    written.routes =
        vec![header_route("both", "x-a:1 x-b:~[0-9]+", "2"), host, header_route("a", "x-a:1", "1")];
    let table = compiler(1).compile(&snapshot(1, &["/"], written, &pods()));
    let rule = routed(&table, "h/");
    let split = parts(&rule).1;
    for (asked, route) in [
        ("h/", None),
        ("h/ x-b:7", None),
        ("h/ x-a:1", Some(2)),
        ("h/ x-a:1 x-b:x", Some(2)),
        ("h/ x-a:1 x-b:7", Some(0)),
        ("a.preview.example/ x-a:1 x-b:7", Some(0)),
        ("a.preview.example/ x-a:1", Some(1)),
        ("preview.example/", None),
        ("h/ x-a:2", None),
    ] {
        assert_eq!(split.route(&Asked::new(asked).head()), route, "{asked}");
    }
}

#[test]
fn a_user_has_the_same_revision_on_every_worker_and_every_proxy_and_a_raise_moves_nobody_back() {
    let written = |canary: u32| Written {
        sticky: Some(Sticky::Header("x-user".parse().unwrap())),
        ..rollout(u64::from(canary), &[("2", canary), ("1", 1_000_000 - canary)])
    };
    let split_of = |table: &RoutingTable| Arc::clone(parts(&routed(table, "h/")).1);
    let (mut one, mut other) = (compiler(4), compiler(1));
    let first = split_of(&one.compile(&snapshot(1, &["/"], written(100_000), &pods())));
    let second = split_of(&other.compile(&snapshot(7, &["/"], written(100_000), &pods())));
    let raised = split_of(&one.compile(&snapshot(2, &["/"], written(200_000), &pods())));
    let client = IpAddr::from([10, 0, 0, 9]);
    let mut counts = [0u32; 2];
    for user in 0..5_000 {
        let asked = Asked::new(&format!("h/ x-user:user-{user}"));
        let of = |split: &RevisionSplit| split.pick(split.user(&asked.head(), client).unwrap());
        assert_eq!(of(&first), of(&second), "user {user}");
        assert!(of(&raised) <= of(&first), "user {user} left the canary");
        counts[0] += u32::from(of(&first) == 0);
        counts[1] += u32::from(of(&raised) == 0);
    }
    // Three standard deviations of a binomial draw of 5,000 with 10 and 20 %.
    assert!(counts[0].abs_diff(500) <= 64 && counts[1].abs_diff(1_000) <= 85, "{counts:?}");
    assert_eq!(first.user(&Asked::new("h/").head(), client), None, "nobody is named");
}

/// What is told of the only share, and its text without the lines above it and without endpoints.
fn told(written: Written, pods: &[Endpoint], headers: &[&str]) -> (ShareView, String) {
    let table = compiler(1).compile(&snapshot(1, &["/"], written, pods));
    let explanation = table.explain(&Question::new("GET", "h/", headers.iter().copied()).unwrap());
    let text = explanation.to_string();
    let lines = text.lines().skip_while(|line| !line.contains("weight 1")).skip(1);
    let text = lines.filter(|line| !line.contains("in flight")).map(|line| line.trim_start().to_owned());
    let text = text.collect::<Vec<_>>().join("\n");
    match explanation.answer {
        Answer::Split { shares, .. } => (shares[0].clone(), text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_explanation_names_the_revision_and_what_decides() {
    let divided = || rollout(1, &[("2", 100_000), ("1", 900_000)]);
    let shares = "10 %     revision 2\n90 %     revision 1";
    let check = |written: Written, headers: &[&str], why: &str, revision: Option<&str>| {
        let (share, text) = told(written, &pods(), headers);
        assert_eq!(text, format!("Rollout default/hello: {why}\n{shares}"));
        assert_eq!(share.rollout.unwrap().revision.as_deref(), revision);
        assert_eq!(share.answer, None);
    };
    check(divided(), &[], "by weight", None);
    let routed = Written { routes: vec![header_route("qa", "x-qa:1", "2")], ..divided() };
    check(routed.clone(), &["x-qa: 1"], "revision 2, by route qa", Some("2"));
    check(routed, &[], "by weight", None);
    let sticky = |by| Written { sticky: Some(by), ..divided() };
    let header = sticky(Sticky::Header("x-user".parse().unwrap()));
    check(header.clone(), &["x-user: 1"], "revision 1, by the user in header x-user", Some("1"));
    check(header, &[], "by weight, as it has no header x-user", None);
    let cookie = sticky(Sticky::Cookie("ws".into()));
    let canary = watershed_proxy::sticky::key_of(0, 0x5EED);
    let line = format!("Cookie: a=b; ws={canary:016x}");
    check(cookie.clone(), &[&line], "revision 2, by the user in cookie ws", Some("2"));
    check(cookie, &["Cookie: a=b"], "by weight, as it has no cookie ws", None);
    check(sticky(Sticky::ClientAddress), &[], "by the client's address", None);
}

#[test]
fn an_explanation_says_who_is_not_there_to_answer() {
    let mut only_canary = pods();
    for pod in only_canary.iter_mut().filter(|pod| &*pod.revision == "1") {
        pod.state = EndpointState::Unready;
    }
    let mut written = rollout(1, &[("2", 100_000), ("1", 900_000)]);
    written.routes = vec![header_route("old", "x-old:1", "0")];
    let (_, text) = told(written.clone(), &only_canary, &[]);
    let gone = "503 stable_unavailable: no endpoint of the stable revision is ready";
    assert_eq!(
        text,
        format!("Rollout default/hello: by weight\n10 %     revision 2\n90 %     revision 1; answers {gone}")
    );
    let (share, _) = told(written, &only_canary, &["x-old: 1"]);
    let gone = "503 revision_unavailable: no endpoint of that revision is ready";
    assert_eq!(
        (share.answer.as_deref(), share.rollout.unwrap().revision.as_deref()),
        (Some(gone), Some("0"))
    );

    let mut clamped = rollout(1, &[("2", 0), ("1", 1_000_000)]);
    clamped.shares[0].wanted = 250_000;
    let (share, text) = told(clamped, &pods()[..1], &[]);
    assert!(text.contains("0 %      revision 2; 25 % when it has ready endpoints"), "{text}");
    assert_eq!(share.answer, None);
}
