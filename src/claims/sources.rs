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
