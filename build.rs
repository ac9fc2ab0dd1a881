//! Tells the program what it was built from and for: `lanx --version`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LANX_COMMIT");
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".into());
    println!("cargo:rustc-env=LANX_TARGET={target}");
    println!("cargo:rustc-env=LANX_COMMIT={}", commit());
}

/// The commit that a release is built from. A build for development has none: it would be built anew after each commit.
fn commit() -> String {
    if let Some(given) = env::var("LANX_COMMIT").ok().filter(|given| is_commit(given)) {
        return given;
    }
    if env::var("PROFILE").as_deref() != Ok("release") {
        return "dev".into();
    }
    for file in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| is_commit(commit)) else {
        return "unknown".into();
    };
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
    if is_changed { format!("{commit}-changed") } else { commit }
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
