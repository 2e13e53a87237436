//! The Python that is asked when the user names none.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The `python3` that PATH names. Relative folders of PATH are passed over: they mean the folder one happens to stand in,
/// and no program of that folder runs unasked.
pub fn on_path() -> Option<PathBuf> {
    find(&std::env::var_os("PATH")?)
}

fn find(path: &OsStr) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join("python3")).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn the_first_program_in_an_absolute_folder_is_taken() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = |name: &str, mode: Option<u32>| {
            let folder = place.path().join(name);
            fs::create_dir(&folder).expect("a folder");
            if let Some(mode) = mode {
                let file = folder.join("python3");
                fs::write(&file, "#!/bin/sh\n").expect("a file");
                fs::set_permissions(&file, Permissions::from_mode(mode)).expect("its mode");
            }
            folder
        };
        let relative = [".", "", ".tools/bin"].map(PathBuf::from);
        let (none, text, program) = (folder("none", None), folder("text", Some(0o644)), folder("program", Some(0o755)));
        let absolute = [none, text, program.clone()];
        let path = |folders: &[PathBuf]| std::env::join_paths(folders).expect("a PATH");
        assert_eq!(find(&path(&[&relative[..], &absolute].concat())), Some(program.join("python3")));
        assert_eq!(find(&path(&relative)), None);
    }
}
