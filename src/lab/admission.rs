//! Whether a lab fits into this host's memory. docs/labs.md, up.

use anyhow::Result;
use serde::Serialize;

use super::memory::{Host, held};
use super::plan::{Seat, Step};
use super::{Lab, Roster};
use crate::failure::{Code, Failure};
use crate::output::human;

/// What a monitor takes beside its guest's memory, MiB: some more than it does.
const MONITOR_MIB: u64 = 4;
/// The most that is kept in reserve, MiB.
const RESERVE_MIB: u64 = 1024;

/// What a lab needs and what it can have, MiB. The keys are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// By all that will run.
    pub needed_mib: u64,
    /// By anybody.
    pub available_mib: u64,
    /// By those of the lab that run already.
    pub held_mib: u64,
    /// For the host itself.
    pub reserve_mib: u64,
    /// Whether it is enough.
    pub fits: bool,
}

impl Memory {
    /// Of a plan; `None` where nothing is to be started.
    ///
    /// # Errors
    /// The host does not say what memory it has.
    pub fn of(lab: &Lab, roster: &Roster, plan: &[Seat]) -> Result<Option<Memory>> {
        if !plan.iter().any(|seat| seat.is_due(Step::Start)) {
            return Ok(None);
        }
        let needed = plan.iter().filter_map(|seat| runs_with(lab, roster, seat)).sum();
        let pids = lab.clones().filter_map(|(_, name)| roster.members.get(name)?.pid);
        let held = pids.map(held).sum();
        Ok(Some(Memory::new(needed, held, Host::read()?)))
    }

    fn new(needed_mib: u64, held: u64, host: Host) -> Memory {
        let reserve_mib = ((host.total / 16) >> 20).min(RESERVE_MIB);
        let (available_mib, held_mib) = (host.available >> 20, held >> 20);
        let fits = needed_mib <= (available_mib + held_mib).saturating_sub(reserve_mib);
        Memory { needed_mib, available_mib, held_mib, reserve_mib, fits }
    }

    /// Refuses what does not fit.
    ///
    /// # Errors
    /// It does not: the numbers.
    pub fn admit(&self, lab: &Lab) -> Result<(), Failure> {
        if self.fits {
            return Ok(());
        }
        let [needed, available, held, reserve] =
            [self.needed_mib, self.available_mib, self.held_mib, self.reserve_mib]
                .map(|mib| human::bytes(mib << 20));
        let what = format!(
            "the lab {} needs {needed} of memory: {available} are available, its VMs hold {held} \
             already, and {reserve} are kept for the host",
            lab.name
        );
        let hint = "fewer clones, less memory for each, or --overcommit";
        Err(Failure::new(Code::NoSpace, what).hint(hint))
    }
}

/// What a clone will take, MiB, if it will run.
fn runs_with(lab: &Lab, roster: &Roster, seat: &Seat) -> Option<u64> {
    let member = roster.members.get(&seat.name);
    let live = member.is_some_and(super::roster::Member::is_live);
    let runs = seat.is_due(Step::Start) || (live && !seat.is_due(Step::Stop));
    let own = member.and_then(|member| Some(member.record.as_ref()?.memory_mib));
    let asked = || lab.groups[seat.number?].request.memory_mib;
    let inherited = || Some(roster.sources.get(seat.number?)?.memory_mib);
    let memory = own.or_else(asked).or_else(inherited)?;
    runs.then(|| memory.saturating_add(MONITOR_MIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_already_counts_on_both_sides_and_the_host_keeps_a_reserve() {
        const MIB: u64 = 1 << 20;
        let host = Host { total: 1600 * MIB, available: 900 * MIB };
        assert!(Memory::new(800, 0, host).fits);
        assert!(!Memory::new(801, 0, host).fits);
        assert!(Memory::new(850, 50 * MIB, host).fits);
        let large = Host { total: u64::MAX, available: 2048 * MIB };
        assert_eq!(Memory::new(1, 0, large).reserve_mib, 1024);
        assert!(Memory::new(1024, 0, large).fits);
    }
}
