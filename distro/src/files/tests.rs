//! Ways through a filesystem.

use super::memory::Memory;
use super::*;

fn tree() -> Tree {
    Tree::new(
        Memory::default()
            .file("/boot/vmlinuz-6.1", "kernel")
            .link("/vmlinuz", "boot/vmlinuz-6.1")
            .link("/etc/os-release", "../usr/lib/os-release")
            .file("/usr/lib/os-release", "NAME=x")
            .link("/lib", "usr/lib")
            .link("/usr/lib/away", "/../../boot/./vmlinuz-6.1")
            .link("/circle", "/circle")
            .link("/nowhere", "not/there"),
    )
}

#[test]
fn links_are_followed_inside_the_filesystem() {
    let is = |path: &str, to: &str| {
        let found = tree().file(path).expect("it can be read");
        assert_eq!(found.map(|(path, _)| path).as_deref(), Some(to), "{path}");
    };
    is("/vmlinuz", "/boot/vmlinuz-6.1");
    is("/etc/os-release", "/usr/lib/os-release");
    is("/lib/os-release", "/usr/lib/os-release");
    is("/lib/away", "/boot/vmlinuz-6.1");
    is("//boot/../boot//vmlinuz-6.1", "/boot/vmlinuz-6.1");
}

#[test]
fn what_is_not_there_is_none_and_a_circle_an_error() {
    for path in ["/nowhere", "/boot/none", "/vmlinuz/none", "/boot", "/none/../boot/vmlinuz-6.1"] {
        assert_eq!(tree().file(path).expect("it can be read"), None, "{path}");
    }
    assert!(matches!(tree().file("/circle"), Err(Error::Links(_))));
}

#[test]
fn file_longer_than_its_limit_is_refused() {
    let error = tree().copy("/vmlinuz", 5, &mut Vec::new()).expect_err("it has six bytes");
    assert!(matches!(error, Error::Large { len: 6, limit: 5, .. }), "{error}");
    let mut copy = Vec::new();
    tree().copy("/vmlinuz", 6, &mut copy).expect("it fits");
    assert_eq!(copy, b"kernel");
}
