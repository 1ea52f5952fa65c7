//! The works that claims cite, as BibTeX.

/// A work that can be cited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Citation key.
    pub key: &'static str,
    /// The whole BibTeX entry.
    pub bibtex: &'static str,
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
