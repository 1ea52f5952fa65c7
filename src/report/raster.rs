//! A bitmap backend for plotters that paints with exact coverage, so that thin lines and small text look right.

use super::typeface::{self, Curve, MIDDLE};
use ab_glyph_rasterizer::{Point, Rasterizer, point};
use plotters::style::FontTransform;
use plotters::style::text_anchor::HPos;
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;

/// An RGB image that is addressed in fine units.
pub(super) struct Raster {
    size: (u32, u32),
    pixels_per_unit: f64,
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// Number of corners of the polygon that stands for a disc.
const DISC: usize = 24;

type Outcome = Result<(), DrawingErrorKind<Infallible>>;

impl Raster {
    /// A white image of `size` units.
    pub fn new(size: (u32, u32), pixels_per_unit: f64) -> Self {
        let pixels = |units: u32| (f64::from(units) * pixels_per_unit).ceil() as usize;
        let (width, height) = (pixels(size.0), pixels(size.1));
        Self { size, pixels_per_unit, width, height, rgb: vec![255; 3 * width * height] }
    }

    /// The image as a PNG file that states its resolution.
    pub fn png(&self, pixels_per_inch: f64) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Best);
        let per_meter = (pixels_per_inch / 0.0254).round() as u32;
        encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: per_meter, yppu: per_meter, unit: png::Unit::Meter }));
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        Ok(bytes)
    }

    fn pixel_place(&self, (x, y): BackendCoord) -> (f64, f64) {
        (f64::from(x) * self.pixels_per_unit, f64::from(y) * self.pixels_per_unit)
    }

    /// Paints the union of closed contours of one orientation, in pixels; curves of a glyph likewise.
    fn paint(
        &mut self,
        color: BackendColor,
        points: impl Iterator<Item = (f64, f64)> + Clone,
        draw: impl FnOnce(&mut Rasterizer, (f64, f64)),
    ) {
        let bounds = points.fold((f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY), |b, p| {
            (b.0.min(p.0), b.1.min(p.1), b.2.max(p.0), b.3.max(p.1))
        });
        // Nothing is painted outside the image.
        let left = bounds.0.floor().max(-64.0);
        let top = bounds.1.floor().max(-64.0);
        let right = bounds.2.ceil().min(self.width as f64 + 64.0);
        let bottom = bounds.3.ceil().min(self.height as f64 + 64.0);
        if !(right > left && bottom > top) {
            return;
        }
        let mut rasterizer = Rasterizer::new((right - left) as usize + 2, (bottom - top) as usize + 2);
        draw(&mut rasterizer, (left, top));
        let (width, height, alpha) = (self.width as i64, self.height as i64, color.alpha);
        let (r, g, b) = color.rgb;
        let rgb = &mut self.rgb;
        rasterizer.for_each_pixel_2d(|x, y, coverage| {
            let (x, y) = (left as i64 + i64::from(x), top as i64 + i64::from(y));
            if coverage > 0.0 && (0..width).contains(&x) && (0..height).contains(&y) {
                let opacity = f64::from(coverage.min(1.0)) * alpha;
                let at = 3 * (y * width + x) as usize;
                for (value, target) in rgb[at..at + 3].iter_mut().zip([r, g, b]) {
                    *value = (f64::from(*value) + (f64::from(target) - f64::from(*value)) * opacity).round() as u8;
                }
            }
        });
    }

    fn paint_polygons(&mut self, color: BackendColor, polygons: &[Vec<(f64, f64)>]) {
        self.paint(color, polygons.iter().flatten().copied(), |rasterizer, origin| {
            for polygon in polygons {
                contour(rasterizer, polygon, origin);
            }
        });
    }
}

/// Draws a closed polygon, turned to positive orientation so that overlapping ones unite.
fn contour(rasterizer: &mut Rasterizer, polygon: &[(f64, f64)], origin: (f64, f64)) {
    let next = |k: usize| polygon[(k + 1) % polygon.len()];
    let area: f64 = polygon.iter().enumerate().map(|(k, p)| p.0 * next(k).1 - next(k).0 * p.1).sum();
    for (k, &p) in polygon.iter().enumerate() {
        let (from, to) = if area >= 0.0 { (p, next(k)) } else { (next(k), p) };
        rasterizer.draw_line(relative(from, origin), relative(to, origin));
    }
}

fn relative(p: (f64, f64), origin: (f64, f64)) -> Point {
    point((p.0 - origin.0) as f32, (p.1 - origin.1) as f32)
}

fn disc(center: (f64, f64), radius: f64) -> Vec<(f64, f64)> {
    let corner = |k: usize| std::f64::consts::TAU * k as f64 / DISC as f64;
    (0..DISC).map(|k| (center.0 + radius * corner(k).cos(), center.1 + radius * corner(k).sin())).collect()
}

impl DrawingBackend for Raster {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Outcome {
        Ok(())
    }

    fn present(&mut self) -> Outcome {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Outcome {
        let square = [(at.0, at.1), (at.0 + 1, at.1), (at.0 + 1, at.1 + 1), (at.0, at.1 + 1)];
        let square = square.iter().map(|&p| self.pixel_place(p)).collect();
        self.paint_polygons(color, &[square]);
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Outcome {
        let points: Vec<(f64, f64)> = path.into_iter().map(|p| self.pixel_place(p)).collect();
        let radius = f64::from(style.stroke_width()) * self.pixels_per_unit / 2.0;
        let mut polygons = Vec::new();
        for pair in points.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let length = (b.0 - a.0).hypot(b.1 - a.1);
            if length > 0.0 {
                let (x, y) = (-(b.1 - a.1) / length * radius, (b.0 - a.0) / length * radius);
                polygons.push(vec![(a.0 + x, a.1 + y), (b.0 + x, b.1 + y), (b.0 - x, b.1 - y), (a.0 - x, a.1 - y)]);
            }
        }
        let inner = points.len().saturating_sub(1).max(1);
        polygons.extend(points[1.min(points.len())..inner.min(points.len())].iter().map(|&p| disc(p, radius)));
        self.paint_polygons(style.color(), &polygons);
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Outcome {
        let polygon: Vec<(f64, f64)> = path.into_iter().map(|p| self.pixel_place(p)).collect();
        self.paint_polygons(style.color(), &[polygon]);
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Outcome {
        // plotters' SVG backend writes the size of an em as size / 1.24.
        let em = style.size() / 1.24 * self.pixels_per_unit;
        let bold = matches!(style.style(), plotters::style::FontStyle::Bold);
        let start = -typeface::width(text, bold)
            * match style.anchor().h_pos {
                HPos::Left => 0.0,
                HPos::Center => 0.5,
                HPos::Right => 1.0,
            };
        let at = self.pixel_place(at);
        let upward = matches!(style.transform(), FontTransform::Rotate270);
        let place = |x: f32, y: f32| {
            let (right, down) = ((start + f64::from(x)) * em, (MIDDLE - f64::from(y)) * em);
            if upward { (at.0 + down, at.1 - right) } else { (at.0 + right, at.1 + down) }
        };
        let curves = typeface::outlines(text, bold);
        let points: Vec<(f64, f64)> = curves.iter().flat_map(ends).map(|p| place(p.0, p.1)).collect();
        self.paint(style.color(), points.iter().copied(), |rasterizer, origin| {
            let place = |p: &ab_glyph::Point| relative(place(p.x, p.y), origin);
            for curve in &curves {
                match curve {
                    Curve::Line(a, b) => rasterizer.draw_line(place(a), place(b)),
                    Curve::Quad(a, b, c) => rasterizer.draw_quad(place(a), place(b), place(c)),
                    Curve::Cubic(a, b, c, d) => rasterizer.draw_cubic(place(a), place(b), place(c), place(d)),
                }
            }
        });
        Ok(())
    }
}

/// Control points of a curve; the curve lies in their hull.
fn ends(curve: &Curve) -> Vec<(f32, f32)> {
    match curve {
        Curve::Line(a, b) => vec![(a.x, a.y), (b.x, b.y)],
        Curve::Quad(a, b, c) => vec![(a.x, a.y), (b.x, b.y), (c.x, c.y)],
        Curve::Cubic(a, b, c, d) => vec![(a.x, a.y), (b.x, b.y), (c.x, c.y), (d.x, d.y)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::{Color, RGBColor};

    #[test]
    fn overlapping_segments_of_a_stroke_unite() {
        let mut raster = Raster::new((40, 40), 1.0);
        let style = Color::stroke_width(&RGBColor(0, 0, 0).mix(0.5), 8);
        raster.draw_path([(10, 10), (30, 10), (10, 12)], &style).unwrap();
        // Half-transparent black over white everywhere inside, never darker where segments overlap: 255 / 2 rounded.
        let value = raster.rgb[3 * (11 * 40 + 20)];
        assert_eq!(value, 128);
    }

    #[test]
    fn shapes_outside_the_image_are_cut() {
        let mut raster = Raster::new((10, 10), 1.0);
        let style = RGBColor(0, 0, 0).filled();
        raster.fill_polygon([(-1000, -1000), (1000, -1000), (1000, 1000), (-1000, 1000)], &style).unwrap();
        assert!(raster.rgb.iter().all(|v| *v == 0));
    }
}
