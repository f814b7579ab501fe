//! How traffic gets in: Services by name, load balancer and node ports, Gateways and their addresses.

use std::net::SocketAddr;

use crate::support::{
    Answer, Connection, Manifests, Pod, PodFile, Watershed, eventually, free_node_port, free_port, gateway,
    get, route, service,
};

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// Services with one pod each, all of the same name.
fn services(names: &[&str]) -> (Manifests, Vec<Pod>) {
    let manifests = Manifests::new();
    let pods: Vec<Pod> = names.iter().map(|name| Pod::start(name)).collect();
    for pod in &pods {
        let name = pod.name();
        let text = service(name, &format!("app: {name}")) + &PodFile::of(pod, &format!("app: {name}")).text();
        manifests.write(&format!("{name}.yaml"), text);
    }
    (manifests, pods)
}

/// The pod that answered, or why none did.
fn who(answer: &Answer) -> String {
    if answer.status == 200 {
        answer.pod().to_owned()
    } else {
        format!("{} {}", answer.status, answer.reason())
    }
}

#[track_caller]
fn assert_all(cases: &[(SocketAddr, &str, &str)]) {
    for (address, host, wanted) in cases {
        assert_eq!(who(&get(*address, host, "/")), *wanted, "{host} at {address}");
    }
}

#[test]
fn every_service_answers_by_its_name() {
    let (manifests, _pods) = services(&["hello"]);
    let (other, named) = (Pod::start("other"), Pod::start("named"));
    let in_other =
        |text: String| text.replace("metadata: {name: hello}", "metadata: {name: hello, namespace: other}");
    manifests.write("other/service.yaml", in_other(service("hello", "app: hello")));
    let pod =
        PodFile::of(&other, "app: hello").text().replace("metadata:\n", "metadata:\n  namespace: other\n");
    manifests.write("other/pod.yaml", pod);
    let two_ports = "apiVersion: v1\nkind: Service\nmetadata: {name: two}\nspec:\n  selector: {app: hello}\n  ports:\n  - \
                     {name: http, port: 80, targetPort: http}\n  - {name: admin, port: 9090, targetPort: admin}\n";
    manifests.write("two.yaml", two_ports);
    let text = PodFile::of(&named, "app: hello").text().replace("name: http,", "name: admin,");
    manifests.write("named.yaml", text);
    let watershed = Watershed::run(manifests.path());
    let here = watershed.services();
    assert_all(&[
        (here, "hello", "hello"),
        (here, "HELLO", "hello"),
        (here, "hello:8000", "hello"),
        (here, "hello.default", "hello"),
        (here, "hello.default.svc", "hello"),
        (here, "hello.default.svc.cluster.local", "hello"),
        (here, "hello.default.svc.cluster.local:80", "hello"),
        (here, "hello.other", "other"),
        (here, "hello.other.svc", "other"),
        (here, "hello.other.svc.cluster.local", "other"),
        (here, "hello.nowhere", "404 no_route"),
        (here, "hello.example.com", "404 no_route"),
        (here, "unknown", "404 no_route"),
        // The first port answers unless Host names another of its ports.
        (here, "two", "hello"),
        (here, "two:9090", "named"),
        (here, "two.default.svc:9090", "named"),
        (here, "two:80", "hello"),
        (here, "two:1234", "hello"),
    ]);
}

#[test]
fn load_balancer_and_node_ports_are_listened_on() {
    let (manifests, _pods) = services(&["hello"]);
    let (balanced, node) = (free_port(), free_node_port());
    let text = |name: &str, kind: &str, port: String| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  type: {kind}\n  selector: {{app: hello}}\n  \
             ports: [{{{port}, targetPort: http}}]\n"
        )
    };
    manifests.write("balanced.yaml", text("balanced", "LoadBalancer", format!("port: {balanced}")));
    manifests.write("node.yaml", text("node", "NodePort", format!("port: 80, nodePort: {node}")));
    let watershed = Watershed::run(manifests.path());
    for host in ["anything", "127.0.0.1", "balanced"] {
        assert_all(&[(at(LOOPBACK, balanced), host, "hello"), (at([127, 0, 0, 2], node), host, "hello")]);
    }
    // Both address families.
    let six = SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), balanced);
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(get(six, "anything", "/").pod(), "hello");
    }
    // A route of the Service is for its ways in.
    let (red, parent) = (
        "spec:\n  rules: [{filters: [{type: RequestRedirect",
        r#"[{kind: Service, group: "", name: balanced}]"#,
    );
    let redirect = format!("{red}, requestRedirect: {{hostname: elsewhere}}}}]}}]\n  parentRefs: {parent}\n");
    let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n";
    manifests.write("route.yaml", format!("{head}{redirect}"));
    eventually("the route is in force", || get(at(LOOPBACK, balanced), "x", "/").status == 302);
    assert_all(&[(at(LOOPBACK, node), "x", "hello"), (watershed.services(), "hello", "hello")]);
    assert_eq!(get(watershed.services(), "balanced", "/").status, 302);
    // What is not wanted any more is not listened on any more.
    manifests.remove("node.yaml");
    eventually("the node port is closed", || Connection::open(at(LOOPBACK, node)).is_err());
    assert_eq!(get(at(LOOPBACK, balanced), "x", "/").status, 302);
}

#[test]
fn two_gateways_share_a_port_on_two_addresses() {
    let (manifests, _pods) = services(&["red", "blue"]);
    let port = free_port();
    let second = gateway("second", port).replace("127.0.0.1", "127.0.0.2");
    manifests.write("gateways.yaml", gateway("first", port) + &second);
    manifests.write("red.route.yaml", route("red", "name: first", &[("red", 1)]));
    manifests.write("blue.route.yaml", route("blue", "name: second", &[("blue", 1)]));
    // One route on both, besides.
    let both = route("both", "name: first}, {name: second", &[("blue", 1)])
        .replace("  - name: main", "  - matches: [{path: {value: /both}}]");
    manifests.write("both.yaml", both);
    let _watershed = Watershed::run(manifests.path());
    let (one, two) = (at(LOOPBACK, port), at([127, 0, 0, 2], port));
    assert_all(&[(one, "x", "red"), (two, "x", "blue")]);
    assert_eq!([get(one, "x", "/both").pod(), get(two, "x", "/both").pod()], ["blue", "blue"]);
    assert!(Connection::open(at([127, 0, 0, 3], port)).is_err(), "only on its addresses");
}

#[test]
fn of_a_gateway_and_a_service_on_one_port_the_gateway_wins_and_the_other_is_an_error() {
    let (manifests, _pods) = services(&["red", "blue"]);
    let port = free_port();
    let everywhere = gateway("web", port).replace("  addresses: [{type: IPAddress, value: 127.0.0.1}]\n", "");
    manifests.write("gateway.yaml", everywhere + &route("red", "name: web", &[("red", 1)]));
    let balanced = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: balanced}}\nspec:\n  type: LoadBalancer\n  selector: {{app: \
         blue}}\n  ports: [{{port: {port}, targetPort: http}}]\n"
    );
    manifests.write("balanced.yaml", balanced);
    let watershed = Watershed::run(manifests.path());
    assert_all(&[(at(LOOPBACK, port), "x", "red"), (watershed.services(), "balanced", "blue")]);
    let config = watershed.config();
    let problems = config["problems"].as_array().unwrap();
    let conflict =
        problems.iter().find(|problem| problem["place"].as_str().unwrap().contains("balanced.yaml"));
    assert_eq!(conflict.unwrap()["severity"], "error", "{problems:?}");
    // When the Gateway goes, the Service gets the port.
    manifests.remove("gateway.yaml");
    eventually("the Service has the port", || {
        Connection::open(at(LOOPBACK, port)).is_ok() && get(at(LOOPBACK, port), "x", "/").pod() == "blue"
    });
}

/// A Gateway with three listeners on two ports.
fn many_listeners(first: u16, second: u16) -> String {
    let same = "allowedRoutes: {namespaces: {from: Same}}";
    let all = "allowedRoutes: {namespaces: {from: All}}";
    let selected = "allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}";
    gateway("web", first).split("  listeners").next().unwrap().to_owned()
        + &format!(
            "  listeners:\n  - {{name: same, port: {first}, protocol: HTTP, hostname: same.example, {same}}}\n  - {{name: \
             all, port: {first}, protocol: HTTP, hostname: \"*.all.example\", {all}}}\n  - {{name: selected, port: \
             {second}, protocol: HTTP, {selected}}}\n"
        )
}

#[test]
fn routes_attach_by_section_port_hostname_and_namespace() {
    let (manifests, _pods) = services(&["red"]);
    let pod = Pod::start("blue");
    let (first, second) = (free_port(), free_port());
    manifests.write("gateway.yaml", many_listeners(first, second));
    let namespace = |name: &str, team: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{team: {team}}}}}\n---\n"
        )
    };
    manifests.write("namespaces.yaml", namespace("chosen", "blue") + &namespace("left-out", "green"));
    for name in ["chosen", "left-out"] {
        let text = service("blue", "app: blue") + &PodFile::of(&pod, "app: blue").text();
        let text = text.replace("metadata: {name", &format!("metadata: {{namespace: {name}, name"));
        let text = text.replace("metadata:\n", &format!("metadata:\n  namespace: {name}\n"));
        // From another namespace, to every listener of the Gateway that lets it in.
        let mut attached = route("blue", "name: web, namespace: default", &[("blue", 1)]);
        attached =
            attached.replace("{name: blue}\nspec", &format!("{{name: blue, namespace: {name}}}\nspec"));
        if name == "left-out" {
            attached = attached.replace("  - name: main", "  - matches: [{path: {value: /left-out}}]");
        }
        manifests.write(&format!("{name}.yaml"), text + "\n" + &attached);
    }
    let section = route("by-section", "name: web, sectionName: same", &[("red", 1)]);
    let port = route("by-port", &format!("name: web, port: {second}"), &[("red", 1)]);
    manifests.write("red.routes.yaml", section + &port);
    let watershed = Watershed::run(manifests.path());
    let (one, two) = (at(LOOPBACK, first), at(LOOPBACK, second));
    assert_all(&[
        (one, "same.example", "red"),
        (one, "x.all.example", "blue"),
        (one, "x.y.all.example", "blue"),
        (one, "all.example", "404 no_route"),
        (one, "other.example", "404 no_route"),
        // Of the namespaces only the chosen one; the Gateway's own has another label, so its route is not let in.
        (two, "anything", "blue"),
    ]);
    assert_eq!(get(one, "x.all.example", "/left-out").pod(), "blue");
    // It is said which routes were not let in.
    let problems = watershed.config()["problems"].to_string();
    assert!(problems.contains("by-port"), "{problems}");
}
