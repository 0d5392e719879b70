//! Who a clone is.

use uuid::Uuid;

use crate::Mac;

/// What a clone's customization is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The VM's name.
    pub name: String,
    /// Its number among the clones made with it, from 1.
    pub number: u32,
    /// SMBIOS's, and so machine-id and instance-id.
    pub uuid: Uuid,
    /// Of its network device.
    pub mac: Mac,
}

impl Guest {
    /// One to try a spec on before there are others.
    pub(crate) fn sample() -> Guest {
        Guest { name: "vm".into(), number: 1, uuid: Uuid::max(), mac: Mac::local([0; 6]) }
    }
}
