//! Who gets which address and port.
//!
//! An address and port has one owner: the Gateways first, then the service listener, then `LoadBalancer` and `NodePort` Services,
//! and within each the lowest namespace and name. "All addresses" overlaps every address. Who comes too late is an error at
//! its place, and the rest of it serves on. Only when the service listener has to give way it is a note: nobody wrote it, and
//! a Gateway on port 8000 is no mistake.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use watershed_config::Severity;
use watershed_config::model::{Gateway, GatewayListener, Meta, Service, ServicePort};
use watershed_config::snapshot::{Bind, BindAddress, Listener, ListenerName, VirtualHost};

use super::report::{Report, problem};

/// The addresses that are taken, and what listens there.
#[derive(Debug, Default)]
pub(super) struct Binds<'a> {
    owners: HashMap<u16, Vec<(Option<IpAddr>, Owner<'a>)>>,
    listeners: BTreeMap<BindAddress, Vec<Listener>>,
}

/// Who has an address and port.
#[derive(Debug, Clone, Copy)]
enum Owner<'a> {
    Gateway(&'a Gateway),
    ServiceListener,
    Service(&'a Service),
}

impl<'a> Binds<'a> {
    /// In order of address, "all addresses" first.
    pub(super) fn into_binds(self) -> Vec<Arc<Bind>> {
        self.listeners.into_iter().map(|(address, listeners)| Arc::new(Bind { address, listeners })).collect()
    }

    /// Adds a Gateway on all its addresses; `hosts` are those of each listener.
    pub(super) fn add_gateway(
        &mut self,
        gateway: &'a Gateway,
        hosts: &[Vec<VirtualHost>],
        report: &mut Report,
    ) {
        let mut ports: Vec<u16> = Vec::new();
        for listener in &gateway.listeners {
            if !ports.contains(&listener.port.get()) {
                ports.push(listener.port.get());
            }
        }
        let addresses = addresses(gateway);
        for port in ports {
            let sharing =
                gateway.listeners.iter().zip(hosts).filter(|(listener, _)| listener.port.get() == port);
            let sharing: Vec<_> = sharing.collect();
            let (distinct, conflicted) = distinct(&sharing);
            for listener in conflicted {
                report_indistinct(gateway, listener, report);
            }
            if distinct.is_empty() {
                continue;
            }
            for ip in &addresses {
                let address = BindAddress { ip: *ip, port };
                if let Err(owner) = self.claim(address, Owner::Gateway(gateway)) {
                    for (listener, _) in &distinct {
                        report_taken_listener(gateway, listener, address, owner, report);
                    }
                    continue;
                }
                let listeners = distinct.iter().map(|(listener, hosts)| Listener {
                    name: ListenerName::Gateway {
                        gateway: gateway.meta.name().clone(),
                        section: listener.name.clone(),
                    },
                    hostname: listener.hostname.clone(),
                    hosts: (*hosts).clone(),
                });
                self.listeners.insert(address, listeners.collect());
            }
        }
    }

    /// Adds the listener where every Service answers by name.
    pub(super) fn add_service_listener(
        &mut self,
        address: BindAddress,
        hosts: Vec<VirtualHost>,
        report: &mut Report,
    ) {
        let ip = address.ip.and_then(canonical);
        let address = BindAddress { ip, port: address.port };
        match self.claim(address, Owner::ServiceListener) {
            Ok(()) => {
                self.listeners.insert(address, vec![for_any_host(ListenerName::ServiceListener, hosts)]);
            }
            Err(owner) => {
                let what =
                    format!("the service listener is not opened: {} is taken by {owner}", Shown(address));
                let help =
                    "to reach Services by name as well, run with another --service-listener ADDRESS:PORT";
                // The Gateway's place is the only one there is.
                if let Some(meta) = owner.meta() {
                    report.push(problem(Severity::Note, meta, meta.origin.spot, what).with_help(help));
                }
            }
        }
    }

    /// Adds a Service's own way in on all addresses; `listen` is where it is listened for.
    pub(super) fn add_service(
        &mut self,
        service: &'a Service,
        port: &ServicePort,
        listen: u16,
        hosts: Vec<VirtualHost>,
        report: &mut Report,
    ) {
        let address = BindAddress { ip: None, port: listen };
        match self.claim(address, Owner::Service(service)) {
            Ok(()) => {
                let name =
                    ListenerName::Service { service: service.meta.name().clone(), port: port.port.get() };
                self.listeners.insert(address, vec![for_any_host(name, hosts)]);
            }
            Err(owner) => {
                let what = format!(
                    "port {} of Service {} is not opened: {} is taken by {owner}",
                    port.port,
                    service.meta.name(),
                    Shown(address)
                );
                let help = match owner {
                    Owner::ServiceListener => {
                        "choose another port, or another address with --service-listener; the Service is reachable there by its name"
                    }
                    _ => {
                        "choose another port, or make the Service a ClusterIP and reach it through a Gateway"
                    }
                };
                report.push(
                    problem(Severity::Error, &service.meta, port.spot, what)
                        .with_field("spec.ports")
                        .with_help(help),
                );
            }
        }
    }

    /// Takes an address and port, or says who has one that overlaps.
    fn claim(&mut self, address: BindAddress, owner: Owner<'a>) -> Result<(), Owner<'a>> {
        let owners = self.owners.entry(address.port).or_default();
        // Port 0 is a different port each time.
        if address.port != 0
            && let Some((_, owner)) = owners.iter().find(|(ip, _)| overlap(*ip, address.ip))
        {
            return Err(*owner);
        }
        owners.push((address.ip, owner));
        Ok(())
    }
}

fn for_any_host(name: ListenerName, hosts: Vec<VirtualHost>) -> Listener {
    Listener { name, hostname: watershed_config::model::Hostname::Any, hosts }
}

type WithHosts<'a, 'h> = (&'a GatewayListener, &'h Vec<VirtualHost>);

/// Divides the listeners of one port into those with a hostname of their own and those that share one, of which none may win
/// (Gateway API, `Listener`: "Conflicted").
fn distinct<'a, 'h>(sharing: &[WithHosts<'a, 'h>]) -> (Vec<WithHosts<'a, 'h>>, Vec<&'a GatewayListener>) {
    let mut count = HashMap::new();
    for (listener, _) in sharing {
        *count.entry(&listener.hostname).or_insert(0_usize) += 1;
    }
    let (distinct, conflicted): (Vec<WithHosts>, Vec<WithHosts>) =
        sharing.iter().partition(|(listener, _)| count[&listener.hostname] == 1);
    (distinct, conflicted.into_iter().map(|(listener, _)| listener).collect())
}

fn report_indistinct(gateway: &Gateway, listener: &GatewayListener, report: &mut Report) {
    let what = format!(
        "listener {:?} of Gateway {} is not opened: another one of its listeners has the same port {} and hostname {}",
        listener.name,
        gateway.meta.name(),
        listener.port,
        listener.hostname
    );
    let help = "give each listener of a port its own hostname";
    report.push(
        problem(Severity::Error, &gateway.meta, listener.spot, what)
            .with_field("spec.listeners")
            .with_help(help),
    );
}

fn report_taken_listener(
    gateway: &Gateway,
    listener: &GatewayListener,
    address: BindAddress,
    owner: Owner,
    report: &mut Report,
) {
    let what = format!(
        "listener {:?} of Gateway {} is not opened: {} is taken by {owner}",
        listener.name,
        gateway.meta.name(),
        Shown(address)
    );
    let help = "give one of the two another port, or its own address in spec.addresses";
    report.push(
        problem(Severity::Error, &gateway.meta, listener.spot, what)
            .with_field("spec.listeners")
            .with_help(help),
    );
}

/// Where a Gateway listens: all addresses if it names none. Addresses that another one of its own covers are left out.
fn addresses(gateway: &Gateway) -> Vec<Option<IpAddr>> {
    let mut all: Vec<Option<IpAddr>> =
        gateway.addresses.iter().map(|address| canonical(address.ip)).collect();
    if all.is_empty() || all.contains(&None) {
        return vec![None];
    }
    all.sort_unstable();
    all.dedup();
    let any_v4 = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if all.contains(&any_v4) {
        all.retain(|ip| *ip == any_v4 || ip.is_some_and(|ip| ip.is_ipv6()));
    }
    all
}

/// `::` is all addresses, IPv4 too; an IPv4 address written as IPv6 is that IPv4 address.
fn canonical(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        IpAddr::V6(ip) if ip.is_unspecified() => None,
        ip => Some(ip),
    }
}

/// Whether both cannot be listened on at one port.
fn overlap(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    let covers = |any: IpAddr, ip: IpAddr| any == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && ip.is_ipv4();
    a == b || covers(a, b) || covers(b, a)
}

impl<'a> Owner<'a> {
    fn meta(self) -> Option<&'a Meta> {
        match self {
            Self::Gateway(gateway) => Some(&gateway.meta),
            Self::Service(service) => Some(&service.meta),
            Self::ServiceListener => None,
        }
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(meta) = self.meta() else {
            return f.write_str("--service-listener, where every Service answers by its name");
        };
        write!(f, "{}", meta.id)?;
        match &meta.origin.file {
            Some(file) => write!(f, " ({}:{})", file.display(), meta.origin.spot.line),
            None => Ok(()),
        }
    }
}

/// An address for people.
struct Shown(BindAddress);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip {
            Some(_) => self.0.fmt(f),
            None => write!(f, "port {} (on all addresses)", self.0.port),
        }
    }
}
