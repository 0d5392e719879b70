//! The front end's messages, one method each. What this back end has not offered it refuses.

use std::fs::File;
use std::io;
use std::sync::Arc;

use devices::virtio::VirtioDevice;
use devices::virtio::blk::{Device, Settings};
use devices::virtio::mmio::COMMON_FEATURES;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures as Offer, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

use super::device;
use super::memory::Memory;
use super::vring::Vring;
use crate::Served;

/// Entries of a queue at most.
const LARGEST_QUEUE: u16 = 256;
/// Memory regions of one front end at most.
const MOST_REGIONS: u64 = 32;
/// The bit that makes room for further negotiation; the driver never sees it.
const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// One front end's device.
pub struct Backend {
    settings: Settings,
    served: Served,
    /// For features and configuration space.
    device: Device,
    features: u64,
    memory: Option<Arc<Memory>>,
    vrings: Vec<Vring>,
}

impl Backend {
    /// A device nobody has set up yet.
    pub fn new(settings: &Settings, served: &Served) -> Self {
        Backend {
            settings: settings.clone(),
            served: served.clone(),
            device: device(settings, served),
            features: 0,
            memory: None,
            vrings: (0..settings.queues).map(|_| Vring::default()).collect(),
        }
    }

    fn vring(&mut self, index: u32) -> Result<&mut Vring> {
        let index = usize::try_from(index).map_err(|_| Error::InvalidParam)?;
        self.vrings.get_mut(index).ok_or(Error::InvalidParam)
    }

    /// Serves every queue that can be.
    fn start(&mut self) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        for (index, vring) in (0..).zip(&mut self.vrings) {
            let device = device(&self.settings, &self.served);
            vring.start(index, device, memory, self.features).map_err(Error::ReqHandlerError)?;
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.vrings.iter_mut().for_each(Vring::stop);
    }

    fn offered(&self) -> u64 {
        self.device.features() | COMMON_FEATURES | PROTOCOL_FEATURES
    }
}

fn refused<T>() -> Result<T> {
    Err(Error::InvalidOperation("it was not offered"))
}

fn handled(result: io::Result<()>) -> Result<()> {
    result.map_err(Error::ReqHandlerError)
}

impl VhostUserBackendReqHandlerMut for Backend {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        self.stop();
        self.vrings.iter_mut().for_each(|vring| *vring = Vring::default());
        self.features = 0;
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.offered() != 0 {
            return Err(Error::InvalidParam);
        }
        self.features = features;
        // Who does not negotiate further cannot enable queues either.
        if features & PROTOCOL_FEATURES == 0 {
            self.vrings.iter_mut().for_each(|vring| vring.enabled = true);
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        self.stop();
        let memory = Memory::map(table, files).map_err(Error::ReqHandlerError)?;
        self.memory = Some(Arc::new(memory));
        self.start()?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, size: u32) -> Result<()> {
        let size = u16::try_from(size).map_err(|_| Error::InvalidParam)?;
        if !size.is_power_of_two() || size > LARGEST_QUEUE {
            return Err(Error::InvalidParam);
        }
        self.vring(index)?.size = size;
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptors: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        self.vring(index)?.addresses = Some([descriptors, available, used]);
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.vring(index)?.base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let vring = self.vring(index)?;
        vring.stop();
        handled(vring.set_kick(None))?;
        Ok(VhostUserVringState::new(index, vring.base.into()))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        let vring = self.vring(index.into())?;
        vring.stop();
        handled(vring.set_kick(file))?;
        self.start()
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        handled(self.vring(index.into())?.set_call(file))
    }

    fn set_vring_err(&mut self, _index: u8, _file: Option<File>) -> Result<()> {
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<Offer> {
        Ok(Offer::CONFIG | Offer::MQ | Offer::REPLY_ACK | Offer::RESET_DEVICE)
    }

    fn set_protocol_features(&mut self, _features: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.settings.queues.into())
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        let vring = self.vring(index)?;
        vring.enabled = enable;
        if !enable {
            vring.stop();
        }
        self.start()
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> Result<Vec<u8>> {
        // What a longer structure of the front end's has more is zero.
        let [offset, size] = [offset, size].map(usize::try_from);
        let (offset, size) =
            (offset.map_err(|_| Error::InvalidParam)?, size.map_err(|_| Error::InvalidParam)?);
        let found = self.device.config().iter().skip(offset).copied();
        Ok(found.chain(std::iter::repeat(0)).take(size.min(256)).collect())
    }

    fn set_config(&mut self, _offset: u32, _bytes: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        refused()
    }

    fn set_gpu_socket(&mut self, _socket: GpuBackend) -> Result<()> {
        refused()
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        refused()
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        refused()
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        refused()
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MOST_REGIONS)
    }

    fn add_mem_region(
        &mut self,
        _region: &VhostUserSingleMemoryRegion,
        _file: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        refused()
    }

    fn remove_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion) -> Result<()> {
        refused()
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _file: File,
    ) -> Result<Option<File>> {
        refused()
    }

    fn check_device_state(&mut self) -> Result<()> {
        refused()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        refused()
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        refused()
    }
}
