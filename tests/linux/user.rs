//! Somebody at the serial console of a clone of an ordinary Debian image.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};

use crate::common::store::{Follower, Store};

/// Says what a machine is known by. The quotes keep the echo of what is typed from being an answer.
const WHO: &str = "systemctl start ssh-host-key; cd /etc; echo i''am $(hostname) \
    $(cat machine-id) $(cat /sys/class/dmi/id/product_uuid) $(cut -c13-80 ssh/ssh_host*.pub); cd";

/// A running machine and its console.
pub struct User<'a> {
    store: &'a Store,
    name: &'a str,
    /// What the guest calls itself.
    host: &'a str,
    screen: Follower,
    console: Child,
    keys: ChildStdin,
}

impl<'a> User<'a> {
    /// Starts a clone, whose guest calls itself `host`.
    pub fn start(store: &'a Store, name: &'a str, host: &'a str) -> User<'a> {
        store.ok(["start", name]);
        User::attach(store, name, host)
    }

    fn attach(store: &'a Store, name: &'a str, host: &'a str) -> User<'a> {
        let mut console = store.command(["console", name]);
        let mut console = console.stdin(Stdio::piped()).spawn().expect("offshoot starts");
        let keys = console.stdin.take().expect("it is piped");
        User { store, name, host, screen: Follower::new(store, name), console, keys }
    }

    /// Starts a clone with a shell in place of systemd, which takes half of a boot: in root's home,
    /// on a disk that is not written to.
    pub fn start_without_init(store: &'a Store, name: &'a str) -> User<'a> {
        let spec = &store.inspect(name)["spec"]["boot"]["cmdline"];
        let words = format!("{} init=/bin/bash", spec.as_str().expect("it boots"));
        store.ok(["start", name, "--cmdline", &words]);
        let mut user = User::attach(store, name, "(none)");
        user.says("root@(none):");
        user.types("HOME=/root; cd");
        user.awaits_prompt();
        user
    }

    /// Logs in as root.
    pub fn log_in(&mut self) {
        self.screen.wait_for_words(&format!("{} login: ", self.host));
        self.types("root");
        self.screen.wait_for_words("Password: ");
        self.types("offshoot");
        self.awaits_prompt();
    }

    #[track_caller]
    fn awaits_prompt(&mut self) {
        self.says(&format!("root@{}:~# ", self.host));
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keys, "{line}").expect("its console reads");
    }

    /// Waits until these words are on the screen.
    #[track_caller]
    fn says(&mut self, words: &str) {
        self.screen.wait_for_words(words);
    }

    /// Has the shell begin with a command, which soon says these words. What is typed is echoed:
    /// the words themselves must not be in it.
    #[track_caller]
    pub fn begins(&mut self, command: &str, words: &str) {
        assert!(!command.contains(words), "its echo would do");
        self.types(command);
        self.says(words);
    }

    /// Has the shell run a command, which says these words, to its end.
    #[track_caller]
    pub fn runs(&mut self, command: &str, words: &str) {
        self.begins(command, words);
        self.awaits_prompt();
    }

    /// Has it say who it is, which must be what its store says. Returns its SSH host key.
    #[track_caller]
    pub fn is_itself(&mut self) -> String {
        self.runs(WHO, &format!("iam {}", self.host));
        let log = self.store.ok(["logs", self.name]);
        // The shell's own words to its terminal come before it, on the same line.
        let (_, answer) = log.split_once("iam ").expect("it said who it is");
        let line = answer.lines().next().expect("there is more").trim_end();
        let words: Vec<_> = line.split(' ').collect();
        let uuid = self.store.inspect(self.name)["vm"]["uuid"].as_str().expect("text").to_owned();
        let machine_id = uuid.replace('-', "");
        assert_eq!(words[..3], [self.host, &machine_id, &uuid]);
        assert_eq!(words.len(), 4, "one SSH host key: {words:?}");
        words[3].to_owned()
    }

    /// Shuts the machine down in an orderly way.
    pub fn powers_off(self) {
        self.ends_by("poweroff");
    }

    /// Powers it off as it is.
    pub fn cuts_the_power(self) {
        self.ends_by("poweroff -ff");
    }

    fn ends_by(mut self, command: &str) {
        self.types(command);
        assert_eq!(self.store.ok(["wait", "--quiet", self.name]), "0\n");
        drop(self.keys);
        assert!(self.console.wait().expect("it ends with its machine").success());
    }
}
