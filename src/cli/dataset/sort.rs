//! Lines in the order of their paths, however many: what does not fit into memory waits in unnamed files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write};

/// Bytes of lines that are sorted in memory.
const SORTED_BYTES_MAX: usize = 64 << 20;

/// A path, when it came, and its line. Of several with one path the last that came counts.
type Entry = (Vec<u8>, Reverse<u64>, Vec<u8>);

/// What is to be sorted.
#[derive(Default)]
pub struct Sorter {
    entries: Vec<Entry>,
    bytes: usize,
    count: u64,
    /// Sorted ones that had to make room.
    runs: Vec<File>,
    most: Option<usize>,
}

impl Sorter {
    /// With another bound on memory.
    #[cfg(test)]
    fn within(bytes: usize) -> Sorter {
        Sorter { most: Some(bytes), ..Sorter::default() }
    }

    pub fn add(&mut self, path: &[u8], line: Vec<u8>) -> io::Result<()> {
        self.bytes += path.len() + line.len() + size_of::<Entry>();
        self.entries.push((path.into(), Reverse(self.count), line));
        self.count += 1;
        if self.bytes > self.most.unwrap_or(SORTED_BYTES_MAX) {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut run = BufWriter::new(tempfile::tempfile()?);
        self.entries.sort();
        for (path, Reverse(n), line) in self.entries.drain(..) {
            run.write_all(&n.to_le_bytes())?;
            for bytes in [path, line] {
                let len = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
                run.write_all(&len.to_le_bytes())?;
                run.write_all(&bytes)?;
            }
        }
        let mut run = run.into_inner().map_err(io::IntoInnerError::into_error)?;
        run.rewind()?;
        self.runs.push(run);
        self.bytes = 0;
        Ok(())
    }

    /// Hands out the lines in their order, one for each path.
    pub fn each(mut self, mut take: impl FnMut(&[u8], &[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.entries.sort();
        let mut rest: Vec<BufReader<File>> = self.runs.into_iter().map(BufReader::new).collect();
        let mut heads = BinaryHeap::new();
        for (n, run) in rest.iter_mut().enumerate() {
            heads.extend(read(run)?.map(|entry| Reverse((entry, n))));
        }
        let mut memory = self.entries.into_iter();
        let in_memory = rest.len();
        heads.extend(memory.next().map(|entry| Reverse((entry, in_memory))));
        let mut last: Option<Vec<u8>> = None;
        while let Some(Reverse(((path, _, line), from))) = heads.pop() {
            let next = match rest.get_mut(from) {
                Some(run) => read(run)?,
                None => memory.next(),
            };
            heads.extend(next.map(|entry| Reverse((entry, from))));
            if last.as_ref() != Some(&path) {
                take(&path, &line)?;
                last = Some(path);
            }
        }
        Ok(())
    }
}

/// The next entry of a run.
fn read(run: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut number = [0; 8];
    match run.read_exact(&mut number) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let mut bytes = || {
        let mut len = [0; 4];
        run.read_exact(&mut len)?;
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        run.read_exact(&mut bytes).map(|()| bytes)
    };
    let (path, line) = (bytes()?, bytes()?);
    Ok(Some((path, Reverse(u64::from_le_bytes(number)), line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut sorter: Sorter, paths: &[&str]) -> Vec<String> {
        for (n, path) in paths.iter().enumerate() {
            sorter.add(path.as_bytes(), format!("{path} {n}").into_bytes()).unwrap();
        }
        let mut lines = Vec::new();
        let take = |_: &[u8], line: &[u8]| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        };
        sorter.each(take).unwrap();
        lines
    }

    #[test]
    fn lines_come_in_the_order_of_their_paths_and_the_last_of_one_path_counts() {
        let paths = ["b", "a", "c", "a/x", "b", "a b", "c", "c"];
        let expected = ["a 1", "a b 5", "a/x 3", "b 4", "c 7"];
        assert_eq!(sorted(Sorter::default(), &paths), expected);
        // Each by itself in a file, and some in memory.
        assert_eq!(sorted(Sorter::within(1), &paths), expected);
        assert_eq!(sorted(Sorter::within(200), &paths), expected);
    }
}
