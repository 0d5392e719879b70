//! Gives back memory that only starting a machine needed.
#![allow(unsafe_code, reason = "the dynamic linker's interface and madvise are unsafe")]

use std::ffi::c_void;
use std::ptr;

use rustix::mm::{Advice, madvise};

/// Unmaps this program's code and constants. They are clean pages of its file, so what running the
/// machine needs comes back from the page cache when it is touched; what only starting needed,
/// which is most of it, does not. (A debugger's breakpoints go, too: set them after the start.)
pub fn program() {
    // SAFETY: `trim` has the signature asked for and does not use the data pointer.
    unsafe { libc::dl_iterate_phdr(Some(trim), ptr::null_mut()) };
}

/// Trims the first object it is called for, the program itself.
///
/// # Safety
/// `info` is what `dl_iterate_phdr` hands out.
unsafe extern "C" fn trim(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> i32 {
    // SAFETY: valid for the time of this call, says dl_iterate_phdr(3).
    let info = unsafe { &*info };
    // SAFETY: as many headers as said, mapped as long as the program is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let page = rustix::param::page_size();
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let Ok(start) = usize::try_from(info.dlpi_addr + header.p_vaddr) else { continue };
        let Ok(len) = usize::try_from(header.p_memsz) else { continue };
        let whole = start & !(page - 1);
        let range = ptr::with_exposed_provenance_mut(whole);
        // SAFETY: the segment is mapped from a file and never written, so its bytes after this
        // are the same as before.
        let trimmed = unsafe { madvise(range, len + (start - whole), Advice::LinuxDontNeed) };
        if let Err(error) = trimmed {
            log::debug!("the program's pages stay mapped: {error}");
        }
    }
    1
}
