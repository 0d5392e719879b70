//! Host filesystems that are full, and files that are not what a name promises.

mod full;
mod input;
mod tmpfs;
