//! Files with secrets: read only where nobody else can read them.
//!
//! A file may be read by its owner, and by a group that we belong to ourselves: Kubernetes gives a secret to
//! root and to the pod's `fsGroup`, with mode 0440
//! (<https://kubernetes.io/docs/tasks/configure-pod-container/security-context/>). In the directory of systemd's
//! credentials, which only the unit can enter, the bits of the group are those of the access list that lets
//! the unit in (systemd.exec(5), "Credentials"), and say nothing of a group.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::{getegid, getgroups};
use secrecy::zeroize::Zeroizing;

/// What others may do with a file: read it, write it, run it.
const OTHERS: u32 = 0o007;

/// What a group may not do: write it, run it.
const GROUP_CHANGES: u32 = 0o030;

/// That a group may read it.
const GROUP_READS: u32 = 0o040;

/// The bits of a mode that are about who may do what.
const PERMISSIONS: u32 = 0o7777;

/// Which group may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// One of ours.
    Ours,
    /// Whatever its bits say: its directory keeps others out.
    Any,
}

/// Reads a text, where nobody else can.
///
/// # Errors
/// What is wrong and what to do, with the path and the mode, and without what is in it.
pub(crate) fn read(path: &Path, group: Group) -> Result<Zeroizing<String>, String> {
    let unreadable = |error| format!("names the file {}, which cannot be read: {error}", path.display());
    // The file that was looked at is the one that is read, whoever moves another there meanwhile.
    let mut file = open(path, group)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Writes a file that only its owner can read, from its first byte on.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    // One that was there keeps its mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

/// Opens a file that nobody else can read.
///
/// # Errors
/// As [`read`].
pub(crate) fn open(path: &Path, group: Group) -> Result<File, String> {
    let unreadable = |error| format!("names the file {}, which cannot be read: {error}", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    let is_of_group = match group {
        Group::Any => true,
        Group::Ours => is_ours(found.gid()),
    };
    match whose(found.mode(), is_of_group) {
        None => Ok(file),
        Some(who) => Err(format!(
            "names the file {path}, which {who} can read or change (mode {:04o}): chmod 600 {path}, and have it belong to \
             the user that the worker runs as",
            found.mode() & PERMISSIONS,
            path = path.display(),
        )),
    }
}

/// Who can read a file of this mode, or change it, and should not.
const fn whose(mode: u32, is_of_group: bool) -> Option<&'static str> {
    if mode & OTHERS != 0 {
        return Some("anybody");
    }
    if mode & GROUP_CHANGES != 0 || mode & GROUP_READS != 0 && !is_of_group {
        return Some("its group");
    }
    None
}

/// Do we belong to this group?
fn is_ours(group: u32) -> bool {
    // Without the list there is still the first one.
    let others = getgroups().unwrap_or_default();
    getegid().as_raw() == group || others.iter().any(|one| one.as_raw() == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_a_group_of_ours_may_read_a_secret() {
        for (mode, of_our_group, of_another) in [
            (0o100_400, None, None),
            (0o100_600, None, None),
            // Kubernetes: root and the pod's group.
            (0o100_440, None, Some("its group")),
            (0o100_640, None, Some("its group")),
            (0o100_660, Some("its group"), Some("its group")),
            (0o100_644, Some("anybody"), Some("anybody")),
            (0o100_604, Some("anybody"), Some("anybody")),
            (0o100_602, Some("anybody"), Some("anybody")),
        ] {
            assert_eq!((whose(mode, true), whose(mode, false)), (of_our_group, of_another), "{mode:o}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_its_mode_and_the_way_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        std::fs::write(&path, "hunter2").expect("written");
        let set = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        for mode in [0o644, 0o604, 0o660] {
            set(mode);
            let why = read(&path, Group::Ours).expect_err("it is open");
            let expected = format!("(mode 0{mode:o}): chmod 600 {}", path.display());
            assert!(why.contains(&expected) && !why.contains("hunter2"), "{why}");
        }
        for mode in [0o600, 0o400, 0o640] {
            set(mode);
            assert_eq!(*read(&path, Group::Ours).expect("it is ours"), "hunter2", "{mode:o}");
        }
        set(0o666);
        write(&path, "another").expect("written");
        assert_eq!(*read(&path, Group::Ours).expect("it is nobody else's any more"), "another");
    }
}
