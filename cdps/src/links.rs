//! Tables of the links: their control connections, the ports that watch them, and the leases that come over them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use cdps_core::id::{Incarnation, NodeId, PathId};
use cdps_core::node::LinkKey;
use cdps_core::time::Time;
use parking_lot::Mutex;

use crate::conn::control::Control;
use crate::shared::PortShared;

/// A path of a port, as a link knows it.
type Watcher = (Weak<PortShared>, PathId);

#[derive(Default)]
pub(crate) struct Links {
    controls: Mutex<HashMap<(LinkKey, u32), Arc<Control>>>,
    watchers: Mutex<HashMap<LinkKey, Vec<Watcher>>>,
    leases: Mutex<HashMap<(NodeId, Incarnation), Arc<AtomicU64>>>,
}

impl Links {
    /// A control connection comes to be.
    pub(crate) fn insert(&self, control: Arc<Control>) {
        self.controls.lock().insert((control.key, control.serial), control);
    }

    /// Makes an entry for a connection whose number the engine gives now, so that nothing can happen to it before it is in the table.
    pub(crate) fn insert_new(&self, name: impl FnOnce() -> (LinkKey, u32)) -> Arc<Control> {
        let mut controls = self.controls.lock();
        let (key, serial) = name();
        let control = Control::new(key, serial);
        controls.insert((key, serial), Arc::clone(&control));
        control
    }

    pub(crate) fn control(&self, key: LinkKey, serial: u32) -> Option<Arc<Control>> {
        self.controls.lock().get(&(key, serial)).cloned()
    }

    pub(crate) fn remove(&self, key: LinkKey, serial: u32) -> Option<Arc<Control>> {
        self.controls.lock().remove(&(key, serial))
    }

    /// The node is closing: every control connection ends as soon as all is written.
    pub(crate) fn finish(&self) {
        let controls: Vec<_> = self.controls.lock().values().cloned().collect();
        for control in controls {
            control.finish();
        }
    }

    pub(crate) fn watch(&self, key: LinkKey, port: &Arc<PortShared>, path: PathId) {
        let mut watchers = self.watchers.lock();
        let list = watchers.entry(key).or_default();
        list.retain(|(known, on)| known.strong_count() > 0 && !(is(known, port) && *on == path));
        list.push((Arc::downgrade(port), path));
    }

    pub(crate) fn unwatch(&self, key: LinkKey, port: &Arc<PortShared>, path: PathId) {
        let mut watchers = self.watchers.lock();
        if let Some(list) = watchers.get_mut(&key) {
            list.retain(|(known, on)| known.strong_count() > 0 && !(is(known, port) && *on == path));
            if list.is_empty() {
                watchers.remove(&key);
            }
        }
    }

    /// A port is gone: nothing is reported to it any more.
    pub(crate) fn forget(&self, port: &Arc<PortShared>) {
        self.watchers.lock().retain(|_, list| {
            list.retain(|(known, _)| known.strong_count() > 0 && !is(known, port));
            !list.is_empty()
        });
    }

    /// Who watches a link.
    pub(crate) fn watchers(&self, key: LinkKey) -> Vec<(Arc<PortShared>, PathId)> {
        let watchers = self.watchers.lock();
        let list = watchers.get(&key).map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|(port, path)| Some((port.upgrade()?, *path))).collect()
    }

    /// The lease of a source's incarnation, as its ports see it.
    pub(crate) fn lease(&self, node: NodeId, incarnation: Incarnation) -> Arc<AtomicU64> {
        Arc::clone(self.leases.lock().entry((node, incarnation)).or_default())
    }

    /// The lease was renewed. False: no port needs it.
    pub(crate) fn renew(&self, node: NodeId, incarnation: Incarnation, until: Time) -> bool {
        let leases = self.leases.lock();
        let Some(lease) = leases.get(&(node, incarnation)) else { return false };
        lease.fetch_max(until.0, Ordering::AcqRel);
        Arc::strong_count(lease) > 1
    }

    /// The incarnation is over.
    pub(crate) fn forget_lease(&self, node: NodeId, incarnation: Incarnation) {
        self.leases.lock().remove(&(node, incarnation));
    }
}

fn is(known: &Weak<PortShared>, port: &Arc<PortShared>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(port))
}
