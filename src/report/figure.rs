//! Figures as SVG, PDF and PNG.

use super::palette::Rgb;
use super::raster::Raster;
use super::scene::{Align, Scene, Shape, joined};
use super::subset::Subset;
use super::typeface::Face;
use super::{layout, pdf, typeface};
use crate::stats::{Figure, Layer};
use plotters::backend::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBAColor, RGBColor, TextStyle, register_font};
use plotters_backend::DrawingBackend;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;

/// Why a figure cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FigureError {
    /// There is no panel.
    #[error("figure `{0}` has no panel")]
    NoPanel(String),
    /// The values of a heat map do not fill a grid of at least two by two points.
    #[error("a heat map of figure `{0}` is no grid of at least 2 by 2 values")]
    HeatMap(String),
    /// A backend failed.
    #[error("figure `{0}` cannot be drawn: {1}")]
    Backend(String, String),
}

/// Units of the backends per point, fine enough for thin lines.
const UNITS: f64 = 20.0;
/// Resolution of a PNG.
const PIXELS_PER_INCH: f64 = 300.0;

/// A figure that is laid out, ready to be written in any format.
pub struct Drawing<'a> {
    figure: &'a Figure,
    scene: Scene,
}

impl<'a> Drawing<'a> {
    /// Lays out a figure.
    ///
    /// # Errors
    /// If it has no panel, or a heat map that is no grid.
    pub fn new(figure: &'a Figure) -> Result<Self, FigureError> {
        Ok(Self { figure, scene: laid_out(figure)? })
    }

    /// The figure.
    pub fn figure(&self) -> &Figure {
        self.figure
    }

    /// A stand-alone SVG document with a title, a description and the part of the typeface that it uses.
    pub fn svg(&self) -> Result<String, FigureError> {
        self.vector(&format!("<style>{}</style>\n", web_fonts([self])))
    }

    /// An SVG element for a page that has the typeface of [`web_fonts`].
    pub fn inline(&self) -> Result<String, FigureError> {
        self.vector("")
    }

    fn vector(&self, style: &str) -> Result<String, FigureError> {
        let mut text = String::new();
        let size = (units(self.scene.width) as u32, units(self.scene.height) as u32);
        paint(&self.scene, &mut SVGBackend::with_string(&mut text, size), self.figure)?;
        // plotters measures in pixels, names the typeface at every text, and has no place for accessible names.
        let end = text.find(">\n").map_or(0, |at| at + 2);
        let head = format!(
            "<svg width=\"{:.1}pt\" height=\"{:.1}pt\" viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
             font-family=\"{}\" stroke-linejoin=\"round\">\n<title>{}</title>\n<desc>{}</desc>\n{style}\
             <rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n",
            self.scene.width,
            self.scene.height,
            size.0,
            size.1,
            typeface::FAMILIES,
            escaped(&self.figure.title),
            escaped(&self.figure.caption)
        );
        let family = format!(" font-family=\"{}\"", typeface::FAMILIES);
        Ok(head + &text[end..].replace(" opacity=\"1\"", "").replace(&family, ""))
    }

    /// A PDF file of one page of the figure's size, with its text as text in an embedded typeface.
    pub fn pdf(&self) -> Vec<u8> {
        pdf::file(&self.scene, self.figure)
    }

    /// A PNG file of 300 pixels per inch.
    pub fn png(&self) -> Result<Vec<u8>, FigureError> {
        let size = (units(self.scene.width) as u32, units(self.scene.height) as u32);
        let mut raster = Raster::new(size, PIXELS_PER_INCH / 72.0 / UNITS);
        paint(&self.scene, &mut raster, self.figure)?;
        raster.png(PIXELS_PER_INCH).map_err(|error| FigureError::Backend(self.figure.name.clone(), error.to_string()))
    }
}

/// The part of the typeface that these figures use, as rules of a style sheet that load nothing.
pub fn web_fonts<'a>(drawings: impl IntoIterator<Item = &'a Drawing<'a>>) -> String {
    let mut faces: BTreeMap<Face, BTreeSet<char>> = BTreeMap::new();
    for drawing in drawings {
        for (face, characters) in drawing.scene.characters() {
            faces.entry(face).or_default().extend(characters);
        }
    }
    let rule = |(face, characters): (Face, BTreeSet<char>)| {
        let weight = if face == Face::Bold { "bold" } else { "normal" };
        let data = base64(&Subset::new(face, characters).bytes);
        format!("@font-face{{font-family:\"{FAMILY}\";font-weight:{weight};src:url(data:font/ttf;base64,{data})}}")
    };
    faces.into_iter().map(rule).collect()
}

/// The embedded typeface in a style sheet.
const FAMILY: &str = "DejaVu Sans";

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0usize, |bits, k| bits << 8 | usize::from(group.get(k).copied().unwrap_or(0)));
        for k in 0..4 {
            text.push(if k <= group.len() { char::from(LETTERS[bits >> (18 - 6 * k) & 63]) } else { '=' });
        }
    }
    text
}

fn laid_out(figure: &Figure) -> Result<Scene, FigureError> {
    if figure.panels.is_empty() {
        return Err(FigureError::NoPanel(figure.name.clone()));
    }
    for layer in figure.panels.iter().flat_map(|panel| &panel.layers) {
        if let Layer::Heat(map) = layer {
            let rows = map.values.len().checked_div(map.columns).unwrap_or(0);
            if map.columns < 2 || rows < 2 || rows * map.columns != map.values.len() {
                return Err(FigureError::HeatMap(figure.name.clone()));
            }
        }
    }
    Ok(layout::scene(figure))
}

fn units(points: f64) -> i32 {
    (points * UNITS).round() as i32
}

fn color(Rgb(r, g, b): Rgb, opacity: f64) -> RGBAColor {
    RGBColor(r, g, b).mix(opacity)
}

fn paint<DB: DrawingBackend>(scene: &Scene, backend: &mut DB, figure: &Figure) -> Result<(), FigureError> {
    register_typeface();
    let place = |&(x, y): &(f64, f64)| (units(x), units(y));
    for shape in &scene.shapes {
        match shape {
            Shape::Stroke { points, width, color: ink } => {
                let style = color(*ink, 1.0).stroke_width(units(*width) as u32);
                backend.draw_path(points.iter().map(place), &style)
            }
            Shape::Fill { loops, color: ink, opacity } => {
                backend.fill_polygon(joined(loops).iter().map(place), &color(*ink, *opacity).filled())
            }
            Shape::Text { text, at, font, align, upward } => {
                let style = if font.bold { FontStyle::Bold } else { FontStyle::Normal };
                // plotters' SVG backend divides by 1.24.
                let face = (typeface::FAMILIES, font.em * UNITS * 1.24, style).into_font();
                let face = face.transform(if *upward { FontTransform::Rotate270 } else { FontTransform::None });
                let anchor = match align {
                    Align::Start => HPos::Left,
                    Align::Middle => HPos::Center,
                    Align::End => HPos::Right,
                };
                let ink = color(font.color, 1.0);
                let style = TextStyle::from(face).color(&ink).pos(Pos::new(anchor, VPos::Center));
                let raised = typeface::MIDDLE * font.em;
                let middle = if *upward { (at.0 - raised, at.1) } else { (at.0, at.1 - raised) };
                backend.draw_text(text, &style, place(&middle))
            }
        }
        .map_err(|error| FigureError::Backend(figure.name.clone(), error.to_string()))?;
    }
    backend.present().map_err(|error| FigureError::Backend(figure.name.clone(), error.to_string()))
}

/// plotters refuses families it does not know, even where a backend only writes their name.
fn register_typeface() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        for (style, bytes) in [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())] {
            assert!(
                register_font(typeface::FAMILIES, style, bytes).is_ok(),
                "the embedded typeface is a valid font file"
            );
        }
    });
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Axis, HeatMap, Panel, Width};

    fn plain() -> Figure {
        let line = Layer::Line {
            label: "a < b".into(),
            points: vec![(0.0, 0.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, f64::INFINITY)],
        };
        Figure::new("plain", "test", Width::Column)
            .title("A & B")
            .panel(Panel::new("", Axis::linear("x"), Axis::linear("y")).layer(line))
    }

    #[test]
    fn every_format_is_drawn_twice_alike() {
        let figure = plain();
        let drawing = Drawing::new(&figure).unwrap();
        let svg = drawing.svg().unwrap();
        assert_eq!(svg, Drawing::new(&figure).unwrap().svg().unwrap());
        assert!(svg.contains("<title>A &amp; B</title>") && svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("@font-face") && !drawing.inline().unwrap().contains("@font-face"));
        let picture = drawing.png().unwrap();
        assert_eq!(picture, drawing.png().unwrap());
        // 3.25 inches at 300 pixels per inch.
        assert_eq!(u32::from_be_bytes(picture[16..20].try_into().unwrap()), 975);
        assert_eq!(drawing.pdf(), drawing.pdf());
    }

    #[test]
    fn bytes_are_written_in_base_64() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let empty = Figure::new("empty", "test", Width::Column);
        assert_eq!(Drawing::new(&empty).err(), Some(FigureError::NoPanel("empty".into())));
        let mut map = HeatMap::sample((0.0, 1.0), (0.0, 1.0), (2, 2), |x, _| x);
        map.values.pop();
        let figure = empty.panel(Panel::new("", Axis::linear("x"), Axis::linear("y")).layer(Layer::Heat(map)));
        assert_eq!(Drawing::new(&figure).err(), Some(FigureError::HeatMap("empty".into())));
    }
}
