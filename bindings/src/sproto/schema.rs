//! A schema: the types and protocols of a sproto bundle, read from its bytes.
//!
//! A bundle is itself a sproto message. A struct is a count of words, the words (2 bytes each, little-endian), and data blocks of 4
//! bytes size and as many bytes. A word stands for the next tag: odd skips `(word - 1) / 2` more, 0 has its value in the next
//! block, others are `value * 2 + 2`. All sizes come from outside and are checked before they are used.
//!
//! # From skynet
//! sproto.c: `struct sproto`, `sproto_type`, `field`, `protocol` → [`Schema`], [`Type`], [`Field`], [`Protocol`]; `sproto_create` →
//! [`Schema::parse`].

use std::ffi::CString;

/// What a field holds, without whether it is an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// An integer on the wire, a tenth, hundredth … of it in Lua: by which power of ten.
    Decimal(u32),
    Boolean,
    /// Text or bytes: the same on the wire and in Lua.
    String,
    Binary,
    Double,
    /// A type of the same schema, by its index.
    Struct(u16),
}

/// How many a field holds, and under which keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    /// Under 1, 2, 3 …
    Array,
    /// Structs under the value of one of their fields: its index in the struct's type.
    Indexed(u16),
    /// Structs of two fields, key and value: their indices.
    Map(u16, u16),
}

/// One field of a struct.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: CString,
    pub(super) tag: u16,
    pub(super) kind: Kind,
    pub(super) shape: Shape,
    /// Tags of the main index as the bundle gives them: of the key, and of the value of a map.
    pub(super) key_tag: u16,
    pub(super) value_tag: u16,
}

/// A struct.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: CString,
    /// By tag, ascending.
    pub(super) fields: Vec<Field>,
    /// Where the names of the fields begin in a list of all names of the schema.
    pub(super) first_name: u32,
    /// Words that a message of this type has at most.
    pub(super) most_words: usize,
}

impl Type {
    /// The field of `tag`; `at` is where it would be if all before it were there.
    #[inline]
    pub(super) fn find(&self, tag: u32) -> Option<(usize, &Field)> {
        // The usual tags are 0, 1, 2 …
        if let Some(field) = self.fields.get(tag as usize)
            && u32::from(field.tag) == tag
        {
            return Some((tag as usize, field));
        }
        let at = self.fields.binary_search_by_key(&tag, |it| u32::from(it.tag)).ok()?;
        Some((at, &self.fields[at]))
    }
}

/// What a protocol answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has no answer.
    None,
    /// An answer without content.
    Empty,
    Struct(u16),
}

/// A request, and its answer.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) name: CString,
    pub(super) tag: u32,
    pub(super) request: Option<u16>,
    pub(super) answer: Answer,
}

/// All of a bundle.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) types: Vec<Type>,
    pub(super) protocols: Vec<Protocol>,
    /// Names of all fields, in the order of the types.
    pub(super) names: usize,
}

/// The words of a struct, and the blocks behind them.
struct Reader<'a> {
    words: &'a [u8],
    data: &'a [u8],
}

/// One word, read.
enum Word<'a> {
    Skip(u32),
    Number(u32),
    Block(&'a [u8]),
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Reader<'a>> {
        let (count, rest) = bytes.split_first_chunk::<2>()?;
        let (words, data) = rest.split_at_checked(2 * usize::from(u16::from_le_bytes(*count)))?;
        Some(Reader { words, data })
    }

    fn len(&self) -> usize {
        self.words.len() / 2
    }

    /// The next word; `Err` for one whose block is not there.
    fn next(&mut self) -> Result<Option<Word<'a>>, ()> {
        let Some((word, rest)) = self.words.split_first_chunk::<2>() else { return Ok(None) };
        self.words = rest;
        Ok(Some(match u16::from_le_bytes(*word) {
            0 => Word::Block(block(&mut self.data).ok_or(())?),
            odd if odd & 1 == 1 => Word::Skip(u32::from(odd - 1) / 2),
            even => Word::Number(u32::from(even) / 2 - 1),
        }))
    }
}

/// Takes a block off the front of `data`.
fn block<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (size, rest) = data.split_first_chunk::<4>()?;
    let (block, rest) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
    *data = rest;
    Some(block)
}

/// The elements of an array of structs.
fn elements(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(block(&mut bytes)?);
    }
    Some(all)
}

fn name(bytes: &[u8]) -> Option<CString> {
    CString::new(bytes).ok()
}

/// What a bundle says of a field, before all types are known.
#[derive(Default)]
struct Raw {
    name: Option<CString>,
    buildin: Option<u32>,
    ty: Option<u32>,
    tag: Option<u32>,
    array: bool,
    key: Option<u32>,
    map: bool,
}

impl Raw {
    fn read(bytes: &[u8]) -> Option<Raw> {
        let mut reader = Reader::new(bytes)?;
        let mut raw = Raw::default();
        let mut tag = 0;
        while let Some(word) = reader.next().ok()? {
            match (tag, word) {
                (_, Word::Skip(more)) => tag += more,
                (0, Word::Block(text)) => raw.name = Some(name(text)?),
                (1, Word::Number(value)) => raw.buildin = Some(value),
                (2, Word::Number(value)) => raw.ty = Some(value),
                (3, Word::Number(value)) => raw.tag = Some(value),
                (4, Word::Number(value)) => raw.array = value != 0,
                (5, Word::Number(value)) => raw.key = Some(value),
                (6, Word::Number(value)) => raw.map = value != 0,
                _ => return None,
            }
            tag += 1;
        }
        Some(raw)
    }

    fn finish(self, types: usize) -> Option<Field> {
        let kind = match (self.buildin, self.ty) {
            (Some(0), None) => Kind::Integer,
            (Some(0), Some(digits)) => Kind::Decimal(digits),
            (Some(1), None) => Kind::Boolean,
            (Some(2), Some(1)) => Kind::Binary,
            (Some(2), None | Some(0)) => Kind::String,
            (Some(3), None) => Kind::Double,
            (None, Some(index)) if (index as usize) < types => Kind::Struct(index as u16),
            _ => return None,
        };
        let shape = if self.array { Shape::Array } else { Shape::One };
        let tag = u16::try_from(self.tag?).ok()?;
        let key_tag = self.key.unwrap_or(0) as u16;
        Some(Field { name: self.name?, tag, kind, shape, key_tag, value_tag: 0 })
    }
}

/// A type's name and the fields as they stand there.
fn read_type(bytes: &[u8]) -> Option<(CString, Vec<Raw>)> {
    let mut reader = Reader::new(bytes)?;
    let Word::Block(text) = reader.next().ok()?? else { return None };
    let fields = match reader.next().ok()? {
        Some(Word::Block(fields)) => fields,
        None => &[],
        _ => return None,
    };
    if reader.len() > 0 {
        return None;
    }
    let fields = elements(fields)?.into_iter().map(Raw::read).collect::<Option<Vec<_>>>()?;
    Some((name(text)?, fields))
}

/// A protocol. Its members stand by position: one that is missing is a word that skips nothing.
fn read_protocol(bytes: &[u8], types: usize) -> Option<Protocol> {
    let mut reader = Reader::new(bytes)?;
    let Word::Block(text) = reader.next().ok()?? else { return None };
    let mut members = [None; 4];
    for member in &mut members {
        match reader.next().ok()? {
            Some(Word::Number(value)) => *member = Some(value),
            Some(Word::Skip(0)) => {}
            Some(_) => return None,
            None => break,
        }
    }
    let [tag, request, response, confirm] = members;
    if reader.len() > 0 {
        return None;
    }
    let index = |value: Option<u32>| match value {
        None => Some(None),
        Some(index) if (index as usize) < types => Some(Some(index as u16)),
        Some(_) => None,
    };
    let answer = match (index(response)?, confirm) {
        (Some(index), _) => Answer::Struct(index),
        (None, Some(flag)) if flag != 0 => Answer::Empty,
        (None, _) => Answer::None,
    };
    Some(Protocol { name: name(text)?, tag: tag?, request: index(request)?, answer })
}

impl Schema {
    /// Reads a bundle; none if it is not one.
    pub(super) fn parse(bundle: &[u8]) -> Option<Schema> {
        if bundle.len() < 4 {
            return None;
        }
        let mut reader = Reader::new(bundle)?;
        if reader.len() > 2 {
            return None;
        }
        let mut groups = [&[] as &[u8]; 2];
        let mut tag = 0;
        while let Some(word) = reader.next().ok()? {
            match word {
                Word::Skip(more) => tag += more as usize,
                Word::Block(bytes) => *groups.get_mut(tag)? = bytes,
                Word::Number(_) => return None,
            }
            tag += 1;
        }
        let raw = elements(groups[0])?.into_iter().map(read_type).collect::<Option<Vec<_>>>()?;
        let count = raw.len();
        if count > usize::from(u16::MAX) {
            return None;
        }
        let mut names = 0;
        let mut types = Vec::with_capacity(count);
        for (name, fields) in raw {
            let mut made = Vec::with_capacity(fields.len());
            let mut hints = Vec::new();
            for raw in fields {
                hints.push((raw.key, raw.map));
                made.push(raw.finish(count)?);
            }
            let ty = Type::new(name, made, names)?;
            names += ty.fields.len();
            types.push((ty, hints));
        }
        let shapes: Vec<Vec<(Shape, u16)>> = types
            .iter()
            .map(|(ty, hints)| ty.fields.iter().zip(hints).map(|it| shape(&types, it.0, *it.1)).collect())
            .collect::<Option<_>>()?;
        let mut types: Vec<Type> = types.into_iter().map(|(ty, _)| ty).collect();
        for (ty, shapes) in types.iter_mut().zip(shapes) {
            for (field, (shape, value_tag)) in ty.fields.iter_mut().zip(shapes) {
                (field.shape, field.value_tag) = (shape, value_tag);
            }
        }
        let protocols = elements(groups[1])?
            .into_iter()
            .map(|it| read_protocol(it, count))
            .collect::<Option<Vec<_>>>()?;
        let ascend = protocols.is_sorted_by(|a, b| a.tag < b.tag);
        ascend.then_some(Schema { types, protocols, names })
    }

    /// The type called `name`, as its index.
    pub(super) fn type_named(&self, name: &[u8]) -> Option<u16> {
        // By byte order if the parser was ours; others may write it otherwise.
        self.types.iter().position(|it| it.name.as_bytes() == name).map(|at| at as u16)
    }

    pub(super) fn protocol_named(&self, name: &[u8]) -> Option<&Protocol> {
        self.protocols.iter().find(|it| it.name.as_bytes() == name)
    }

    pub(super) fn protocol_of_tag(&self, tag: i64) -> Option<&Protocol> {
        let at = self.protocols.binary_search_by_key(&tag, |it| i64::from(it.tag)).ok()?;
        Some(&self.protocols[at])
    }
}

impl Type {
    fn new(name: CString, fields: Vec<Field>, first_name: usize) -> Option<Type> {
        if !fields.is_sorted_by(|a, b| a.tag < b.tag) {
            return None;
        }
        // A word for each field, and one for each run of tags that no field has or that are not there.
        let mut gaps = 0;
        let mut next = 0;
        for field in &fields {
            gaps += usize::from(field.tag != next);
            next = field.tag.wrapping_add(1);
        }
        let most_words = fields.len() + gaps;
        Some(Type { name, fields, first_name: first_name as u32, most_words })
    }
}

/// What a bundle says of a field's keys: the tag of the main index, and whether it is a map.
type Hint = (Option<u32>, bool);

/// Under which keys the elements of a field stand, now that all types are known, and the tag of a map's values.
fn shape(types: &[(Type, Vec<Hint>)], field: &Field, (key, map): Hint) -> Option<(Shape, u16)> {
    let (Some(key), Shape::Array, Kind::Struct(index)) = (key, field.shape, field.kind) else {
        return Some((field.shape, 0));
    };
    let element = &types[usize::from(index)].0;
    let at = element.find(key).map(|(at, _)| at as u16);
    if !map {
        // A key that the struct has not is found to be missing when an element is read.
        return Some((Shape::Indexed(at.unwrap_or(u16::MAX)), 0));
    }
    let [first, second] = &element.fields[..] else { return None };
    match at? {
        0 => Some((Shape::Map(0, 1), second.tag)),
        _ => Some((Shape::Map(1, 0), first.tag)),
    }
}
