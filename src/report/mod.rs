//! Draws figures, sets tables, and writes the page.
//!
//! A [`crate::stats::Figure`] becomes a `scene` (shapes in points, laid out with the metrics of the embedded font), and
//! the scene becomes SVG through plotters' own backend, PNG through our raster, or PDF, so that all show the same picture. A
//! [`crate::stats::Table`] becomes terminal text, HTML, LaTeX or CSV. The outcomes of claims become a page, LaTeX commands, a
//! bibliography and an example article.

mod axis;
mod contour;
mod layer;
mod layout;
mod legend;
mod markup;
mod page_html;
mod palette;
mod pdf;
mod raster;
mod scene;
mod subset;
mod symbol;
mod symbols;
mod typeface;

pub mod bibliography;
pub mod choices;
pub mod claims;
pub mod comparison;
pub mod csv;
pub mod exhibits;
pub mod figure;
pub mod html;
pub mod latex;
pub mod ledger;
pub mod macros;
pub mod mathml;
pub mod page;
pub mod paper;
pub mod provenance;
pub mod terminal;
pub mod trainings;

pub use figure::FigureError;
