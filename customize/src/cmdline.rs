//! What a guest without cloud-init is told: words on its kernel's command line.

use std::net::{IpAddr, Ipv4Addr};

use crate::network::Network;
use crate::plan::Plan;
use crate::source::Source;
use crate::wanted::{Delivery, Wanted};
use crate::{Result, network};

/// The words a clone gets, with spaces between them.
pub(crate) fn words(plan: &Plan<'_>) -> String {
    // The disk may hold the machine-id of what it was cloned from, and nothing but this wins
    // over that.
    let machine_id = format!("systemd.machine_id={}", plan.guest.uuid.simple());
    if plan.wanted.delivery == Delivery::CloudInit {
        return machine_id;
    }
    let host = &plan.hostname;
    let mut words = format!("hostname={host} systemd.hostname={host} {machine_id}");
    for word in plan.network.iter().map(|network| ip(network, host)) {
        words.push(' ');
        words.push_str(&word);
    }
    words
}

/// `ip=` as the kernel, dracut and systemd read it.
fn ip(network: &Network, host: &str) -> String {
    let Some(network::Address { ip, prefix }) = network.addresses.first() else {
        return "ip=dhcp".into();
    };
    let gateway = network.gateways.first().map(IpAddr::to_string).unwrap_or_default();
    let dns: String = network.dns.iter().map(|dns| format!(":{dns}")).collect();
    format!("ip={ip}::{gateway}:{}:{host}::off{dns}", mask(*prefix))
}

/// A prefix of an IPv4 address, 1 to 32, as people used to write it.
fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

/// Refuses what cannot be said on a command line.
pub(crate) fn refuse_more(
    source: Source<'_>,
    wanted: &Wanted,
    network: Option<&Network>,
) -> Result<()> {
    let users = wanted.users.first().map(|user| ("users", user.name.span()));
    let files = wanted.files.first().map(|file| ("files", file.path.span()));
    let run = wanted.run.first().map(|command| ("commands", command.span()));
    let ssh = wanted.ssh.as_ref().map(|ssh| ("SSH settings", ssh.span()));
    let table = wanted.network.as_ref().zip(network);
    let network = table.and_then(|(table, net)| Some((beyond(net)?, table.span())));
    let more = [users, files, run, ssh, network].into_iter().flatten().next();
    more.map_or(Ok(()), |(what, span)| {
        let what =
            format!("{what} cannot be given by `delivery = \"cmdline\"`, only by cloud-init");
        Err(source.error(span.start, what))
    })
}

/// What of a network is too much for `ip=`.
fn beyond(network: &Network) -> Option<&'static str> {
    let ips = network.addresses.iter().map(|address| &address.ip).chain(&network.dns);
    if ips.chain(&network.gateways).any(IpAddr::is_ipv6) {
        return Some("IPv6");
    }
    if network.addresses.len() > 1 || (network.dhcp && !network.addresses.is_empty()) {
        return Some("several addresses");
    }
    if network.dns.len() > 2 || (network.dhcp && !network.dns.is_empty()) {
        return Some("these name servers");
    }
    (!network.search.is_empty()).then_some("search domains")
}
