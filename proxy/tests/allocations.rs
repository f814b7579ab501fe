//! Routing and picking allocate nothing.

#[path = "table/builder.rs"]
mod builder;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use watershed_proxy::table::{Action, ArmTarget, Head, Routed, RoutingTable};

use builder::{Asked, arm, candidate, compiler, endpoint, host, listener, rule_of, snapshot};

/// The system's allocator, counting for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract; counting touches only a
// constant-initialised thread-local without a destructor, which neither allocates nor unwinds.
#[expect(unsafe_code, reason = "an allocator cannot be written without; this one only counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HOSTS: usize = 100;
const RULES_PER_HOST: usize = 100;

/// 10,000 rules over 100 hosts, half of them behind wildcards, with every kind of condition.
fn table() -> RoutingTable {
    let hosts = (0..HOSTS).map(|h| {
        let candidates = (0..RULES_PER_HOST).map(|r| {
            let endpoints = (0..3).map(|e| endpoint(&format!("pod-{h}-{r}-{e}"), 9000 + e)).collect();
            let rule =
                rule_of(&format!("{h}-{r}"), vec![arm(90, "stable", endpoints), arm(10, "canary", vec![])]);
            let path = match r % 5 {
                0 => format!("=/api/v{r}/exact"),
                1 => format!("/api/v{r} method=GET"),
                2 => format!("/api/v{r} x-env:~prod|test"),
                3 => format!("/api/v{r} ?user=a/b"),
                _ => format!("/api/v{r}"),
            };
            candidate(&path, &rule)
        });
        host(
            &if h % 2 == 0 { format!("host-{h}.example") } else { format!("*.host-{h}.example") },
            None,
            candidates.collect(),
        )
    });
    compiler(1).compile(&snapshot(1, vec![listener("*.example", hosts.collect())]))
}

/// What a request does up to its endpoint; whether a rule was found.
fn route_and_pick(table: &RoutingTable, head: &Head<'_>, random: u64) -> bool {
    let Routed::Rule(rule) = table.route(0, head) else { return false };
    let Action::Split(split) = &rule.action else { return false };
    let arm = split.pick(split.state.draw(0));
    split.picks.count(0, arm);
    if let ArmTarget::Backend { backend, .. } = &split.arms[arm].target {
        backend.choose(0, random, &[]);
    }
    true
}

#[test]
fn routing_and_picking_among_10_000_rules_allocates_nothing() {
    let table = table();
    let mut requests: Vec<Asked> = (0..1_000)
        .map(|n| {
            let (h, r) = (n * 7 % HOSTS, n * 13 % RULES_PER_HOST);
            let label = if h % 2 == 0 { "" } else { "a.b." };
            let rest = if r % 5 == 0 { "exact" } else { "users/17/orders" };
            Asked::new(&format!("{label}host-{h}.example:8080/api/v{r}/{rest}?x=1&user=a%2Fb"))
        })
        .collect();
    for request in &mut requests {
        request.headers.insert("x-env", "prod".parse().unwrap());
    }
    // Expressions allocate their scratch memory once per thread.
    let found = requests.iter().filter(|request| route_and_pick(&table, &request.head(), 1)).count();
    assert_eq!(found, requests.len());

    let nothing = Asked::new("nobody.example.org/x");
    let before = ALLOCATIONS.with(Cell::get);
    for (request, random) in requests.iter().zip(1..) {
        route_and_pick(&table, &request.head(), random << 31);
    }
    assert!(!route_and_pick(&table, &nothing.head(), 0));
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    assert_eq!(allocations, 0, "in {} requests", requests.len() + 1);
}
