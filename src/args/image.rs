//! Verbs of images, and files in and out.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Boot, Targets};
use crate::store::{Name, Source};

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Copy a disk image into the store, perhaps with a kernel
    Import(Import),
    /// Write an image's disk to a file, raw or qcow2
    Export(ImageExport),
    /// List images
    Ls,
    /// Show everything about images
    Inspect(Targets),
    /// Read images and compare them with what was imported
    Verify(Targets),
    /// Remove images that no VM stands on
    Rm(Targets),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Reads raw, qcow2 and vmdk (in one file); --format says which where the first bytes mislead. A path
inside an image is never followed: name its whole backing chain with --backing.

Without --kernel, the newest kernel on the disk is taken with its initial ramdisk, and a command line
with the right root= and a serial console; --initrd and --cmdline replace what is found.")]
pub struct Import {
    /// The disk image, or a block device
    pub file: PathBuf,
    /// What to call the image
    #[arg(long)]
    pub name: Name,
    /// A backing file, from the image's parent down; FILE:raw, FILE:qcow2 or FILE:vmdk says what
    /// it is
    #[arg(long, value_name = "FILE[:FORMAT]")]
    pub backing: Vec<PathBuf>,
    #[command(flatten)]
    pub boot: Boot,
    /// Take it as data: look for no kernel on it
    #[arg(long, conflicts_with_all = ["kernel", "initrd", "cmdline"])]
    pub no_boot: bool,
}

#[derive(Debug, Args)]
pub struct ImageExport {
    /// An image
    pub name: Name,
    #[command(flatten)]
    pub file: NewFile,
}

/// A file for other programs; `--format` says raw, which it is otherwise, or qcow2.
#[derive(Clone, Debug, Args)]
pub struct NewFile {
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
    /// With --format qcow2: pack it; QEMU 5.1 or later reads it
    #[arg(long)]
    pub compress: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The file holds the blocks the VM changed and its settings, not the image. It is the same, byte for
byte, whenever the same content is exported. With --flat it is the whole disk, for other programs:
raw, or qcow2 with --format qcow2.

Of a VM that runs it is the disk as a power cut would leave it: a snapshot is made, written, and
removed again.")]
pub struct Export {
    /// VM@SNAPSHOT, or VM as it is now; it may run
    pub source: Source,
    /// The file to write; without --flat also - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write the whole disk, raw or qcow2
    #[arg(long)]
    pub flat: bool,
    /// With --flat: replace the file if there is one
    #[arg(long, requires = "flat")]
    pub force: bool,
    /// With --flat and --format qcow2: pack it; QEMU 5.1 or later reads it
    #[arg(long, requires = "flat")]
    pub compress: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The VM is put on this store's own copy of the base it was exported from, which is found by its
digest. It appears once the whole file has been checked.")]
pub struct Attach {
    /// The file, or - for standard input
    pub file: PathBuf,
    /// The image to put it on, which must have the same base [default: the one that has]
    #[arg(long, value_name = "IMAGE")]
    pub onto: Option<Name>,
    /// What to call the VM [default: the next of IMAGE-1, IMAGE-2, ...]
    #[arg(long)]
    pub name: Option<Name>,
}
