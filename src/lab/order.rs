//! Which groups are started before which.

/// Puts groups into stages: each after all it waits for, and as early as it can be. `after` says for
/// each group which ones it waits for.
///
/// # Errors
/// Groups wait for each other: the way around, with its first group at both ends.
pub fn stages(after: &[Vec<usize>]) -> Result<Vec<Vec<usize>>, Vec<usize>> {
    let mut waits: Vec<usize> = after.iter().map(Vec::len).collect();
    let followers = followers(after);
    let mut stage: Vec<usize> = (0..after.len()).filter(|&group| waits[group] == 0).collect();
    let mut stages: Vec<Vec<usize>> = Vec::new();
    while !stage.is_empty() {
        let mut next = Vec::new();
        for &follower in stage.iter().flat_map(|&group| &followers[group]) {
            waits[follower] -= 1;
            if waits[follower] == 0 {
                next.push(follower);
            }
        }
        next.sort_unstable();
        stages.push(std::mem::replace(&mut stage, next));
    }
    let done: usize = stages.iter().map(Vec::len).sum();
    if done < after.len() { Err(cycle(after, |group| waits[group] > 0)) } else { Ok(stages) }
}

/// For each group those that wait for it, as often as they say so.
fn followers(after: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut followers = vec![Vec::new(); after.len()];
    for (group, before) in after.iter().enumerate() {
        before.iter().for_each(|&before| followers[before].push(group));
    }
    followers
}

/// A way around among the groups that still wait: each of them does for another of them.
fn cycle(after: &[Vec<usize>], waits: impl Fn(usize) -> bool) -> Vec<usize> {
    let waits = |group: &usize| waits(*group);
    let mut way: Vec<usize> = (0..after.len()).filter(waits).take(1).collect();
    while let Some(next) = way.last().and_then(|&last| after[last].iter().copied().find(waits)) {
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
    fn as_many_groups_as_a_file_can_have_may_wait_one_for_the_other() {
        let after: Vec<_> =
            (0..10_000usize).map(|n| n.checked_sub(1).into_iter().collect()).collect();
        let alone: Vec<_> = (0..10_000).map(|group| vec![group]).collect();
        assert_eq!(stages(&after), Ok(alone));
        assert_eq!(stages(&[vec![1, 1], vec![]]), Ok(vec![vec![1], vec![0]]));
    }

    #[test]
    fn the_way_around_is_named_without_what_only_leads_to_it() {
        assert_eq!(stages(&[vec![0]]), Err(vec![0, 0]));
        assert_eq!(stages(&[vec![1], vec![2], vec![1], vec![]]), Err(vec![1, 2, 1]));
    }
}
