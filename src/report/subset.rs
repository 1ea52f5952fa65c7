//! The part of the embedded typeface that a document uses, as a small TrueType font of its own.
//!
//! A PDF embeds it with its glyphs numbered as here; an SVG or a page embeds it as a web font. Hinting and layout tables
//! are left out: the first is not used at print resolution, and the texts are set character by character.

use super::typeface::Face;
use std::collections::{BTreeMap, BTreeSet};

/// A font with the glyphs of some characters only.
pub(super) struct Subset {
    /// The font file.
    pub bytes: Vec<u8>,
    /// The glyph of each character; 0 for one that the typeface lacks.
    pub glyphs: BTreeMap<char, u16>,
    /// Advances of the glyphs in units of the em.
    pub advances: Vec<u16>,
    /// Units of an em.
    pub units_per_em: u16,
    /// Left, bottom, right and top of all glyphs of the whole typeface, in units.
    pub bounds: [i16; 4],
    /// Ascent and descent in units.
    pub extent: (i16, i16),
}

/// A font file whose tables can be found. The embedded fonts are complete, so that a missing table is a mistake of the program.
struct Source {
    bytes: &'static [u8],
    long_offsets: bool,
    metrics: u16,
}

// Flags of a component of a composite glyph (OpenType 1.9, `glyf`).
const ARGUMENTS_ARE_WORDS: u16 = 0x0001;
const HAS_SCALE: u16 = 0x0008;
const MORE_COMPONENTS: u16 = 0x0020;
const HAS_TWO_SCALES: u16 = 0x0040;
const HAS_MATRIX: u16 = 0x0080;
const HAS_INSTRUCTIONS: u16 = 0x0100;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Source {
    fn new(bytes: &'static [u8]) -> Self {
        let mut source = Self { bytes, long_offsets: false, metrics: 0 };
        source.long_offsets = i16_at(source.table(b"head"), 50) != 0;
        source.metrics = u16_at(source.table(b"hhea"), 34);
        source
    }

    fn table(&self, tag: &[u8; 4]) -> &'static [u8] {
        let entries = self.bytes[12..].chunks_exact(16).take(usize::from(u16_at(self.bytes, 4)));
        let entry = entries.into_iter().find(|entry| &entry[..4] == tag).expect("the embedded font has this table");
        let (start, length) = (u32_at(entry, 8) as usize, u32_at(entry, 12) as usize);
        &self.bytes[start..start + length]
    }

    fn glyph(&self, glyph: u16) -> &'static [u8] {
        let (loca, glyf, k) = (self.table(b"loca"), self.table(b"glyf"), usize::from(glyph));
        let offset = |k: usize| {
            if self.long_offsets { u32_at(loca, 4 * k) as usize } else { 2 * usize::from(u16_at(loca, 2 * k)) }
        };
        &glyf[offset(k)..offset(k + 1)]
    }

    /// Advance and left side bearing.
    fn metric(&self, glyph: u16) -> (u16, i16) {
        let (hmtx, k, full) = (self.table(b"hmtx"), usize::from(glyph), usize::from(self.metrics));
        if k < full {
            (u16_at(hmtx, 4 * k), i16_at(hmtx, 4 * k + 2))
        } else {
            (u16_at(hmtx, 4 * (full - 1)), i16_at(hmtx, 4 * full + 2 * (k - full)))
        }
    }
}

/// Places of the component glyph numbers in a composite glyph, and the end of the last component; none for a simple one.
fn components(glyph: &[u8]) -> (Vec<usize>, usize) {
    let mut places = Vec::new();
    let mut at = 10;
    if glyph.is_empty() || i16_at(glyph, 0) >= 0 {
        return (places, at);
    }
    loop {
        let flags = u16_at(glyph, at);
        places.push(at + 2);
        at += 4 + if flags & ARGUMENTS_ARE_WORDS != 0 { 4 } else { 2 };
        at += match flags {
            f if f & HAS_SCALE != 0 => 2,
            f if f & HAS_TWO_SCALES != 0 => 4,
            f if f & HAS_MATRIX != 0 => 8,
            _ => 0,
        };
        if flags & MORE_COMPONENTS == 0 {
            return (places, at);
        }
    }
}

/// The glyph without its hinting, and with the numbers of its components as in `numbers`.
fn rewritten(glyph: &[u8], numbers: &BTreeMap<u16, u16>) -> Vec<u8> {
    if glyph.is_empty() {
        return Vec::new();
    }
    let contours = i16_at(glyph, 0);
    let mut out = match usize::try_from(contours) {
        Ok(contours) => {
            let at = 10 + 2 * contours;
            let instructions = usize::from(u16_at(glyph, at));
            [&glyph[..at], &[0, 0], &glyph[at + 2 + instructions..]].concat()
        }
        Err(_) => {
            let (places, end) = components(glyph);
            let mut out = glyph[..end].to_vec();
            for place in places {
                let flags = u16_at(&out, place - 2) & !HAS_INSTRUCTIONS;
                out[place - 2..place].copy_from_slice(&flags.to_be_bytes());
                let number = numbers[&u16_at(&out, place)];
                out[place..place + 2].copy_from_slice(&number.to_be_bytes());
            }
            out
        }
    };
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

impl Subset {
    /// The glyphs of `characters` in this face.
    pub fn new(face: Face, characters: impl IntoIterator<Item = char>) -> Self {
        let source = Source::new(face.bytes());
        let characters: BTreeSet<char> = characters.into_iter().collect();
        // Glyph 0 is the one for missing characters; the others keep the order of first use.
        let mut old: Vec<u16> = vec![0];
        let mut numbers = BTreeMap::from([(0, 0)]);
        let mut number = |glyph: u16, old: &mut Vec<u16>| {
            *numbers.entry(glyph).or_insert_with(|| {
                old.push(glyph);
                u16::try_from(old.len() - 1).expect("a subset is no larger than its font")
            })
        };
        let glyphs = characters.iter().map(|&c| (c, number(face.glyph(c), &mut old))).collect();
        let mut k = 0;
        while k < old.len() {
            let glyph = source.glyph(old[k]);
            for place in components(glyph).0 {
                number(u16_at(glyph, place), &mut old);
            }
            k += 1;
        }
        let head = source.table(b"head");
        let hhea = source.table(b"hhea");
        let mut subset = Self {
            bytes: Vec::new(),
            glyphs,
            advances: old.iter().map(|&glyph| source.metric(glyph).0).collect(),
            units_per_em: u16_at(head, 18),
            bounds: [36, 38, 40, 42].map(|at| i16_at(head, at)),
            extent: (i16_at(hhea, 4), i16_at(hhea, 6)),
        };
        subset.bytes = subset.file(&source, &old, &numbers);
        subset
    }

    fn file(&self, source: &Source, old: &[u16], numbers: &BTreeMap<u16, u16>) -> Vec<u8> {
        let count = u16::try_from(old.len()).expect("a subset is no larger than its font").to_be_bytes();
        let (mut glyf, mut loca, mut hmtx) = (Vec::new(), vec![0; 4], Vec::new());
        for &glyph in old {
            glyf.extend(rewritten(source.glyph(glyph), numbers));
            loca.extend((glyf.len() as u32).to_be_bytes());
            let (advance, bearing) = source.metric(glyph);
            hmtx.extend(advance.to_be_bytes());
            hmtx.extend(bearing.to_be_bytes());
        }
        let mut head = source.table(b"head").to_vec();
        head[8..12].fill(0);
        head[50..52].copy_from_slice(&[0, 1]);
        let mut hhea = source.table(b"hhea").to_vec();
        hhea[34..36].copy_from_slice(&count);
        let mut maxp = source.table(b"maxp").to_vec();
        maxp[4..6].copy_from_slice(&count);
        // No instructions, so no zones, storage, functions, stack.
        maxp[14..28].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut post = source.table(b"post")[..32].to_vec();
        post[..4].copy_from_slice(&[0, 3, 0, 0]);
        let tables: [(&[u8; 4], Vec<u8>); 10] = [
            (b"OS/2", source.table(b"OS/2").to_vec()),
            (b"cmap", self.character_map()),
            (b"glyf", glyf),
            (b"head", head),
            (b"hhea", hhea),
            (b"hmtx", hmtx),
            (b"loca", loca),
            (b"maxp", maxp),
            (b"name", source.table(b"name").to_vec()),
            (b"post", post),
        ];
        assembled(&tables)
    }

    /// A character map of format 12, which has one group per character here.
    fn character_map(&self) -> Vec<u8> {
        let groups: Vec<(u32, u16)> =
            self.glyphs.iter().filter(|(_, g)| **g != 0).map(|(c, g)| (*c as u32, *g)).collect();
        let mut map = vec![0, 0, 0, 1, 0, 3, 0, 10, 0, 0, 0, 12, 0, 12, 0, 0];
        for value in [16 + 12 * groups.len() as u32, 0, groups.len() as u32] {
            map.extend(value.to_be_bytes());
        }
        for (character, glyph) in groups {
            for value in [character, character, u32::from(glyph)] {
                map.extend(value.to_be_bytes());
            }
        }
        map
    }
}

/// A font file of these tables, which are in the order of their tags.
fn assembled(tables: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let count = tables.len() as u16;
    let power = count.ilog2() as u16;
    let range = 16 << power;
    let mut file = vec![0, 1, 0, 0];
    for value in [count, range, power, 16 * count - range] {
        file.extend(value.to_be_bytes());
    }
    let mut offset = 12 + 16 * tables.len();
    for (tag, table) in tables {
        file.extend(*tag);
        for value in [checksum(table), offset as u32, table.len() as u32] {
            file.extend(value.to_be_bytes());
        }
        offset += table.len().next_multiple_of(4);
    }
    let mut head = 0;
    for (tag, table) in tables {
        if *tag == b"head" {
            head = file.len();
        }
        file.extend(table);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    let adjustment = 0xb1b0_afbau32.wrapping_sub(checksum(&file));
    file[head + 8..head + 12].copy_from_slice(&adjustment.to_be_bytes());
    file
}

fn checksum(table: &[u8]) -> u32 {
    table.chunks(4).fold(0, |sum: u32, word| {
        let mut bytes = [0; 4];
        bytes[..word.len()].copy_from_slice(word);
        sum.wrapping_add(u32::from_be_bytes(bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ab_glyph::{Font, FontRef};

    /// A simple letter, a composite one, Greek, an arrow, a digit, a mark, and a character beyond the first plane.
    const TEXT: &str = "aéΣ→7\u{303}𝔸 ";

    #[test]
    fn a_subset_draws_its_characters_as_the_whole_typeface_does() {
        for face in [Face::Regular, Face::Bold] {
            let subset = Subset::new(face, TEXT.chars());
            assert!(subset.bytes.len() < face.bytes().len() / 20, "{} bytes", subset.bytes.len());
            let (whole, part) =
                (FontRef::try_from_slice(face.bytes()).unwrap(), FontRef::try_from_slice(&subset.bytes).unwrap());
            for c in TEXT.chars() {
                let (a, b) = (whole.glyph_id(c), part.glyph_id(c));
                assert_eq!(b.0, subset.glyphs[&c]);
                assert!(b.0 != 0 || a.0 == 0, "{c} is lost");
                assert_eq!(whole.h_advance_unscaled(a), part.h_advance_unscaled(b));
                assert_eq!(f32::from(subset.advances[usize::from(b.0)]), part.h_advance_unscaled(b));
                let curves = |font: &FontRef, id| font.outline(id).map(|o| format!("{:?}", o.curves));
                assert_eq!(curves(&whole, a), curves(&part, b), "{c}");
            }
        }
    }

    #[test]
    fn the_checksum_of_the_file_is_the_one_that_the_format_asks_for() {
        assert_eq!(checksum(&Subset::new(Face::Regular, "sdlab".chars()).bytes), 0xb1b0_afba);
    }
}
