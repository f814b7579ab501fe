//! What a request pays for the routing table, and what an edit costs.

#[path = "../proxy/tests/table/builder.rs"]
mod builder;
#[path = "routing/cpu_time.rs"]
mod cpu_time;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use watershed_config::snapshot::{Generation, Snapshot};
use watershed_proxy::table::{Action, ArmTarget, Head, Routed, RoutingTable};
use watershed_proxy::telemetry::cells::CodeClass;

use cpu_time::CpuTime;

use builder::{Asked, arm, candidate, compiler, endpoint, host, listener, rule_of, snapshot};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many different requests take turns, so that the caches are not flattered.
const REQUESTS: usize = 1024;

/// A table of this many routes, spread evenly over the hosts; each splits 90 to 10 between two Services of two pods.
fn shop(routes: usize, hosts: usize) -> Snapshot {
    let served = (0..hosts).map(|h| {
        let candidates = (0..routes / hosts).map(|r| {
            let pods = |service: &str| {
                (0..2).map(|pod| endpoint(&format!("{service}-{h}-{r}-{pod}"), 9000 + pod)).collect()
            };
            let arms =
                vec![arm(90, &format!("stable-{h}"), pods("stable")), arm(10, "canary", pods("canary"))];
            candidate(&format!("/api/v1/resource-{r}"), &rule_of(&format!("route-{h}-{r}"), arms))
        });
        host(&format!("host-{h}.shop.example"), None, candidates.collect())
    });
    snapshot(1, vec![listener("", served.collect())])
}

fn requests(routes: usize, hosts: usize) -> Vec<Asked> {
    (0..REQUESTS)
        .map(|n| {
            let (h, r) = (n * 37 % hosts, n * 61 % (routes / hosts));
            Asked::new(&format!(
                "host-{h}.shop.example/api/v1/resource-{r}/items/{n}?page=2 accept:text/html"
            ))
        })
        .collect()
}

/// What a request does until it has its endpoint, as in `proxy::request` and `proxy::forward`.
fn route_and_pick(table: &RoutingTable, head: &Head<'_>, random: u64) -> usize {
    let Routed::Rule(rule) = table.route(0, head) else { return 0 };
    let rule = Arc::clone(rule);
    let Action::Split(split) = &rule.action else { return 0 };
    let arm = split.pick(split.state.draw(0));
    split.picks.count(0, arm);
    match &split.arms[arm].target {
        ArmTarget::Backend { backend, .. } => backend.choose(0, random, &[]).unwrap_or(0),
        _ => 0,
    }
}

/// Runs `what` on one request after another.
fn in_turn(
    criterion: &mut Criterion<CpuTime>,
    name: &str,
    requests: &[Asked],
    what: impl Fn(&Head<'_>, u64) -> usize,
) {
    let mut turn = 0usize;
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            turn = turn.wrapping_add(1);
            let random = (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            black_box(what(&requests[turn % REQUESTS].head(), random))
        });
    });
}

fn route_and_pick_by_size(criterion: &mut Criterion<CpuTime>) {
    for (routes, hosts) in [(1, 1), (100, 100), (10_000, 100)] {
        let table = compiler(2).compile(&shop(routes, hosts));
        let name = format!("route_and_pick_{routes}_routes_{hosts}_hosts");
        in_turn(criterion, &name, &requests(routes, hosts), |head, random| {
            route_and_pick(&table, head, random)
        });
    }
}

fn route_the_hard_way(criterion: &mut Criterion<CpuTime>) {
    let plain = shop(10_000, 100);
    let table = compiler(2).compile(&plain);
    let nowhere: Vec<Asked> = (0..REQUESTS)
        .map(|n| Asked::new(&format!("host-{}.shop.example/a/b/c/d/e/f/g/{n}", n % 100)))
        .collect();
    in_turn(criterion, "route_10_000_routes_no_match", &nowhere, |head, random| {
        route_and_pick(&table, head, random)
    });

    let mut wild = plain.clone();
    for (h, host) in wild.binds[0].listeners[0].hosts.iter_mut().enumerate() {
        host.host = watershed_config::model::Hostname::parse(&format!("*.host-{h}.shop.example"));
    }
    let table = compiler(2).compile(&wild);
    let below: Vec<Asked> = requests(10_000, 100)
        .into_iter()
        .map(|asked| Asked { host: format!("a.b.{}", asked.host), ..asked })
        .collect();
    in_turn(criterion, "route_and_pick_10_000_routes_wildcard_hosts", &below, |head, random| {
        route_and_pick(&table, head, random)
    });

    let conditions = (0..8).map(|n| {
        let text = format!("/api method=GET x-tenant:tenant-{n} ?page=2");
        candidate(
            &text,
            &rule_of(&format!("tenant-{n}"), vec![arm(1, "tenant", vec![endpoint("pod", 9000)])]),
        )
    });
    let table =
        compiler(2).compile(&snapshot(1, vec![listener("", vec![host("", None, conditions.collect())])]));
    let mut last = requests(1, 1);
    for asked in &mut last {
        asked.headers.insert("x-tenant", http::HeaderValue::from_static("tenant-7"));
    }
    in_turn(criterion, "route_and_pick_eighth_of_8_header_and_query_rules", &last, |head, random| {
        route_and_pick(&table, head, random)
    });
}

/// The edit of one weight: everything was read again, and nothing else has changed.
fn compile_edit(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("compile_edit");
    for routes in [100, 1_000, 10_000, 20_000] {
        let versions = [shop(routes, 100), edited(routes, 100)];
        let mut compiler = compiler(2);
        let mut turn = 0;
        group.throughput(Throughput::Elements(routes as u64));
        group.bench_function(format!("{routes}_routes"), |bencher| {
            // The old table is dropped outside the measurement, as the control thread does it after the swap.
            bencher.iter_with_large_drop(|| {
                turn += 1;
                compiler.compile(black_box(&versions[turn % 2]))
            });
        });
    }
    group.finish();
}

/// Another reading of [`shop`] in which somebody has changed one weight.
fn edited(routes: usize, hosts: usize) -> Snapshot {
    let mut snapshot = shop(routes, hosts);
    let candidate = &mut snapshot.binds[0].listeners[0].hosts[0].candidates[0];
    Arc::make_mut(&mut candidate.rule).arms[0].weight = 80;
    snapshot
}

fn compile_at_start(criterion: &mut Criterion<CpuTime>) {
    let snapshot = shop(10_000, 100);
    criterion.bench_function("compile_at_start_10_000_routes", |bencher| {
        bencher.iter_with_large_drop(|| {
            let mut compiler = compiler(2);
            (compiler.compile(black_box(&snapshot)), compiler)
        });
    });
}

fn swap(criterion: &mut Criterion<CpuTime>) {
    let snapshot = shop(10_000, 100);
    let mut compiler = compiler(2);
    let tables = [Arc::new(compiler.compile(&snapshot)), Arc::new(compiler.compile(&snapshot))];
    let current = Arc::new(ArcSwap::new(Arc::clone(&tables[0])));
    let mut turn = 0;
    criterion.bench_function("swap_10_000_routes", |bencher| {
        bencher.iter(|| {
            turn += 1;
            current.swap(Arc::clone(&tables[turn % 2]))
        });
    });

    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapping = {
        let (current, stop) = (Arc::clone(&current), Arc::clone(&stop));
        std::thread::spawn(move || {
            for turn in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                current.store(Arc::clone(&tables[turn % 2]));
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    in_turn(criterion, "route_and_pick_while_swapping_100_per_s", &requests(10_000, 100), |head, random| {
        route_and_pick(&current.load(), head, random)
    });
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(swapping.join());
}

fn count(criterion: &mut Criterion<CpuTime>) {
    let table = compiler(2).compile(&shop(100, 100));
    let asked = requests(100, 100);
    let rules: Vec<_> = asked
        .iter()
        .filter_map(|asked| match table.route(0, &asked.head()) {
            Routed::Rule(rule) => Some(Arc::clone(rule)),
            _ => None,
        })
        .collect();
    let mut turn = 0usize;
    criterion.bench_function("count_a_finished_request", |bencher| {
        bencher.iter(|| {
            turn = turn.wrapping_add(1);
            let duration = Duration::from_micros((turn % 3000) as u64);
            rules[turn % rules.len()].series.cells(0).record(CodeClass::Success, None, duration);
        });
    });
}

/// Costs of an explanation, for a sense of scale: it reads everything.
fn explain(criterion: &mut Criterion<CpuTime>) {
    let mut snapshot = shop(10_000, 100);
    snapshot.generation = Generation(2);
    let mut compiler = compiler(2);
    let table = compiler.compile(&snapshot);
    criterion.bench_function("explain_10_000_routes_no_match", |bencher| {
        bencher.iter_batched(
            || "url=host-7.shop.example/nowhere",
            |query| watershed_proxy::table::explain::explain_request(&table, query),
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = route_and_pick_by_size, route_the_hard_way, compile_edit, compile_at_start, swap, count, explain
}
criterion_main!(benches);
