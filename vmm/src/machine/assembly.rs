//! A machine under construction: devices are added one by one, each to its bus, its interrupt
//! line and its queues' events.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use blockdev::Stack;
use devices::bus::Shared;
use devices::virtio::mmio::{QUEUE_NOTIFY, Transport};
use devices::virtio::{VirtioDevice, blk, rng};

use crate::cpu::crew::Buses;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::layout::{self, Window};
use crate::memory::GuestMemory;
use crate::spec::DiskSpec;
use crate::trouble::{Trouble, Troubles};
use crate::vm::Vm;

/// Request queues of a disk where its spec does not say, unless there are fewer vCPUs.
const USUAL_QUEUES: u16 = 4;

/// One device to be.
pub enum Component<'a> {
    /// Anything that only needs its ports.
    Chip(Range<u16>, Shared),
    /// virtio-blk.
    Disk(&'a DiskSpec),
    /// virtio-rng.
    Rng,
}

/// What has been put together so far.
pub struct Assembly<'a> {
    vm: &'a Vm,
    memory: Arc<GuestMemory>,
    cpus: u16,
    /// Where devices say that they cannot go on.
    pub troubles: Arc<Troubles>,
    /// Every device at its address.
    pub buses: Buses,
    /// Where the virtio devices answer, in order.
    pub windows: Vec<Window>,
    /// The virtio devices, in order.
    pub transports: Vec<Arc<Mutex<Transport>>>,
    /// The disks' layers, by the letters Linux gives them.
    pub stacks: Vec<(char, Stack)>,
}

impl<'a> Assembly<'a> {
    /// A machine of `cpus` vCPUs without devices.
    pub fn new(vm: &'a Vm, memory: &GuestMemory, cpus: u16) -> Result<Self> {
        Ok(Assembly {
            vm,
            memory: Arc::new(memory.clone()),
            cpus,
            troubles: Arc::new(Troubles::new().map_err(Error::host("create an eventfd"))?),
            buses: Buses::default(),
            windows: Vec::new(),
            transports: Vec::new(),
            stacks: Vec::new(),
        })
    }

    /// Adds one device.
    pub fn add(&mut self, component: Component) -> Result<()> {
        match component {
            Component::Chip(ports, device) => {
                Ok(self.buses.ports.insert(ports.start.into()..ports.end.into(), device)?)
            }
            Component::Disk(spec) => self.add_disk(spec),
            Component::Rng => self.add_virtio(Box::new(rng::Device)),
        }
    }

    fn add_virtio(&mut self, device: Box<dyn VirtioDevice>) -> Result<()> {
        let index = u32::try_from(self.windows.len()).unwrap_or(u32::MAX);
        let window = layout::virtio_window(index).ok_or(Error::Devices)?;
        let name = device.name().to_owned();
        let irq = interrupt::line(self.vm, window.gsi)?;
        let transport = Transport::new(self.memory.clone(), device, irq);
        let transport = transport.map_err(|source| Error::Device { name, source })?;
        for (queue, event) in (0..).zip(transport.queue_events()) {
            self.vm.signal_on(event, window.base + QUEUE_NOTIFY, queue)?;
        }
        let transport = Arc::new(Mutex::new(transport));
        self.buses.memory.insert(window.base..window.base + window.size, transport.clone())?;
        self.windows.push(window);
        self.transports.push(transport);
        Ok(())
    }

    fn add_disk(&mut self, spec: &DiskSpec) -> Result<()> {
        let letter = ('a'..='z').nth(self.stacks.len()).unwrap_or('?');
        let stack = Stack::open(&spec.stack).map_err(|source| Error::Disk { letter, source })?;
        self.stacks.push((letter, stack.clone()));
        let settings = blk::Settings {
            id: spec.id.clone(),
            size: stack.size(),
            read_only: stack.read_only(),
            queues: spec.queues.unwrap_or(self.cpus.min(USUAL_QUEUES)),
        };
        let engine = spec.engine;
        let open = Box::new(move || stack.disk(engine));
        let troubles = self.troubles.clone();
        let on_full = Box::new(move |error: &_| troubles.tell(|| Trouble::no_space(error)));
        let device = blk::Device::new(settings, open).keeping_what_finds_no_room(on_full);
        self.add_virtio(Box::new(device))
    }
}
