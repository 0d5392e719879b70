//! Names nobody has yet, for things whose own name is another's.

use std::collections::BTreeSet;

use crate::store::Name;

/// What a name may have at most.
const LONGEST: usize = 63;

/// The names that are taken.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<Name>);

impl Names {
    /// Takes a name; one that is taken stays so.
    pub fn take(&mut self, name: &Name) {
        self.0.insert(name.clone());
    }

    /// Takes this name, or the next free one of `name-2`, `name-3`, ...
    pub fn free(&mut self, wanted: &Name) -> Name {
        let others = (2_u32..).filter_map(|n| suffixed(wanted, n));
        let mut candidates = std::iter::once(wanted.clone()).chain(others);
        let free = candidates.find(|name| !self.0.contains(name));
        // There are more numbers than names in any store.
        let name = free.unwrap_or_else(|| wanted.clone());
        self.take(&name);
        name
    }
}

/// The name with a number; its end gives way where it would be too long.
fn suffixed(name: &Name, n: u32) -> Option<Name> {
    let suffix = format!("-{n}");
    let kept: String = name.as_str().chars().take(LONGEST - suffix.len()).collect();
    format!("{kept}{suffix}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_the_next_free_number() {
        let mut names = Names::default();
        let long = "x".repeat(63);
        for (wanted, given) in
            [("web", "web"), ("web", "web-2"), ("web", "web-3"), ("web-2", "web-2-2")]
        {
            assert_eq!(names.free(&wanted.parse().expect("a name")).as_str(), given);
        }
        names.take(&long.parse().expect("a name"));
        let given = names.free(&long.parse().expect("a name"));
        assert_eq!(given.as_str(), format!("{}-2", "x".repeat(61)));
    }
}
