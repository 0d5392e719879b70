//! The order of kernels' versions: as Debian and RPM sort them.

use std::cmp::Ordering;

/// Compares two versions: runs of digits by value, all else by letter, with `~` before the end.
/// Release candidates come before their release.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.replace("-rc", "~rc"), b.replace("-rc", "~rc"));
    let (mut a, mut b) = (a.as_str(), b.as_str());
    while !a.is_empty() || !b.is_empty() {
        let (letters_a, letters_b) = (letters(&mut a), letters(&mut b));
        let (digits_a, digits_b) = (digits(&mut a), digits(&mut b));
        let order = by_letter(letters_a, letters_b).then_with(|| by_value(digits_a, digits_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes what comes before the next digit.
fn letters<'a>(rest: &mut &'a str) -> &'a str {
    take(rest, |c| !c.is_ascii_digit())
}

fn digits<'a>(rest: &mut &'a str) -> &'a str {
    take(rest, |c| c.is_ascii_digit())
}

fn take<'a>(rest: &mut &'a str, is: impl Fn(char) -> bool) -> &'a str {
    let end = rest.find(|c| !is(c)).unwrap_or(rest.len());
    let (taken, left) = rest.split_at(end);
    *rest = left;
    taken
}

/// `~`, the end, letters, everything else.
fn by_letter(a: &str, b: &str) -> Ordering {
    let weight = |c: char| match c {
        '~' => 0,
        c if c.is_ascii_alphabetic() => u32::from(c) + 2,
        c => u32::from(c) + 0x100,
    };
    let weights = |text: &str| text.chars().map(weight).chain([1]).collect::<Vec<_>>();
    weights(a).cmp(&weights(b))
}

/// Of any length.
fn by_value(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_packages_are() {
        let rising = [
            "2.6.32",
            "5.10.0-9-amd64",
            "5.10.0-28-amd64",
            "6.1.0-rc3",
            "6.1.0",
            "6.1.0-9-cloud-amd64",
            "6.1.0-18-cloud-amd64",
            "6.5.6-300.fc39.x86_64",
            "6.10.3-200.fc39.x86_64",
            "18446744073709551616.0",
        ];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
            assert_eq!(compare(pair[0], pair[0]), Ordering::Equal, "{pair:?}");
        }
    }
}
