//! For tests: edits the footer of a Parquet file into one that no writer here would write.
//!
//! A small reader and writer of Thrift's compact protocol. Field numbers are those of `parquet.thrift`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A value with its Thrift type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Thrift {
    Bool(bool),
    Byte(u8),
    Short(i64),
    Int(i64),
    Long(i64),
    Double([u8; 8]),
    Bytes(Vec<u8>),
    /// The type of the items, and the items.
    List(u8, Vec<Thrift>),
    Struct(Fields),
}

/// The fields of a struct, by number.
pub(crate) type Fields = BTreeMap<i64, Thrift>;

impl Thrift {
    pub(crate) fn fields(&mut self) -> &mut Fields {
        match self {
            Self::Struct(fields) => fields,
            other => panic!("{other:?} is no struct"),
        }
    }

    pub(crate) fn items(&mut self) -> &mut Vec<Thrift> {
        match self {
            Self::List(_, items) => items,
            other => panic!("{other:?} is no list"),
        }
    }

    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Short(number) | Self::Int(number) | Self::Long(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Bool(true) => 1,
            Self::Bool(false) => 2,
            Self::Byte(_) => 3,
            Self::Short(_) => 4,
            Self::Int(_) => 5,
            Self::Long(_) => 6,
            Self::Double(_) => 7,
            Self::Bytes(_) => 8,
            Self::List(..) => 9,
            Self::Struct(_) => 12,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(_) => {}
            Self::Byte(byte) => out.push(*byte),
            Self::Short(number) | Self::Int(number) | Self::Long(number) => zigzag(*number, out),
            Self::Double(bytes) => out.extend(bytes),
            Self::Bytes(bytes) => {
                varint(bytes.len() as u64, out);
                out.extend(bytes);
            }
            Self::List(kind, items) => {
                match u8::try_from(items.len()) {
                    Ok(few @ 0..15) => out.push(few << 4 | kind),
                    _ => {
                        out.push(0xf0 | kind);
                        varint(items.len() as u64, out);
                    }
                }
                for item in items {
                    match item {
                        Self::Bool(value) => out.push(if *value { 1 } else { 2 }),
                        item => item.write(out),
                    }
                }
            }
            Self::Struct(fields) => {
                let mut last = 0;
                for (number, value) in fields {
                    match u8::try_from(number - last) {
                        Ok(step @ 1..16) => out.push(step << 4 | value.kind()),
                        _ => {
                            out.push(value.kind());
                            zigzag(*number, out);
                        }
                    }
                    value.write(out);
                    last = *number;
                }
                out.push(0);
            }
        }
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 127 {
        out.push(number as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

fn zigzag(number: i64, out: &mut Vec<u8>) {
    varint((number << 1 ^ number >> 63) as u64, out);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let byte = self.0[0];
        self.0 = &self.0[1..];
        byte
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }

    fn varint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                return number;
            }
        }
    }

    fn zigzag(&mut self) -> i64 {
        let number = self.varint();
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    fn value(&mut self, kind: u8) -> Thrift {
        match kind {
            1 => Thrift::Bool(true),
            2 => Thrift::Bool(false),
            3 => Thrift::Byte(self.byte()),
            4 => Thrift::Short(self.zigzag()),
            5 => Thrift::Int(self.zigzag()),
            6 => Thrift::Long(self.zigzag()),
            7 => Thrift::Double(self.take(8).try_into().unwrap()),
            8 => {
                let length = self.varint() as usize;
                Thrift::Bytes(self.take(length))
            }
            9 | 10 => {
                let head = self.byte();
                let count = if head >> 4 == 15 { self.varint() } else { (head >> 4).into() };
                let kind = head & 15;
                let item = |reader: &mut Self| match kind {
                    1 | 2 => Thrift::Bool(reader.byte() == 1),
                    kind => reader.value(kind),
                };
                Thrift::List(kind, (0..count).map(|_| item(self)).collect())
            }
            12 => {
                let (mut fields, mut last) = (Fields::new(), 0);
                loop {
                    let head = self.byte();
                    if head == 0 {
                        return Thrift::Struct(fields);
                    }
                    last = if head >> 4 == 0 { self.zigzag() } else { last + i64::from(head >> 4) };
                    fields.insert(last, self.value(head & 15));
                }
            }
            other => panic!("type {other}"),
        }
    }
}

/// A file whose footer is edited.
pub(crate) struct Footer {
    /// Everything before the footer. Tests may append to it.
    pub(crate) body: Vec<u8>,
    /// `FileMetaData`.
    pub(crate) file: Thrift,
}

impl Footer {
    pub(crate) fn read(path: &Path) -> Self {
        let whole = fs::read(path).unwrap();
        let end = whole.len() - 8;
        let length = u32::from_le_bytes(whole[end..end + 4].try_into().unwrap()) as usize;
        let file = Reader(&whole[end - length..end]).value(12);
        Self { body: whole[..end - length].to_vec(), file }
    }

    pub(crate) fn write(&self, path: &Path) {
        let mut whole = self.body.clone();
        let start = whole.len();
        self.file.write(&mut whole);
        let length = (whole.len() - start) as u32;
        whole.extend(length.to_le_bytes());
        whole.extend(b"PAR1");
        fs::write(path, whole).unwrap();
    }

    /// Sets or removes `created_by`.
    pub(crate) fn written_by(&mut self, name: Option<&str>) {
        match name {
            Some(name) => self.file.fields().insert(6, Thrift::Bytes(name.into())),
            None => self.file.fields().remove(&6),
        };
    }

    /// Edits each `ColumnChunk`. `change` gets the indexes of the row group and of the column, and the row group's
    /// number of rows.
    pub(crate) fn chunks(&mut self, mut change: impl FnMut(usize, usize, i64, &mut Fields)) {
        let groups = self.file.fields().get_mut(&4).unwrap().items();
        for (of_group, group) in groups.iter_mut().enumerate() {
            let rows = group.fields()[&3].number();
            for (at, chunk) in group.fields().get_mut(&1).unwrap().items().iter_mut().enumerate() {
                change(of_group, at, rows, chunk.fields());
            }
        }
    }

    /// Edits the `ColumnIndex` of each column that has one; writes the result at the end of the body.
    pub(crate) fn column_indexes(&mut self, mut change: impl FnMut(usize, usize, &mut Fields)) {
        let mut body = std::mem::take(&mut self.body);
        self.chunks(|of_group, at, _, chunk| {
            let (Some(start), Some(length)) = (chunk.get(&6), chunk.get(&7)) else { return };
            let (start, length) = (start.number() as usize, length.number() as usize);
            let mut index = Reader(&body[start..start + length]).value(12);
            change(of_group, at, index.fields());
            let start = body.len();
            index.write(&mut body);
            chunk.insert(6, Thrift::Long(start as i64));
            chunk.insert(7, Thrift::Int((body.len() - start) as i64));
        });
        self.body = body;
    }
}

/// The `Statistics` of a column's `ColumnMetaData`; adds them if they are missing.
pub(crate) fn statistics(chunk: &mut Fields) -> &mut Fields {
    let metadata = chunk.get_mut(&3).unwrap().fields();
    metadata.entry(12).or_insert_with(|| Thrift::Struct(Fields::new())).fields()
}
