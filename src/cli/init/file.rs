//! Writes the configuration file completely or not at all.
//!
//! This module owns the file's mode. All users may read the file, because it contains no secret. Usually root writes
//! the file, and the daemon reads the file as another user.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Whether the write created or replaced the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    New,
    Replaced,
}

/// Writes a temporary file in the same directory and renames it. Replaces an existing file only with `force`, and keeps
/// the mode and owner of the existing file. All users may read a new file and enter a new directory, even with a strict
/// umask.
pub(super) fn write(path: &Path, text: &str, force: bool) -> io::Result<Written> {
    // If the path is a symbolic link, the write replaces the file to which the link points, and not the link.
    let path = if path.is_symlink() { &path.canonicalize()? } else { path };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folders(folder)?;
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_draft(&draft, path, text).and_then(|()| put_in_place(&draft, path, force));
    if written.is_err() && draft.exists() {
        std::fs::remove_file(&draft)?;
    }
    let written = written?;
    File::open(folder)?.sync_all()?;
    Ok(written)
}

fn create_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().mode(0o755).create(folder)?;
        std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn write_draft(draft: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(draft)?;
    file.write_all(text.as_bytes())?;
    match path.metadata() {
        Ok(before) => {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
                std::os::unix::fs::chown(draft, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(before.permissions())?;
        }
        Err(_) => file.set_permissions(Permissions::from_mode(0o644))?,
    }
    file.sync_all()
}

fn put_in_place(draft: &Path, path: &Path, force: bool) -> io::Result<Written> {
    match renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Ok(()) => Ok(Written::New),
        Err(error) if force && error.kind() == ErrorKind::AlreadyExists => {
            std::fs::rename(draft, path)?;
            Ok(Written::Replaced)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "another process has just created this file; --force overwrites the file",
        )),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
        let root = std::env::temp_dir().join(format!("perennial-init-{}", std::process::id()));
        let path = root.join("a/b/perennial.toml");

        assert_eq!(write(&path, "first", false).expect("written"), Written::New);
        assert_eq!((mode(&path), mode(&root.join("a")), mode(&root.join("a/b"))), (0o644, 0o755, 0o755));
        let error = write(&path, "second", false).expect_err("there already");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "first");

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        let link = root.join("link.toml");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert_eq!(write(&link, "third", true).expect("written"), Written::Replaced);
        assert!(link.is_symlink());
        assert_eq!(
            (std::fs::read_to_string(&path).expect("readable").as_str(), mode(&path)),
            ("third", 0o640)
        );
        assert_eq!(std::fs::read_dir(root.join("a/b")).expect("there").count(), 1, "no draft is left");
        std::fs::remove_dir_all(&root).expect("removed");
    }
}
