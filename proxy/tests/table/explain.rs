//! What is told about a request.

use std::path::Path;
use std::sync::Arc;

use watershed_config::Spot;
use watershed_config::model::{Filter, Origin, Redirect};
use watershed_config::snapshot::{Arm, EndpointState, InvalidTarget, Rule, Snapshot, Target};
use watershed_proxy::table::explain::{Answer, Explanation, Question, explain_request};
use watershed_proxy::table::{Action, Routed};

use crate::builder::{
    Asked, arm, candidate, compiler, endpoint, host, listener, plain, rule, rule_of, snapshot,
};

fn explain(snapshot: &Snapshot, method: &str, url: &str, headers: &[&str]) -> Explanation {
    let question = Question::new(method, url, headers.iter().copied()).unwrap();
    compiler(1).compile(snapshot).explain(&question)
}

/// Whether the first of two candidates wins, and the reason that is given.
fn check_why(winner: &str, other: &str, url: &str, why: &str) {
    let (a, b) = (rule("b-winner"), rule("a-other"));
    let told =
        explain(&plain(1, vec![candidate(winner, &a), candidate(other, &b)]), "GET", url, &["x: 1", "y: 2"]);
    assert_eq!(told.rule.unwrap().route, "b-winner", "{winner} against {other}");
    assert_eq!(told.won_over.len(), 1, "{winner} against {other}");
    assert_eq!(told.won_over[0].why, why, "{winner} against {other}");
}

#[test]
fn the_reason_of_a_victory_is_the_condition_that_decided() {
    let url = "h/v2/x?q=1";
    check_why("=/v2/x", "/v2/x", url, "an exact path beats a prefix");
    check_why("=/v2/x", "~/v2/.*", url, "an exact path beats a regular expression");
    check_why("~/v2/.*", "/v2/x method=GET", url, "a regular expression beats a prefix");
    check_why("/v2/x", "/v2 method=GET", url, "longer path prefix: /v2/x beats /v2");
    check_why("/v2", "/ method=GET", url, "longer path prefix: /v2 beats /");
    check_why("/v2 method=GET", "/v2 x:1", url, "it has a method condition");
    check_why("/v2 x:1 y:2", "/v2 x:1 ?q=1", url, "more header conditions: 2 beats 1");
    check_why("/v2 x:1 ?q=1", "/v2 y:2", url, "more query conditions: 1 beats 0");
    check_why("/v2 x:1", "/v2 y:2", url, "equal conditions: its route is older (metadata.creationTimestamp)");
}

#[test]
fn a_more_specific_host_is_a_reason_too() {
    let hosts = vec![
        host("a.b", None, vec![candidate("/", &rule("exact"))]),
        host("a.b", Some(81), vec![candidate("/", &rule("port"))]),
        host("*.b", None, vec![candidate("=/x", &rule("wildcard"))]),
    ];
    let told = explain(&snapshot(1, vec![listener("", hosts)]), "GET", "10.0.0.1/x", &["Host: a.b:81"]);
    let why: Vec<&str> = told.won_over.iter().map(|other| &*other.why).collect();
    assert_eq!(told.rule.unwrap().host, "a.b:81");
    let wanted = ["it is for a.b:81 alone, which the request names", "more specific host: a.b beats *.b"];
    assert_eq!(why, wanted);
}

/// A rule of `default/hello` that splits, written at a place.
fn hello(arms: Vec<Arm>) -> Arc<Rule> {
    let mut hello = Rule::clone(&rule_of("hello", arms));
    let file: Arc<Path> = Path::new("shop/route.yaml").into();
    hello.origin = Origin { file: Some(file), spot: Spot { line: 9, column: 5, length: 1 } };
    Arc::new(hello)
}

fn shop() -> Snapshot {
    let mut resting = endpoint("hello-v1-b", 9002);
    resting.state = EndpointState::Terminating;
    let missing =
        Target::Invalid { reference: "default/helo:80".into(), why: InvalidTarget::BackendNotFound };
    let arms = vec![
        arm(898, "hello-v1", vec![endpoint("hello-v1-a", 9001), resting]),
        arm(100, "hello-v2", vec![]),
        Arm { weight: 2, target: missing, filters: vec![] },
    ];
    let candidates = vec![
        candidate("/v2 x-canary:yes", &rule("canary")),
        candidate("/v2", &hello(arms)),
        candidate("/", &rule("all")),
        candidate("=/admin method=POST", &rule("admin")),
    ];
    snapshot(
        3,
        vec![
            listener("*.shop.example", vec![host("a.shop.example", None, candidates)]),
            listener("", vec![]),
        ],
    )
}

#[test]
fn an_explanation_reads_well() {
    let told = explain(&shop(), "GET", "a.shop.example/v2/x", &["x-canary: no"]);
    let wanted = "\
GET http://a.shop.example/v2/x
  address    [::]:80
  listener   default/gw/*.shop.example, for *.shop.example
  rule       HTTPRoute default/hello rule 0 (shop/route.yaml:9:5)
  matched    a.shop.example, path under /v2
  won over   HTTPRoute default/all rule 0
               longer path prefix: /v2 beats /
  passed     HTTPRoute default/canary rule 0
               header x-canary = yes, but the request has \"no\"
  89.8 %     default/hello-v1:80, weight 898
               1  default/hello-v1-a  10.0.0.1:9001  ready, 0 in flight
               1  default/hello-v1-b  10.0.0.1:9002  terminating, 0 in flight
  10 %       default/hello-v2:80, weight 100
               answers 503 no_ready_endpoint: no endpoint is ready
  0.2 %      default/helo:80, weight 2
               answers 500 invalid_backend: BackendNotFound
";
    assert_eq!(told.to_string(), wanted);
}

#[test]
fn where_nothing_matches_the_nearest_misses_are_told() {
    let mut shop = shop();
    Arc::make_mut(&mut shop.binds[0]).listeners[0].hosts[0]
        .candidates
        .retain(|candidate| &*candidate.rule.id.route.name != "all");
    let told = explain(&shop, "GET", "a.shop.example/admin", &[]);
    let wanted = "\
GET http://a.shop.example/admin
  address    [::]:80
  listener   default/gw/*.shop.example, for *.shop.example
  answer     404 no_route: no rule matches
  nearest    HTTPRoute default/admin rule 0
               method = POST, but the request's is GET
  nearest    HTTPRoute default/hello rule 0 (shop/route.yaml:9:5)
               path under /v2, but the request's is /admin
  nearest    HTTPRoute default/canary rule 0
               path under /v2, but the request's is /admin
               header x-canary = yes, but the request has none
";
    assert_eq!(told.to_string(), wanted);

    let told = explain(&shop, "GET", "b.shop.example/v2", &[]);
    assert_eq!(told.nearest[0].failed, ["host a.shop.example, but the request's is b.shop.example"]);
}

#[test]
fn a_less_specific_listener_that_is_not_asked_is_told() {
    let mut shop = shop();
    Arc::make_mut(&mut shop.binds[0]).listeners[1].hosts.push(host(
        "",
        None,
        vec![candidate("/", &rule("catch-all"))],
    ));
    let told = explain(&shop, "GET", "b.shop.example/", &[]);
    assert_eq!(told.rule, None);
    assert!(
        told.notes[0].contains("catch-all") && told.notes[0].contains("most specific hostname"),
        "{told}"
    );
}

#[test]
fn a_host_that_no_listener_serves_is_told() {
    let of_one =
        snapshot(1, vec![listener("*.a", vec![host("x.a", None, vec![candidate("/", &rule("x"))])])]);
    let told = explain(&of_one, "GET", "x.b/", &[]);
    assert_eq!(told.listener, None);
    assert_eq!(told.notes, ["no listener there serves the host x.b; they serve *.a"]);
    assert_eq!(told.nearest[0].failed, ["host x.a, but the request's is x.b"]);
}

#[test]
fn a_port_that_nobody_listens_on_names_those_that_are() {
    let told = explain(&shop(), "GET", "http://a.shop.example:8080/v2", &[]);
    let wanted = "\
GET http://a.shop.example:8080/v2
  answer     none: nothing listens there, the connection is refused
  addresses  [::]:80 for default/gw/*.shop.example, default/gw/any
  note       the same request to [::]:80 would get HTTPRoute default/hello rule 0
";
    assert_eq!((told.to_string(), told.answer), (wanted.to_owned(), Answer::Unreachable));
    let nothing = explain(&Snapshot::default(), "GET", "a/", &[]);
    assert!(nothing.to_string().contains("there is no Gateway"), "{nothing}");
}

#[test]
fn a_redirect_tells_where_to() {
    let redirect = Redirect {
        scheme: None,
        hostname: Some("new.example".into()),
        path: None,
        port: None,
        status: http::StatusCode::FOUND,
    };
    let moved = Rule { filters: vec![Filter::Redirect(redirect)], ..Rule::clone(&rule("moved")) };
    let told = explain(&plain(1, vec![candidate("/", &Arc::new(moved))]), "GET", "h/a?b", &[]);
    let location = Some("http://new.example/a?b".to_owned());
    assert_eq!(told.answer, Answer::Redirect { status: 302, location });
}

#[test]
fn a_rule_that_answers_with_an_error_says_which() {
    for (arms, status, reason) in
        [(vec![], 500, "no_backend"), (vec![arm(0, "a", vec![])], 500, "zero_weights")]
    {
        let told = explain(&plain(1, vec![candidate("/", &rule_of("x", arms))]), "GET", "h", &[]);
        assert_eq!(told.answer, Answer::Error { status, reason: reason.to_owned() });
    }
}

#[test]
fn what_a_running_table_tells_is_what_it_counted_and_survives_being_sent() {
    let table = compiler(1).compile(&shop());
    let Routed::Rule(rule) = table.route(0, &Asked::new("a.shop.example/v2").head()) else { panic!() };
    let Action::Split(split) = &rule.action else { panic!() };
    for _ in 0..3 {
        split.picks.count(0, 0);
    }
    split.picks.count(0, 1);
    let told = explain_request(&table, "url=a.shop.example/v2&header=x-canary:+no").unwrap();
    let Answer::Split { shares, .. } = &told.answer else { panic!("{told}") };
    assert_eq!((shares[0].observed, shares[0].picked, shares[0].requests), (Some(0.75), 3, 4));
    assert_eq!(told.passed_over[0].failed, ["header x-canary = yes, but the request has \"no\""]);
    let sent = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&sent).unwrap(), told);
}
