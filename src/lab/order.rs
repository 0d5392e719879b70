//! Which groups are started before which.

use std::collections::BTreeSet;

/// Puts groups into stages: each after all it waits for, and as early as it can be. `after` says for
/// each group which ones it waits for.
///
/// # Errors
/// Groups wait for each other: the way around, with its first group at both ends.
pub fn stages(after: &[Vec<usize>]) -> Result<Vec<Vec<usize>>, Vec<usize>> {
    let mut stages: Vec<Vec<usize>> = Vec::new();
    let mut done = BTreeSet::new();
    while done.len() < after.len() {
        let ready = |group: &usize| {
            !done.contains(group) && after[*group].iter().all(|before| done.contains(before))
        };
        let stage: Vec<usize> = (0..after.len()).filter(ready).collect();
        if stage.is_empty() {
            return Err(cycle(after, &done));
        }
        done.extend(&stage);
        stages.push(stage);
    }
    Ok(stages)
}

/// A way around among the groups that are not done: each of them waits for another of them.
fn cycle(after: &[Vec<usize>], done: &BTreeSet<usize>) -> Vec<usize> {
    let undone = |group: &usize| !done.contains(group);
    let mut way: Vec<usize> = (0..after.len()).filter(undone).take(1).collect();
    while let Some(next) = way.last().and_then(|&last| after[last].iter().copied().find(undone)) {
        let seen = way.iter().position(|&group| group == next);
        way.push(next);
        if let Some(start) = seen {
            return way.split_off(start);
        }
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_after_what_they_wait_for_and_no_later() {
        assert_eq!(stages(&[]), Ok(vec![]));
        assert_eq!(
            stages(&[vec![2], vec![], vec![1], vec![]]),
            Ok(vec![vec![1, 3], vec![2], vec![0]])
        );
    }

    #[test]
    fn the_way_around_is_named_without_what_only_leads_to_it() {
        assert_eq!(stages(&[vec![0]]), Err(vec![0, 0]));
        assert_eq!(stages(&[vec![1], vec![2], vec![1], vec![]]), Err(vec![1, 2, 1]));
    }
}
