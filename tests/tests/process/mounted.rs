//! A small file system of its own for one daemon's directory. Takes root and a loop device; a test on a machine that has none says SKIPPED,
//! loudly, and shows nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted in the end.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Makes a file system in a file beside `directory`, with what lies there, and mounts it in its place; or why not.
    pub(crate) fn over(directory: &Path, bytes: u64) -> Result<Mounted, String> {
        let image = directory.with_extension("image");
        let file = std::fs::File::create(&image).and_then(|file| file.set_len(bytes));
        file.map_err(|error| format!("{}: {error}", image.display()))?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-d"]).arg(directory).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(directory))?;
        Ok(Mounted(directory.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(why) = run(Command::new("umount").arg("--lazy").arg(&self.0)) {
            eprintln!("left mounted: {why}");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}
