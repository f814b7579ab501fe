//! Ways in to Services: by name on the service listener, and routes with a Service as their parent.

use watershed_config::model::{Service, ServiceType};

use crate::support::{
    assembled, assembled_with_service_listener, check_problems, check_snapshot, route, rule, service, slice,
};

/// Services with an endpoint each.
macro_rules! with_services {
    ($($object:expr),* $(,)?) => {
        catalog![
            service("hello", "", "80, admin:9000"), slice("hello-1", "hello", "80, admin:9000", "10.0.0.1"),
            service("v2", "", "80"), slice("v2-1", "v2", "80", "10.0.0.2"),
            $($object),*
        ]
    };
}

fn load_balancer() -> Service {
    Service { service_type: ServiceType::LoadBalancer, ..service("hello", "", "80, admin:9000") }
}

#[test]
fn every_service_answers_by_each_of_its_names_and_its_other_ports_by_the_hosts_port() {
    let catalog = catalog![
        service("hello", "", "80, admin:9000"),
        slice("hello-1", "hello", "80, admin:9000", "10.0.0.1"),
        service("prod/Web", "", "81"),
        slice("prod/web-1", "prod/Web", "81", "10.0.0.1"),
    ];
    let assembled = assembled_with_service_listener(&catalog);
    check_snapshot(
        &assembled,
        "127.0.0.1:8000
           service-listener (*)
             hello.default.svc.cluster.local:9000
               - path under / => hello#9000 1 hello:9000
             hello.default.svc.cluster.local
               - path under / => hello#80 1 hello:80
             web.prod.svc.cluster.local
               - path under / => Web#81 1 Web:81
             hello.default.svc:9000
               - path under / => hello#9000 1 hello:9000
             hello.default.svc
               - path under / => hello#80 1 hello:80
             hello.default:9000
               - path under / => hello#9000 1 hello:9000
             hello.default
               - path under / => hello#80 1 hello:80
             web.prod.svc
               - path under / => Web#81 1 Web:81
             web.prod
               - path under / => Web#81 1 Web:81
             hello:9000
               - path under / => hello#9000 1 hello:9000
             hello
               - path under / => hello#80 1 hello:80",
    );
    check_problems(&assembled, "");
}

#[test]
fn a_service_without_ports_answers_nowhere() {
    let headless = Service { headless: true, ..service("hello", "app=hello", "") };
    let assembled = assembled_with_service_listener(&catalog![headless]);
    check_snapshot(&assembled, "127.0.0.1:8000\nservice-listener (*)");
    check_problems(&assembled, "");
}

#[test]
fn routes_of_a_service_replace_its_plain_way_in_and_their_hostnames_do_not_count() {
    let catalog = with_services![
        load_balancer(),
        route(
            "r",
            "svc/hello",
            "ignored.example.com",
            &[rule("/a", "v2:80"), rule("=/b", "hello:80*9,v2:80")]
        ),
    ];
    let assembled = assembled(&catalog);
    let candidates = "- path = /b => r#1 9 hello:80 + 1 v2:80\n- path under /a => r#0 1 v2:80";
    check_snapshot(
        &assembled,
        &format!(
            "[::]:80\ndefault/hello:80 (*)\n*\n{candidates}\n[::]:9000\ndefault/hello:9000 (*)\n*\n{candidates}"
        ),
    );
    check_problems(&assembled, "");
}

#[test]
fn a_parent_services_port_or_section_narrows_the_route_and_the_rest_stays_plain() {
    for parent in ["svc/hello:9000", "svc/hello#admin", "svc/hello#admin:9000"] {
        let catalog = with_services![load_balancer(), route("r", parent, "", &[rule("/", "v2:80")])];
        check_snapshot(
            &assembled(&catalog),
            "[::]:80
               default/hello:80 (*)
                 *
                   - path under / => hello#80 1 hello:80
             [::]:9000
               default/hello:9000 (*)
                 *
                   - path under / => r#0 1 v2:80",
        );
    }
}

#[test]
fn a_service_that_does_not_take_a_route_says_why() {
    let catalog = with_services![
        service("prod/web", "", "80"),
        slice("prod/web-1", "prod/web", "80", "10.0.0.1"),
        route("a", "svc/helo", "", &[rule("/", "v2:80")]),
        route("b", "svc/hello:81", "", &[rule("/", "v2:80")]),
        route("c", "svc/hello#admn", "", &[rule("/", "v2:80")]),
        route("d", "svc/prod/web", "", &[rule("/", "v2:80")]),
        route("e", "svc/web", "", &[rule("/", "v2:80")]),
    ];
    check_problems(
        &assembled(&catalog),
        "all.yaml:21:3: warning: HTTPRoute default/a is not attached: there is no Service default/helo
           help: did you mean `hello`?
         all.yaml:21:3: warning: HTTPRoute default/b is not attached: Service default/hello has no port 81
           help: its ports are 80, 9000 (\"admin\")
         all.yaml:21:3: warning: HTTPRoute default/c is not attached: Service default/hello has no port named \"admn\"
           help: did you mean `admin`?
         all.yaml:21:3: warning: HTTPRoute default/d is not attached: Service prod/web is in another namespace, and routes for another namespace's Service are not supported yet
           help: move the route to namespace prod
         all.yaml:21:3: warning: HTTPRoute default/e is not attached: there is no Service default/web
           help: a Service of this name is in namespace prod: move the route there, because routes for a Service of another namespace are not supported yet",
    );
}
