//! The files of cloud-init's NoCloud source.
//!
//! `#cloud-config` and its modules: <https://docs.cloud-init.io>, `Cc set hostname`, `Cc users
//! groups`, `Cc ssh`, `Cc write files`, `Cc runcmd`; `network-config` is of version 2.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::network::Network;
use crate::plan::Plan;
use crate::source::Text;
use crate::wanted::{Encoding, File, HostKeys, User};
use crate::{Mac, yaml};

/// The name of the guest's network device.
const DEVICE: &str = "eth0";

/// The files, each with its name.
pub(crate) fn files(plan: &Plan<'_>) -> Vec<(&'static str, String)> {
    let meta =
        MetaData { instance_id: plan.guest.uuid.to_string(), local_hostname: &plan.hostname };
    let user = format!("#cloud-config\n{}", yaml::text(&UserData::of(plan)));
    let mut files = vec![("meta-data", yaml::text(&meta)), ("user-data", user)];
    if let Some(network) = &plan.network {
        let config = NetworkConfig::of(network, plan.guest.mac);
        files.push(("network-config", yaml::text(&config)));
    }
    files
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MetaData<'a> {
    instance_id: String,
    local_hostname: &'a str,
}

#[derive(Serialize)]
struct UserData<'a> {
    preserve_hostname: bool,
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fqdn: Option<&'a str>,
    /// `127.0.1.1` for the host name, and nothing else of /etc/hosts.
    manage_etc_hosts: &'static str,
    ssh_deletekeys: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_genkeytypes: Option<[&'static str; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_pwauth: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    users: Vec<Account<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    write_files: Vec<Written<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runcmd: Vec<&'a str>,
}

impl<'a> UserData<'a> {
    fn of(plan: &'a Plan<'_>) -> UserData<'a> {
        let wanted = plan.wanted;
        let ssh = wanted.ssh.as_ref().map(|ssh| *ssh.get_ref()).unwrap_or_default();
        let fresh = ssh.host_keys == HostKeys::Fresh;
        let files = wanted.files.iter().zip(&plan.contents);
        let (host, domain) = match plan.hostname.split_once('.') {
            Some((host, _)) => (host, Some(plan.hostname.as_str())),
            None => (plan.hostname.as_str(), None),
        };
        UserData {
            preserve_hostname: false,
            hostname: host,
            fqdn: domain,
            manage_etc_hosts: "localhost",
            ssh_deletekeys: fresh,
            ssh_genkeytypes: fresh.then_some(["rsa", "ecdsa", "ed25519"]),
            ssh_pwauth: ssh.password_login,
            users: wanted.users.iter().map(Account::of).collect(),
            write_files: files.map(|(file, content)| Written::of(file, content)).collect(),
            runcmd: strings(&wanted.run),
        }
    }
}

#[derive(Serialize)]
struct Account<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh_authorized_keys: Vec<&'a str>,
    /// Unlike `passwd`, of users the image already has, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    hashed_passwd: Option<&'a str>,
    lock_passwd: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sudo: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<&'a str>,
}

impl<'a> Account<'a> {
    fn of(user: &'a User) -> Account<'a> {
        Account {
            name: user.name.get_ref(),
            ssh_authorized_keys: strings(&user.ssh_keys),
            hashed_passwd: string(user.password_hash.as_ref()),
            lock_passwd: user.password_hash.is_none(),
            sudo: user.sudo.then_some("ALL=(ALL) NOPASSWD:ALL"),
            groups: strings(&user.groups),
            shell: string(user.shell.as_ref()),
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    path: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    permissions: &'a str,
    owner: &'a str,
    /// Until there are users.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    defer: bool,
}

impl<'a> Written<'a> {
    fn of(file: &'a File, content: &'a str) -> Written<'a> {
        let owner = string(file.owner.as_ref()).unwrap_or("root:root");
        Written {
            path: file.path.get_ref(),
            content,
            encoding: (file.encoding == Encoding::Base64).then_some("b64"),
            permissions: string(file.mode.as_ref()).unwrap_or("0644"),
            owner,
            defer: !matches!(owner, "root" | "root:root"),
        }
    }
}

#[derive(Serialize)]
struct NetworkConfig {
    version: u8,
    ethernets: BTreeMap<&'static str, Ethernet>,
}

#[derive(Serialize)]
struct Ethernet {
    #[serde(rename = "match")]
    matching: BTreeMap<&'static str, String>,
    #[serde(rename = "set-name")]
    set_name: &'static str,
    dhcp4: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    /// Not a route: of `::/0`, cloud-init up to 22.4 makes `::/64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway6: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    nameservers: BTreeMap<&'static str, Vec<String>>,
}

/// The IPv4 default route. Older versions of cloud-init do not know it by the name `default`.
#[derive(Serialize)]
struct Route {
    to: &'static str,
    via: String,
}

impl NetworkConfig {
    fn of(network: &Network, mac: Mac) -> NetworkConfig {
        let gateways = |v4| {
            let same = network.gateways.iter().filter(move |ip| ip.is_ipv4() == v4);
            same.map(IpAddr::to_string)
        };
        let dns = network.dns.iter().map(ToString::to_string).collect();
        let mut nameservers =
            BTreeMap::from([("addresses", dns), ("search", network.search.clone())]);
        nameservers.retain(|_, list| !list.is_empty());
        let ethernet = Ethernet {
            matching: BTreeMap::from([("macaddress", mac.to_string())]),
            set_name: DEVICE,
            dhcp4: network.dhcp,
            addresses: network.addresses.iter().map(ToString::to_string).collect(),
            routes: gateways(true).map(|via| Route { to: "0.0.0.0/0", via }).collect(),
            gateway6: gateways(false).next(),
            nameservers,
        };
        NetworkConfig { version: 2, ethernets: BTreeMap::from([(DEVICE, ethernet)]) }
    }
}

fn strings(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| text.get_ref().as_str()).collect()
}

fn string(text: Option<&Text>) -> Option<&str> {
    text.map(|text| text.get_ref().as_str())
}
