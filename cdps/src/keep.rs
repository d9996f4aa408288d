//! Generations that outlive the process: a small file per client, and per client that ports of this node connect to. Each is replaced as a
//! whole, and damage is found, never guessed at.
//!
//! A file is: 8 bytes magic, u16 length of the name, the name, u32 number of entries, the entries (u32 node, u64 role epoch, u64 counter),
//! u32 CRC-32C of everything before it; little-endian.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cdps_core::id::{Generation, NodeId};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use thiserror::Error;

const MAGIC: &[u8; 8] = b"CDPSGEN1";

/// Whose generations they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Owner {
    /// What a client of this node has accepted, by source node.
    Client,
    /// What ports of this node have asked for at a client, by this node.
    Port,
}

/// Why what was kept is not known, or cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {what}", path = path.display())]
pub struct KeepError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

type Entries = BTreeMap<NodeId, Generation>;

/// The folder, and what is known to be in it.
pub(crate) struct StateDir {
    path: PathBuf,
    node: NodeId,
    kept: Mutex<HashMap<(Owner, String), Entries>>,
    /// Held as long as the node is open: another one of this id would undo what this one writes.
    lock: File,
}

impl StateDir {
    /// Makes the folder if it is not there.
    pub(crate) fn open(path: &Path, node: NodeId) -> Result<StateDir, KeepError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| KeepError { path, what: error.to_string() }
        };
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock = path.join(format!("node{node}.lock"));
        let file = File::create(&lock).map_err(failed(&lock))?;
        file.try_lock().map_err(|error| KeepError {
            path: lock,
            what: match error {
                fs::TryLockError::WouldBlock => format!("node {node} is open already, with this folder"),
                fs::TryLockError::Error(error) => error.to_string(),
            },
        })?;
        Ok(StateDir { path: path.to_owned(), node, kept: Mutex::default(), lock: file })
    }

    /// The node has ended: another one of this id may be opened with this folder, also while handles of this one are left.
    pub(crate) fn release(&self) {
        // One that stays locked is refused by name when it is opened again.
        let _ = self.lock.unlock();
    }

    /// What is kept; empty if nothing ever was.
    pub(crate) fn load(&self, owner: Owner, name: &str) -> Result<Vec<(NodeId, Generation)>, KeepError> {
        let mut kept = self.kept.lock();
        let known = self.known(&mut kept, owner, name)?;
        Ok(known.iter().map(|(node, generation)| (*node, *generation)).collect())
    }

    /// Whether something is kept that is not below this.
    pub(crate) fn covers(&self, owner: Owner, name: &str, node: NodeId, generation: Generation) -> bool {
        // What another thread is writing is not kept yet, and nobody waits for it here.
        let Some(kept) = self.kept.try_lock() else { return false };
        let known = kept.get(&(owner, name.to_owned())).and_then(|entries| entries.get(&node));
        known.is_some_and(|known| *known >= generation)
    }

    /// Keeps these too, where they are higher. Once it has returned they outlive process and machine. Waits for the disk.
    pub(crate) fn store(
        &self,
        owner: Owner,
        name: &str,
        entries: impl IntoIterator<Item = (NodeId, Generation)>,
    ) -> Result<(), KeepError> {
        let mut kept = self.kept.lock();
        let known = self.known(&mut kept, owner, name)?;
        let mut merged = known.clone();
        for (node, generation) in entries {
            let entry = merged.entry(node).or_default();
            *entry = generation.max(*entry);
        }
        if merged != *known {
            let file = self.file(owner, name);
            self.replace(&file, &encode(name, &merged))
                .map_err(|error| KeepError { path: file, what: error.to_string() })?;
            *known = merged;
        }
        Ok(())
    }

    fn known<'a>(
        &self,
        kept: &'a mut HashMap<(Owner, String), Entries>,
        owner: Owner,
        name: &str,
    ) -> Result<&'a mut Entries, KeepError> {
        let key = (owner, name.to_owned());
        if !kept.contains_key(&key) {
            let path = self.file(owner, name);
            let damaged = |what: &str| KeepError {
                path: path.clone(),
                what: format!("{what}: what it kept is not known, and nothing is guessed"),
            };
            let entries = match fs::read(&path) {
                Ok(bytes) => decode(name, &bytes).map_err(damaged)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Entries::new(),
                Err(error) => return Err(KeepError { path, what: error.to_string() }),
            };
            kept.insert(key.clone(), entries);
        }
        Ok(kept.entry(key).or_default())
    }

    /// Names may be long and have any characters; a file's may not.
    fn file(&self, owner: Owner, name: &str) -> PathBuf {
        let digest: String =
            Sha256::digest(name.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let readable: String =
            name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect();
        let owner = match owner {
            Owner::Client => "client",
            Owner::Port => "port",
        };
        self.path.join(format!("node{}.{owner}.{readable}.{digest}", self.node))
    }

    /// After a crash at any moment the file is the former or the new one, whole.
    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let draft = {
            let mut name = file.as_os_str().to_owned();
            name.push(".new");
            PathBuf::from(name)
        };
        let mut new = File::create(&draft)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&draft, file)?;
        File::open(&self.path)?.sync_all()
    }
}

fn encode(name: &str, entries: &Entries) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend((name.len() as u16).to_le_bytes());
    out.extend(name.as_bytes());
    out.extend((entries.len() as u32).to_le_bytes());
    for (node, generation) in entries {
        out.extend(node.0.to_le_bytes());
        out.extend(generation.role_epoch.to_le_bytes());
        out.extend(generation.counter.to_le_bytes());
    }
    out.extend(checksum(&out).to_le_bytes());
    out
}

fn decode(name: &str, bytes: &[u8]) -> Result<Entries, &'static str> {
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
    if u32::from_le_bytes(*sum) != checksum(body) {
        return Err("its checksum does not match");
    }
    let rest = body.strip_prefix(MAGIC).ok_or("it is no file of generations")?;
    let (len, rest) = rest.split_first_chunk::<2>().ok_or("it is cut short")?;
    let (found, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into()).ok_or("it is cut short")?;
    if found != name.as_bytes() {
        return Err("it belongs to another name");
    }
    let (count, mut rest) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
    let mut entries = Entries::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (node, after) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
        let (role_epoch, after) = after.split_first_chunk::<8>().ok_or("it is cut short")?;
        let (counter, after) = after.split_first_chunk::<8>().ok_or("it is cut short")?;
        let generation =
            Generation { role_epoch: u64::from_le_bytes(*role_epoch), counter: u64::from_le_bytes(*counter) };
        entries.insert(NodeId(u32::from_le_bytes(*node)), generation);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err("it is too long") }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(role_epoch: u64, counter: u64) -> Generation {
        Generation { role_epoch, counter }
    }

    /// A folder of the test's own, empty.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cdps-keep-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn open(folder: &Path) -> StateDir {
        StateDir::open(folder, NodeId(1)).expect("opens")
    }

    /// [L4] [F7] What was stored is there after a restart, only ever higher, and each name has its own.
    #[test]
    fn what_is_kept_outlives_the_process() {
        let folder = folder("outlives");
        let (disk, long) = ("disk", "/ä".repeat(80));
        {
            let dir = open(&folder);
            assert_eq!(dir.load(Owner::Client, disk), Ok(Vec::new()));
            dir.store(Owner::Client, disk, [(NodeId(1), generation(2, 7))]).expect("stores");
            dir.store(Owner::Client, disk, [(NodeId(3), generation(0, 1))]).expect("stores");
            dir.store(Owner::Client, disk, [(NodeId(1), generation(1, 9))]).expect("changes nothing");
            dir.store(Owner::Port, disk, [(NodeId(1), generation(0, 4))]).expect("stores");
            dir.store(Owner::Port, &long, [(NodeId(1), generation(0, 5))]).expect("stores");
            assert!(dir.covers(Owner::Port, disk, NodeId(1), generation(0, 4)));
            assert!(!dir.covers(Owner::Port, disk, NodeId(1), generation(0, 5)));
            let again = StateDir::open(&folder, NodeId(1)).err().expect("is refused");
            assert!(again.to_string().ends_with("node 1 is open already, with this folder"), "{again}");
            assert!(StateDir::open(&folder, NodeId(2)).is_ok());
        }
        let dir = open(&folder);
        let kept = vec![(NodeId(1), generation(2, 7)), (NodeId(3), generation(0, 1))];
        assert_eq!(dir.load(Owner::Client, disk), Ok(kept));
        assert_eq!(dir.load(Owner::Port, disk), Ok(vec![(NodeId(1), generation(0, 4))]));
        assert_eq!(dir.load(Owner::Port, &long), Ok(vec![(NodeId(1), generation(0, 5))]));
        drop(dir);
        fs::remove_dir_all(&folder).expect("removes");
    }

    /// [L4] [F7] Whatever happens to a file is seen, and nothing is guessed: neither read nor written over.
    #[test]
    fn damage_is_refused() {
        let folder = folder("damage");
        let file = open(&folder).file(Owner::Client, "disk");
        open(&folder).store(Owner::Client, "disk", [(NodeId(1), generation(2, 7))]).expect("stores");
        let good = fs::read(&file).expect("reads");
        let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
        bad.extend((0..good.len() * 8).map(|bit| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        }));
        bad.push([good.clone(), vec![0]].concat());
        bad.push(encode("disc", &Entries::new()));
        for bytes in bad {
            fs::write(&file, &bytes).expect("writes");
            let dir = open(&folder);
            let error = dir.load(Owner::Client, "disk").expect_err("is refused");
            assert_eq!(error.path, file);
            dir.store(Owner::Client, "disk", [(NodeId(1), generation(9, 9))]).expect_err("is refused");
            assert_eq!(fs::read(&file).expect("reads"), bytes, "written over");
        }
        fs::write(&file, &good).expect("writes");
        // A draft that a crash has left is in nobody's way.
        fs::write(folder.join(format!("{}.new", file.display())), b"half").expect("writes");
        let dir = open(&folder);
        assert_eq!(dir.load(Owner::Client, "disk"), Ok(vec![(NodeId(1), generation(2, 7))]));
        drop(dir);
        fs::remove_dir_all(&folder).expect("removes");
    }
}
