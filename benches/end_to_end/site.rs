//! The files that are sent, where they arrive, and whether they did.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::contestants::Workload;

const TREE_FOLDERS: usize = 100;
const TREE_FILES: usize = 10_000;
const TREE_FILE_BYTES: usize = 16 * 1024;

/// A folder with something to send and room to receive.
pub struct Site {
    pub workload: Workload,
    /// Bytes in all of it.
    pub bytes: u64,
    pub port: u16,
    /// Where the next run's files arrive. Destinations are kept to the end where there is room: some file
    /// systems make files slowly for a while after many were removed.
    pub destination: PathBuf,
    runs: usize,
    folder: TempDir,
}

impl Site {
    pub fn new(dir: &Path, workload: Workload, mib: u64) -> Site {
        let folder =
            tempfile::Builder::new().prefix("lanx-bench-").tempdir_in(dir).expect("a folder to work in");
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        let mut site = Site { workload, bytes: 0, port: 0, destination: PathBuf::new(), runs: 0, folder };
        match workload {
            Workload::Large | Workload::Resume => site.make(&site.sent(), mib << 20),
            Workload::Tiny => site.make(&site.sent(), 1024),
            Workload::Log => {
                fs::write(site.sent(), log(mib << 20)).unwrap();
                site.bytes = mib << 20;
            }
            Workload::Source => {
                fs::create_dir(site.sent()).unwrap();
                site.copy_sources(&crates(), &site.sent(), mib << 20);
            }
            Workload::Tree => {
                for n in 0..TREE_FILES {
                    let folder = site.sent().join(format!("folder {}", n % TREE_FOLDERS));
                    fs::create_dir_all(&folder).unwrap();
                    site.make(&folder.join(format!("file {n}")), TREE_FILE_BYTES as u64);
                }
            }
        }
        fs::write(site.path("rsyncd.conf"), site.rsyncd_conf()).unwrap();
        fs::write(site.path("nginx.conf"), site.nginx_conf()).unwrap();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file or folder that is sent.
    pub fn sent(&self) -> PathBuf {
        self.path("source/sent")
    }

    fn make(&mut self, path: &Path, bytes: u64) {
        let random = File::open("/dev/urandom").unwrap();
        std::io::copy(&mut random.take(bytes), &mut File::create(path).unwrap()).unwrap();
        self.bytes += bytes;
    }

    /// Copies folder by folder until there are `most` bytes.
    fn copy_sources(&mut self, from: &Path, to: &Path, most: u64) {
        let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap()).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().unwrap();
            if self.bytes >= most {
                return;
            }
            if kind.is_dir() {
                fs::create_dir(&to).unwrap();
                self.copy_sources(&from, &to, most);
            } else if kind.is_file() {
                self.bytes += fs::copy(&from, &to).unwrap();
            }
        }
    }

    /// Makes room for the next run. With `resumes` the first 90 % of the file are there.
    pub fn begin(&mut self, resumes: Option<&str>) {
        if !self.is_tree() && self.runs > 0 {
            fs::remove_dir_all(&self.destination).unwrap();
        }
        self.runs += 1;
        self.destination = self.path(&format!("destination-{}", self.runs));
        fs::create_dir(&self.destination).unwrap();
        self.port = free_port();
        if let Some(name) = resumes {
            let whole = File::open(self.sent()).unwrap();
            let mut part = File::create(self.destination.join(name)).unwrap();
            std::io::copy(&mut whole.take(self.bytes / 10 * 9), &mut part).unwrap();
            part.flush().unwrap();
        }
    }

    /// Whether what arrived is what was sent.
    pub fn arrived(&self) -> bool {
        let arrived = self.destination.join("sent");
        match self.workload {
            Workload::Tree | Workload::Source => same_tree(&self.sent(), &arrived),
            _ => same_file(&self.sent(), &arrived),
        }
    }

    fn is_tree(&self) -> bool {
        matches!(self.workload, Workload::Tree | Workload::Source)
    }

    fn rsyncd_conf(&self) -> String {
        let base = self.folder.path().display();
        format!(
            "use chroot = no\nuid = {}\ngid = {}\n[all]\npath = {base}\nread only = no\n",
            id("-u"),
            id("-g")
        )
    }

    /// The port is put in when it is known.
    fn nginx_conf(&self) -> String {
        let base = self.folder.path().display();
        let user = if id("-u") == "0" { "user root;" } else { "" };
        format!(
            "daemon off; {user} worker_processes 2; pid {base}/nginx.pid; error_log {base}/nginx.log;\nevents {{}}\n\
             http {{ access_log off; sendfile on; server {{ listen PORT; root {base}/source; }} }}\n"
        )
    }
}

/// Where cargo keeps the sources of crates: there are some wherever this was built.
fn crates() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.expect("CARGO_HOME or HOME is set").join("registry/src")
}

/// What a web server might have written: requests that are alike and never the same.
fn log(bytes: u64) -> Vec<u8> {
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut log = Vec::new();
    let paths = [
        "/",
        "/index.html",
        "/static/app.js",
        "/static/style.css",
        "/api/v1/items",
        "/api/v1/users",
        "/search",
    ];
    for second in 0.. {
        if log.len() as u64 >= bytes {
            break;
        }
        let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
        writeln!(
            log,
            "10.{}.{}.{} - - [30/Nov/2026:{hour:02}:{minute:02}:{:02} +0000] \"GET {}?id={} HTTP/1.1\" {} {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
            next(4), next(256), next(256), second % 60, paths[next(7) as usize], next(100_000),
            [200, 200, 200, 304, 404][next(5) as usize], next(60_000),
        )
        .unwrap();
    }
    log.truncate(bytes as usize);
    log
}

fn id(which: &str) -> String {
    let output = std::process::Command::new("id").arg(which).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn same_tree(a: &Path, b: &Path) -> bool {
    fs::read_dir(a).unwrap().all(|entry| {
        let entry = entry.unwrap();
        let (a, b) = (entry.path(), b.join(entry.file_name()));
        if a.is_dir() { b.is_dir() && same_tree(&a, &b) } else { same_file(&a, &b) }
    })
}

fn same_file(a: &Path, b: &Path) -> bool {
    let (Ok(mut a), Ok(mut b)) = (File::open(a), File::open(b)) else { return false };
    if a.metadata().unwrap().len() != b.metadata().unwrap().len() {
        return false;
    }
    let (mut one, mut other) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let n = a.read(&mut one).unwrap();
        if n == 0 {
            return true;
        }
        if b.read_exact(&mut other[..n]).is_err() || one[..n] != other[..n] {
            return false;
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
