//! A spec as it stands in the file. Names of keys are those of docs/customization.md.

use serde::Deserialize;
use toml::Spanned;

use crate::source::Text;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Wanted {
    #[serde(default)]
    pub delivery: Delivery,
    pub hostname: Option<Text>,
    #[serde(default)]
    pub run: Vec<Text>,
    pub network: Option<Spanned<Network>>,
    pub ssh: Option<Spanned<Ssh>>,
    #[serde(default)]
    pub users: Vec<User>,
    #[serde(default)]
    pub files: Vec<File>,
}

/// How the guest is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    #[default]
    CloudInit,
    Cmdline,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Network {
    pub dhcp: Option<bool>,
    #[serde(default)]
    pub addresses: Vec<Text>,
    #[serde(default)]
    pub gateways: Vec<Text>,
    #[serde(default)]
    pub dns: Vec<Text>,
    #[serde(default)]
    pub search: Vec<Text>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Ssh {
    #[serde(default)]
    pub host_keys: HostKeys,
    pub password_login: Option<bool>,
}

/// What becomes of the disk's SSH host keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostKeys {
    #[default]
    Fresh,
    Keep,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct User {
    pub name: Text,
    #[serde(default)]
    pub ssh_keys: Vec<Text>,
    pub password_hash: Option<Text>,
    #[serde(default)]
    pub sudo: bool,
    #[serde(default)]
    pub groups: Vec<Text>,
    pub shell: Option<Text>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    pub path: Text,
    pub content: Text,
    #[serde(default)]
    pub template: bool,
    #[serde(default)]
    pub encoding: Encoding,
    pub mode: Option<Text>,
    pub owner: Option<Text>,
}

/// How a file's content is written in the spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Encoding {
    #[default]
    Text,
    Base64,
}
