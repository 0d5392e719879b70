//! Specs: what they make, and what is said of those that make nothing.

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Guest, Mac, Rendered, Spec, cloud, plan::Plan, source::Source, wanted::Wanted};

fn guest(number: u32) -> Guest {
    let mac = Mac::local([0, 1, 2, 3, 4, 5]);
    Guest { name: format!("web-{number}"), number, uuid: Uuid::from_u128(number.into()), mac }
}

#[track_caller]
fn rendered(spec: &str, number: u32) -> Rendered {
    let spec = Spec::parse(spec).expect("a spec");
    spec.render(&guest(number)).expect("it renders")
}

/// A file of the seed, as YAML's reader would see it.
#[track_caller]
fn seeded(spec: &str, file: &str) -> Value {
    let wanted: Wanted = toml::from_str(spec).expect("a spec");
    let guest = guest(2);
    let plan = Plan::new(Source(spec), &wanted, &guest).expect("a plan");
    let files = cloud::files(&plan);
    let text = files.iter().find(|(name, _)| *name == file).map(|(_, text)| text.as_str());
    let text = text.expect("it is there");
    serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap_or(text)).expect("JSON")
}

#[track_caller]
fn refuses(spec: &str, error: &str) {
    let found = Spec::parse(spec).expect_err("it is refused").to_string();
    assert!(found.contains(error), "it said {found:?}, not {error:?}");
}

#[test]
fn the_documented_examples_are_specs() {
    let page = include_str!("../../docs/customization.md");
    let examples: Vec<_> = page.split("```toml\n").skip(1).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let (spec, _) = example.split_once("```").expect("it ends");
        rendered(spec, 30);
    }
}

#[test]
fn an_empty_spec_makes_a_host_name_and_fresh_keys() {
    let made = rendered("", 2);
    assert_eq!(made.hostname, "web-2");
    assert_eq!(made.cmdline, "systemd.machine_id=00000000000000000000000000000002");
    assert!(made.seed.is_some() && made.addresses.is_empty());
    let meta = seeded("", "meta-data");
    assert_eq!(meta["local-hostname"], "web-2");
    assert_eq!(meta["instance-id"], "00000000-0000-0000-0000-000000000002");
    let user = seeded("", "user-data");
    assert_eq!(user["ssh_deletekeys"], true);
    assert_eq!(user["ssh_genkeytypes"], json!(["rsa", "ecdsa", "ed25519"]));
    for absent in ["users", "write_files", "runcmd", "ssh_pwauth", "fqdn"] {
        assert!(user.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn everything_wanted_is_in_user_data() {
    let spec = r#"
        hostname = "{name}.lab.example"
        run = ["echo '{n}' > /x"]
        ssh = { host-keys = "keep", password-login = true }
        [[users]]
        name = "me"
        ssh-keys = ["ssh-ed25519 AAAA me"]
        password-hash = "$6$salt$01234567890123456789"
        sudo = true
        groups = ["adm"]
        shell = "/bin/sh"
        [[users]]
        name = "you"
        [[files]]
        path = "/a"
        content = "{n} \"{hostname}\"\n"
        template = true
        [[files]]
        path = "/b"
        content = "YQ=="
        encoding = "base64"
        mode = "0600"
        owner = "me:me"
    "#;
    let user = seeded(spec, "user-data");
    assert_eq!(user["hostname"], "web-2");
    assert_eq!(user["fqdn"], "web-2.lab.example");
    assert_eq!(user["ssh_deletekeys"], false);
    assert_eq!(user["ssh_pwauth"], true);
    assert_eq!(user["runcmd"], json!(["echo '{n}' > /x"]));
    let me = json!({
        "name": "me", "ssh_authorized_keys": ["ssh-ed25519 AAAA me"], "shell": "/bin/sh",
        "hashed_passwd": "$6$salt$01234567890123456789", "lock_passwd": false,
        "sudo": "ALL=(ALL) NOPASSWD:ALL", "groups": ["adm"],
    });
    assert_eq!(user["users"], json!([me, { "name": "you", "lock_passwd": true }]));
    let a = json!({
        "path": "/a", "content": "2 \"web-2.lab.example\"\n",
        "permissions": "0644", "owner": "root:root",
    });
    let b = json!({
        "path": "/b", "content": "YQ==", "encoding": "b64",
        "permissions": "0600", "owner": "me:me", "defer": true,
    });
    assert_eq!(user["write_files"], json!([a, b]));
}

#[test]
fn a_network_is_matched_by_mac() {
    let spec = r#"
        [network]
        addresses = ["10.0.0.{n+10}/24", "2001:db8::{n}/64"]
        gateways = ["10.0.0.1", "2001:db8::1"]
        dns = ["10.0.0.1"]
        search = ["lab.example"]
    "#;
    let ethernet = json!({
        "match": { "macaddress": "02:01:02:03:04:05" }, "set-name": "eth0", "dhcp4": false,
        "addresses": ["10.0.0.12/24", "2001:db8::2/64"],
        "routes": [{ "to": "0.0.0.0/0", "via": "10.0.0.1" }], "gateway6": "2001:db8::1",
        "nameservers": { "addresses": ["10.0.0.1"], "search": ["lab.example"] },
    });
    let config = json!({ "version": 2, "ethernets": { "eth0": ethernet } });
    assert_eq!(seeded(spec, "network-config"), config);
    assert_eq!(rendered(spec, 2).addresses, ["10.0.0.12", "2001:db8::2"]);
    let dhcp = seeded("[network]", "network-config");
    assert_eq!(dhcp["ethernets"]["eth0"]["dhcp4"], true);
}

#[test]
fn without_cloud_init_the_command_line_says_it() {
    let spec = r#"
        delivery = "cmdline"
        hostname = "node{n:02}"
        [network]
        addresses = ["10.0.0.{n}/20"]
        gateways = ["10.0.0.254"]
        dns = ["10.0.0.253", "10.0.0.252"]
    "#;
    let made = rendered(spec, 3);
    assert_eq!(made.seed, None);
    assert_eq!(
        made.cmdline,
        "hostname=node03 systemd.hostname=node03 \
         systemd.machine_id=00000000000000000000000000000003 \
         ip=10.0.0.3::10.0.0.254:255.255.240.0:node03::off:10.0.0.253:10.0.0.252"
    );
    let dhcp = rendered("delivery = \"cmdline\"\n[network]", 1);
    assert!(dhcp.cmdline.ends_with(" ip=dhcp"), "{}", dhcp.cmdline);
}

#[test]
fn what_a_command_line_cannot_say_is_refused() {
    let cases = [
        ("run = [\"x\"]", "line 2, column 8: commands cannot be given by"),
        ("[ssh]", "SSH settings"),
        ("[[users]]\nname = \"me\"", "line 3, column 8: users"),
        ("[[files]]\npath = \"/a\"\ncontent = \"\"", "files"),
        ("[network]\naddresses = [\"fe80::1/64\"]", "line 2, column 1: IPv6"),
        ("[network]\naddresses = [\"10.0.0.1/8\", \"10.0.0.2/8\"]", "several addresses"),
        ("[network]\ndhcp = true\naddresses = [\"10.0.0.1/8\"]", "several addresses"),
        ("[network]\ndns = [\"10.0.0.1\"]", "these name servers"),
        ("[network]\naddresses = [\"10.0.0.1/8\"]\nsearch = [\"a\"]", "search domains"),
    ];
    for (rest, error) in cases {
        refuses(&format!("delivery = \"cmdline\"\n{rest}"), error);
    }
}

#[test]
fn mistakes_are_shown_with_line_and_column() {
    let cases = [
        ("hostnam = \"x\"", "line 1, column 1: unknown field `hostnam`"),
        ("\n  hostname = 5", "line 2, column 14: invalid type: integer `5`"),
        ("hostname = \"lab-{m}\"", "line 1, column 17: {m} is unknown"),
        ("hostname = \"ä{n\"", "line 1, column 14: '{' without '}'"),
        ("hostname = \"a_b\"", "line 1, column 12: \"a_b\" cannot be a host name: '_' is not"),
        ("hostname = \"{hostname}\"", "line 1, column 13: a host name cannot be made of itself"),
        ("delivery = \"usb\"", "line 1, column 12: unknown variant `usb`"),
        ("hostname = ", "line 1, column 12: "),
        ("[[users]]\nsudo = true", "missing field `name`"),
        ("[[users]]\nname = \"a\"\npassword = \"x\"", "line 3, column 1: unknown field `password`"),
        ("[[users]]\nname = \"A\"", "line 2, column 8: \"A\" is no account"),
        ("[[users]]\nname = \"a\"\n[[users]]\nname = \"a\"", "line 4, column 8: there are two"),
        ("[[files]]\npath = \"a\"\ncontent = \"\"", "line 2, column 8: \"a\" is no absolute path"),
        ("[network]\ndhcp = false", "line 1, column 1: a network needs"),
        ("[network]\naddresses = [\"10.0.0.1\"]", "line 2, column 14: \"10.0.0.1\" is not an"),
        ("[network]\naddresses = [\"10.0.0.1/33\"]", "\"10.0.0.1/33\" is not"),
        ("[network]\ngateways = [\"10.0.0.1\"]", "is a gateway for a family without an address"),
        ("run = [\"\"]", "line 1, column 8: \"\" is no command"),
    ];
    for (spec, error) in cases {
        refuses(spec, error);
    }
    let content =
        "[[files]]\npath = \"/a\"\ntemplate = true\ncontent = \"\"\"\nfirst\n second {x}\"\"\"";
    refuses(content, "line 6, column 9: {x} is unknown");
}

#[test]
fn a_password_is_refused_and_not_repeated() {
    let spec = "[[users]]\nname = \"a\"\npassword-hash = \"topsecret\"";
    let error = Spec::parse(spec).expect_err("it is refused").to_string();
    assert!(error.contains("line 3, column 17: this is no hash of a password"), "{error}");
    assert!(!error.contains("topsecret"), "{error}");
}

#[test]
fn what_is_wrong_for_a_later_clone_only_is_refused_for_that() {
    let spec = Spec::parse("[network]\naddresses = [\"10.0.0.{n+250}/24\"]").expect("a spec");
    assert!(spec.render(&guest(5)).is_ok());
    let error = spec.render(&guest(6)).expect_err("there is no 256").to_string();
    assert!(error.contains("line 2, column 14: \"10.0.0.256/24\" is not"), "{error}");
}

#[test]
fn too_much_is_refused_with_the_numbers() {
    refuses(&"#".repeat((1 << 20) + 1), "it has 1048577 bytes; 1048576 are the most");
    let file = |content: String| {
        format!("[[files]]\npath = \"/a\"\ntemplate = true\ncontent = \"{content}\"")
    };
    assert!(Spec::parse(&file("{n:063}".repeat(130_000))).is_ok());
    refuses(&file("{n:063}".repeat(140_000)), "bytes; 8388608 are the most");
}

#[test]
fn the_same_guest_gets_the_same_bytes_and_another_gets_others() {
    let spec = "hostname = \"lab-{n}\"";
    assert_eq!(rendered(spec, 4), rendered(spec, 4));
    assert_ne!(rendered(spec, 4).seed, rendered(spec, 5).seed);
}

proptest! {
    /// No text breaks out of its place, or is lost.
    #[test]
    fn any_text_comes_through(content in "\\PC*|[\\x00-\\xff\u{2028}\u{feff}\u{ffff}\u{1f600}]{0,40}") {
        let quoted = toml::Value::from(content.as_str()).to_string();
        let spec = format!("[[files]]\npath = \"/a\"\ncontent = {quoted}");
        prop_assert_eq!(&seeded(&spec, "user-data")["write_files"][0]["content"], &content);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*|([a-z\\[\\]={}\"'\n.-]|hostname|users|files|\\{n\\}){0,60}") {
        let _ = Spec::parse(&text);
        let _ = Spec::parse(&format!("hostname = '{text}'"));
        let _ = Spec::parse(&format!("[network]\naddresses = ['''{text}''']"));
    }
}
