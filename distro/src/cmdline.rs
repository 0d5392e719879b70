//! A distribution's command line, made to fit a machine with a serial console, no firmware and one
//! virtio disk.

/// Words that are for a boot loader, a screen, or another disk's name.
const NOT: [&str; 9] = [
    "root=",
    "BOOT_IMAGE=",
    "initrd=",
    "console=",
    "earlyprintk",
    "earlycon",
    "vga=",
    "splash",
    "rhgb",
];
/// As many bytes as x86's kernels take at least, and some room for a user's own words.
const LONGEST: usize = 1800;

/// `root=`, `ro` or `rw`, the other words, and the console. `root` goes before what the options
/// say; `writable` is for options that say neither `ro` nor `rw`.
pub(crate) fn fit(options: &str, root: Option<&str>, writable: bool) -> String {
    let words: Vec<&str> = words(options).collect();
    let theirs = words.iter().find_map(|word| word.strip_prefix("root="));
    let root = root.map(str::to_owned).or_else(|| theirs.and_then(renamed));
    let access = if writable { "rw" } else { "ro" };
    let access = if words.iter().any(|word| matches!(*word, "ro" | "rw")) { "" } else { access };
    let root = root.map(|root| format!("root={root}")).unwrap_or_default();
    let mut line = String::new();
    let kept = words.into_iter().filter(|word| !NOT.iter().any(|not| word.starts_with(not)));
    for word in [root.as_str(), access].into_iter().chain(kept).filter(|word| !word.is_empty()) {
        if line.len() + word.len() <= LONGEST {
            line += word;
            line.push(' ');
        }
    }
    line + "console=ttyS0"
}

/// The words of a command line: quotation marks hold spaces together. What the console cannot
/// show is left out, as are variables of a boot loader.
fn words(options: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let words = options.split(move |c: char| {
        quoted ^= c == '"';
        c.is_whitespace() && !quoted
    });
    let shows = |word: &str| word.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    words.filter(move |word| !word.is_empty() && !word.starts_with('$') && shows(word))
}

/// The name a disk of another kind of machine has here.
fn renamed(root: &str) -> Option<String> {
    let numbered = |prefix: &str| {
        let number = root.strip_prefix(prefix)?;
        number.bytes().all(|c| c.is_ascii_digit()).then(|| format!("/dev/vda{number}"))
    };
    let disks = ["/dev/sda", "/dev/hda", "/dev/xvda", "/dev/vda", "/dev/nvme0n1p", "/dev/mmcblk0p"];
    let other = || (!root.is_empty()).then(|| root.to_owned());
    disks.into_iter().find_map(numbered).or_else(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_other_machines_go_and_the_rest_stays() {
        let options = "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro quiet splash console=tty0 \
                       console=ttyS0,115200 earlyprintk=ttyS0 net.ifnames=0 $tuned_params";
        let fitted = fit(options, Some("UUID=1"), true);
        assert_eq!(fitted, "root=UUID=1 ro quiet net.ifnames=0 console=ttyS0");
    }

    #[test]
    fn access_is_said_where_the_options_do_not() {
        assert_eq!(fit("quiet", Some("/dev/vda"), true), "root=/dev/vda rw quiet console=ttyS0");
        assert_eq!(fit("", Some("/dev/vda"), false), "root=/dev/vda ro console=ttyS0");
    }

    #[test]
    fn root_nobody_found_is_the_options_own() {
        let is = |root: &str, to: &str| {
            assert_eq!(fit(&format!("ro {root}"), None, false), format!("{to}ro console=ttyS0"));
        };
        is("root=/dev/mapper/vg-root", "root=/dev/mapper/vg-root ");
        is("root=/dev/nvme0n1p3", "root=/dev/vda3 ");
        is("root=", "");
        is("", "");
    }

    #[test]
    fn quoted_spaces_stay_and_hostile_bytes_go() {
        let fitted = fit("dyndbg=\"file a.c +p\" a\x1b[2Jb \u{e9}", None, false);
        assert_eq!(fitted, "ro dyndbg=\"file a.c +p\" console=ttyS0");
        assert!(fit(&"x ".repeat(10_000), None, false).len() < 2048);
        assert!(fit(&"x".repeat(10_000), None, false).len() < 2048);
    }
}
