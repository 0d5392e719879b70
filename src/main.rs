//! offshoot: virtual machines whose disks are linked clones.

fn main() {}
