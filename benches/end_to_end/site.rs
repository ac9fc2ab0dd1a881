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
    /// Where the next run's files arrive. Destinations are kept to the end where there is room: some file systems make
    /// files slowly for a while after many were removed.
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

    /// Makes room for the next run. With `resumes` the first 90 % of the file are there.
    pub fn begin(&mut self, resumes: Option<&str>) {
        if self.workload != Workload::Tree && self.runs > 0 {
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
            Workload::Tree => self.same_tree(&arrived),
            _ => same_file(&self.sent(), &arrived),
        }
    }

    fn same_tree(&self, arrived: &Path) -> bool {
        fs::read_dir(self.sent()).unwrap().all(|folder| {
            let folder = folder.unwrap();
            fs::read_dir(folder.path()).unwrap().all(|file| {
                let file = file.unwrap();
                same_file(&file.path(), &arrived.join(folder.file_name()).join(file.file_name()))
            })
        })
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

fn id(which: &str) -> String {
    let output = std::process::Command::new("id").arg(which).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
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
