//! Gradients and update in one pass over the latents: the gradient of a latent is used up while it is in the cache.
//!
//! One after the other, [`Backward::run`] writes 4 n_q (n_p + n_r) bytes of gradients and [`update::step`] reads them again, beside the 24 n_q (n_p + n_r)
//! bytes of weights and moments that any update moves. Here a task has room for the gradients of [`CHUNK`] latents, which it uses again and again.
//! The bits are those of the two operations: it is made of their kernels, for a few latents at a time.
//!
//! This needs everything that a latent sums up at once: tables of residuals and of x' that are one panel each, one kind of codes, no clipping,
//! which needs the norm of the whole gradient first, and no b_p, whose gradient is a sum over weights before the update.

use super::backward::{self, Backward, Panel, Soon, Source, Sums, pack, take};
use super::codes::ByLatent;
use super::integer::PanelMut;
use super::state::{CHUNK, Grads, OptState, Params};
use super::update::{self, AnchorIndex, Phase, Rates, Work};
use crate::backend::Spec;
use crate::sdl::{Parameter, Shape};
use rayon::prelude::*;

/// Chunks of latents that one task goes through.
const GROUP: usize = 8;

/// True if tables of so many residuals and samples are one panel each.
pub fn fits(shape: Shape, lines: usize, rows: usize) -> bool {
    backward::is_one_panel(shape.n_r, lines) && backward::is_one_panel(shape.n_p, rows)
}

/// Rows of a matrix and their moments.
struct Rows<'a> {
    w: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl<'a> Rows<'a> {
    /// Takes the first numbers.
    fn take(&mut self, count: usize) -> Rows<'a> {
        let Self { w, m, v } = self;
        let second = count.min(v.len());
        Rows { w: take(w, count), m: take(m, count), v: take(v, second) }
    }
}

/// A few latents.
struct Chunk<'a> {
    first: usize,
    encoder: Rows<'a>,
    decoder: Rows<'a>,
    live: &'a [bool],
    sums: &'a mut [Sums],
    products: &'a mut [f32],
    norms: &'a mut [f32],
    panel: Option<PanelMut<'a>>,
    squares: [&'a mut f64; 2],
}

/// What all tasks read.
struct Shared<'a> {
    of: Backward<'a>,
    source: &'a Source<'a>,
    codes: &'a ByLatent,
    residuals: Panel<'a>,
    inputs: Panel<'a>,
    work: Work<'a>,
    moving: &'a [bool],
    still: &'a [f32],
}

/// Adds up the gradient of every latent and updates the latent with it. Returns the squared norms of both matrices' gradients.
pub fn run(
    of: Backward<'_>,
    source: &Source<'_>,
    codes: &ByLatent,
    (spec, anchors, rates): (&Spec, &AnchorIndex, Rates),
    params: &mut Params,
    opt: &mut OptState,
    grads: &mut Grads,
) -> [f64; 2] {
    let Shape { n_p, n_r, n_q } = of.shape;
    let rows = of.weights.len();
    let Grads { encoder: encoder_room, decoder: decoder_room, live, sums, squares, still, scratch, .. } = grads;
    let backward::Scratch { panel, inputs, products, .. } = scratch;
    for (i, live) in live.iter_mut().enumerate() {
        *live = !codes.of(i).is_empty() || anchors.of(i).is_some();
    }
    sums.fill(Sums::default());
    products.clear();
    products.resize(codes.entries.len(), 0.0);
    let residuals = pack(source.residuals, n_r, &(0..n_r), rows * source.parts, panel);
    let residuals = Panel { of, source, codes, rows: residuals, columns: 0..n_r };
    let inputs = Panel { of, source, codes, rows: pack(of.x, n_p, &(0..n_p), rows, inputs), columns: 0..n_p };
    let work = Work { spec, isa: of.isa, anchors, rates, phase: Phase::Both };
    let shared = Shared { of, source, codes, residuals, inputs, work, moving: &opt.moving, still };

    let Params { model, norms, packed, .. } = params;
    let ([w_e, w_d], [m_e, m_d]) = (model.tensors.matrices_mut(), opt.first.matrices_mut());
    let [v_e, v_d] = opt.second.as_mut().map(|second| second.matrices_mut()).unwrap_or_default();
    let (mut encoder, mut decoder) = (Rows { w: w_e, m: m_e, v: v_e }, Rows { w: w_d, m: m_d, v: v_d });
    let mut panels = packed.as_mut().map(|packed| packed.panels_mut().collect::<Vec<_>>().into_iter());
    let (mut live, mut sums, mut products, mut norms) = (&**live, &mut sums[..], &mut products[..], &mut norms[..]);
    let [of_encoder, of_decoder] = squares;
    let mut chunks = Vec::with_capacity(n_q.div_ceil(CHUNK));
    for (first, squares) in (0..n_q).step_by(CHUNK).zip(of_encoder.iter_mut().zip(of_decoder)) {
        let count = CHUNK.min(n_q - first);
        let own;
        (own, live) = live.split_at(count);
        chunks.push(Chunk {
            first,
            encoder: encoder.take(count * n_p),
            decoder: decoder.take(count * n_r),
            live: own,
            sums: take(&mut sums, count),
            products: take(&mut products, codes.offsets[first + count] - codes.offsets[first]),
            norms: take(&mut norms, count),
            panel: panels.as_mut().and_then(Iterator::next),
            squares: [squares.0, squares.1],
        });
    }
    let rooms = encoder_room.par_chunks_mut(GROUP * CHUNK * n_p).zip(decoder_room.par_chunks_mut(GROUP * CHUNK * n_r));
    chunks.par_chunks_mut(GROUP).zip(rooms).for_each(|(chunks, (encoder, decoder))| {
        for chunk in chunks {
            let count = chunk.live.len();
            chunk.run(&shared, &mut encoder[..count * n_p], &mut decoder[..count * n_r]);
        }
    });
    drop(chunks);
    grads.squares.each_ref().map(|squares| squares.iter().sum())
}

/// Latents that have no gradient yet.
const NONE: [bool; CHUNK] = [false; CHUNK];

impl Chunk<'_> {
    /// The arguments of the kernels, one after the other. `encoder` and `decoder` are room for gradients.
    fn run(&mut self, shared: &Shared<'_>, encoder: &mut [f32], decoder: &mut [f32]) {
        let &Shared { of, source, codes, work, moving, still, .. } = shared;
        let (isa, Shape { n_p, n_r, .. }, first) = (of.isa, of.shape, self.first);
        let live = self.live;
        let soon = Soon {
            decoder: [&*self.decoder.m, &*self.decoder.v],
            encoder: [&*self.encoder.w, &*self.encoder.m, &*self.encoder.v],
        };
        let mut chunk = backward::Chunk {
            first,
            columns: &*self.decoder.w,
            encoder: &mut *encoder,
            decoder: &mut *decoder,
            live: &NONE[..live.len()],
            sums: &mut *self.sums,
            products: &mut *self.products,
            gates: &mut [],
            soon: Some(&soon),
        };
        isa.run(backward::Decoder { panel: &shared.residuals, chunk: &mut chunk });
        isa.run(backward::Latents { of, source, codes, chunk: &mut chunk });
        isa.run(backward::Encoder { panel: &shared.inputs, chunk: &mut chunk });
        // Anchored latents have a gradient in any case.
        for j in (0..live.len()).filter(|j| live[*j] && codes.of(first + j).is_empty()) {
            encoder[j * n_p..(j + 1) * n_p].fill(0.0);
            decoder[j * n_r..(j + 1) * n_r].fill(0.0);
        }
        let both = [
            (Parameter::Encoder, n_p, &mut self.encoder, encoder, self.panel.take()),
            (Parameter::Decoder, n_r, &mut self.decoder, decoder, None),
        ];
        for ((parameter, columns, Rows { w, m, v }, g, panel), squares) in both.into_iter().zip(&mut self.squares) {
            let (norms, still) = (&mut *self.norms, &still[..columns]);
            **squares = isa.run(update::Chunk {
                work,
                parameter,
                first,
                columns,
                moving,
                w,
                m,
                v,
                g,
                live,
                norms,
                panel,
                still,
            });
        }
    }
}
