//! Pingora with N routes, each split 90 to 10 between two pods.
//!
//! `peer-pingora PORT WORKERS ROUTES STABLE CANARY BACK`, where BACK is `http1` or `http2`. Clients may speak either. A route is a
//! first path segment, `/r0` to `/rN`, looked up in a hash map; its split is Pingora's own weighted round robin.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use pingora::apps::HttpServerOptions;
use pingora::http::RequestHeader;
use pingora::lb::{Backend, Backends, LoadBalancer, discovery, selection::RoundRobin};
use pingora::prelude::*;
use pingora::protocols::ALPN;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

/// Streams on a connection to a pod; Watershed's default.
const UPSTREAM_STREAMS: usize = 100;
const UPSTREAM_IDLE: Duration = Duration::from_secs(30);

struct Proxy {
    routes: HashMap<String, LoadBalancer<RoundRobin>>,
    back2: bool,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, workers, routes, stable, canary, back] = arguments.as_slice() else {
        return Err("usage: peer-pingora PORT WORKERS ROUTES STABLE CANARY BACK".into());
    };
    let conf =
        ServerConf { threads: workers.parse()?, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let table = (0..routes.parse::<usize>()?).map(|route| Ok((format!("r{route}"), split(stable, canary)?)));
    let proxy = Proxy { routes: table.collect::<Result<_, Failure>>()?, back2: back == "http2" };
    let mut logic = http_proxy(&server.configuration, proxy);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    logic.server_options = Some(options);
    let mut service = Service::new("peer".to_owned(), logic);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever()
}

/// 90 to 10. The pods never change, so it needs no background task.
fn split(stable: &str, canary: &str) -> Result<LoadBalancer<RoundRobin>, Failure> {
    let backends = [Backend::new_with_weight(stable, 9)?, Backend::new_with_weight(canary, 1)?];
    let discovery = discovery::Static::new(backends.into_iter().collect());
    let balancer = LoadBalancer::from_backends(Backends::new(discovery));
    balancer.update().now_or_never().expect("a static list is there at once")?;
    Ok(balancer)
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let route = session.req_header().uri.path().split('/').nth(1).unwrap_or_default();
        let Some(balancer) = self.routes.get(route) else {
            return Err(Error::new(ErrorType::HTTPStatus(404)));
        };
        let backend = balancer.select(b"", 2).ok_or_else(|| Error::new(ErrorType::HTTPStatus(503)))?;
        let mut peer = HttpPeer::new(backend.addr, false, String::new());
        peer.options.idle_timeout = Some(UPSTREAM_IDLE);
        if self.back2 {
            peer.options.alpn = ALPN::H2;
            peer.options.max_h2_streams = UPSTREAM_STREAMS;
        }
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> pingora::Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        Ok(())
    }
}
