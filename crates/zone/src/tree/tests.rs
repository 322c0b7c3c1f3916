use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Name;

#[derive(Clone, Debug)]
struct Item(Name, u32);

impl Leaf for Arc<Item> {
    fn wire(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }
}

fn name() -> impl Strategy<Value = Name> {
    let octet = prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(b'q'), Just(255)];
    let label = prop::collection::vec(octet, 1..4);
    prop::collection::vec(label, 0..5).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        wire.push(0);
        Name::from_octets(wire.into()).unwrap()
    })
}

impl Touch for Arc<Item> {
    fn touch(&self) -> usize {
        self.0.len()
    }
}

/// The indexes of all branches and which values they have, from the top.
fn form(tree: &Tree<Arc<Item>>) -> Vec<(usize, Vec<u32>)> {
    let mut all = Vec::new();
    let mut stack: Vec<&Slot<Arc<Item>>> = tree.root.iter().collect();
    while let Some(slot) = stack.pop() {
        if let Slot::Branch(branch) = slot {
            let values = (0..=16).filter(|&value| branch.slot(value).is_some());
            all.push((branch.index(), values.collect()));
            stack.extend(branch.slots());
        }
    }
    all
}

fn key(name: &Name) -> Key {
    Key::of(name)
}

/// What was put in (true) and taken out, in turn.
fn changes(max: usize) -> impl Strategy<Value = Vec<(bool, Name)>> {
    prop::collection::vec((prop::bool::weighted(0.7), name()), 0..max)
}

fn play(
    tree: &mut Tree<Arc<Item>>,
    model: &mut BTreeMap<Name, u32>,
    changes: &[(bool, Name)],
    stamp: u32,
) {
    for (index, (put, name)) in changes.iter().enumerate() {
        let value = stamp + index as u32;
        if *put {
            let old = tree.insert(Arc::new(Item(name.clone(), value)));
            assert_eq!(old.map(|old| old.1), model.insert(name.clone(), value));
        } else {
            let old = tree.remove(key(name).as_slice());
            assert_eq!(old.map(|old| old.1), model.remove(name));
        }
    }
}

proptest! {
    #[test]
    fn it_behaves_like_an_ordered_map(changes in changes(60), probes in prop::collection::vec(name(), 1..20)) {
        let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
        play(&mut tree, &mut model, &changes, 0);
        prop_assert_eq!(tree.len(), model.len());
        prop_assert_eq!(
            tree.iter().map(|leaf| (leaf.0.clone(), leaf.1)).collect::<Vec<_>>(),
            model.clone().into_iter().collect::<Vec<_>>()
        );
        for probe in &probes {
            let k = key(probe);
            prop_assert_eq!(tree.get(k.as_slice()).map(|leaf| leaf.1), model.get(probe).copied());
            prop_assert_eq!(
                tree.predecessor(k.as_slice()).map(|leaf| leaf.0.clone()),
                model.range(..probe.clone()).next_back().map(|(name, _)| name.clone())
            );
            let below: Vec<_> = model.keys().filter(|name| name.ends_with(probe)).cloned().collect();
            prop_assert_eq!(tree.below(k.as_slice()).map(|leaf| leaf.0.clone()).collect::<Vec<_>>(), below.clone());
            prop_assert_eq!(tree.has_at_or_below(k.as_slice()), !below.is_empty());

            let sought = Sought::from_wire(probe.as_slice());
            let mut descent = tree.descend(&sought);
            let met: Vec<_> = descent.by_ref().map(|leaf| leaf.0.clone()).collect();
            let mut ancestors: Vec<_> = model.keys().filter(|name| probe.ends_with(name)).cloned().collect();
            ancestors.sort_by_key(|name| name.label_count());
            prop_assert_eq!(met, ancestors);
            let encloser = probe.iter_suffixes().find(|suffix| model.keys().any(|name| name.ends_with(suffix)));
            let at = encloser.map_or(probe.len() - 1, |name| probe.len() - name.len());
            prop_assert_eq!(descent.encloser(), at);
            prop_assert_eq!(tree.descend(&sought).encloser(), at);
            let mut ways: Vec<_> = tree.way(&sought).into_iter().collect();
            go_together(&mut ways);
            prop_assert!(ways.is_empty());
        }
    }

    #[test]
    fn made_of_leaves_in_order_it_is_the_same_as_when_they_are_put_in_one_by_one(names in prop::collection::vec(name(), 0..120)) {
        let mut one_by_one = Tree::new();
        for (index, name) in names.iter().enumerate() {
            one_by_one.insert(Arc::new(Item(name.clone(), index as u32)));
        }
        let mut ascending = Ascending::new();
        for leaf in one_by_one.iter() {
            prop_assert!(ascending.push(leaf.key().as_slice(), leaf.clone()).is_ok());
            prop_assert!(ascending.push(leaf.key().as_slice(), leaf.clone()).is_err());
        }
        let made = ascending.finish();
        prop_assert_eq!(made.len(), one_by_one.len());
        // Node by node: what differs in form would be found by a descent, or when it is compared.
        prop_assert_eq!(form(&made), form(&one_by_one));
        let mut differ = 0;
        one_by_one.compare(&made, &mut |old, new| {
            differ += usize::from(!matches!((old, new), (Some(old), Some(new)) if Arc::ptr_eq(old, new)));
        });
        prop_assert_eq!(differ, 0);
    }

    #[test]
    fn looking_ahead_all_leaves_come_once_and_in_order(names in prop::collection::vec(name(), 0..200)) {
        let tree: Tree<Arc<Item>> = names.iter().map(|name| Arc::new(Item(name.clone(), 0))).collect();
        let plain: Vec<&Arc<Item>> = tree.iter().collect();
        let ahead: Vec<&Arc<Item>> = tree.iter_ahead().collect();
        prop_assert_eq!(plain.len(), ahead.len());
        prop_assert!(plain.iter().zip(&ahead).all(|(a, b)| Arc::ptr_eq(a, b)));
    }

    #[test]
    fn a_clone_is_not_changed_and_the_comparison_finds_what_differs(first in changes(40), second in changes(20)) {
        let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
        play(&mut tree, &mut model, &first, 0);
        let (old, old_model) = (tree.clone(), model.clone());
        play(&mut tree, &mut model, &second, 1000);
        prop_assert_eq!(
            old.iter().map(|leaf| (leaf.0.clone(), leaf.1)).collect::<Vec<_>>(),
            old_model.clone().into_iter().collect::<Vec<_>>()
        );
        let mut found = BTreeMap::new();
        let mut order = Vec::new();
        old.compare(&tree, &mut |a, b| {
            let name = a.or(b).map(|leaf| leaf.0.clone()).unwrap();
            order.push(name.clone());
            found.insert(name, (a.map(|leaf| leaf.1), b.map(|leaf| leaf.1)));
        });
        prop_assert!(order.is_sorted());
        let mut expected = BTreeMap::new();
        for name in old_model.keys().chain(model.keys()) {
            let pair = (old_model.get(name).copied(), model.get(name).copied());
            if pair.0 != pair.1 {
                expected.insert(name.clone(), pair);
            }
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn comparing_after_one_change_visits_one_leaf() {
    let name = |n: u32| crate::record::parse_name(&format!("host-{n}.example.com")).unwrap();
    let old: Tree<Arc<Item>> = (0..10_000).map(|n| Arc::new(Item(name(n), n))).collect();
    let mut new = old.clone();
    new.insert(Arc::new(Item(name(77), 1)));
    new.insert(Arc::new(Item(name(20_000), 1)));
    let mut visited = 0;
    old.compare(&new, &mut |_, _| visited += 1);
    assert_eq!(visited, 2);
}
