//! Citations of claims, and `references.bib`.

use super::latex;
use crate::claims::Claim;
use crate::claims::sources::{PAPER, Source};

/// The LaTeX citation of the place in the paper that a claim speaks of.
pub fn citation(claim: &Claim) -> String {
    let place = latex::inline(&claim.place.replace(". ", ".\u{a0}"));
    // A bracket would end the optional argument.
    let place = if place.contains(']') { format!("{{{place}}}") } else { place };
    format!("\\cite[{place}]{{{}}}", PAPER.key)
}

/// The paper and what the claim cites besides.
pub fn sources(claim: &Claim) -> Vec<Source> {
    std::iter::once(PAPER).chain(claim.sources.iter().copied()).collect()
}

/// BibTeX of the paper and of every work that the claims cite, each once, in the order of first use.
pub fn file<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> String {
    let mut works = vec![PAPER];
    for source in claims.into_iter().flat_map(|claim| claim.sources) {
        if works.iter().all(|known| known.key != source.key) {
            works.push(*source);
        }
    }
    works.iter().map(|source| source.bibtex.trim_end()).collect::<Vec<_>>().join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::REGISTRY;
    use std::collections::BTreeMap;

    #[test]
    fn every_entry_has_its_key_balanced_braces_and_one_meaning() {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for source in REGISTRY.iter().flat_map(sources) {
            let depth = source.bibtex.chars().fold(0i32, |d, c| d + i32::from(c == '{') - i32::from(c == '}'));
            assert!(source.bibtex.starts_with('@') && depth == 0, "{}", source.key);
            assert!(source.bibtex.contains(&format!("{{{},", source.key)), "{}", source.key);
            assert_eq!(*known.entry(source.key).or_insert(source.bibtex), source.bibtex, "{} twice", source.key);
        }
        let file = file(REGISTRY);
        assert_eq!(file.matches("\n@").count() + 1, known.len());
    }

    #[test]
    fn a_citation_names_the_place_in_the_paper() {
        let claim = crate::claims::find("thm-3.7").expect("registered");
        assert_eq!(citation(claim), r"\cite[Theorem 3.7, proof in App.~I.5]{tang2025unified}");
    }
}
