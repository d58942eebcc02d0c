//! Which bytes of a SQLite file mean anything: the layout of its pages, as
//! <https://www.sqlite.org/fileformat2.html> describes it.

use std::{collections::BTreeMap, path::Path};

use rusqlite::Connection;

/// What a byte is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Something that is read; whatever no other name fits is taken for this.
    Used,
    /// A page that is on the list of free ones.
    FreePage,
    /// The end of a page that lists free pages.
    EndOfFreeList,
    /// Between the pointers to a page's cells and the cells.
    Unallocated,
    /// A block within the cells that was freed, behind its own four bytes.
    FreedBlock,
    /// Up to three bytes between cells, too few for a block.
    Fragment,
    /// Behind the end of a value on its last overflow page.
    EndOfOverflow,
    /// What the file's header reserves, and counters that a connection compares with itself.
    Header,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::FreePage => "a free page",
            Self::EndOfFreeList => "behind the list on a page that lists free ones",
            Self::Unallocated => "the room of a page that has no cells yet",
            Self::FreedBlock => "a freed block within a page",
            Self::Fragment => "a gap of at most three bytes between cells",
            Self::EndOfOverflow => "behind the end of a value on its last page",
            Self::Header => "a reserved field or a counter of the file's header",
        }
    }
}

/// The part that each byte of a file belongs to.
pub(super) fn parts(path: &Path, bytes: &[u8]) -> Vec<Part> {
    let roots: Vec<usize> = {
        let connection = Connection::open(path).unwrap();
        let mut roots =
            connection.prepare("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0").unwrap();
        let roots = roots.query_map([], |row| row.get(0)).unwrap();
        roots.map(Result::unwrap).collect()
    };
    let mut file = File::new(bytes);
    file.header();
    file.free_pages();
    for root in roots.into_iter().chain([1]) {
        file.tree(root);
    }
    // Every page is a tree's, an overflow page or free.
    let pages = 1..=bytes.len() / file.size;
    assert!(pages.clone().all(|page| file.seen.contains_key(&page)), "a page that is nobody's");
    file.parts
}

struct File<'a> {
    bytes: &'a [u8],
    size: usize,
    /// Bytes of a page without those that are reserved at its end.
    usable: usize,
    parts: Vec<Part>,
    seen: BTreeMap<usize, ()>,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size => size.into(),
        };
        let usable = size - usize::from(bytes[20]);
        assert_eq!(usable, size, "nothing is reserved");
        Self { bytes, size, usable, parts: vec![Part::Used; bytes.len()], seen: BTreeMap::new() }
    }

    fn u16(&self, at: usize) -> usize {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]).into()
    }

    fn u32(&self, at: usize) -> usize {
        u32::from_be_bytes(self.bytes[at..at + 4].try_into().unwrap()) as usize
    }

    /// A number of one to nine bytes, and where it ends.
    fn varint(&self, at: usize) -> (u64, usize) {
        let mut value = 0;
        for index in 0..8 {
            let byte = self.bytes[at + index];
            value = value << 7 | u64::from(byte & 0x7f);
            if byte < 0x80 {
                return (value, at + index + 1);
            }
        }
        (value << 8 | u64::from(self.bytes[at + 8]), at + 9)
    }

    fn mark(&mut self, from: usize, to: usize, part: Part) {
        self.parts[from..to].fill(part);
    }

    fn see(&mut self, page: usize) -> usize {
        assert!(self.seen.insert(page, ()).is_none(), "page {page} is used twice");
        (page - 1) * self.size
    }

    fn header(&mut self) {
        assert_eq!(self.u32(52), 0, "no map of pointers, which auto-vacuum would have");
        // The counter of changes, the suggested size of a cache, what is reserved, and for which
        // count and by which version it was written.
        for (from, to) in [(24, 28), (48, 52), (72, 92), (92, 100)] {
            self.mark(from, to, Part::Header);
        }
    }

    fn free_pages(&mut self) {
        let mut trunk = self.u32(32);
        while trunk > 0 {
            let start = self.see(trunk);
            let count = self.u32(start + 4);
            for index in 0..count {
                let page = self.u32(start + 8 + 4 * index);
                let leaf = self.see(page);
                self.mark(leaf, leaf + self.size, Part::FreePage);
            }
            self.mark(start + 8 + 4 * count, start + self.size, Part::EndOfFreeList);
            trunk = self.u32(start);
        }
    }

    fn tree(&mut self, page: usize) {
        if self.seen.contains_key(&page) {
            return;
        }
        let start = self.see(page);
        let head = start + if page == 1 { 100 } else { 0 };
        let kind = self.bytes[head];
        let is_leaf = kind & 8 != 0;
        assert!([2, 5, 10, 13].contains(&kind), "page {page} of kind {kind}");
        let cells = self.u16(head + 3);
        let pointers = head + if is_leaf { 8 } else { 12 };
        let content = start
            + match self.u16(head + 5) {
                0 => 65536,
                content => content,
            };
        // All of the content is between cells until a cell or a block is found there.
        self.mark(pointers + 2 * cells, content, Part::Unallocated);
        self.mark(content, start + self.usable, Part::Fragment);
        let mut block = self.u16(head + 1);
        while block > 0 {
            let at = start + block;
            let length = self.u16(at + 2);
            self.mark(at, at + 4, Part::Used);
            self.mark(at + 4, at + length, Part::FreedBlock);
            block = self.u16(at);
        }
        let mut children = Vec::new();
        for index in 0..cells {
            let cell = start + self.u16(pointers + 2 * index);
            let mut at = cell;
            if !is_leaf {
                children.push(self.u32(at));
                at += 4;
            }
            let payload = if kind == 5 { None } else { Some(self.varint(at)) };
            at = payload.map_or(at, |(_, end)| end);
            if matches!(kind, 5 | 13) {
                at = self.varint(at).1;
            }
            let end = match payload {
                Some((length, _)) => self.payload(at, length as usize, kind == 13),
                None => at,
            };
            // No cell takes less than four bytes.
            self.mark(cell, end.max(cell + 4), Part::Used);
        }
        if !is_leaf {
            children.push(self.u32(head + 8));
        }
        for child in children {
            self.tree(child);
        }
    }

    /// Where a payload of this length ends on its page; follows what did not fit there.
    fn payload(&mut self, at: usize, length: usize, is_table: bool) -> usize {
        let least = (self.usable - 12) * 32 / 255 - 23;
        let most = if is_table { self.usable - 35 } else { (self.usable - 12) * 64 / 255 - 23 };
        if length <= most {
            return at + length;
        }
        let fitting = least + (length - least) % (self.usable - 4);
        let local = if fitting <= most { fitting } else { least };
        let (mut next, mut left) = (self.u32(at + local), length - local);
        while left > 0 {
            let start = self.see(next);
            let here = left.min(self.usable - 4);
            self.mark(start + 4 + here, start + self.size, Part::EndOfOverflow);
            left -= here;
            next = self.u32(start);
        }
        at + local + 4
    }
}
