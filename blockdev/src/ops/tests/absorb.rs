//! Merging layers down: commit and absorb.

use super::*;

#[test]
fn what_a_running_disk_wrote_is_committed_below_it() {
    let mut chain = deep(3, 128);
    let spec = chain.spec().clone();
    let [.., parent, child] = &spec.frozen[..] else { panic!("it is deep") };
    let model = chain.models[3].clone();
    beside_a_guest(&mut chain, |stack| stack.commit(&spec, Pace::Beside, &mut go).unwrap());
    std::fs::remove_file(child).unwrap();
    chain.clone.spec.frozen.pop();
    chain.models.remove(2);
    assert!(chain.models[2] == model);
    chain.check_all(Engine::Uring);
    assert!(matches!(inspect(parent).unwrap().state, State::Absorbed(_)));
}

#[test]
fn a_layer_below_one_that_was_committed_into_is_removed() {
    let mut chain = deep(3, 16);
    chain.clone.open().commit(chain.spec(), Pace::Full, &mut go).unwrap();
    // The merged child is there until somebody has recorded that it is needed no more.
    let with_child = chain.spec().clone();
    chain.clone.spec.frozen.pop();
    chain.models.remove(2);
    chain.remove(0);
    chain.check_all(Engine::Sync);
    let frozen = with_child.frozen[1..].to_vec();
    let stack = Stack::open(&StackSpec { frozen, delta: None, ..with_child }).unwrap();
    let model = &chain.models[2];
    assert!(read(&mut *stack.disk(Engine::Sync).unwrap(), 0, model.len()).unwrap() == *model);
}

#[test]
fn a_commit_into_a_layer_that_others_use_is_refused() {
    let chain = deep(3, 16);
    let stack = chain.clone.open();
    let other = Stack::open(&chain.below(2)).unwrap();
    let busy = stack.commit(chain.spec(), Pace::Full, &mut go).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    drop(other);
    stack.commit(chain.spec(), Pace::Full, &mut go).unwrap();
}

#[test]
fn a_child_that_grew_after_its_merge_was_broken_off_is_merged_whole() {
    let chain = deep(1, 16);
    let (parent, child) = (chain.spec().frozen[0].clone(), chain.clone.delta());
    let stopped = absorb(&parent, &child, Pace::Full, &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    // Past what the parent's bitmap in memory would reach.
    let size = 4 << 30;
    resize(&child, size, false).unwrap();
    write(&mut *chain.disk(Engine::Sync), size - 4096, &[9; 4096]).unwrap();
    absorb(&parent, &child, Pace::Full, &mut go).unwrap();
    thaw(&parent).unwrap();
    let spec = StackSpec { delta: Some(parent), ..chain.below(0) };
    let mut disk = Stack::open(&spec).unwrap().disk(Engine::Sync).unwrap();
    assert_eq!(read(&mut *disk, size - 4096, 4096).unwrap(), [9; 4096]);
}

#[test]
fn a_snapshot_of_what_was_written_since_its_parent_absorbed_it_is_refused() {
    let mut chain = deep(1, 16);
    let (parent, child) = (chain.spec().frozen[0].clone(), chain.clone.delta());
    absorb(&parent, &child, Pace::Full, &mut go).unwrap();
    let next = chain.new_path("next");
    create(&next, 16 * 4096, &inspect(&child).unwrap().as_parent()).unwrap();
    let refused = chain.clone.open().snapshot(&next).unwrap_err();
    assert!(matches!(refused, Error::Absorbing { .. }), "{refused}");
    // Merged once more, it is no half of anything.
    chain.commit();
    chain.check_all(Engine::Sync);
}

#[test]
fn a_parent_of_others_is_in_use_and_one_that_absorbed_is_refused_to_them() {
    let mut chain = deep(2, 16);
    let parent = chain.spec().frozen[1].clone();
    let sibling = chain.clone.dir.path().join("sibling");
    create(&sibling, 16 * 4096, &inspect(&parent).unwrap().as_parent()).unwrap();
    let sibling = StackSpec { delta: Some(sibling), ..chain.spec().clone() };
    let running = Stack::open(&sibling).unwrap();
    let busy = absorb(&parent, &chain.clone.delta(), Pace::Full, &mut go).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    drop(running);
    chain.commit();
    let error = Stack::open(&sibling).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
}

#[test]
fn states_follow_the_life_of_a_layer() {
    let mut chain = deep(1, 8);
    let parent = chain.spec().frozen[0].clone();
    let state = || inspect(&parent).unwrap().state;
    assert_eq!((state(), inspect(&parent).unwrap().epoch), (State::Frozen, 0));
    let uuid = inspect(&chain.clone.delta()).unwrap().uuid;
    absorb(&parent, &chain.clone.delta(), Pace::Full, &mut go).unwrap();
    assert_eq!((state(), inspect(&parent).unwrap().epoch), (State::Absorbed(uuid), 1));
    let on_top = StackSpec { delta: Some(parent.clone()), ..chain.below(0) };
    assert!(matches!(Stack::open(&on_top).unwrap_err(), Error::Frozen { .. }));
    thaw(&parent).unwrap();
    assert_eq!(state(), State::Live);
    let nothing: Option<PathBuf> = None;
    let spec = over(chain.spec().base.clone().unwrap(), nothing);
    let spec = StackSpec { delta: Some(parent.clone()), ..spec };
    Stack::open(&spec).unwrap().flatten(Pace::Full, &mut go).unwrap();
    assert_eq!(inspect(&parent).unwrap().parent, Parent::nothing());
    chain.models.clear();
}
