//! Figures as SVG, PDF and PNG.

use super::palette::Rgb;
use super::raster::Raster;
use super::scene::{Align, Scene, Shape};
use super::{layout, pdf as document, typeface};
use crate::stats::{Figure, Layer};
use plotters::backend::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBAColor, RGBColor, TextStyle, register_font};
use plotters_backend::DrawingBackend;
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

/// The figure as a stand-alone SVG document with a title and a description.
pub fn svg(figure: &Figure) -> Result<String, FigureError> {
    let scene = laid_out(figure)?;
    let mut text = String::new();
    let size = (units(scene.width) as u32, units(scene.height) as u32);
    paint(&scene, &mut SVGBackend::with_string(&mut text, size), figure)?;
    // plotters measures in pixels and has no place for accessible names.
    let end = text.find(">\n").map_or(0, |at| at + 2);
    let head = format!(
        "<svg width=\"{:.1}pt\" height=\"{:.1}pt\" viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\" \
         role=\"img\" stroke-linejoin=\"round\">\n<title>{}</title>\n<desc>{}</desc>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n",
        scene.width,
        scene.height,
        size.0,
        size.1,
        escaped(&figure.title),
        escaped(&figure.caption)
    );
    Ok(head + &text[end..].replace(" opacity=\"1\"", ""))
}

/// The figure as a PNG file of 300 pixels per inch.
pub fn png(figure: &Figure) -> Result<Vec<u8>, FigureError> {
    let scene = laid_out(figure)?;
    let size = (units(scene.width) as u32, units(scene.height) as u32);
    let mut raster = Raster::new(size, PIXELS_PER_INCH / 72.0 / UNITS);
    paint(&scene, &mut raster, figure)?;
    raster.png(PIXELS_PER_INCH).map_err(|error| FigureError::Backend(figure.name.clone(), error.to_string()))
}

/// The figure as a PDF file of one page of the figure's size, with its text as text in an embedded typeface.
pub fn pdf(figure: &Figure) -> Result<Vec<u8>, FigureError> {
    Ok(document::file(&laid_out(figure)?, figure))
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
            Shape::Fill { corners, color: ink, opacity } => {
                backend.fill_polygon(corners.iter().map(place), &color(*ink, *opacity).filled())
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
        let (first, second) = (svg(&plain()).unwrap(), svg(&plain()).unwrap());
        assert_eq!(first, second);
        assert!(
            first.contains("<title>A &amp; B</title>") && first.contains("a &lt; b") && first.ends_with("</svg>\n")
        );
        let picture = png(&plain()).unwrap();
        assert_eq!(picture, png(&plain()).unwrap());
        // 3.25 inches at 300 pixels per inch.
        assert_eq!(u32::from_be_bytes(picture[16..20].try_into().unwrap()), 975);
        assert_eq!(pdf(&plain()).unwrap(), pdf(&plain()).unwrap());
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let empty = Figure::new("empty", "test", Width::Column);
        assert_eq!(svg(&empty), Err(FigureError::NoPanel("empty".into())));
        let mut map = HeatMap::sample((0.0, 1.0), (0.0, 1.0), (2, 2), |x, _| x);
        map.values.pop();
        let figure = empty.panel(Panel::new("", Axis::linear("x"), Axis::linear("y")).layer(Layer::Heat(map)));
        assert_eq!(svg(&figure), Err(FigureError::HeatMap("empty".into())));
    }
}
