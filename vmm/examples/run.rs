//! Boots a kernel, its console on the terminal: the whole library in twenty lines.
//!
//! `cargo run -p vmm --example run -- KERNEL [COMMAND LINE...]`, with `CPUS=2` for more vCPUs,
//! `INITRD=FILE` for a ramdisk, `CONTROL=PATH` for a control socket.

use std::error::Error;
use std::os::unix::net::UnixStream;
use std::{env, io, process, thread};

use vmm::spec::{Boot, Spec};
use vmm::{Shell, control, run};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let kernel = words.next().ok_or("usage: run KERNEL [COMMAND LINE...]")?.into();
    let cmdline = words.collect::<Vec<_>>().join(" ");
    let initrd = env::var_os("INITRD").map(Into::into);
    let cpus = env::var("CPUS").map_or(Ok(1), |cpus| cpus.parse())?;
    let boot = Boot { kernel, initrd, cmdline, protocol: None };
    let (name, uuid) = ("example".into(), uuid::Uuid::new_v4());
    let spec = Spec { name, uuid, cpus, memory_mib: 128, boot, disks: vec![] };

    let control = env::var_os("CONTROL").map(|path| control::listen(path.as_ref())).transpose()?;
    let (mut console, attached) = UnixStream::pair()?;
    let printer = thread::spawn(move || io::copy(&mut console, &mut io::stdout()));
    let exit = run(&spec, Shell { control, attached: Some(attached), ..Shell::default() })?;
    printer.join().expect("the printer does not panic")?;
    eprintln!("{exit:?}");
    process::exit(exit.status().into())
}
