//! What may stand in a spec's strings. Each check gives the reason, to follow the string.

type Verdict = Result<(), String>;

/// A user or a group.
pub(crate) fn account(text: &str) -> Verdict {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let other = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    match text.starts_with(first) && text.chars().all(other) && text.len() <= 32 {
        true => Ok(()),
        false => Err("is no account: lower case letters, digits, '-' and '_', at most 32".into()),
    }
}

/// `user` or `user:group`.
pub(crate) fn owner(text: &str) -> Verdict {
    let (user, group) = text.split_once(':').unwrap_or((text, "root"));
    account(user).and_then(|()| account(group))
}

/// A line for `authorized_keys`.
pub(crate) fn ssh_key(text: &str) -> Verdict {
    const KINDS: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];
    let mut words = text.split(' ');
    let kind = words.any(|word| KINDS.iter().any(|kind| word.starts_with(kind)));
    let key = words.next().is_some_and(|word| word.starts_with("AAAA"));
    match kind && key && !text.contains(char::is_control) {
        true => Ok(()),
        false => Err("is no public key, as in a file ~/.ssh/*.pub".into()),
    }
}

/// What crypt(3) makes of a password.
pub(crate) fn password_hash(text: &str) -> Verdict {
    const KINDS: [&str; 9] = ["y", "gy", "7", "6", "5", "2b", "2a", "2y", "sha1"];
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"./$=,".contains(&b);
    let mut parts = text.split('$');
    let empty = parts.next() == Some("");
    let kind = parts.next().is_some_and(|kind| KINDS.contains(&kind));
    let hash = parts.next_back().is_some_and(|hash| hash.len() >= 20);
    match empty && kind && hash && text.bytes().all(allowed) {
        true => Ok(()),
        // It may be a password: not to be repeated.
        false => Err("is no hash of a password, as `openssl passwd -6` prints".into()),
    }
}

/// A path from the root, of a file or a shell.
pub(crate) fn path(text: &str) -> Verdict {
    let bad = !text.starts_with('/') || text.ends_with('/') || text.len() > 4095;
    match bad || text.contains(char::is_control) || text.split('/').any(|part| part == "..") {
        true => Err("is no absolute path of a file".into()),
        false => Ok(()),
    }
}

/// Octal permissions.
pub(crate) fn mode(text: &str) -> Verdict {
    match (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        true => Ok(()),
        false => Err("is no mode, as \"0644\"".into()),
    }
}

/// Base 64 of the usual alphabet, padded; white space is nothing.
pub(crate) fn base64(text: &str) -> Verdict {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let padding = digits.iter().rev().take(2).take_while(|&&b| b == b'=').count();
    let plain = digits.get(..digits.len() - padding).unwrap_or_default();
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || *b == b'+' || *b == b'/';
    match digits.len().is_multiple_of(4) && plain.iter().all(allowed) {
        true => Ok(()),
        false => Err("is no base64".into()),
    }
}

/// A command for a shell.
pub(crate) fn command(text: &str) -> Verdict {
    match text.trim().is_empty() || text.contains('\0') {
        true => Err("is no command".into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn judges(check: fn(&str) -> Verdict, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert_eq!(check(text), Ok(()), "{text:?}"));
        bad.iter().for_each(|text| assert!(check(text).is_err(), "{text:?}"));
    }

    #[test]
    fn accounts_are_what_useradd_takes() {
        judges(
            account,
            &["root", "_x", "a-1"],
            &["", "1a", "-a", "A", "a:b", "a b", &"a".repeat(33)],
        );
        judges(owner, &["root", "a:b"], &["", "a:", ":b", "a:b:c"]);
    }

    #[test]
    fn public_keys_are_one_line_and_private_ones_are_refused() {
        let good = ["ssh-ed25519 AAAAC3Nz me", "restrict,pty ssh-rsa AAAAB3", "sk-x@y AAAA"];
        let bad =
            ["", "ssh-rsa", "ssh-rsa AAAA\nssh-rsa AAAA", "-----BEGIN KEY-----", "AAAA ssh-rsa"];
        judges(ssh_key, &good, &bad);
    }

    #[test]
    fn a_password_is_not_taken_for_its_hash() {
        let good = ["$6$salt$0123456789012345678901", "$y$j9T$salt$0123456789012345678901"];
        let bad = [
            "",
            "secret",
            "$6$salt",
            "$9$a$0123456789012345678901",
            "$6$a b$0123456789012345678901",
        ];
        judges(password_hash, &good, &bad);
    }

    #[test]
    fn files_have_absolute_paths_octal_modes_and_sound_base64() {
        judges(path, &["/a", "/a b/c"], &["", "a", "/", "/a/", "/a/../b", "/a\n"]);
        judges(mode, &["0644", "755", "4755"], &["", "64", "0689", "00644", "+644"]);
        judges(base64, &["", "YQ==", "YWI=", "YWJj\nYWJj"], &["YQ", "YQ=", "Y===", "Y*==", "=YWJ"]);
        judges(command, &["true"], &["", " \n", "a\0"]);
    }
}
