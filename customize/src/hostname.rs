//! Host names: what Linux and DNS both take.

/// What Linux holds.
const LONGEST: usize = 64;
/// What DNS takes between two dots.
const LONGEST_LABEL: usize = 63;

/// The host name of a machine called `name`: what no host name can hold becomes `-`, and the rest
/// lower case.
pub fn from_name(name: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().take(LONGEST_LABEL).map(valid).collect();
    match text.trim_matches('-') {
        "" => "vm".to_owned(),
        text => text.to_owned(),
    }
}

/// Why this cannot be a host name.
///
/// # Errors
/// The reason, to follow the name.
pub fn check(text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        return Err(format!("it has {} characters, {LONGEST} are the most", text.len()));
    }
    text.split('.').try_for_each(check_label)
}

fn check_label(label: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if label.is_empty() {
        return Err("it is empty, or begins, ends or has two in a row with '.'".into());
    }
    if let Some(bad) = label.chars().find(|&c| !allowed(c)) {
        return Err(format!("{bad:?} is not a letter, digit, '-' or '.'"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a part of it starts or ends with '-'".into());
    }
    match label.len() > LONGEST_LABEL {
        true => Err(format!("a part of it is longer than {LONGEST_LABEL}")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_makes_a_host_name() {
        let made = |name| from_name(name);
        assert_eq!(made("Web_1.lab"), "web-1-lab");
        assert_eq!(made("_"), "vm");
        assert_eq!(made("a-"), "a");
        for name in ["", "-", "ä", "a\0b", &"x".repeat(100), "..", "9"] {
            assert_eq!(check(&from_name(name)), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn what_dns_or_linux_refuse_is_no_host_name() {
        let long = "x".repeat(64);
        let longer = format!("{}.{}", "x".repeat(32), "x".repeat(32));
        for bad in
            ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "ä", "a\n", &long, &longer]
        {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "9", "lab-01.example.org", &long[1..]] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }
}
