//! All files of a folder at one moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Contents by path in the folder.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

pub(super) fn write(folder: &Path, files: &Files) {
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Every file below a folder, by its path in it.
pub(super) fn files(folder: &Path) -> Files {
    let (mut found, mut folders) = (Files::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(next) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
