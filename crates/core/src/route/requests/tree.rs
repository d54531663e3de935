//! Prefixes of paths as a tree of segments, so that a look-up reads as much of a path as some prefix has.

use super::path::{PathPrefix, Reading, segments};
use std::collections::HashMap;

/// The number of a node.
pub(super) type NodeId = usize;

/// Trees of prefixes, each with entries at its nodes.
#[derive(Clone, Debug)]
pub(super) struct Forest<E> {
    nodes: Vec<Node<E>>,
}

#[derive(Clone, Debug)]
struct Node<E> {
    root: NodeId,
    parent: Option<NodeId>,
    children: HashMap<Box<[u8]>, NodeId>,
    entries: Vec<E>,
}

impl<E> Default for Forest<E> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<E> Forest<E> {
    /// Begins another tree. Its root has the entries without a condition on the path.
    pub(super) fn plant(&mut self) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node { root: id, parent: None, children: HashMap::new(), entries: Vec::new() });
        id
    }

    /// The node for a prefix in the tree of `root`, made if it is new.
    pub(super) fn grow(&mut self, root: NodeId, path: Option<&PathPrefix>) -> NodeId {
        let Some(path) = path else { return root };
        std::iter::once(SLASH).chain(path.segments()).fold(root, |node, segment| self.child(node, segment))
    }

    fn child(&mut self, parent: NodeId, segment: &[u8]) -> NodeId {
        if let Some(id) = self.nodes.get(parent).and_then(|node| node.children.get(segment)) {
            return *id;
        }
        let id = self.nodes.len();
        let root = self.nodes.get(parent).map_or(id, |node| node.root);
        self.nodes.push(Node { root, parent: Some(parent), children: HashMap::new(), entries: Vec::new() });
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.insert(segment.into(), id);
        }
        id
    }

    /// Puts an entry at a node.
    pub(super) fn put(&mut self, node: NodeId, entry: E) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.entries.push(entry);
        }
    }

    /// The entries at a node.
    pub(super) fn entries(&self, node: NodeId) -> &[E] {
        self.nodes.get(node).map(|node| &*node.entries).unwrap_or_default()
    }

    /// The entries of each node.
    pub(super) fn all(&self) -> impl Iterator<Item = &[E]> {
        self.nodes.iter().map(|node| &*node.entries)
    }

    /// All entries of the tree of `root`.
    pub(super) fn of_tree(&self, root: NodeId) -> impl Iterator<Item = &E> {
        self.nodes.iter().filter(move |node| node.root == root).flat_map(|node| &node.entries)
    }

    /// The nodes whose prefix matches, the longest first, the root last.
    pub(super) fn matching(
        &self,
        root: NodeId,
        path: &str,
        reading: Reading,
    ) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(self.deepest(root, path, reading)), |node| self.nodes.get(*node)?.parent)
    }

    fn deepest(&self, root: NodeId, path: &str, reading: Reading) -> NodeId {
        let mut node = root;
        let mut step = |segment: Option<&[u8]>| {
            let child = segment.and_then(|segment| self.nodes.get(node)?.children.get(segment));
            node = *child.ok_or(())?;
            Ok(())
        };
        // `*` and the authority of CONNECT have no path.
        if path.starts_with('/') && step(Some(SLASH)).is_ok() {
            // An error says that no prefix goes on like this path.
            let _ended: Result<(), ()> = segments(path, reading, step);
        }
        node
    }
}

/// The step from a root to `/`; no segment has a slash.
const SLASH: &[u8] = b"/";
