//! What CPUID tells the guest: the host's processor as far as KVM supports it, with the
//! topology of this machine: one package, one thread a core, APIC ids counted from 0.
//!
//! Leaf numbers and fields: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// KVM needs no more entries than this for any processor so far.
pub const MAX_ENTRIES: usize = kvm_bindings::KVM_MAX_CPUID_ENTRIES;

const HYPERVISOR: u32 = 1 << 31;
const TSC_DEADLINE: u32 = 1 << 24;
const HTT: u32 = 1 << 28;
/// Leaf 0xb, ecx: what a level consists of.
const LEVEL_THREAD: u32 = 1 << 8;
const LEVEL_CORE: u32 = 2 << 8;

/// The table of vCPU `index` of `count`, from what KVM supports.
pub fn table(supported: &CpuId, index: u8, count: u16, tsc_deadline: bool) -> CpuId {
    let topology = Topology { id: u32::from(index), count: u32::from(count) };
    let kept = supported.as_slice().iter().filter(|entry| !matches!(entry.function, 0xb | 0x1f));
    let mut entries: Vec<_> = kept.copied().collect();
    for entry in &mut entries {
        topology.fix(entry);
        if entry.function == 1 && tsc_deadline {
            entry.ecx |= TSC_DEADLINE;
        }
    }
    entries.truncate(MAX_ENTRIES - 2);
    entries.extend(topology.levels());
    CpuId::from_entries(&entries).expect("truncated to what fits")
}

#[derive(Clone, Copy)]
struct Topology {
    /// This vCPU's APIC id.
    id: u32,
    /// All vCPUs.
    count: u32,
}

impl Topology {
    fn fix(self, entry: &mut kvm_cpuid_entry2) {
        match entry.function {
            1 => self.basic(entry),
            4 => self.cache(entry, true),
            0x8000_0008 => entry.ecx = self.id_bits() << 12 | (self.count - 1).min(0xff),
            0x8000_001d => self.cache(entry, false),
            // AMD: APIC id; a compute unit of one thread; one node.
            0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (self.id, self.id & 0xff, 0),
            _ => {}
        }
    }

    fn basic(self, entry: &mut kvm_cpuid_entry2) {
        // Initial APIC id, number of ids, and the cache line size as it is.
        entry.ebx = self.id << 24 | self.ids().min(0xff) << 16 | (entry.ebx & 0xffff);
        entry.ecx |= HYPERVISOR;
        entry.edx = if self.count > 1 { entry.edx | HTT } else { entry.edx & !HTT };
    }

    /// Levels 1 and 2 are a core's own, level 3 is everybody's.
    fn cache(self, entry: &mut kvm_cpuid_entry2, names_cores: bool) {
        const KIND_AND_LEVEL: u32 = 0x3fff;
        if entry.eax & 0x1f == 0 {
            return;
        }
        let level = entry.eax >> 5 & 0x7;
        let sharing = if level >= 3 { (self.ids() - 1).min(0xfff) } else { 0 };
        let cores = if names_cores { (self.ids() - 1).min(0x3f) } else { 0 };
        entry.eax = cores << 26 | sharing << 14 | (entry.eax & KIND_AND_LEVEL);
    }

    /// Leaf 0xb: a core has one thread, the package has every core.
    fn levels(self) -> [kvm_cpuid_entry2; 2] {
        let level = |index, shift, processors, kind| kvm_cpuid_entry2 {
            function: 0xb,
            index,
            flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: processors,
            ecx: kind | index,
            edx: self.id,
            ..Default::default()
        };
        [level(0, 0, 1, LEVEL_THREAD), level(1, self.id_bits(), self.count, LEVEL_CORE)]
    }

    /// Bits of an APIC id.
    fn id_bits(self) -> u32 {
        self.ids().trailing_zeros()
    }

    /// APIC ids there is room for: a power of two.
    fn ids(self) -> u32 {
        self.count.next_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> CpuId {
        let entry = |function, index, eax, ebx, ecx, edx| kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        };
        CpuId::from_entries(&[
            entry(1, 0, 0x806f8, 0x1740_0800, 0, HTT),
            entry(4, 0, 0xfc00_4121, 0, 0, 0),
            entry(4, 3, 0xfc1f_c163, 0, 0, 0),
            entry(4, 4, 0, 0, 0, 0),
            entry(0xb, 0, 1, 2, 0x100, 0x17),
            entry(0xb, 1, 7, 64, 0x201, 0x17),
            entry(0x1f, 0, 1, 2, 0x100, 0x17),
            entry(0x4000_0001, 0, 0x0100_7efb, 0, 0, 0),
            entry(0x8000_0008, 0, 0x3030, 0, 0x703f, 0),
        ])
        .unwrap()
    }

    fn leaf(table: &CpuId, function: u32, index: u32) -> Option<kvm_cpuid_entry2> {
        let mut entries = table.as_slice().iter();
        entries.find(|entry| (entry.function, entry.index) == (function, index)).copied()
    }

    #[test]
    fn every_vcpu_has_its_own_apic_id() {
        for index in [0, 1, 2] {
            let table = table(&host(), index, 3, true);
            let id = u32::from(index);
            assert_eq!(leaf(&table, 1, 0).unwrap().ebx, id << 24 | 4 << 16 | 0x800);
            assert_eq!(leaf(&table, 0xb, 0).unwrap().edx, id);
            assert_eq!(leaf(&table, 0xb, 1).unwrap().edx, id);
        }
    }

    #[test]
    fn topology_is_one_package_of_single_thread_cores() {
        let table = table(&host(), 0, 3, true);
        let threads = leaf(&table, 0xb, 0).unwrap();
        assert_eq!((threads.eax, threads.ebx, threads.ecx), (0, 1, 0x100));
        let cores = leaf(&table, 0xb, 1).unwrap();
        assert_eq!((cores.eax, cores.ebx, cores.ecx), (2, 3, 0x201));
        assert_eq!(leaf(&table, 0x8000_0008, 0).unwrap().ecx, 2 << 12 | 2);
        assert_eq!(leaf(&table, 0x1f, 0), None);
    }

    #[test]
    fn only_the_last_cache_is_shared() {
        let table = table(&host(), 0, 2, true);
        assert_eq!(leaf(&table, 4, 0).unwrap().eax, 1 << 26 | 0x121);
        assert_eq!(leaf(&table, 4, 3).unwrap().eax, 1 << 26 | 1 << 14 | 0x163);
        assert_eq!(leaf(&table, 4, 4).unwrap().eax, 0);
    }

    #[test]
    fn lone_vcpu_is_not_multithreaded() {
        let table = table(&host(), 0, 1, true);
        assert_eq!(leaf(&table, 1, 0).unwrap().edx & HTT, 0);
        assert_eq!(leaf(&table, 0xb, 1).unwrap().eax, 0);
    }

    #[test]
    fn paravirtual_leaf_is_kept_and_tsc_deadline_follows_the_host() {
        assert!(leaf(&table(&host(), 0, 1, true), 0x4000_0001, 0).is_some());
        let ecx = |deadline| leaf(&table(&host(), 0, 1, deadline), 1, 0).unwrap().ecx;
        assert_eq!(ecx(true), HYPERVISOR | TSC_DEADLINE);
        assert_eq!(ecx(false), HYPERVISOR);
    }

    #[test]
    fn table_full_to_the_brim_still_fits() {
        let entry = kvm_cpuid_entry2 { function: 7, ..Default::default() };
        let full = CpuId::from_entries(&[entry; MAX_ENTRIES]).unwrap();
        assert_eq!(table(&full, 0, 1, true).as_slice().len(), MAX_ENTRIES);
    }
}
