//! What makes a lab, and where what makes none is wrong.

use super::*;

fn lab(text: &str) -> Result<Lab> {
    let lock = File::open("/dev/null").expect("it is there");
    parse(&Source { path: Path::new("lab.toml"), text }, lock)
}

#[track_caller]
fn refused(text: &str, place: &str, why: &str) {
    let error = lab(text).err().expect("it is refused");
    let said = crate::failure::text(&error);
    assert!(said.starts_with(&format!("lab.toml:{place}: ")), "{said}");
    assert!(said.contains(why), "{said}");
    assert_eq!(crate::failure::code(&error), crate::failure::Code::Usage);
}

#[test]
fn groups_are_in_the_order_of_the_file_and_stages_in_that_of_after() {
    let text = "name = 'x'\n[groups.b]\nsource = 'i'\ncount = 2\nafter = ['a']\n[groups.a]\nsource = 'i'\n";
    let lab = lab(text).expect("a lab");
    let names: Vec<_> = lab.clones().map(|(group, name)| (group, name.as_str())).collect();
    assert_eq!(names, [(0, "x-b-1"), (0, "x-b-2"), (1, "x-a")]);
    assert_eq!(lab.stages, [[1], [0]]);
    assert!(lab.groups.iter().all(|group| group.start));
}

#[test]
fn what_a_group_says_is_what_its_clones_are() {
    let text = "name = 'x'\n[groups.a]\nsource = 'web@s1'\nnames = 'pc-{n:02}'\ncount = 1\n\
                cpus = 2\nmemory = '1G'\ndisk_size = '2G'\nlabels = { room = '1' }\nstart = false\nephemeral = true\n";
    let lab = lab(text).expect("a lab");
    let group = &lab.groups[0];
    assert_eq!(group.request.source.to_string(), "web@s1");
    assert_eq!(group.names, ["pc-01".parse().expect("a name")]);
    assert_eq!(group.request.memory_mib, Some(1024));
    assert_eq!(group.request.disk_size, Some(2 << 30));
    assert!(!group.start && group.request.ephemeral);
    let labels: Vec<_> = group.request.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(labels, [("lab", "x"), ("lab-group", "a"), ("room", "1")]);
}

#[test]
fn what_makes_no_lab_is_refused_with_its_place() {
    refused("name = 'x'\n[groups.a]\nsource = 'i'\ncuont = 3\n", "4:1", "unknown field `cuont`");
    refused("nmae = 'x'\n", "1:1", "unknown field `nmae`");
    refused("name = 'x'\n[groups.a]\nsource = 3\n", "3:10", "invalid type");
    refused("name = 'x'\n[groups.a]\ncount = 3\n", "2:1", "missing field `source`");
    refused("name = 'x y'\n", "1:8", "cannot be a name");
    refused("name = 'x'\n[groups.a]\nsource = 'i@@'\n", "3:10", "cannot be a name");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\nnames = 'a{m}'\n", "4:9", "a template");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\ncount = 0\n", "4:9", "not from 1 to 10000");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\nmemory = '1'\n", "4:10", "not enough");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\nmemory = 512\n", "4:10", "invalid type");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\nkernel = 'nosuch'\n", "4:10", "nosuch");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\n[groups.a]\n", "4:9", "duplicate key");
    refused("name = 'x'\n[groups.'a b']\nsource = 'i'\n", "2:9", "cannot be a name");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\nlabels.lab = 'y'\n", "4:8", "a label lab");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\nlabels.'a=b' = 'y'\n", "4:8", "holds a '='");
    refused("name = 'x'\n[groups.a]\nsource = 'i'\ndelta_dir = ''\n", "4:13", "empty path");
    refused("name = \n", "1:8", "");
}

#[test]
fn names_that_two_clones_would_have_are_refused() {
    let text = "name = 'x'\n[groups.a]\nsource = 'i'\nnames = 'pc-2'\n\
                [groups.b]\nsource = 'i'\nnames = 'pc'\ncount = 2\n";
    refused(text, "7:9", "a clone of group a is called pc-2, too");
    let long =
        format!("name = 'x'\n[groups.a]\nsource = 'i'\nnames = '{}'\ncount = 2\n", "x".repeat(62));
    refused(&long, "4:9", "63 are the most");
}

#[test]
fn groups_that_wait_for_each_other_are_named() {
    let group =
        |name: &str, after: &str| format!("[groups.{name}]\nsource = 'i'\nafter = ['{after}']\n");
    let text = format!("name = 'x'\n{}{}{}", group("a", "b"), group("b", "c"), group("c", "b"));
    refused(&text, "7:10", "these groups wait for each other: b after c after b");
    refused(&format!("name = 'x'\n{}", group("a", "z")), "4:10", "there is no group z");
}
