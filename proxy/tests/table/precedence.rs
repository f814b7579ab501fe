//! Which candidate wins, case by case.

use std::sync::Arc;

use watershed_config::snapshot::Snapshot;
use watershed_proxy::table::Routed;

use crate::builder::{Asked, candidate, compiler, host, listener, plain, rule, snapshot};

/// The name of the route that gets the request; `-` if none does.
fn routed(snapshot: &Snapshot, request: &str) -> String {
    let asked = Asked::new(request);
    match compiler(1).compile(snapshot).route(0, &asked.head()) {
        Routed::Rule(rule) => rule.id.route.name.to_string(),
        Routed::NoRoute(_) => "-".to_owned(),
        Routed::Gone => "gone".to_owned(),
    }
}

/// Of candidates written as matches, in this order, the one that gets the request.
fn check(matches: &[&str], request: &str, wanted: &str) {
    let candidates = |order: &mut dyn Iterator<Item = &&str>| {
        order.map(|text| candidate(text, &rule(text))).collect::<Vec<_>>()
    };
    let got = routed(&plain(1, candidates(&mut matches.iter())), request);
    assert_eq!(got, wanted, "{request} among {matches:?}");
}

/// As [`check`], and the same in the opposite order: precedence decides, not the order.
fn check_both_ways(matches: &[&str], request: &str, wanted: &str) {
    check(matches, request, wanted);
    let reversed: Vec<&str> = matches.iter().rev().copied().collect();
    check(&reversed, request, wanted);
}

#[test]
fn the_more_specific_match_wins_whatever_the_order() {
    // Each list is in order of precedence, best first; every tail of it must be won by its first.
    let lists: &[(&[&str], &str)] = &[
        (&["=/a/b", "~/a/.*", "/a/b", "/a", "/"], "h/a/b"),
        (&["=/a method=GET", "=/a x:1", "=/a"], "h/a x:1"),
        (&["/a", "/ method=GET x:1 ?q=1"], "h/a?q=1 x:1"),
        (
            &["/a method=GET", "/a x:1 y:1", "/a x:1 ?q=1", "/a x:1", "/a ?q=1 ?r=1", "/a ?q=1", "/a"],
            "h/a?q=1&r=1 x:1 y:1",
        ),
        (&["~/a method=GET", "~/a.* x:1", "~/.* ?q=1", "~.*"], "h/a?q=1 x:1"),
    ];
    for (matches, request) in lists {
        for tail in 0..matches.len() {
            check_both_ways(&matches[tail..], request, matches[tail]);
        }
    }
}

#[test]
fn a_better_match_whose_other_conditions_fail_leaves_it_to_the_next() {
    check_both_ways(&["=/a method=POST", "/a"], "h/a", "/a");
    check_both_ways(&["/a/b x:1", "/a", "/"], "h/a/b/c", "/a");
    check_both_ways(&["~/a.* ?q=1", "/"], "h/a?q=2", "/");
    check_both_ways(&["/a method=GET", "/a method=PUT"], "h/a method=PUT", "/a method=PUT");
    check(&["/a method=GET"], "h/a method=PUT", "-");
}

#[test]
fn among_equals_the_first_given_wins() {
    check(&["/a x:1", "/a y:1"], "h/a x:1 y:1", "/a x:1");
    check(&["/a y:1", "/a x:1"], "h/a x:1 y:1", "/a y:1");
    check(&["~/a.*", "~/.*a"], "h/a", "~/a.*");
    check(&["~/.*a", "~/a.*"], "h/a", "~/.*a");
}

#[test]
fn a_prefix_is_compared_by_element_without_its_trailing_slash() {
    for path in ["/v2", "/v2/", "/v2/x", "/v2//", "/v2/x/y/z"] {
        check(&["/v2"], &format!("h{path}"), "/v2");
        check(&["/v2/"], &format!("h{path}"), "/v2/");
    }
    for path in ["/v2x", "/v", "/", "/V2", "/x/v2", "//v2"] {
        check(&["/v2"], &format!("h{path}"), "-");
    }
    check_both_ways(&["/a/b/c/d/e", "/a/b", "/"], "h/a/b/c/d/ee", "/a/b");
    check_both_ways(&["/aaaa", "/b"], "h/b/cccccccc", "/b");
}

#[test]
fn an_exact_path_is_the_whole_path_letter_by_letter() {
    check(&["=/v2"], "h/v2?x", "=/v2");
    for path in ["/v2/", "/v2/x", "/V2", "/v%32"] {
        check(&["=/v2"], &format!("h{path}"), "-");
    }
    check(&["=/v2/"], "h/v2/", "=/v2/");
}

#[test]
fn a_regular_expression_must_match_the_whole_path() {
    check(&["~/v[0-9]"], "h/v2", "~/v[0-9]");
    for path in ["/v22", "/v2/x", "/x/v2", "/vx"] {
        check(&["~/v[0-9]"], &format!("h{path}"), "-");
    }
    check(&["~/a|/b"], "h/b", "~/a|/b");
    check(&["~/a|/b"], "h/bc", "-");
}

#[test]
fn header_lines_of_one_name_are_one_value_and_names_ignore_case() {
    check(&["/ x:1"], "h/ X:1", "/ x:1");
    check(&["/ x:1,2"], "h/ x:1 x:2", "/ x:1,2");
    check(&["/ x:1"], "h/ x:1 x:2", "-");
    check(&["/ x:~1.*"], "h/ x:1 x:2", "/ x:~1.*");
    check(&["/ x:~1"], "h/ x:12", "-");
    check(&["/ x:1"], "h/ y:1", "-");
    check(&["/ x:1 y:2"], "h/ x:1", "-");
}

#[test]
fn the_first_of_several_query_parameters_counts_and_is_decoded() {
    check(&["/ ?q=1"], "h/?a=0&q=1&q=2", "/ ?q=1");
    check(&["/ ?q=2"], "h/?q=1&q=2", "-");
    check(&["/ ?q=~a.b"], "h/?q=a+b", "/ ?q=~a.b");
    check(&["/ ?q=a/b"], "h/?q=a%2Fb", "/ ?q=a/b");
    check(&["/ ?q=a+b"], "h/?q=a%2bb", "/ ?q=a+b");
    check(&["/ ?q=a+b"], "h/?q=a+b", "-");
    check(&["/ ?q=1"], "h/?%71=1", "/ ?q=1");
    check(&["/ ?q=%zz"], "h/?q=%zz", "/ ?q=%zz");
    check(&["/ ?q=1"], "h/?Q=1", "-");
    check(&["/ ?q=~.*"], "h/?q", "/ ?q=~.*");
    check(&["/ ?q=~.*"], "h/", "-");
    check(&["/ ?q=a=b"], "h/?q=a=b", "/ ?q=a=b");
}

/// A listener for all hosts in which each host has one prefix candidate named for it.
fn hosts(all: &[(&str, Option<u16>, &str)]) -> Snapshot {
    let served = all.iter().map(|(name, port, path)| {
        let port_name = port.map_or(String::new(), |port| format!(":{port}"));
        host(name, *port, vec![candidate(path, &rule(&format!("{name}{port_name}{path}")))])
    });
    snapshot(1, vec![listener("", served.collect())])
}

#[test]
fn the_most_specific_host_wins_and_a_host_without_a_match_leaves_it_to_a_less_specific_one() {
    let all = hosts(&[
        ("a.b.c", None, "/exact"),
        ("*.b.c", None, "/two"),
        ("*.c", None, "/one"),
        ("", None, "/any"),
    ]);
    for (request, wanted) in [
        ("a.b.c/exact", "a.b.c/exact"),
        ("a.b.c/two", "*.b.c/two"),
        ("a.b.c/one", "*.c/one"),
        ("a.b.c/any", "/any"),
        ("x.y.b.c/two", "*.b.c/two"),
        ("b.c/two", "-"),
        ("b.c/one", "*.c/one"),
        ("c/one", "-"),
        ("c/any", "/any"),
        (".c/one", "-"),
        ("a.b.c/none", "-"),
        ("/any", "/any"),
    ] {
        assert_eq!(routed(&all, request), wanted, "{request}");
    }
}

#[test]
fn a_host_with_the_port_named_comes_before_the_same_host_without() {
    let all = hosts(&[("hello", None, "/"), ("hello", Some(81), "/"), ("hello", Some(82), "/only")]);
    for (request, wanted) in [
        ("hello/", "hello/"),
        ("hello:80/", "hello/"),
        ("hello:81/", "hello:81/"),
        ("hello:82/only", "hello:82/only"),
        ("hello:82/", "hello/"),
    ] {
        assert_eq!(routed(&all, request), wanted, "{request}");
    }
}

#[test]
fn only_the_most_specific_listener_is_asked() {
    let of = |hostname: &str, path: &str| {
        listener(
            hostname,
            vec![host(hostname, None, vec![candidate(path, &rule(&format!("{hostname}{path}")))])],
        )
    };
    let all =
        snapshot(1, vec![of("", "/any"), of("*.c", "/one"), of("*.b.c", "/two"), of("a.b.c", "/exact")]);
    for (request, wanted) in [
        ("a.b.c/exact", "a.b.c/exact"),
        ("a.b.c/two", "-"),
        ("x.b.c/two", "*.b.c/two"),
        ("x.b.c/any", "-"),
        ("x.c/one", "*.c/one"),
        ("c/any", "/any"),
    ] {
        assert_eq!(routed(&all, request), wanted, "{request}");
    }
    let without_any = snapshot(1, vec![of("*.c", "/one")]);
    assert_eq!(routed(&without_any, "c/one"), "-");
}

#[test]
fn an_address_that_is_not_served_any_more_is_gone() {
    let mut compiler = compiler(1);
    compiler.compile(&plain(1, vec![]));
    let mut elsewhere = plain(2, vec![candidate("/", &rule("elsewhere"))]);
    Arc::make_mut(&mut elsewhere.binds[0]).address.port = 81;
    let table = compiler.compile(&elsewhere);
    let asked = Asked::new("h/");
    assert!(matches!(table.route(0, &asked.head()), Routed::Gone));
    assert!(matches!(table.route(1, &asked.head()), Routed::Rule(_)));
    assert!(matches!(table.route(7, &asked.head()), Routed::Gone));
}

#[test]
fn the_empty_prefix_takes_every_target_and_odd_paths_are_harmless() {
    let everything = plain(1, vec![candidate("/", &rule("everything")), candidate("/a/b", &rule("ab"))]);
    let table = compiler(1).compile(&everything);
    for path in ["", "*", "/", "//", "/a", "/a/b/", "/é/ü", "/a/bé", "a/b"] {
        let asked = Asked { path: path.to_owned(), ..Asked::new("h/") };
        let Routed::Rule(rule) = table.route(0, &asked.head()) else { panic!("{path}") };
        assert_eq!(&*rule.id.route.name, if path == "/a/b/" { "ab" } else { "everything" }, "{path}");
    }
}
