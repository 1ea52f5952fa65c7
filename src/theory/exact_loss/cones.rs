//! ℓ(A) in closed form for (shifted) exponential magnitudes, any number of active features and any threshold.
//!
//! The magnitudes y = m + h s, s_j ~ Exp(1) independent, fill the orthant with vertex (m, .., m). The hyperplanes ⟨a_i, y⟩ = c,
//! a_i = (⟨w_i, p_d⟩)_{d ∈ A}, cut it into pieces on which the residual is linear. Every piece is kept as a simplex with some vertices
//! x_j at infinity (rays g_l): in homogeneous coordinates (τ, y) it is a simplicial cone, and cutting an edge of it by a hyperplane
//! leaves two. With η(y) = Σ (y_k − m)/h, rays scaled to Σ_k g_k = h, and the volume factor ν of the piece, Hermite and Genocchi give
//!
//! ```text
//!     E[‖Q y‖²; piece] = ν ∫ ‖Σ θ_j Q x_j + Σ ρ_l Q g_l‖² e^{−Σ θ_j η(x_j) − Σ ρ_l} dθ dρ
//!                      = ν (Σ_jj' ⟨Q x_j, Q x_j'⟩ T_jj' + 2 Σ_j ⟨Q x_j, s⟩ T_j + (‖s‖² + Σ_l ‖Q g_l‖²) T),   s = Σ_l Q g_l
//! ```
//!
//! where T = exp[−η(x_1), ..] is a divided difference and each index of T repeats its node once (T_jj twice, times 2).
//! The number of pieces grows like (number of rows that change sign)^(|A| − 1).

use super::divided::exponential;
use super::{ExactLossError, Restricted};
use faer::Mat;

/// Largest number of pieces of one active set.
pub const PIECES: usize = 1 << 20;

/// A vertex (τ = 1) or a ray (τ = 0) with the coordinates y.
#[derive(Debug, Clone)]
struct Generator {
    vertex: bool,
    y: Vec<f64>,
}

struct Integration<'a> {
    model: &'a Restricted<'a>,
    shift: f64,
    scale: f64,
    pieces: usize,
    total: f64,
}

/// E ‖R y − V σ_c(A y)‖² over independent y_k = shift + scale·Exp(1).
pub(super) fn expected_loss(model: &Restricted<'_>, shift: f64, scale: f64) -> Result<f64, ExactLossError> {
    let k = model.A.ncols();
    let apex = Generator { vertex: true, y: vec![shift; k] };
    let ray = |j: usize| Generator { vertex: false, y: (0..k).map(|l| if l == j { scale } else { 0.0 }).collect() };
    let orthant: Vec<Generator> = std::iter::once(apex).chain((0..k).map(ray)).collect();
    let mut integration = Integration { model, shift, scale, pieces: 0, total: 0.0 };
    integration.cut(orthant, 1.0, 0, model.R.clone())?;
    Ok(integration.total)
}

impl Integration<'_> {
    /// Cuts a piece with volume factor `volume` by the rows from `row` on; `Q` holds the residual of the rows before.
    fn cut(&mut self, piece: Vec<Generator>, volume: f64, row: usize, Q: Mat<f64>) -> Result<(), ExactLossError> {
        if row < self.model.A.nrows() {
            let sides = piece.iter().map(|g| self.side(row, g)).collect();
            return self.split(piece, sides, volume, row, Q);
        }
        self.pieces += 1;
        if self.pieces > PIECES {
            return Err(ExactLossError::TooLarge { what: "linear pieces of the model", limit: PIECES });
        }
        self.total += volume * self.integrate(&piece, &Q);
        Ok(())
    }

    /// Splits a piece until no edge joins the two sides of the row's hyperplane. Every split turns one generator off the
    /// hyperplane into one on it, so that this ends.
    fn split(
        &mut self,
        piece: Vec<Generator>,
        sides: Vec<f64>,
        volume: f64,
        row: usize,
        Q: Mat<f64>,
    ) -> Result<(), ExactLossError> {
        let above = (0..piece.len()).filter(|&g| sides[g] > 0.0).max_by(|&g, &h| sides[g].total_cmp(&sides[h]));
        let below = (0..piece.len()).filter(|&g| sides[g] < 0.0).min_by(|&g, &h| sides[g].total_cmp(&sides[h]));
        match (above, below) {
            (Some(above), Some(below)) => {
                let sum = sides[above] - sides[below];
                let (of_below, of_above) = (sides[above] / sum, -sides[below] / sum);
                let (g, h) = (&piece[above], &piece[below]);
                let tau = of_above * f64::from(u8::from(g.vertex)) + of_below * f64::from(u8::from(h.vertex));
                // A mixture with a vertex is a vertex again, at τ = 1.
                let (vertex, by) = if g.vertex || h.vertex { (true, tau) } else { (false, 1.0) };
                let mix = |(x, z): (&f64, &f64)| (of_above * x + of_below * z) / by;
                let mixture = Generator { vertex, y: g.y.iter().zip(&h.y).map(mix).collect() };
                for (replaced, share) in [(above, of_above), (below, of_below)] {
                    let (mut part, mut part_sides) = (piece.clone(), sides.clone());
                    part[replaced] = mixture.clone();
                    part_sides[replaced] = 0.0;
                    self.split(part, part_sides, volume * share / by, row, Q.clone())?;
                }
                Ok(())
            }
            (Some(_), None) => {
                let fires = self.model.V.col(row) * self.model.A.row(row);
                self.cut(piece, volume, row + 1, Q - fires)
            }
            (None, _) => self.cut(piece, volume, row + 1, Q),
        }
    }

    /// ⟨a_row, y⟩ − cτ, with what is zero up to rounding set to 0, so that no slivers are cut off.
    fn side(&self, row: usize, generator: &Generator) -> f64 {
        let mut value = if generator.vertex { -self.model.c } else { 0.0 };
        let mut size = value.abs();
        for (a, y) in self.model.A.row(row).iter().zip(&generator.y) {
            value += a * y;
            size += (a * y).abs();
        }
        if value.abs() <= 1e-14 * size { 0.0 } else { value }
    }

    fn integrate(&self, piece: &[Generator], Q: &Mat<f64>) -> f64 {
        let image = |g: &Generator| Q * faer::ColRef::from_slice(&g.y);
        let (vertices, rays): (Vec<&Generator>, Vec<&Generator>) = piece.iter().partition(|g| g.vertex);
        let nodes: Vec<f64> =
            vertices.iter().map(|x| -x.y.iter().map(|y| (y - self.shift) / self.scale).sum::<f64>()).collect();
        let with = |extra: &[usize]| {
            exponential(&nodes.iter().copied().chain(extra.iter().map(|&j| nodes[j])).collect::<Vec<_>>())
        };
        let images: Vec<_> = vertices.iter().map(|x| image(x)).collect();
        let mut s = faer::Col::<f64>::zeros(Q.nrows());
        let mut squares = 0.0;
        for ray in rays {
            let image = image(ray);
            squares += image.squared_norm_l2();
            s += image;
        }
        let mut total = (s.squared_norm_l2() + squares) * with(&[]);
        for (j, x) in images.iter().enumerate() {
            total += 2.0 * (x.transpose() * &s) * with(&[j]) + 2.0 * x.squared_norm_l2() * with(&[j, j]);
            for (l, z) in images.iter().enumerate().skip(j + 1) {
                total += 2.0 * (x.transpose() * z) * with(&[j, l]);
            }
        }
        total
    }
}
