//! A spec: read once, rendered for each clone.

use crate::plan::Plan;
use crate::source::Source;
use crate::wanted::{Delivery, Wanted};
use crate::{Error, Guest, Result, cloud, cmdline, fat};

/// Bytes of a spec.
const LONGEST: usize = 1 << 20;
/// Bytes of what is on the disk it makes.
const LARGEST: usize = 8 << 20;
/// What cloud-init looks for.
const LABEL: &str = "CIDATA";

/// What people want of clones.
#[derive(Clone, Debug)]
pub struct Spec {
    text: String,
    wanted: Wanted,
}

/// What one clone gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its host name.
    pub hostname: String,
    /// Its network addresses that are fixed.
    pub addresses: Vec<String>,
    /// Words for its kernel's command line.
    pub cmdline: String,
    /// The disk image for cloud-init.
    pub seed: Option<Vec<u8>>,
}

impl Spec {
    /// Reads a spec, and tries it on a clone numbered 1.
    ///
    /// # Errors
    /// It is no TOML, has keys or values there are none of, or a template is broken.
    pub fn parse(text: &str) -> Result<Spec> {
        if text.len() > LONGEST {
            return Err(Error::Long { bytes: text.len(), most: LONGEST });
        }
        let wanted = toml::from_str(text).map_err(|error| Source(text).toml(&error))?;
        let spec = Spec { text: text.to_owned(), wanted };
        spec.render(&Guest::sample())?;
        Ok(spec)
    }

    /// The spec as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What `guest` gets.
    ///
    /// # Errors
    /// A template makes something for it that cannot be, or its files are too large.
    pub fn render(&self, guest: &Guest) -> Result<Rendered> {
        let plan = Plan::new(Source(&self.text), &self.wanted, guest)?;
        let seed = match self.wanted.delivery {
            Delivery::CloudInit => Some(seed(&plan)?),
            Delivery::Cmdline => None,
        };
        let addresses = plan.network.iter().flat_map(|network| &network.addresses);
        Ok(Rendered {
            addresses: addresses.map(|address| address.ip.to_string()).collect(),
            cmdline: cmdline::words(&plan),
            seed,
            hostname: plan.hostname,
        })
    }
}

fn seed(plan: &Plan<'_>) -> Result<Vec<u8>> {
    let files = cloud::files(plan);
    let bytes = files.iter().map(|(_, text)| text.len()).sum();
    let (serial, ..) = plan.guest.uuid.as_fields();
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let image = (bytes <= LARGEST).then(|| fat::image(LABEL, serial, &files)).flatten();
    image.ok_or(Error::Large { bytes, most: LARGEST })
}
