//! A clone's network: what the spec says of it, as addresses.

use std::fmt;
use std::net::IpAddr;

use toml::Spanned;

use crate::source::{Source, Text};
use crate::template::Values;
use crate::{Result, hostname, wanted};

/// The first network device's settings.
pub(crate) struct Network {
    pub dhcp: bool,
    pub addresses: Vec<Address>,
    /// At most one for each family.
    pub gateways: Vec<IpAddr>,
    pub dns: Vec<IpAddr>,
    pub search: Vec<String>,
}

/// An address and how much of it is the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub ip: IpAddr,
    pub prefix: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Network {
    pub fn new(
        source: Source<'_>,
        wanted: &Spanned<wanted::Network>,
        values: Values<'_>,
    ) -> Result<Network> {
        let reader = Reader { source, values };
        let table = wanted.get_ref();
        let network = Network {
            dhcp: table.dhcp.unwrap_or(table.addresses.is_empty()),
            addresses: reader.all(&table.addresses, &ADDRESS)?,
            gateways: reader.all(&table.gateways, &IP)?,
            dns: reader.all(&table.dns, &IP)?,
            search: reader.all(&table.search, &DOMAIN)?,
        };
        if !network.dhcp && network.addresses.is_empty() {
            let what = "a network needs `dhcp = true` or `addresses`";
            return Err(source.error(wanted.span().start, what));
        }
        network.check_gateways(source, &table.gateways)?;
        Ok(network)
    }

    fn check_gateways(&self, source: Source<'_>, written: &[Text]) -> Result<()> {
        for (index, (gateway, text)) in self.gateways.iter().zip(written).enumerate() {
            let same = |other: &IpAddr| other.is_ipv4() == gateway.is_ipv4();
            let error = |why: &str| source.error(text.span().start, format!("{gateway} {why}"));
            if !self.addresses.iter().any(|address| same(&address.ip)) {
                return Err(error("is a gateway for a family without an address"));
            }
            if self.gateways.iter().take(index).any(same) {
                return Err(error("is a second gateway for its family"));
            }
        }
        Ok(())
    }
}

/// Reads lists of templates.
struct Reader<'a> {
    source: Source<'a>,
    values: Values<'a>,
}

/// What a list holds.
struct Kind<T> {
    read: fn(&str) -> Option<T>,
    expected: &'static str,
}

const ADDRESS: Kind<Address> =
    Kind { read: address, expected: "an address and its prefix, as \"10.0.0.5/24\"" };
const IP: Kind<IpAddr> =
    Kind { read: |text| text.parse().ok(), expected: "an address, as \"10.0.0.1\"" };
const DOMAIN: Kind<String> = Kind { read: domain, expected: "a domain, as \"lab.example\"" };

impl Reader<'_> {
    fn all<T>(&self, texts: &[Text], kind: &Kind<T>) -> Result<Vec<T>> {
        let read = |text| {
            let expanded = self.source.expand(text, self.values)?;
            (kind.read)(&expanded).ok_or_else(|| {
                let what = format!("{expanded:?} is not {}", kind.expected);
                self.source.error(text.span().start, what)
            })
        };
        texts.iter().map(read).collect()
    }
}

fn address(text: &str) -> Option<Address> {
    let (ip, prefix) = text.split_once('/')?;
    let ip: IpAddr = ip.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let digits = prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|prefix| digits && (1..=most).contains(prefix))?;
    Some(Address { ip, prefix })
}

fn domain(text: &str) -> Option<String> {
    hostname::check(text).is_ok().then(|| text.to_owned())
}
