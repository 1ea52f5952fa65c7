//! The works that claims cite, as BibTeX.

/// A work that can be cited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Citation key.
    pub key: &'static str,
    /// The whole BibTeX entry.
    pub bibtex: &'static str,
}

impl Source {
    /// The value of a BibTeX field.
    pub fn field(&self, name: &str) -> Option<&'static str> {
        let lines = self.bibtex.lines().map(str::trim);
        let mut fields = lines.filter_map(|line| line.split_once(" = {"));
        let (_, value) = fields.find(|(field, _)| *field == name)?;
        Some(value.trim_end_matches(',').trim_end_matches('}'))
    }

    /// Authors, title, year and DOI in one line.
    pub fn sentence(&self) -> String {
        let part = |name| self.field(name).unwrap_or_default();
        let doi = self.field("doi").map_or(String::new(), |doi| format!(", doi:{doi}"));
        format!("{}: {} ({}){doi}", part("author").replace(" and ", "; "), part("title"), part("year"))
    }
}

/// The paper whose claims these are.
pub const PAPER: Source = Source {
    key: "tang2025unified",
    bibtex: "@misc{tang2025unified,
  author = {Tang, Yiming and Saini, Harshvardhan and Yao, Zhaoqian and Lin, Zheng and Liao, Yizhen and Li, Qianxiao and Du, Mengnan and Liu, Dianbo},
  title = {A Unified Theory of Sparse Dictionary Learning in Mechanistic Interpretability: Piecewise Biconvexity and Spurious Minima},
  year = {2025},
  eprint = {2512.05534},
  archiveprefix = {arXiv},
  note = {Version 3}
}
",
};

/// Partial optima and alternating convex search.
pub const GORSKI_2007: Source = Source {
    key: "gorski2007biconvex",
    bibtex: "@article{gorski2007biconvex,
  author = {Gorski, Jochen and Pfeuffer, Frank and Klamroth, Kathrin},
  title = {Biconvex sets and optimization with biconvex functions: a survey and extensions},
  journal = {Mathematical Methods of Operations Research},
  volume = {66},
  number = {3},
  pages = {373--407},
  year = {2007},
  doi = {10.1007/s00186-007-0161-1}
}
",
};

/// Resampling of dead neurons.
pub const BRICKEN_2023: Source = Source {
    key: "bricken2023monosemanticity",
    bibtex: "@article{bricken2023monosemanticity,
  author = {Bricken, Trenton and Templeton, Adly and Batson, Joshua and Chen, Brian and Jermyn, Adam and Conerly, Tom and Turner, Nick and Anil, Cem and Denison, Carson and Askell, Amanda and Lasenby, Robert and Wu, Yifan and Kravec, Shauna and Schiefer, Nicholas and Maxwell, Tim and Joseph, Nicholas and Hatfield-Dodds, Zac and Tamkin, Alex and Nguyen, Karina and McLean, Brayden and Burke, Josiah E. and Hume, Tristan and Carter, Shan and Henighan, Tom and Olah, Christopher},
  title = {Towards Monosemanticity: Decomposing Language Models With Dictionary Learning},
  journal = {Transformer Circuits Thread},
  year = {2023},
  url = {https://transformer-circuits.pub/2023/monosemantic-features/index.html}
}
",
};

/// Exponential generating functions of set partitions.
pub const FLAJOLET_2009: Source = Source {
    key: "flajolet2009analytic",
    bibtex: "@book{flajolet2009analytic,
  author = {Flajolet, Philippe and Sedgewick, Robert},
  title = {Analytic Combinatorics},
  publisher = {Cambridge University Press},
  year = {2009},
  doi = {10.1017/CBO9780511801655}
}
",
};

/// Counts of the cells of hyperplane arrangements.
pub const COVER_1965: Source = Source {
    key: "cover1965geometrical",
    bibtex: "@article{cover1965geometrical,
  author = {Cover, Thomas M.},
  title = {Geometrical and Statistical Properties of Systems of Linear Inequalities with Applications in Pattern Recognition},
  journal = {IEEE Transactions on Electronic Computers},
  volume = {EC-14},
  number = {3},
  pages = {326--334},
  year = {1965},
  doi = {10.1109/PGEC.1965.264137}
}
",
};

/// The probability that random directions lie in one half-space.
pub const WENDEL_1962: Source = Source {
    key: "wendel1962problem",
    bibtex: "@article{wendel1962problem,
  author = {Wendel, J. G.},
  title = {A Problem in Geometric Probability},
  journal = {Mathematica Scandinavica},
  volume = {11},
  pages = {109--111},
  year = {1962},
  doi = {10.7146/math.scand.a-10655}
}
",
};

/// Semi-nonnegative factorization: where the sign of one factor costs nothing.
pub const GILLIS_KUMAR_2015: Source = Source {
    key: "gillis2015seminmf",
    bibtex: "@article{gillis2015seminmf,
  author = {Gillis, Nicolas and Kumar, Abhishek},
  title = {Exact and heuristic algorithms for semi-nonnegative matrix factorization},
  journal = {SIAM Journal on Matrix Analysis and Applications},
  volume = {36},
  number = {4},
  pages = {1404--1424},
  year = {2015},
  doi = {10.1137/140993272}
}
",
};

/// Feature absorption.
pub const CHANIN_2025: Source = Source {
    key: "chanin2025absorption",
    bibtex: "@misc{chanin2025absorption,
  author = {Chanin, David and Wilken-Smith, James and Dulka, Tom{\\'a}{\\v{s}} and Bhatnagar, Hardik and Golechha, Satvik and Bloom, Joseph},
  title = {A is for Absorption: Studying Feature Splitting and Absorption in Sparse Autoencoders},
  year = {2024},
  eprint = {2409.14507},
  archiveprefix = {arXiv}
}
",
};

/// Top-k activations.
pub const MAKHZANI_2014: Source = Source {
    key: "makhzani2014ksparse",
    bibtex: "@inproceedings{makhzani2014ksparse,
  author = {Makhzani, Alireza and Frey, Brendan},
  title = {k-Sparse Autoencoders},
  booktitle = {International Conference on Learning Representations},
  year = {2014},
  eprint = {1312.5663},
  archiveprefix = {arXiv}
}
",
};

/// The bound on the largest absolute inner product of unit vectors.
pub const WELCH_1974: Source = Source {
    key: "welch1974lower",
    bibtex: "@article{welch1974lower,
  author = {Welch, Lloyd R.},
  title = {Lower bounds on the maximum cross correlation of signals},
  journal = {IEEE Transactions on Information Theory},
  volume = {20},
  number = {3},
  pages = {397--399},
  year = {1974},
  doi = {10.1109/TIT.1974.1055219}
}
",
};

/// The largest inner product of up to 2n_p unit vectors.
pub const RANKIN_1955: Source = Source {
    key: "rankin1955closest",
    bibtex: "@article{rankin1955closest,
  author = {Rankin, R. A.},
  title = {The closest packing of spherical caps in n dimensions},
  journal = {Proceedings of the Glasgow Mathematical Association},
  volume = {2},
  number = {3},
  pages = {139--144},
  year = {1955},
  doi = {10.1017/S2040618500033219}
}
",
};

/// Top-k∘ReLU autoencoders.
pub const GAO_2024: Source = Source {
    key: "gao2024scaling",
    bibtex: "@misc{gao2024scaling,
  author = {Gao, Leo and la Tour, Tom Dupr{\\'e} and Tillman, Henk and Goh, Gabriel and Troll, Rajan and Radford, Alec and Sutskever, Ilya and Leike, Jan and Wu, Jeffrey},
  title = {Scaling and evaluating sparse autoencoders},
  year = {2024},
  eprint = {2406.04093},
  archiveprefix = {arXiv},
  doi = {10.48550/arXiv.2406.04093}
}
",
};

/// Batch-top-k.
pub const BUSSMANN_2024: Source = Source {
    key: "bussmann2024batchtopk",
    bibtex: "@misc{bussmann2024batchtopk,
  author = {Bussmann, Bart and Leask, Patrick and Nanda, Neel},
  title = {BatchTopK Sparse Autoencoders},
  year = {2024},
  eprint = {2412.06410},
  archiveprefix = {arXiv},
  doi = {10.48550/arXiv.2412.06410}
}
",
};

/// Gated encoders.
pub const RAJAMANOHARAN_2024_GATED: Source = Source {
    key: "rajamanoharan2024gated",
    bibtex: "@misc{rajamanoharan2024gated,
  author = {Rajamanoharan, Senthooran and Conmy, Arthur and Smith, Lewis and Lieberum, Tom and Varma, Vikrant and Kram{\\'a}r, J{\\'a}nos and Shah, Rohin and Nanda, Neel},
  title = {Improving Dictionary Learning with Gated Sparse Autoencoders},
  year = {2024},
  eprint = {2404.16014},
  archiveprefix = {arXiv},
  doi = {10.48550/arXiv.2404.16014}
}
",
};

/// JumpReLU with one threshold for each neuron.
pub const RAJAMANOHARAN_2024_JUMP: Source = Source {
    key: "rajamanoharan2024jumping",
    bibtex: "@misc{rajamanoharan2024jumping,
  author = {Rajamanoharan, Senthooran and Lieberum, Tom and Sonnerat, Nicolas and Conmy, Arthur and Varma, Vikrant and Kram{\\'a}r, J{\\'a}nos and Nanda, Neel},
  title = {Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders},
  year = {2024},
  eprint = {2407.14435},
  archiveprefix = {arXiv},
  doi = {10.48550/arXiv.2407.14435}
}
",
};

/// The interval around a mean of bounded draws.
pub const HOEFFDING_1963: Source = Source {
    key: "hoeffding1963inequalities",
    bibtex: "@article{hoeffding1963inequalities,
  author = {Hoeffding, Wassily},
  title = {Probability Inequalities for Sums of Bounded Random Variables},
  journal = {Journal of the American Statistical Association},
  volume = {58},
  number = {301},
  pages = {13--30},
  year = {1963},
  doi = {10.1080/01621459.1963.10500830}
}
",
};

/// The law of the inner product of random unit vectors.
pub const MUIRHEAD_1982: Source = Source {
    key: "muirhead1982aspects",
    bibtex: "@book{muirhead1982aspects,
  author = {Muirhead, Robb J.},
  title = {Aspects of Multivariate Statistical Theory},
  publisher = {Wiley},
  year = {1982},
  doi = {10.1002/9780470316559}
}
",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::REGISTRY;

    #[test]
    fn every_source_names_its_author_title_and_year() {
        for source in REGISTRY.iter().flat_map(|claim| claim.sources).chain([&PAPER]) {
            for name in ["author", "title", "year"] {
                assert!(source.field(name).is_some_and(|value| !value.is_empty()), "{}: {name}", source.key);
            }
        }
    }

    #[test]
    fn a_source_is_cited_in_one_line() {
        assert_eq!(
            GORSKI_2007.sentence(),
            "Gorski, Jochen; Pfeuffer, Frank; Klamroth, Kathrin: Biconvex sets and optimization with biconvex functions: \
             a survey and extensions (2007), doi:10.1007/s00186-007-0161-1"
        );
    }
}
