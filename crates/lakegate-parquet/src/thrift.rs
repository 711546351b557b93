//! Walks Thrift's compact protocol and checks each length and count, before a reader allocates memory by it.
//!
//! It decodes only page headers, which are small. The parquet crate decodes the rest.

use super::varint;

/// The maximum nesting of columns and of structs in the metadata. Readers recurse as deep.
const MOST_DEPTH: usize = 64;

/// Type ids of the protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// The header of an empty list of structs.
const NO_STRUCTS: u8 = STRUCT;

/// The minimum size in bytes of a struct in any list of the metadata.
const LEAST_STRUCT: usize = 3;

/// The position of a walk through some bytes.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The header of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// The page type, as numbered in the format.
    pub(super) kind: i64,
    /// Uncompressed size of the page, in bytes.
    pub(super) unpacked: i64,
    /// Compressed size of the page, in bytes.
    pub(super) packed: i64,
    pub(super) data: Option<DataPage>,
    /// The number of values of a dictionary page.
    pub(super) dictionary: Option<i64>,
    /// Size of the header itself, in bytes.
    pub(super) length: usize,
}

/// The header of a data page, version 1 or 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DataPage {
    /// The number of values, NULLs included.
    pub(super) values: i64,
    pub(super) encoding: i64,
    /// Bytes of the repetition levels and of the definition levels; `None` in version 1.
    pub(super) levels: Option<(i64, i64)>,
    /// Whether the values are compressed, if the column has a codec.
    pub(super) is_compressed: bool,
}

/// Page types: data, dictionary, and version 2 of data.
pub(super) const DATA_PAGE: i64 = 0;
pub(super) const DICTIONARY_PAGE: i64 = 2;
pub(super) const DATA_PAGE_V2: i64 = 3;

/// Checks a footer. Restores the type of an empty list of row groups, which some writers omit and the reader requires.
///
/// # Errors
/// Describes the fault.
pub(super) fn check_footer(bytes: &mut [u8]) -> Result<(), &'static str> {
    const BROKEN: &str = "its footer is broken";
    let mut untyped = None;
    let mut walk = Walk { bytes, at: 0 };
    let mut last = 0;
    while let Some((id, kind)) = walk.field(&mut last).ok_or(BROKEN)? {
        match (id, kind) {
            (2, LIST) => walk.schema().ok_or("its columns are nested too deep, or their list is broken")?,
            (4, LIST) if walk.bytes.get(walk.at) == Some(&0) => {
                untyped = Some(walk.at);
                walk.at += 1;
            }
            (_, kind) => walk.skip(kind, 0).ok_or(BROKEN)?,
        }
    }
    if let Some(header) = untyped.and_then(|at| bytes.get_mut(at)) {
        *header = NO_STRUCTS;
    }
    Ok(())
}

/// Whether every length and count in a struct, such as a page index, fits its bytes.
pub(super) fn is_sound_struct(bytes: &[u8]) -> bool {
    Walk { bytes, at: 0 }.skip(STRUCT, 0).is_some()
}

/// Decodes the page header at the start of `bytes`; `None` if it is truncated or invalid.
pub(super) fn page_header(bytes: &[u8]) -> Option<PageHeader> {
    let mut walk = Walk { bytes, at: 0 };
    let mut header = PageHeader { kind: -1, unpacked: -1, packed: -1, ..PageHeader::default() };
    let mut last = 0;
    while let Some((id, kind)) = walk.field(&mut last)? {
        match (id, kind) {
            (1, 5) => header.kind = walk.zigzag()?,
            (2, 5) => header.unpacked = walk.zigzag()?,
            (3, 5) => header.packed = walk.zigzag()?,
            (5, STRUCT) => {
                let [values, encoding] = walk.numbers([1, 2])?;
                header.data =
                    Some(DataPage { values: values?, encoding: encoding?, levels: None, is_compressed: true });
            }
            (7, STRUCT) => {
                let [values] = walk.numbers([1])?;
                header.dictionary = Some(values?);
            }
            (8, STRUCT) => {
                let [values, encoding, definition, repetition, compressed] = walk.numbers([1, 4, 5, 6, 7])?;
                header.data = Some(DataPage {
                    values: values?,
                    encoding: encoding?,
                    levels: Some((repetition?, definition?)),
                    is_compressed: compressed.unwrap_or(1) == 1,
                });
            }
            (_, kind) => walk.skip(kind, 0)?,
        }
    }
    header.length = walk.at;
    Some(header)
}

impl Walk<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        varint::unsigned(|| self.byte())
    }

    fn zigzag(&mut self) -> Option<i64> {
        self.varint().map(varint::signed)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= self.remaining())?;
        self.at += bytes;
        Some(())
    }

    /// The id and type of the next field of a struct; `Some(None)` at the end of the struct.
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let header = self.byte()?;
        let (delta, kind) = (i64::from(header >> 4), header & 0x0f);
        if kind == 0 {
            return Some(None);
        }
        *last = match delta {
            0 => self.zigzag()?,
            delta => last.checked_add(delta)?,
        };
        Some(Some((*last, kind)))
    }

    /// The type and number of a list's items; `None` if the remaining bytes cannot hold that many.
    fn list(&mut self) -> Option<(u8, usize)> {
        let header = self.byte()?;
        let kind = header & 0x0f;
        let count = match header >> 4 {
            15 => usize::try_from(self.varint()?).ok()?,
            count => usize::from(count),
        };
        let most = if kind == STRUCT { self.remaining() / LEAST_STRUCT } else { self.remaining() };
        (count <= most).then_some((kind, count))
    }

    /// Walks the schema of a file: a flat list of columns, in which each states its number of children.
    fn schema(&mut self) -> Option<()> {
        let (kind, count) = self.list()?;
        if kind != STRUCT && count > 0 {
            return None;
        }
        // The number of children still to come, for each level.
        let mut open = Vec::<u64>::new();
        for at in 0..count {
            let [children] = self.numbers([5])?;
            let children = u64::try_from(children.unwrap_or(0)).ok()?;
            match open.last_mut() {
                Some(left) => *left -= 1,
                None if at == 0 => {}
                None => return None,
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > MOST_DEPTH {
                return None;
            }
            while open.last() == Some(&0) {
                open.pop();
            }
        }
        Some(())
    }

    /// The numbers under these ids in a struct; booleans count as numbers.
    fn numbers<const N: usize>(&mut self, ids: [i64; N]) -> Option<[Option<i64>; N]> {
        let mut found = [None; N];
        let mut last = 0;
        while let Some((id, kind)) = self.field(&mut last)? {
            let number = match kind {
                TRUE => Some(1),
                FALSE => Some(0),
                4..=6 => Some(self.zigzag()?),
                kind => {
                    self.skip(kind, 0)?;
                    None
                }
            };
            if let Some(place) = ids.iter().position(|wanted| *wanted == id) {
                found[place] = number;
            }
        }
        Some(found)
    }

    /// Skips the value of a field.
    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MOST_DEPTH {
            return None;
        }
        match kind {
            TRUE | FALSE => Some(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let bytes = self.varint()?;
                self.pass(bytes)
            }
            LIST | SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.item(kind, depth))
            }
            MAP => {
                let count = usize::try_from(self.varint()?).ok().filter(|count| *count <= self.remaining())?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.item(kinds >> 4, depth)?;
                    self.item(kinds & 0x0f, depth)
                })
            }
            STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            13 => self.pass(16),
            _ => None,
        }
    }

    /// Skips an item of a collection, in which booleans take a byte.
    fn item(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            TRUE | FALSE => self.pass(1),
            kind => self.skip(kind, depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct with one field, the list of columns, each with this number of children.
    fn schema(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xfc, children.len() as u8];
        for children in children {
            bytes.extend([0x48, 1, b'c', 0x15, children * 2, 0]);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn counts_are_as_many_as_the_bytes_can_be() {
        assert_eq!(check_footer(&mut schema(&[1, 0])), Ok(()));
        // A count of row groups that are not there.
        assert!(check_footer(&mut [0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0]).is_err());
        assert!(check_footer(&mut [0x58, 0xff, 0xff, 0xff, 0x7f, b'x', 0]).is_err());
        assert!(check_footer(&mut [0x15, 0xff]).is_err());
        assert!(is_sound_struct(&[0x19, 0x15, 2, 0]));
        assert!(!is_sound_struct(&[0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07, 2, 0]));
    }

    #[test]
    fn columns_nest_as_deep_as_a_reader_can_follow() {
        let nested = |depth: usize| {
            let mut children = vec![1; depth];
            children.push(0);
            schema(&children)
        };
        assert_eq!(check_footer(&mut nested(60)), Ok(()));
        assert!(check_footer(&mut nested(100)).is_err());
        let structs = [vec![0x1c; 200], vec![0; 201]].concat();
        assert!(check_footer(&mut structs.clone()).is_err() && !is_sound_struct(&structs));
    }

    #[test]
    fn an_empty_list_of_row_groups_gets_its_type_back() {
        let mut bytes = [0x49, 0, 0];
        assert_eq!(check_footer(&mut bytes), Ok(()));
        assert_eq!(bytes, [0x49, 0x0c, 0]);
    }

    #[test]
    fn headers_of_pages_are_read() {
        // Type 0, 20 and 10 bytes, 7 values of encoding 6, levels of encoding 3.
        let bytes = [0x15, 0, 0x15, 40, 0x15, 20, 0x2c, 0x15, 14, 0x15, 12, 0x15, 6, 0x15, 6, 0, 0, 0xaa];
        let data = DataPage { values: 7, encoding: 6, levels: None, is_compressed: true };
        let header = page_header(&bytes).unwrap();
        assert_eq!((header.kind, header.unpacked, header.packed, header.length), (DATA_PAGE, 20, 10, 17));
        assert_eq!(header.data, Some(data));
        assert_eq!(page_header(&bytes[..12]), None);
    }
}
