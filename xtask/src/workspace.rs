//! Input: the environment cargo runs us in.
//! Output: where the repository, the build results and the cache are.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub use e2e::cache::root as cache_dir;

/// The top folder of the repository: the one cargo runs us in, which need not be the one we were compiled in when
/// clones share a target folder.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let xtask =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&xtask).parent().map_or_else(PathBuf::new, Path::to_owned)
    });
    &ROOT
}

/// The folder that cargo builds into.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cargo that runs us, or the one in PATH.
pub fn cargo() -> std::process::Command {
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // What cargo tells us of our own package is no business of the packages that are built: ring's build script looks at it,
    // and would be run again, with all that depends on it, whenever a build is not ours.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            cargo.env_remove(name);
        }
    }
    cargo
}
