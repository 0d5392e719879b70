//! Who a VM is: to its guest, and to others on its network.

use std::collections::HashSet;

use anyhow::Result;
use customize::{Mac, hostname};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::inventory::Change;
use super::name::Name;

/// What makes a machine another than its siblings. docs/customization.md, Identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// SMBIOS's.
    pub uuid: Uuid,
    /// Of its network device.
    pub mac: Mac,
    /// What its guest is to call itself.
    pub hostname: String,
}

impl Identity {
    /// That of a VM without a spec, from what is its own anyway.
    pub fn of(uuid: Uuid, name: &Name) -> Identity {
        Identity { uuid, mac: address(uuid), hostname: hostname::from_name(name.as_str()) }
    }

    /// As [`of`](Identity::of), with an address no VM of the store has, nor any in `others`. It
    /// stays free as long as `change` is under way.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub fn unique(
        change: &Change<'_>,
        others: &mut HashSet<Mac>,
        uuid: Uuid,
        name: &Name,
    ) -> Result<Identity> {
        let mut identity = Identity::of(uuid, name);
        while change.has_mac(identity.mac)? || !others.insert(identity.mac) {
            identity.mac = address(Uuid::new_v4());
        }
        Ok(identity)
    }
}

/// 46 bits of a random uuid.
fn address(uuid: Uuid) -> Mac {
    let [a, b, c, d, e, f, ..] = *uuid.as_bytes();
    Mac::local([a, b, c, d, e, f])
}
