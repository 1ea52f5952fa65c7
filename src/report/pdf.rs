//! A scene as a PDF file of one page: vector shapes, and text that stays text in an embedded subset of the typeface.

use super::palette::Rgb;
use super::scene::{Align, Font, Place, Scene, Shape};
use super::subset::Subset;
use super::typeface::{self, Face};
use crate::stats::Figure;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The faces that a scene uses, with the characters of each.
type Faces = BTreeMap<Face, Subset>;

/// The picture as a PDF 1.7 file with the figure's title. It has no date, so that the same scene gives the same bytes.
pub(super) fn file(scene: &Scene, figure: &Figure) -> Vec<u8> {
    let subset = |(face, characters)| (face, Subset::new(face, characters));
    let faces: Faces = scene.characters().into_iter().map(subset).collect();
    let opacities: BTreeSet<u32> = scene.shapes.iter().filter_map(opacity).collect();
    let mut file = File::new();
    let (catalog, pages, page, content, info) = (file.id(), file.id(), file.id(), file.id(), file.id());
    let mut fonts = String::new();
    for (face, subset) in &faces {
        let font = file.font(*face, subset);
        let _ = write!(fonts, "/{} {font} 0 R ", resource(*face));
    }
    let states: String =
        opacities.iter().map(|o| format!("/O{o} << /Type /ExtGState /ca {} >> ", f64::from(*o) / 1000.0)).collect();
    file.object(catalog, &format!("<< /Type /Catalog /Pages {pages} 0 R /Lang (en) >>"));
    file.object(pages, &format!("<< /Type /Pages /Kids [{page} 0 R] /Count 1 >>"));
    file.object(
        page,
        &format!(
            "<< /Type /Page /Parent {pages} 0 R /MediaBox [0 0 {} {}] /Contents {content} 0 R \
             /Resources << /Font << {fonts}>> /ExtGState << {states}>> >> >>",
            Decimal(scene.width),
            Decimal(scene.height)
        ),
    );
    file.stream(content, "", painted(scene, &faces).as_bytes());
    let version = env!("CARGO_PKG_VERSION");
    file.object(info, &format!("<< /Title {} /Producer (sdlab {version}) >>", text_string(&figure.title)));
    file.finish(catalog, info)
}

fn resource(face: Face) -> &'static str {
    match face {
        Face::Regular => "R",
        Face::Bold => "B",
    }
}

/// The opacity of a shape in thousandths if it lets something through.
fn opacity(shape: &Shape) -> Option<u32> {
    match shape {
        Shape::Fill { opacity, .. } if *opacity < 1.0 => Some((opacity * 1000.0).round() as u32),
        _ => None,
    }
}

/// A number with at most three decimals, which is finer than any printer.
struct Decimal(f64);

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.3}", self.0);
        let short = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if short == "-0" { "0" } else { short })
    }
}

/// The operators that paint the scene.
fn painted(scene: &Scene, faces: &Faces) -> String {
    let at = |&(x, y): &Place| format!("{} {}", Decimal(x), Decimal(scene.height - y));
    let path = |points: &[Place]| {
        let rest: String = points[1..].iter().map(|p| format!("{} l\n", at(p))).collect();
        format!("{} m\n{rest}", at(&points[0]))
    };
    let mut out = String::from("1 1 1 rg\n");
    let _ = write!(out, "0 0 {} {} re f\n1 j 0 J\n", Decimal(scene.width), Decimal(scene.height));
    for shape in &scene.shapes {
        let _ = match shape {
            Shape::Stroke { points, width, color } => {
                write!(out, "{} RG {} w\n{}S\n", ink(*color), Decimal(*width), path(points))
            }
            Shape::Fill { loops, color, .. } => {
                let paths: String = loops.iter().map(|corners| path(corners) + "h\n").collect();
                match opacity(shape) {
                    Some(o) => write!(out, "q /O{o} gs {} rg\n{paths}f Q\n", ink(*color)),
                    None => write!(out, "{} rg\n{paths}f\n", ink(*color)),
                }
            }
            Shape::Text { text, at, font, align, upward } => {
                out.write_str(&shown(text, (at.0, scene.height - at.1), *font, *align, *upward, faces))
            }
        };
    }
    out
}

fn ink(Rgb(r, g, b): Rgb) -> String {
    let part = |v: u8| Decimal(f64::from(v) / 255.0);
    format!("{} {} {}", part(r), part(g), part(b))
}

/// One run of text whose baseline begins, or is centred, or ends at `at` (y upwards).
fn shown(text: &str, at: Place, font: Font, align: Align, upward: bool, faces: &Faces) -> String {
    let face = Face::of(font.bold);
    let glyphs = &faces[&face].glyphs;
    let start = -typeface::width(text, font.bold)
        * match align {
            Align::Start => 0.0,
            Align::Middle => 0.5,
            Align::End => 1.0,
        };
    let turn = if upward { "0 1 -1 0" } else { "1 0 0 1" };
    let mut out = format!("BT {} rg /{} {} Tf\n", ink(font.color), resource(face), Decimal(font.em));
    // A character that stands where the one before it ends continues its string; marks and what follows them do not.
    let mut open = false;
    let places = typeface::places(text, font.bold);
    for (k, &(c, place)) in places.iter().enumerate() {
        let mark = super::markup::is_combining(c);
        let continues = k > 0 && !mark && !super::markup::is_combining(places[k - 1].0);
        if !continues {
            out.push_str(if open { "> Tj\n" } else { "" });
            let (right, up) = ((start + f64::from(place.x)) * font.em, f64::from(place.y) * font.em);
            let (x, y) = if upward { (at.0 - up, at.1 + right) } else { (at.0 + right, at.1 + up) };
            let _ = write!(out, "{turn} {} {} Tm <", Decimal(x), Decimal(y));
            open = true;
        }
        let _ = write!(out, "{:04x}", glyphs[&c]);
    }
    out.push_str(if open { "> Tj ET\n" } else { "ET\n" });
    out
}

/// A PDF text string: UTF-16 with its mark, in hexadecimal.
fn text_string(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("{unit:04X}")).collect();
    format!("<FEFF{units}>")
}

/// A PDF file that grows object by object.
struct File {
    bytes: Vec<u8>,
    /// Where each object begins, from object 1 on.
    places: Vec<usize>,
}

impl File {
    fn new() -> Self {
        // The comment tells transfer programs that the file is binary.
        Self { bytes: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec(), places: Vec::new() }
    }

    fn id(&mut self) -> usize {
        self.places.push(0);
        self.places.len()
    }

    fn object(&mut self, id: usize, body: &str) {
        self.places[id - 1] = self.bytes.len();
        self.bytes.extend(format!("{id} 0 obj\n{body}\nendobj\n").bytes());
    }

    fn stream(&mut self, id: usize, entries: &str, data: &[u8]) {
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(data, 9);
        self.places[id - 1] = self.bytes.len();
        let head = format!("{id} 0 obj\n<< /Length {} /Filter /FlateDecode {entries}>>\nstream\n", packed.len());
        self.bytes.extend(head.bytes());
        self.bytes.extend(packed);
        self.bytes.extend(b"\nendstream\nendobj\n");
    }

    /// Embeds a font; its characters are the glyph numbers of the subset. Returns its object.
    fn font(&mut self, face: Face, subset: &Subset) -> usize {
        let (font, descendant, descriptor, data, unicode) = (self.id(), self.id(), self.id(), self.id(), self.id());
        let name = format!("{}+DejaVuSans{}", tag(&subset.bytes), if face == Face::Bold { "-Bold" } else { "" });
        let thousandths = |units: f64| Decimal(units * 1000.0 / f64::from(subset.units_per_em));
        let widths: Vec<String> = subset.advances.iter().map(|a| thousandths(f64::from(*a)).to_string()).collect();
        let bounds: Vec<String> = subset.bounds.iter().map(|b| thousandths(f64::from(*b)).to_string()).collect();
        self.object(
            font,
            &format!(
                "<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /Identity-H \
                 /DescendantFonts [{descendant} 0 R] /ToUnicode {unicode} 0 R >>"
            ),
        );
        self.object(
            descendant,
            &format!(
                "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /{name} \
                 /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> \
                 /FontDescriptor {descriptor} 0 R /CIDToGIDMap /Identity /W [0 [{}]] >>",
                widths.join(" ")
            ),
        );
        // Flag 4: the characters are not those of a standard Latin encoding.
        self.object(
            descriptor,
            &format!(
                "<< /Type /FontDescriptor /FontName /{name} /Flags 4 /FontBBox [{}] /ItalicAngle 0 /Ascent {} \
                 /Descent {} /CapHeight 729 /StemV {} /FontFile2 {data} 0 R >>",
                bounds.join(" "),
                thousandths(f64::from(subset.extent.0)),
                thousandths(f64::from(subset.extent.1)),
                if face == Face::Bold { 140 } else { 80 }
            ),
        );
        self.stream(data, &format!("/Length1 {} ", subset.bytes.len()), &subset.bytes);
        self.stream(unicode, "", character_names(subset).as_bytes());
        font
    }

    fn finish(mut self, catalog: usize, info: usize) -> Vec<u8> {
        let table = self.bytes.len();
        let mut tail = format!("xref\n0 {}\n0000000000 65535 f \n", self.places.len() + 1);
        for place in &self.places {
            let _ = writeln!(tail, "{place:010} 00000 n ");
        }
        let size = self.places.len() + 1;
        let _ = write!(
            tail,
            "trailer\n<< /Size {size} /Root {catalog} 0 R /Info {info} 0 R >>\nstartxref\n{table}\n%%EOF\n"
        );
        self.bytes.extend(tail.bytes());
        self.bytes
    }
}

/// The six letters that tell this subset from others of the same typeface (FNV-1a).
fn tag(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    (0..6).map(|k| char::from(b'A' + (hash / 26u64.pow(k) % 26) as u8)).collect()
}

/// The map from glyph numbers back to characters, with which a reader searches and copies.
fn character_names(subset: &Subset) -> String {
    let entries: Vec<String> = subset
        .glyphs
        .iter()
        .filter(|(_, glyph)| **glyph != 0)
        .map(|(c, glyph)| {
            let mut units = [0; 2];
            let units: String = c.encode_utf16(&mut units).iter().map(|unit| format!("{unit:04X}")).collect();
            format!("<{glyph:04X}> <{units}>\n")
        })
        .collect();
    let mut map = String::from(
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n\
         /CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n\
         /CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n\
         1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n",
    );
    // The format allows a hundred entries at a time.
    for block in entries.chunks(100) {
        let _ = write!(map, "{} beginbfchar\n{}endbfchar\n", block.len(), block.concat());
    }
    map + "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::palette::{BLACK, BLUE};
    use crate::stats::Width;

    fn scene() -> Scene {
        let mut scene = Scene::new(234.0, 100.0);
        scene.stroke(&[(10.0, 10.0), (20.0, 90.0)], 0.6, BLUE, &[]);
        scene.rectangle((0.0, 0.0), (5.0, 5.0), BLUE, 0.25);
        scene.text("L̃ of w_1", (50.0, 50.0), Font { em: 8.0, bold: true, color: BLACK }, Align::Middle, false);
        scene
    }

    fn text() -> String {
        let bytes = file(&scene(), &Figure::new("f", "test", Width::Column).title("Loss L̃"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_pdf_has_the_size_of_the_scene_and_embeds_its_typeface() {
        let text = text();
        assert!(text.starts_with("%PDF-1.7\n") && text.ends_with("%%EOF\n"));
        for part in ["/MediaBox [0 0 234 100]", "+DejaVuSans-Bold", "/FontFile2", "/ToUnicode", "/ca 0.25"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("Date"));
    }

    #[test]
    fn every_entry_of_the_cross_reference_table_leads_to_its_object() {
        let bytes = file(&scene(), &Figure::new("f", "test", Width::Column));
        let find = |what: &[u8]| bytes.windows(what.len()).rposition(|w| w == what).unwrap();
        let table = find(b"\nxref\n") + 1;
        let tail = String::from_utf8(bytes[table..].to_vec()).unwrap();
        assert!(tail.contains(&format!("startxref\n{table}\n")));
        let entries: Vec<&str> = tail.lines().filter(|line| line.ends_with(" n ")).collect();
        assert!(entries.len() > 5 && entries.iter().all(|line| line.len() == 19));
        for (k, line) in entries.iter().enumerate() {
            let at: usize = line[..10].parse().unwrap();
            assert!(bytes[at..].starts_with(format!("{} 0 obj\n", k + 1).as_bytes()));
        }
    }
}
