//! Draws figures, sets tables, and writes the page.
//!
//! A [`crate::stats::Figure`] becomes a `scene` (shapes in points, laid out with the metrics of the embedded font), and
//! the scene becomes SVG through plotters' own backend or PNG through ours, so both show the same picture. A
//! [`crate::stats::Table`] becomes terminal text, HTML or LaTeX.

mod axis;
mod contour;
pub mod csv;
mod layer;
mod layout;
mod legend;
mod markup;
mod palette;
mod pdf;
mod raster;
mod scene;
mod subset;
mod symbol;
mod symbols;
mod typeface;

pub mod claims;
pub mod figure;
pub mod html;
pub mod latex;
pub mod mathml;
pub mod page;
pub mod terminal;

pub use figure::FigureError;
