//! What a request pays for the routing table, and what an edit costs.

#[path = "../proxy/tests/table/builder.rs"]
mod builder;
#[path = "routing/cpu_time.rs"]
mod cpu_time;
#[path = "routing/shop.rs"]
mod shop;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use watershed_config::snapshot::Generation;
use watershed_proxy::table::{Action, Head, Routed, Rule};
use watershed_proxy::telemetry::cells::CodeClass;

use builder::{Asked, arm, candidate, compiler, endpoint, host, listener, rule_of, snapshot};
use cpu_time::CpuTime;
use shop::{REQUESTS, edited, requests, route_and_pick, shop};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    for (h, host) in Arc::make_mut(&mut wild.binds[0]).listeners[0].hosts.iter_mut().enumerate() {
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

/// The rules that requests to a small table take.
fn rules_in_turn() -> Vec<Arc<Rule>> {
    let table = compiler(2).compile(&shop(100, 100));
    let rule = |asked: &Asked| match table.route(0, &asked.head()) {
        Routed::Rule(rule) => Some(Arc::clone(rule)),
        _ => None,
    };
    requests(100, 100).iter().filter_map(rule).collect()
}

/// The next ticket of a rule's sequence, and the arm that owns it.
fn pick(criterion: &mut Criterion<CpuTime>) {
    let rules = rules_in_turn();
    let mut turn = 0usize;
    criterion.bench_function("pick", |bencher| {
        bencher.iter(|| {
            turn = turn.wrapping_add(1);
            let Action::Split(split) = &rules[turn % rules.len()].action else { return 0 };
            split.pick(split.state.draw(0))
        });
    });
}

fn count(criterion: &mut Criterion<CpuTime>) {
    let rules = rules_in_turn();
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
    targets = route_and_pick_by_size, route_the_hard_way, pick, compile_edit, compile_at_start, swap, count, explain
}
criterion_main!(benches);
