//! An ordinary distribution's disk image: nothing is said of its kernel, and people log in.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Once;

use crate::common::host;
use crate::common::store::{Follower, Store, succeeds};

/// The image `debian-12`, imported by whoever needs it first. resources/linux/debian-image says
/// what is on it.
fn debian(store: &Store) -> &'static str {
    static IMPORTED: Once = Once::new();
    IMPORTED.call_once(|| {
        let mut import = store.command(["image", "import", "--name", "debian-12"]);
        import.arg(host::debian_image());
        succeeds(import);
    });
    "debian-12"
}

/// Somebody at the serial console of a clone.
struct User<'a> {
    store: &'a Store,
    name: &'a str,
    screen: Follower,
    console: Child,
    keys: ChildStdin,
}

impl<'a> User<'a> {
    /// Clones the image and starts the clone.
    fn boot(store: &'a Store, name: &'a str) -> User<'a> {
        store.ok(["clone", debian(store), name, "--memory", "384M", "--start"]);
        let mut console = store.command(["console", name]);
        let mut console = console.stdin(Stdio::piped()).spawn().expect("offshoot starts");
        let keys = console.stdin.take().expect("it is piped");
        User { store, name, screen: Follower::new(store, name), console, keys }
    }

    fn log_in(&mut self) {
        self.screen.wait_for_words("debian login: ");
        self.types("root");
        self.screen.wait_for_words("Password: ");
        self.types("offshoot");
        self.screen.wait_for_words("root@debian:~# ");
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keys, "{line}").expect("its console reads");
    }

    /// Has the shell run a command, which says these words. What is typed is echoed: the words
    /// themselves must not be in it.
    fn runs(&mut self, command: &str, words: &str) {
        assert!(!command.contains(words), "its echo would do");
        self.types(command);
        self.screen.wait_for_words(words);
        self.screen.wait_for_words("root@debian:~# ");
    }

    fn powers_off(mut self) {
        self.types("poweroff");
        assert_eq!(self.store.ok(["wait", "--quiet", self.name]), "0\n");
        drop(self.keys);
        assert!(self.console.wait().expect("it ends with its machine").success());
    }
}

pub fn debian_image_boots_to_a_login_and_clones_keep_apart(store: &Store) {
    let mut one = User::boot(store, "plain-1");
    let mut two = User::boot(store, "plain-2");
    one.log_in();
    two.log_in();
    one.runs("echo root on $(findmnt -no SOURCE,FSTYPE /)", "root on /dev/vda1 ext4");
    one.runs("touch own-1; echo one has $(ls)", "one has own-1\r");
    two.runs("touch own-2; echo two has $(ls)", "two has own-2\r");
    one.powers_off();
    two.powers_off();
}
